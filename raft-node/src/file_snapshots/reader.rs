//! Reads the file of a snapshot. No byte leaves before its checksum has been checked.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::{Buf, Bytes, BytesMut};
use crc32fast::Hasher;
use raft_core::Snapshot;

use super::format::{self, BLOCK_BYTES, CRC_BYTES, HEADER_BYTES, TRAILER_BYTES};
use crate::StoreError;
use crate::directory::{self, failed};

/// The open file of a complete snapshot. It can be read even when its name is gone.
#[derive(Debug)]
pub(super) struct SnapshotFile {
    path: PathBuf,
    file: File,
    salt: u32,
    snapshot: Snapshot,
}

impl SnapshotFile {
    /// Opens a file and checks all of it but its content; `None` if it is not there.
    pub(super) fn open(path: PathBuf) -> Result<Option<Self>, StoreError> {
        let Some(file) = directory::open_file(&path)? else { return Ok(None) };
        let damaged = |offset, what| StoreError::Damaged { path: path.clone(), offset, what };
        let len = file.metadata().map_err(failed("read", &path))?.len();
        let read = |offset: u64, end: u64| {
            let mut bytes = vec![0; usize::try_from(end - offset).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut bytes, offset).map_err(failed("read", &path))?;
            Ok::<_, StoreError>(Bytes::from(bytes))
        };
        let Some(trailer_at) = len.checked_sub(TRAILER_BYTES).filter(|at| *at >= HEADER_BYTES)
        else {
            return Err(damaged(0, "the file ends too early"));
        };
        let salt = format::decode_header(&path, read(0, HEADER_BYTES)?)?
            .ok_or_else(|| damaged(0, "no header of a snapshot"))?;
        let described = format::decode_trailer(salt, read(trailer_at, len)?)
            .and_then(|(len, crc)| Some((trailer_at.checked_sub(u64::from(len))?, crc)));
        let (start, crc) =
            described.ok_or_else(|| damaged(trailer_at, "the file has no proper end"))?;
        let description = read(start, trailer_at)?;
        if format::checksum(salt, 0, &description) != crc {
            return Err(damaged(start, "the description does not fit its checksum"));
        }
        let snapshot = Snapshot::decode(description)
            .map_err(|_| damaged(start, "the description can't be read"))?;
        if format::description_at(snapshot.size) != start {
            return Err(damaged(start, "the content does not have its length"));
        }
        Ok(Some(Self { path, file, salt, snapshot }))
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// At most `max_bytes` at `offset`: at least one, unless the content ends there.
    pub(super) fn read_at(&self, offset: u64, max_bytes: usize) -> Result<Bytes, StoreError> {
        let left = self.snapshot.size.saturating_sub(offset);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(max_bytes.max(1));
        let mut found = BytesMut::with_capacity(wanted);
        let mut number = offset / BLOCK_BYTES as u64;
        // The rest of a division by the size of a block fits any number.
        let mut skipped = (offset % BLOCK_BYTES as u64) as usize;
        while found.len() < wanted {
            let block = self.block(number)?;
            let part = block.get(skipped..).unwrap_or_default();
            found.extend_from_slice(part.get(..wanted - found.len()).unwrap_or(part));
            (number, skipped) = (number + 1, 0);
        }
        Ok(found.freeze())
    }

    /// The content of the block `number`, which exists.
    fn block(&self, number: u64) -> Result<Bytes, StoreError> {
        let at = format::block_at(number);
        let damaged = |what| StoreError::Damaged { path: self.path.clone(), offset: at, what };
        let left = self.snapshot.size.saturating_sub(number.saturating_mul(BLOCK_BYTES as u64));
        let len = usize::try_from(left).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        let mut block = vec![0; len + CRC_BYTES];
        match self.file.read_exact_at(&mut block, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged("the file ends too early"));
            }
            outcome => outcome.map_err(failed("read", &self.path))?,
        }
        let mut content = Bytes::from(block);
        let mut crc = content.split_off(len);
        if crc.get_u32_le() != format::checksum(self.salt, number, &content) {
            return Err(damaged("a block does not fit its checksum"));
        }
        Ok(content)
    }
}

/// Reads a snapshot from its beginning to its end.
#[derive(Debug)]
pub(super) struct Content {
    file: SnapshotFile,
    /// The number of the next block.
    number: u64,
    /// What of the block before it is not read yet.
    rest: Bytes,
    total: Hasher,
}

impl Content {
    pub(super) fn new(file: SnapshotFile) -> Self {
        Self { file, number: 0, rest: Bytes::new(), total: Hasher::new() }
    }

    /// The next block; an empty one at the end, when the whole fits the checksum of the snapshot.
    pub(super) fn next_block(&mut self) -> Result<Bytes, StoreError> {
        let Snapshot { size, checksum, .. } = *self.file.snapshot();
        if self.number < size.div_ceil(BLOCK_BYTES as u64) {
            let block = self.file.block(self.number)?;
            self.total.update(&block);
            self.number += 1;
            return Ok(block);
        }
        if self.total.clone().finalize() != checksum {
            let path = self.file.path.clone();
            let what = "the content does not fit the checksum of the snapshot";
            return Err(StoreError::Damaged { path, offset: HEADER_BYTES, what });
        }
        Ok(Bytes::new())
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && !buffer.is_empty() {
            self.rest = self.next_block().map_err(|error| match &error {
                StoreError::Io { source, .. } => io::Error::new(source.kind(), error),
                _ => io::Error::new(io::ErrorKind::InvalidData, error),
            })?;
        }
        let count = self.rest.len().min(buffer.len());
        self.rest.split_to(count).copy_to_slice(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}
