//! The durable log store.
//!
//! # Files
//!
//! A log is a directory with a file `lock`, which the process that uses the log keeps locked, and
//! segments `0000000000000001.log`, `0000000000000002.log` and so on: sixteen lower-case
//! hexadecimal digits, without gaps. All numbers in the files are little-endian; checksums are
//! CRC-32 (the one of gzip and PNG).
//!
//! A segment has a header of 40 bytes, then frames, then zeros up to its end:
//!
//! | offset | bytes | segment header |
//! | --- | --- | --- |
//! | 0 | 8 | `RaftLog\n` |
//! | 8 | 4 | format version: 1 |
//! | 12 | 4 | salt: a random number |
//! | 16 | 8 | sequence number of the segment, as in its name |
//! | 24 | 8 | number of its first frame |
//! | 32 | 4 | zero |
//! | 36 | 4 | checksum of the 36 bytes before |
//!
//! A frame begins at a multiple of eight bytes and is followed by up to seven zeros of padding.
//! Frames are numbered from zero through all segments. The salt of the segment is the initial value
//! of both checksums:
//!
//! | offset | bytes | frame |
//! | --- | --- | --- |
//! | 0 | 4 | `Rfrm` |
//! | 4 | 4 | length of the payload |
//! | 8 | 8 | number of this frame |
//! | 16 | 8 | `synced`: frames with smaller numbers were durable when this one was written |
//! | 24 | 4 | checksum of the payload |
//! | 28 | 4 | checksum of the 28 bytes before |
//! | 32 | | payload |
//!
//! A frame carries one [`Write`], as one to three records in this order, each at most once:
//!
//! | record | content |
//! | --- | --- |
//! | hard state | `1`, term (8 bytes), 1 with a vote or 0 without (1 byte), vote (8 bytes) |
//! | truncation | `2`, first index to remove (8 bytes) |
//! | entries | `3`, index of the first entry (8 bytes), number of entries (4 bytes), the entries |
//!
//! An entry is the length of what follows (4 bytes), its term (8 bytes), its kind (1 byte: 0 no
//! operation, 1 command) and the command. To read a log, carry out the frames in order; entries
//! that were truncated stay in the file. The first frame of every segment but the first repeats the
//! hard state, so that no segment is needed for it but the newest.
//!
//! # What a crash leaves, and what is damage
//!
//! Writes are acknowledged after a sync. After each sync a *mark* is written, a frame without a
//! payload, whose `synced` covers everything before it. A new segment is made only when the one
//! before it has been synced, and its header is synced before its first frame is written. So:
//!
//! - A broken frame was once complete if it is not in the newest segment, or if any frame header
//!   after it has a `synced` above its number. That is damage: opening fails and names the place.
//! - Any other broken frame is the torn end of a write that nobody was told of. It is replaced by
//!   zeros, and so is everything after it.
//! - A newest segment that has no header and is otherwise empty was never used. It is removed.
//!
//! Two cases can't be told. Damage to the newest batch when the crash also took its mark counts as
//! torn. A newest segment that somebody deletes or fills with zeros looks like one that was never
//! made.

mod frame;
mod index;
mod reader;
mod record;
mod recover;
mod segment;
mod writer;

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use raft_core::{Entries, LogIndex, StoredLog, Write};

use self::index::Index;
use self::reader::Reader;
use self::writer::Writer;
use crate::{LogStore, StoreError};

const DEFAULT_SEGMENT_BYTES: u64 = 16 << 20;
const MIN_SEGMENT_BYTES: u64 = 4 << 10;
const MAX_SEGMENT_BYTES: u64 = 1 << 30;

/// How a [`FileLog`] is opened.
#[derive(Clone, Debug)]
pub struct FileLogOptions {
    segment_bytes: u64,
}

impl Default for FileLogOptions {
    fn default() -> Self {
        Self { segment_bytes: DEFAULT_SEGMENT_BYTES }
    }
}

impl FileLogOptions {
    /// The size of the files that the log is made of, in bytes: 16 MiB by default, and brought into
    /// the range of 4 KiB to 1 GiB. Each file takes this much of the disk from its beginning. A
    /// write that is larger gets a larger file. Files that exist keep their size.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes.clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        self
    }

    /// Opens the log in the directory `dir`, or makes an empty one there; missing directories are
    /// created. Reads the whole log once and checks all of it. A write that a crash interrupted
    /// before it was acknowledged is kept or cut off; whatever is kept is durable afterwards.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when the log is open already, in this process or another.
    /// [`StoreError::Damaged`] when something that was once durable is missing or altered.
    /// [`StoreError::Version`] when a newer program wrote it. [`StoreError::Io`] when the system
    /// refuses something. The log is not changed in the first three cases.
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<FileLog, StoreError> {
        let dir = dir.as_ref();
        segment::create_dir(dir)?;
        let lock = lock(dir)?;
        let (index, writer) = recover::recover(dir, self.segment_bytes)?;
        let reader = Reader::new(dir.to_owned());
        Ok(FileLog { dir: dir.to_owned(), index, writer, reader, poisoned: false, _lock: lock })
    }
}

