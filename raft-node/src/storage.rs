//! All that a node keeps on its disk.

use std::path::Path;
use std::sync::Arc;

use crate::{
    FileLog, FileSnapshots, LogStore, MemoryLog, MemorySnapshots, SnapshotStore, StoreError,
    directory,
};

/// A node's storage: its log, and its snapshots. The two belong together: a log without the
/// snapshot that it begins behind is of no use, and the other way round.
pub struct Storage {
    pub(crate) log: Box<dyn LogStore>,
    pub(crate) snapshots: Arc<dyn SnapshotStore>,
}

impl Storage {
    /// A storage of one's own parts.
    #[must_use]
    pub fn new(log: impl LogStore, snapshots: impl SnapshotStore) -> Self {
        Self { log: Box::new(log), snapshots: Arc::new(snapshots) }
    }

    /// Opens the durable storage in the directory `dir`, or makes an empty one there: a
    /// [`FileLog`] in `dir/log` and [`FileSnapshots`] in `dir/snapshots`. Reads all of the log, so
    /// it may take a while: an async program calls it on a thread where blocking is allowed.
    ///
    /// # Errors
    /// Those of [`FileLog::open`] and [`FileSnapshots::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let dir = dir.as_ref();
        let (log, snapshots) =
            (FileLog::open(dir.join("log"))?, FileSnapshots::open(dir.join("snapshots"))?);
        directory::sync_name(dir)?;
        Ok(Self::new(log, snapshots))
    }

    /// A storage in memory, for tests and trials. **Nothing in it survives the process**, see
    /// [`MemoryLog`].
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(MemoryLog::new(), MemorySnapshots::new())
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}
