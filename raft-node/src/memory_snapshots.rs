//! Snapshots without a disk.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;
use raft_core::{LogPosition, Membership, Snapshot};

use crate::io::{self, Cursor, Write};
use crate::lock::{Mutex, MutexGuard};
use crate::{SnapshotStore, SnapshotWriter, StoreError};

/// Snapshots in memory, for tests and trials, as the companion of a
/// [`MemoryLog`](crate::MemoryLog). **Nothing in it survives the process.**
///
/// A clone is a second handle to the same content. A test that keeps one can stop a node and start
/// it again with the snapshots that it had.
#[derive(Clone, Debug, Default)]
pub struct MemorySnapshots {
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    complete: Vec<(Snapshot, Bytes)>,
    /// The snapshot that a leader sends.
    receiving: Option<(Snapshot, Vec<u8>)>,
}

/// A snapshot of this node's own that is being written.
#[derive(Debug)]
struct MemoryWriter {
    store: MemorySnapshots,
    bytes: Vec<u8>,
}

impl MemorySnapshots {
    /// Makes a store without snapshots.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every change is a single step, so a panic of another holder leaves nothing half done.
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock()
    }

    fn find(&self, snapshot: &Snapshot) -> Option<Bytes> {
        let content = self.content();
        let (_, bytes) = content.complete.iter().find(|(here, _)| here == snapshot)?;
        Some(bytes.clone())
    }
}

impl Content {
    fn add(&mut self, snapshot: Snapshot, bytes: Vec<u8>) {
        self.complete.retain(|(here, _)| *here != snapshot);
        self.complete.push((snapshot, bytes.into()));
    }
}

impl SnapshotStore for MemorySnapshots {
    fn newest(&self) -> Result<Option<Snapshot>, StoreError> {
        let mut content = self.content();
        content.receiving = None;
        let position = |it: &(Snapshot, Bytes)| (it.0.position.index, it.0.position.term);
        let newest = mem::take(&mut content.complete).into_iter().max_by_key(position);
        content.complete.extend(newest);
        Ok(content.complete.first().map(|(snapshot, _)| snapshot.clone()))
    }

    fn create(&self) -> Result<Box<dyn SnapshotWriter>, StoreError> {
        Ok(Box::new(MemoryWriter { store: self.clone(), bytes: Vec::new() }))
    }

    fn read(
        &self,
        snapshot: &Snapshot,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, StoreError> {
        let Some(bytes) = self.find(snapshot) else { return Ok(None) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(max_bytes.max(1)).min(bytes.len());
        Ok(Some(bytes.slice(start..end)))
    }

    fn receive(&self, snapshot: &Snapshot, offset: u64, data: &[u8]) -> Result<(), StoreError> {
        let mut content = self.content();
        // What does not fit is given up.
        let received = content.receiving.take().filter(|(here, _)| here == snapshot);
        let mut bytes = if offset == 0 {
            Vec::new()
        } else {
            received.map(|(_, bytes)| bytes).unwrap_or_default()
        };
        let room = snapshot.size.saturating_sub(offset);
        if bytes.len() as u64 != offset || data.len() as u64 > room {
            let what = "a piece of a snapshot does not follow the one before it";
            return Err(StoreError::OutOfOrder { what });
        }
        bytes.extend_from_slice(data);
        if (bytes.len() as u64) < snapshot.size {
            content.receiving = Some((snapshot.clone(), bytes));
            return Ok(());
        }
        if crc32fast::hash(&bytes) != snapshot.checksum {
            let what = "a snapshot was received that does not fit its checksum";
            return Err(StoreError::Other(what.to_owned()));
        }
        content.add(snapshot.clone(), bytes);
        Ok(())
    }

    fn open(&self, snapshot: &Snapshot) -> Result<Box<dyn io::Read + Send>, StoreError> {
        let bytes = self
            .find(snapshot)
            .ok_or_else(|| StoreError::Other("there is no such snapshot".to_owned()))?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn remove(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let mut content = self.content();
        content.complete.retain(|(here, _)| here != snapshot);
        content.receiving.take_if(|(here, _)| here == snapshot);
        Ok(())
    }
}

impl Write for MemoryWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.bytes.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SnapshotWriter for MemoryWriter {
    fn complete(
        self: Box<Self>,
        position: LogPosition,
        membership: Arc<Membership>,
    ) -> Result<Snapshot, StoreError> {
        let Self { store, bytes } = *self;
        let (size, checksum) = (bytes.len() as u64, crc32fast::hash(&bytes));
        let snapshot = Snapshot { position, membership, size, checksum };
        store.content().add(snapshot.clone(), bytes);
        Ok(snapshot)
    }
}
