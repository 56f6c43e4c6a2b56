//! A log and a shelf of snapshots in memory, which stop at gates and fail when they are told to.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use raft_node::core::{Entries, LogIndex, LogPosition, Membership, Snapshot, StoredLog, Write};
use raft_node::{
    LogStore, MemoryLog, MemorySnapshots, SnapshotStore, SnapshotWriter, Storage, StoreError,
};

use crate::rig::Gate;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskCall {
    /// An append of so many writes.
    Append(usize),
    Load(LogIndex),
}

/// A log in memory that waits at a gate before each call, writes the calls down, and fails or
/// panics when it is told to.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) gate: Gate,
    pub(crate) log: MemoryLog,
    pub(crate) snapshots: Shelf,
    pub(crate) calls: Arc<Mutex<Vec<DiskCall>>>,
    pub(crate) trouble: Arc<Mutex<Option<Trouble>>>,
    pub(crate) trouble_with_loads: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
pub(crate) enum Trouble {
    Fails,
    Panics,
}

impl Disk {
    pub(crate) fn storage(&self) -> Storage {
        Storage::new(self.clone(), self.snapshots.clone())
    }

    fn call(&self, call: DiskCall) -> Result<(), StoreError> {
        self.gate.pass();
        self.calls.lock().unwrap().push(call);
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            None => Ok(()),
            Some(Trouble::Fails) => Err(StoreError::Other("no such luck".into())),
            Some(Trouble::Panics) => panic!("the disk fell off"),
        }
    }
}

impl LogStore for Disk {
    fn restore(&mut self) -> Result<StoredLog, StoreError> {
        self.log.restore()
    }

    fn append(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.call(DiskCall::Append(writes.len()))?;
        self.log.append(writes)
    }

    fn load(
        &mut self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Entries, StoreError> {
        self.call(DiskCall::Load(from))?;
        if self.trouble_with_loads.load(Ordering::Relaxed) {
            return Err(StoreError::Other("unreadable".into()));
        }
        self.log.load(from, through, max_bytes)
    }

    fn metadata(&mut self) -> Result<Bytes, StoreError> {
        self.log.metadata()
    }

    fn set_metadata(&mut self, metadata: &[u8]) -> Result<(), StoreError> {
        self.log.set_metadata(metadata)
    }
}

/// What of a shelf does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Create,
    Write,
    Complete,
    Read,
    Receive,
    Open,
}

/// Snapshots in memory, with gates at which their writers wait: before they begin, when all is
/// written, and before it is complete.
#[derive(Clone, Default)]
pub(crate) struct Shelf {
    pub(crate) gate: Gate,
    pub(crate) flushing: Gate,
    pub(crate) completing: Gate,
    pub(crate) removed: Arc<Mutex<Vec<LogPosition>>>,
    pub(crate) memory: MemorySnapshots,
    pub(crate) broken: Arc<Mutex<Option<Broken>>>,
}

impl Shelf {
    pub(crate) fn fail_at(&self, broken: impl Into<Option<Broken>>) {
        *self.broken.lock().unwrap() = broken.into();
    }

    fn call(&self, what: Broken) -> Result<(), StoreError> {
        let broken = *self.broken.lock().unwrap() == Some(what);
        if broken { Err(StoreError::Other(format!("broken: {what:?}"))) } else { Ok(()) }
    }
}

impl SnapshotStore for Shelf {
    fn newest(&self) -> Result<Option<Snapshot>, StoreError> {
        self.memory.newest()
    }

    fn create(&self) -> Result<Box<dyn SnapshotWriter>, StoreError> {
        self.gate.pass();
        self.call(Broken::Create)?;
        Ok(Box::new(Writer { shelf: self.clone(), writer: self.memory.create()? }))
    }

    fn read(
        &self,
        snapshot: &Snapshot,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, StoreError> {
        self.call(Broken::Read)?;
        self.memory.read(snapshot, offset, max_bytes)
    }

    fn receive(&self, snapshot: &Snapshot, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        self.call(Broken::Receive)?;
        self.memory.receive(snapshot, offset, data)
    }

    fn open(&self, snapshot: &Snapshot) -> Result<Box<dyn Read + Send>, StoreError> {
        self.call(Broken::Open)?;
        self.memory.open(snapshot)
    }

    fn remove(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.removed.lock().unwrap().push(snapshot.position);
        self.memory.remove(snapshot)
    }
}

struct Writer {
    shelf: Shelf,
    writer: Box<dyn SnapshotWriter>,
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.shelf.call(Broken::Write).map_err(io::Error::other)?;
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shelf.flushing.pass();
        self.writer.flush()
    }
}

impl SnapshotWriter for Writer {
    fn complete(
        self: Box<Self>,
        position: LogPosition,
        membership: Arc<Membership>,
    ) -> Result<Snapshot, StoreError> {
        self.shelf.completing.pass();
        self.shelf.call(Broken::Complete)?;
        self.writer.complete(position, membership)
    }
}
