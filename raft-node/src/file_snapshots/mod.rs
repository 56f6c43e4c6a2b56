//! The snapshots on disk: one file for each, in a directory of their own. `docs/file-format.md`
//! describes the files.

mod format;
mod reader;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use raft_core::{LogIndex, LogPosition, Snapshot, Term};

use self::reader::{Content, SnapshotFile};
use self::writer::Writer;
use crate::directory::{self, Directory, failed};
use crate::{SnapshotStore, SnapshotWriter, StoreError};

/// Numbers the temporary files of this process. A writer may outlive its store, and must not meet
/// the files of the next one that opens the directory.
static TEMPORARIES: AtomicU64 = AtomicU64::new(0);

/// Snapshots in a directory of their own, every byte under a checksum that is checked whenever the
/// byte is read. At no time is more than a piece of a snapshot in memory.
///
/// It needs local storage that keeps what `fsync` reported as durable. Only one process can have
/// the directory open. Dropping it closes it; readers and writers that it gave out go on.
#[derive(Debug)]
pub struct FileSnapshots {
    dir: Directory,
    /// The snapshot that a leader sends.
    receiving: Mutex<Option<Receiving>>,
}

#[derive(Debug)]
struct Receiving {
    snapshot: Snapshot,
    writer: Writer,
}

/// What the name of a snapshot's file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    index: LogIndex,
    term: Term,
    checksum: u32,
}

impl FileSnapshots {
    /// Opens the snapshots in the directory `dir`, or makes an empty one there; missing directories
    /// are created. The directory is not that of a [`FileLog`](crate::FileLog), but may be inside
    /// it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when the directory is open already, in this process or another.
    /// [`StoreError::Io`] when the system refuses something.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let dir = Directory::open(dir.as_ref())?;
        Ok(Self { dir, receiving: Mutex::new(None) })
    }

    fn begin(&self) -> Result<Writer, StoreError> {
        let number = TEMPORARIES.fetch_add(1, Ordering::Relaxed);
        Writer::create(self.dir.path(), &temporary_name(number))
    }

    /// Opens the file of `snapshot`, if it is here.
    fn find(&self, snapshot: &Snapshot) -> Result<Option<SnapshotFile>, StoreError> {
        let path = Name::of(snapshot).path(self.dir.path());
        let file = SnapshotFile::open(path)?;
        Ok(file.filter(|file| file.snapshot() == snapshot))
    }

    fn store_piece(
        &self,
        receiving: &mut Option<Receiving>,
        offset: u64,
        data: &[u8],
    ) -> Result<(), StoreError> {
        let fits = |it: &&mut Receiving| {
            let room = it.snapshot.size.saturating_sub(offset);
            offset == it.writer.size() && data.len() as u64 <= room
        };
        let what = "a piece of a snapshot does not follow the one before it";
        let current = receiving.as_mut().filter(fits).ok_or(StoreError::OutOfOrder { what })?;
        current.writer.push(data)?;
        if current.writer.size() == current.snapshot.size
            && let Some(Receiving { snapshot, writer }) = receiving.take()
        {
            writer.complete_as(&snapshot)?;
        }
        Ok(())
    }
}

impl SnapshotStore for FileSnapshots {
    fn newest(&self) -> Result<Option<Snapshot>, StoreError> {
        let dir = self.dir.path();
        let mut complete = Vec::new();
        let mut useless = Vec::new();
        for file in fs::read_dir(dir).map_err(failed("list", dir))? {
            let name = file.map_err(failed("list", dir))?.file_name();
            match name.to_str() {
                Some(name) if is_temporary(name) => useless.push(dir.join(name)),
                Some(name) => complete.extend(Name::parse(name)),
                None => {}
            }
        }
        complete.sort_unstable();
        let newest = complete.pop().map(|name| verify(name, dir)).transpose()?;
        useless.extend(complete.iter().map(|name| name.path(dir)));
        useless.iter().try_for_each(|path| directory::remove(path))?;
        // An earlier process may have died between renaming a file and syncing its name.
        directory::sync(dir)?;
        Ok(newest)
    }

