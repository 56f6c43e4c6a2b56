//! The files of a log and their directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::directory::{self, failed};
use crate::{StoreError, checksum};

/// The length of the header of a segment; the first frame begins behind it.
pub(super) const HEADER_BYTES: u64 = 40;

const HEADER_LEN: usize = HEADER_BYTES as usize;
const CRC_AT: usize = HEADER_LEN - 4;
const MAGIC: [u8; 8] = *b"RaftLog\n";
const VERSION: u32 = 2;

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The place of the segment among the segments; its file is named by it.
    pub(super) sequence: u64,
    /// The number of its first frame.
    pub(super) first: u64,
    /// Begins every checksum in the segment.
    pub(super) salt: u32,
}

/// One open segment file.
#[derive(Debug)]
pub(super) struct Segment {
    sequence: u64,
    path: PathBuf,
    file: File,
}

impl Header {
    /// The header of a segment to be made. The salt is random, so that no command that clients
    /// send can contain something that passes for a frame of this segment.
    pub(super) fn new(sequence: u64, first: u64) -> Self {
        Self { sequence, first, salt: checksum::salt() }
    }

    fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.put_slice(&MAGIC);
        bytes.put_u32_le(VERSION);
        bytes.put_u32_le(self.salt);
        bytes.put_u64_le(self.sequence);
        bytes.put_u64_le(self.first);
        bytes.put_u32_le(0);
        bytes.put_u32_le(crc32fast::hash(&bytes));
        bytes
    }

    /// The header at the beginning of `content`, or `None` if there is no undamaged one.
    ///
    /// # Errors
    /// `Version` for a header of another version.
    pub(super) fn decode(path: &Path, content: &[u8]) -> Result<Option<Self>, StoreError> {
        let Some((mut header, mut crc)) =
            content.get(..HEADER_LEN).and_then(|header| header.split_at_checked(CRC_AT))
        else {
            return Ok(None);
        };
        if !header.starts_with(&MAGIC) || crc32fast::hash(header) != crc.get_u32_le() {
            return Ok(None);
        }
        header.advance(MAGIC.len());
        let found = header.get_u32_le();
        if found != VERSION {
            let path = path.to_owned();
            return Err(StoreError::Version { path, found, expected: VERSION });
        }
        let salt = header.get_u32_le();
        let sequence = header.get_u64_le();
        let first = header.get_u64_le();
        Ok(Some(Self { sequence, first, salt }))
    }
}

impl Segment {
    /// Makes the file of a segment with room for `capacity` bytes. When this returns, the file
    /// is in the directory for good, with its header.
    pub(super) fn create(dir: &Path, header: Header, capacity: u64) -> Result<Self, StoreError> {
        let path = path_of(dir, header.sequence);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed("create", &path))?;
        preallocate(&file, capacity).map_err(failed("reserve space for", &path))?;
        let segment = Self { sequence: header.sequence, path, file };
        segment.write_at(&header.encode(), 0)?;
        segment.file.sync_all().map_err(failed("sync", &segment.path))?;
        directory::sync(dir)?;
        Ok(segment)
    }

    pub(super) fn open(dir: &Path, sequence: u64) -> Result<Self, StoreError> {
        let path = path_of(dir, sequence);
        let file =
            OpenOptions::new().read(true).write(true).open(&path).map_err(failed("open", &path))?;
        Ok(Self { sequence, path, file })
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The whole content.
    pub(super) fn read(&self) -> Result<Bytes, StoreError> {
        let failed = || failed("read", &self.path);
        let len = self.file.metadata().map_err(failed())?.len();
        let len = usize::try_from(len)
            .map_err(|_| self.damaged(0, "the file is larger than this machine can read"))?;
        let mut content = vec![0; len];
        self.file.read_exact_at(&mut content, 0).map_err(failed())?;
        Ok(content.into())
    }

    /// The `len` bytes at `offset`.
    pub(super) fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        let mut content = vec![0; len];
        match self.file.read_exact_at(&mut content, offset) {
            Ok(()) => Ok(content.into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(offset, "the file ends before an entry"))
            }
            Err(error) => Err(failed("read", &self.path)(error)),
        }
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), StoreError> {
        self.file.write_all_at(bytes, offset).map_err(failed("write", &self.path))
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(failed("sync", &self.path))
    }

    /// The error for content that does not read as it was written.
    pub(super) fn damaged(&self, offset: u64, what: &'static str) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), offset, what }
    }

    /// Exchanges the file for another, so that a test can make writes and syncs fail.
    #[cfg(test)]
    pub(super) fn swap_file(&mut self, file: File) -> File {
        std::mem::replace(&mut self.file, file)
    }
}

/// The name of a segment's file.
pub(super) fn path_of(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:016x}.log"))
}

/// The sequence numbers of all segment files in `dir`, ascending. Other files are left alone.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir).map_err(failed("list", dir))? {
        let name = file.map_err(failed("list", dir))?.file_name();
        let sequence = name
            .to_str()
            .and_then(|name| name.strip_suffix(".log"))
            .filter(|digits| digits.len() == 16)
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .filter(|sequence| *sequence > 0 && path_of(dir, *sequence).ends_with(&name));
        found.extend(sequence);
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes a segment's file for good.
pub(super) fn remove(dir: &Path, sequence: u64) -> Result<(), StoreError> {
    directory::remove(&path_of(dir, sequence))?;
    directory::sync(dir)
}

/// Reserves the space of a file, so that later writes change neither its length nor its place on
/// the disk, and a full disk shows here and not in the middle of a write.
fn preallocate(file: &File, capacity: u64) -> io::Result<()> {
    let reserve = || rustix::fs::fallocate(file, FallocateFlags::empty(), 0, capacity);
    match rustix::io::retry_on_intr(reserve) {
        // Not every file system can reserve space; a file of the right length serves as well.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(capacity),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_no_flipped_bit_goes_unnoticed() {
        let header = Header::new(7, 99);
        let bytes = header.encode();
        let path = Path::new("x");
        assert_eq!(bytes.len(), HEADER_LEN);
        assert_eq!(Header::decode(path, &bytes).unwrap(), Some(header));
        for at in 0..bytes.len() {
            assert_eq!(Header::decode(path, &bytes[..at]).unwrap(), None);
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(Header::decode(path, &damaged).unwrap(), None, "byte {at}");
        }
    }

    #[test]
    fn a_header_of_another_version_is_an_error_that_says_so() {
        let mut bytes = Header::new(7, 99).encode();
        bytes[8] = 1;
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        let error = Header::decode(Path::new("x"), &bytes).unwrap_err();
        assert!(matches!(error, StoreError::Version { found: 1, expected: 2, .. }), "{error}");
    }

    #[test]
    fn only_segment_files_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["000000000000000a.log", "0000000000000002.log"];
        let others = [
            "000000000000000B.log",
            "2.log",
            "lock",
            "+000000000000002.log",
            "0000000000000000.log",
        ];
        for name in names.iter().chain(&others) {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(list(dir.path()).unwrap(), [2, 10]);
    }
}