/// A durable log in a directory of its own: files of equal size, every byte of content under a
/// checksum, one sync for each [`append`](LogStore::append). In memory it keeps 16 bytes for each
/// entry.
///
/// It needs local storage that keeps what `fdatasync` reported as durable. Only one process can
/// have a log open. Dropping it closes it; there is nothing to flush.
///
/// After a failed `append` every call fails with [`StoreError::Poisoned`]: what the disk holds
/// then is known only after opening the log again. One write may have 1 GiB at most.
pub struct FileLog {
    dir: PathBuf,
    index: Index,
    writer: Writer,
    reader: Reader,
    poisoned: bool,
    /// Held for as long as the log is open.
    _lock: File,
}

impl FileLog {
    /// Opens the log in the directory `dir` with the default options; see
    /// [`FileLogOptions::open`].
    ///
    /// # Errors
    /// Those of [`FileLogOptions::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::options().open(dir)
    }

    /// The default options, to be changed before opening.
    #[must_use]
    pub fn options() -> FileLogOptions {
        FileLogOptions::default()
    }

    fn check_usable(&self) -> Result<(), StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned { path: self.dir.clone() });
        }
        Ok(())
    }

    fn write_and_sync(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        for write in writes.iter().filter(|write| !record::is_empty(write)) {
            self.index.check(write).map_err(|what| StoreError::OutOfOrder { what })?;
            let (segment, places) = self.writer.add(write, self.index.hard_state())?;
            self.index.apply(write, segment, &places);
        }
        self.writer.sync()
    }
}

impl LogStore for FileLog {
    fn restore(&mut self) -> Result<StoredLog, StoreError> {
        self.check_usable()?;
        Ok(self.index.describe())
    }

    fn append(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.check_usable()?;
        let outcome = self.write_and_sync(writes);
        self.poisoned = outcome.is_err();
        outcome
    }

    fn load(
        &mut self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Entries, StoreError> {
        self.check_usable()?;
        let stretches = self.index.select(from, through, max_bytes);
        self.reader.read(from, &stretches)
    }
}

impl fmt::Debug for FileLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLog")
            .field("dir", &self.dir)
            .field("last", &self.index.last())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

/// Takes the lock of the directory. The system gives it back when the process ends, however it
/// ends.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(segment::failed("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(segment::failed("lock", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use raft_core::{HardState, Term};

    use super::*;

    fn in_term(term: u64) -> Write {
        record::of_hard_state(HardState { term: Term::new(term).unwrap(), vote: None })
    }

    /// Makes `append` fail once on a log whose file is exchanged for `broken`, and then checks that
    /// nothing works until the log is opened again and holds what was acknowledged.
    fn fails_for_good(broken: File) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = FileLog::open(dir.path()).unwrap();
        log.append(&[in_term(1)]).unwrap();
        let healthy = log.writer.tail().swap_file(broken);
        assert!(matches!(log.append(&[in_term(2)]), Err(StoreError::Io { .. })));
        log.writer.tail().swap_file(healthy);

        let poisoned = |error| matches!(error, StoreError::Poisoned { .. });
        assert!(poisoned(log.append(&[in_term(2)]).unwrap_err()));
        assert!(poisoned(log.append(&[]).unwrap_err()));
        assert!(poisoned(log.restore().unwrap_err()));
        assert!(poisoned(log.load(LogIndex::ZERO, LogIndex::MAX, 0).unwrap_err()));
        drop(log);

        let restored = FileLog::open(dir.path()).unwrap().restore().unwrap();
        assert_eq!(restored.hard_state.term, Term::new(1).unwrap());
    }

    #[test]
    fn a_new_segment_begins_with_the_newest_hard_state() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = FileLog::options().segment_bytes(0).open(dir.path()).unwrap();
        let mut term = 0;
        while log.writer.tail().sequence() < 3 {
            term += 1;
            log.append(&[in_term(term)]).unwrap();
        }
        let content = log.writer.tail().read().unwrap();
        let header = segment::Header::decode(dir.path(), &content).unwrap().unwrap();
        let first = &content[segment::HEADER_BYTES as usize..];
        let payload = frame::parse(first, header.salt).unwrap().payload;
        let (write, _) = record::decode(content.slice_ref(payload), 0).unwrap();
        assert_eq!(write, in_term(term - 1));
    }

    #[test]
    fn a_failed_write_poisons_the_log() {
        let read_only = tempfile::NamedTempFile::new().unwrap();
        fails_for_good(File::open(read_only.path()).unwrap());
    }

    #[test]
    fn a_failed_sync_poisons_the_log_although_the_next_would_succeed() {
        // A device takes writes but has no disk to sync.
        fails_for_good(OpenOptions::new().write(true).open("/dev/null").unwrap());
    }
}