    fn create(&self) -> Result<Box<dyn SnapshotWriter>, StoreError> {
        Ok(Box::new(self.begin()?))
    }

    fn read(
        &self,
        snapshot: &Snapshot,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, StoreError> {
        self.find(snapshot)?.map(|file| file.read_at(offset, max_bytes)).transpose()
    }

    fn receive(&self, snapshot: &Snapshot, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 {
            // What was received before goes first, so that its space is free.
            *receiving = None;
            *receiving = Some(Receiving { snapshot: snapshot.clone(), writer: self.begin()? });
        }
        receiving.take_if(|it| it.snapshot != *snapshot);
        self.store_piece(&mut receiving, offset, data).inspect_err(|_| *receiving = None)
    }

    fn open(&self, snapshot: &Snapshot) -> Result<Box<dyn io::Read + Send>, StoreError> {
        let file = self.find(snapshot)?.ok_or_else(|| {
            let path = Name::of(snapshot).path(self.dir.path());
            failed("open", &path)(io::ErrorKind::NotFound.into())
        })?;
        Ok(Box::new(Content::new(file)))
    }

    fn remove(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        receiving.take_if(|it| it.snapshot == *snapshot);
        match self.find(snapshot) {
            // Another one of the same name, which is not what was meant.
            Ok(None) => return Ok(()),
            // A damaged one is of no use to anybody.
            Ok(Some(_)) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        directory::remove(&Name::of(snapshot).path(self.dir.path()))?;
        directory::sync(self.dir.path())
    }
}

fn temporary_name(number: u64) -> String {
    format!("{number:016x}.tmp")
}

fn is_temporary(name: &str) -> bool {
    let number = name.strip_suffix(".tmp").and_then(|it| u64::from_str_radix(it, 16).ok());
    // There is one way to write each name; a file that is called otherwise is none of ours.
    number.is_some_and(|number| temporary_name(number) == name)
}

impl Name {
    fn of(snapshot: &Snapshot) -> Self {
        let LogPosition { index, term } = snapshot.position;
        Self { index, term, checksum: snapshot.checksum }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_suffix(".snap")?.split('-');
        let mut number = || u64::from_str_radix(parts.next()?, 16).ok();
        let (index, term, checksum) = (number()?, number()?, number()?);
        let checksum = u32::try_from(checksum).ok()?;
        let name = Self { index: LogIndex::new(index)?, term: Term::new(term)?, checksum };
        // There is one way to write each name; a file that is called otherwise is none of ours.
        (name.text() == text).then_some(name)
    }

    fn text(self) -> String {
        let Self { index, term, checksum } = self;
        format!("{:016x}-{:016x}-{checksum:08x}.snap", index.get(), term.get())
    }

    fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.text())
    }
}

/// Reads a whole snapshot and checks all of it.
fn verify(name: Name, dir: &Path) -> Result<Snapshot, StoreError> {
    let path = name.path(dir);
    let damaged = |what| StoreError::Damaged { path: path.clone(), offset: 0, what };
    let file = SnapshotFile::open(path.clone())?.ok_or_else(|| damaged("the file is missing"))?;
    let snapshot = file.snapshot().clone();
    if Name::of(&snapshot) != name {
        return Err(damaged("the content of another snapshot"));
    }
    let mut content = Content::new(file);
    while !content.next_block()?.is_empty() {}
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_other_names_are_left_alone() {
        let index = LogIndex::new(0x1f).unwrap();
        let name = Name { index, term: Term::new(2).unwrap(), checksum: 0xab };
        assert_eq!(name.text(), "000000000000001f-0000000000000002-000000ab.snap");
        assert_eq!(Name::parse(&name.text()), Some(name));
        for other in [
            "1f-2-ab.snap",
            "000000000000001F-0000000000000002-000000ab.snap",
            "000000000000001f-0000000000000002-000000ab-0.snap",
            "000000000000001f-0000000000000002.snap",
            "ffffffffffffffff-0000000000000002-000000ab.snap",
            "lock",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
