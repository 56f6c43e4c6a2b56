//! The durable log store: a directory of segments, which are made of frames, which carry writes.
//! `docs/file-format.md` describes the files, what a crash leaves of them, and what is damage.

mod frame;
mod index;
mod metadata;
mod reader;
mod recover;
mod segment;
mod writer;

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use raft_core::{Entries, LogIndex, StoredLog, Write};

use self::index::Index;
use self::reader::Reader;
use self::writer::Writer;
use crate::directory::Directory;
use crate::record;
use crate::{LogStore, StoreError};

const DEFAULT_SEGMENT_BYTES: u64 = 16 << 20;
const MIN_SEGMENT_BYTES: u64 = 4 << 10;
const MAX_SEGMENT_BYTES: u64 = 1 << 30;

/// Each removal of a segment takes a sync, and whoever appends waits for it. So a large compaction
/// is spread over several appends.
const REMOVALS_AT_ONCE: u64 = 4;

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
    /// This blocks for as long as the reading takes. Asynchronous programs call it on a thread that
    /// may block, such as those of tokio's `spawn_blocking`.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when the log is open already, in this process or another.
    /// [`StoreError::Damaged`] when something that was once durable is missing or altered.
    /// [`StoreError::Version`] when another version of this library wrote it. [`StoreError::Io`]
    /// when the system refuses something. The log is not changed in the first three cases.
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<FileLog, StoreError> {
        let dir = Directory::open(dir.as_ref())?;
        let begun = metadata::exists(dir.path())?;
        let (index, writer) = recover::recover(dir.path(), self.segment_bytes, begun)?;
        let reader = Reader::new(dir.path().to_owned());
        let oldest = segment::list(dir.path())?.first().copied().unwrap_or(1);
        let mut log = FileLog { dir, index, writer, reader, oldest, poisoned: false };
        log.remove_segments(u64::MAX)?;
        Ok(log)
    }
}

/// A durable log in a directory of its own: files of equal size, every byte of content under a
/// checksum, one sync for each [`append`](LogStore::append). In memory it keeps 16 bytes for each
/// entry that is not compacted, and the configurations.
///
/// Files of which compaction has left nothing are removed little by little, with the appends that
/// follow, and when the log is opened; the newest always stays.
///
/// It needs local storage that keeps what `fdatasync` reported as durable. Only one process can
/// have a log open. Dropping it closes it; there is nothing to flush.
///
/// After a failed `append` every call fails with [`StoreError::Poisoned`]: what the disk holds
/// then is known only after opening the log again. One write may have 1 GiB at most.
pub struct FileLog {
    dir: Directory,
    index: Index,
    writer: Writer,
    reader: Reader,
    /// The sequence number of the oldest segment.
    oldest: u64,
    poisoned: bool,
}

impl FileLog {
    /// Opens the log in the directory `dir` with the default options; see
    /// [`FileLogOptions::open`]. This blocks: asynchronous programs call it on a thread that may.
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
            return Err(StoreError::Poisoned { path: self.dir.path().to_owned() });
        }
        Ok(())
    }

    fn write_and_sync(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        for write in writes.iter().filter(|write| !record::is_empty(write)) {
            let left = self.index.check(write);
            let left = left.map_err(|what| StoreError::OutOfOrder { what })?;
            let (segment, places) = self.writer.add(write, self.index.head())?;
            self.index.apply(write, left, segment, &places);
        }
        self.writer.sync()?;
        self.remove_segments(REMOVALS_AT_ONCE)
    }

    /// Removes at most `limit` of the segments that hold nothing of use. The oldest is gone for
    /// good before the next one is removed, so a crash leaves no gap.
    fn remove_segments(&mut self, limit: u64) -> Result<(), StoreError> {
        let newest = self.writer.sequence();
        let needed = self.index.oldest_segment().unwrap_or(newest).min(newest);
        let end = needed.min(self.oldest.saturating_add(limit));
        self.reader.close_older_than(end);
        while self.oldest < end {
            segment::remove(self.dir.path(), self.oldest)?;
            self.oldest += 1;
        }
        Ok(())
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

    fn metadata(&mut self) -> Result<Bytes, StoreError> {
        self.check_usable()?;
        metadata::read(self.dir.path())
    }

    fn set_metadata(&mut self, metadata: &[u8]) -> Result<(), StoreError> {
        self.check_usable()?;
        let outcome = metadata::replace(self.dir.path(), metadata);
        self.poisoned = outcome.is_err();
        outcome
    }
}

impl fmt::Debug for FileLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLog")
            .field("dir", &self.dir.path())
            .field("last", &self.index.last())
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};

    use raft_core::{Entry, HardState, Payload, Term};

    use super::*;

    fn in_term(term: u64) -> Write {
        let hard_state = Some(HardState { term: Term::new(term).unwrap(), vote: None });
        Write { hard_state, ..Write::default() }
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
        let head = record::decode_head(content.slice_ref(payload)).unwrap();
        assert_eq!(Some(head.hard_state), in_term(term - 1).hard_state);
    }

    #[test]
    fn nothing_is_removed_before_the_write_that_allows_it_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = FileLog::options().segment_bytes(0).open(dir.path()).unwrap();
        let entry = |index| Entry {
            term: Term::new(1).unwrap(),
            index: LogIndex::new(index).unwrap(),
            payload: Payload::Command(vec![0; 3000].into()),
        };
        let entries = Entries::new((1..=4).map(entry).collect()).unwrap();
        for entry in entries.iter() {
            let entries = Entries::new(vec![entry.clone()]).unwrap();
            log.append(&[Write { entries, ..in_term(1) }]).unwrap();
        }
        let before = segment::list(dir.path()).unwrap();
        assert_eq!(before.len(), 4);
        let all = Write { begin_after: Some(entry(4).position()), ..in_term(2) };
        let device = OpenOptions::new().write(true).open("/dev/null").unwrap();
        log.writer.tail().swap_file(device);
        assert!(matches!(log.append(&[all]), Err(StoreError::Io { .. })));
        assert_eq!(segment::list(dir.path()).unwrap(), before);
    }

    /// R090.
    #[test]
    fn a_failed_write_poisons_the_log() {
        let read_only = tempfile::NamedTempFile::new().unwrap();
        fails_for_good(File::open(read_only.path()).unwrap());
    }

    /// R092.
    #[test]
    fn a_failed_sync_poisons_the_log_although_the_next_would_succeed() {
        // A device takes writes but has no disk to sync.
        fails_for_good(OpenOptions::new().write(true).open("/dev/null").unwrap());
    }

    /// R137.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_poisons_the_log_and_costs_nothing_acknowledged() {
        fails_for_good(OpenOptions::new().write(true).open("/dev/full").unwrap());
    }
}
