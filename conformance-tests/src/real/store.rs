//! Storage that outlives its node's crash, and nothing that came after it.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use raft_node::core::{Entries, LogIndex, LogPosition, Membership, Snapshot, StoredLog, Write};
use raft_node::{LogStore, SnapshotStore, SnapshotWriter, Storage, StoreError};

/// Stands between a crashed node and its disk: from the crash on nothing of that node reaches it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fence(Arc<Mutex<bool>>);

impl Fence {
    /// The crash. A write that is under way is over when this returns.
    pub(crate) fn shut(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// A storage behind this fence.
    pub(crate) fn around(&self, log: impl LogStore, snapshots: impl SnapshotStore) -> Storage {
        let fence = self.clone();
        Storage::new(FencedLog { log, fence: fence.clone() }, FencedSnapshots { snapshots, fence })
    }

    /// Changes something behind the fence, unless the node has crashed.
    fn pass<T>(&self, change: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let shut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *shut {
            return Err(StoreError::Other("the node was crashed by its test".into()));
        }
        change()
    }
}

struct FencedLog<L> {
    log: L,
    fence: Fence,
}

impl<L: LogStore> LogStore for FencedLog<L> {
    fn restore(&mut self) -> Result<StoredLog, StoreError> {
        self.log.restore()
    }

    fn append(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.fence.pass(|| self.log.append(writes))
    }

    fn load(
        &mut self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Entries, StoreError> {
        self.log.load(from, through, max_bytes)
    }

    fn metadata(&mut self) -> Result<Bytes, StoreError> {
        self.log.metadata()
    }

    fn set_metadata(&mut self, metadata: &[u8]) -> Result<(), StoreError> {
        self.fence.pass(|| self.log.set_metadata(metadata))
    }
}

struct FencedSnapshots<S> {
    snapshots: S,
    fence: Fence,
}

impl<S: SnapshotStore> SnapshotStore for FencedSnapshots<S> {
    fn newest(&self) -> Result<Option<Snapshot>, StoreError> {
        self.snapshots.newest()
    }

    fn create(&self) -> Result<Box<dyn SnapshotWriter>, StoreError> {
        let writer = self.fence.pass(|| self.snapshots.create())?;
        Ok(Box::new(FencedWriter { writer, fence: self.fence.clone() }))
    }

    fn read(
        &self,
        snapshot: &Snapshot,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, StoreError> {
        self.snapshots.read(snapshot, offset, max_bytes)
    }

    fn receive(&self, snapshot: &Snapshot, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        self.fence.pass(|| self.snapshots.receive(snapshot, offset, data))
    }

    fn open(&self, snapshot: &Snapshot) -> Result<Box<dyn Read + Send>, StoreError> {
        self.snapshots.open(snapshot)
    }

    fn remove(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.fence.pass(|| self.snapshots.remove(snapshot))
    }
}

struct FencedWriter {
    writer: Box<dyn SnapshotWriter>,
    fence: Fence,
}

impl io::Write for FencedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { writer, fence } = self;
        fence.pass(|| Ok(writer.write(bytes))).map_err(io::Error::other)?
    }

    fn flush(&mut self) -> io::Result<()> {
        let Self { writer, fence } = self;
        fence.pass(|| Ok(writer.flush())).map_err(io::Error::other)?
    }
}

impl SnapshotWriter for FencedWriter {
    fn complete(
        self: Box<Self>,
        position: LogPosition,
        membership: Arc<Membership>,
    ) -> Result<Snapshot, StoreError> {
        let Self { writer, fence } = *self;
        fence.pass(|| writer.complete(position, membership))
    }
}
