//! The durable log, as the node needs it.

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::Bytes;
use raft_core::{Entries, LogIndex, LogPosition, Membership, Snapshot, StoredLog, Write};

use crate::{StoreError, io};

/// A durable log with the hard state of its node. Calls come one at a time and may block: the first
/// ones from the thread that makes the node, all others from the node's disk thread.
///
/// After an error the node stops and makes no further call: nobody knows what a disk holds after
/// a failed sync, and a retry that succeeds would hide the loss.
pub trait LogStore: Send + 'static {
    /// Describes what the store holds. Called once, before any other call.
    ///
    /// # Errors
    /// The store is damaged or can't be read; the node does not start.
    fn restore(&mut self) -> Result<StoredLog, StoreError>;

    /// Carries out all of `writes`, in order, each one atomic, and returns when they are durable.
    /// One sync for all of them is enough.
    ///
    /// # Errors
    /// Some of it may not be durable, or all of it; the node stops.
    fn append(&mut self, writes: &[Write]) -> Result<(), StoreError>;

    /// Reads entries from `from` up to at most `through`: at least one entry, then as many as fit
    /// in `max_bytes` (measured by [`Entry::size`](raft_core::Entry::size)).
    ///
    /// # Errors
    /// The entries are damaged or can't be read; the node stops. A range beyond the log gives an
    /// empty run instead: a load may be overtaken by a truncation.
    fn load(
        &mut self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Entries, StoreError>;

    /// A few bytes that the node keeps with its log, such as who it is; empty if it never set any.
    ///
    /// # Errors
    /// They are damaged or can't be read; the node does not start.
    fn metadata(&mut self) -> Result<Bytes, StoreError>;

    /// Replaces these bytes, atomically, and returns when they are durable.
    ///
    /// # Errors
    /// They may not be durable; the node stops.
    fn set_metadata(&mut self, metadata: &[u8]) -> Result<(), StoreError>;
}

/// Where a node keeps snapshots. Calls may block and come from several threads.
///
/// A snapshot that is not complete is never seen again after a restart, and a complete one is
/// seen whole.
pub trait SnapshotStore: Send + Sync + 'static {
    /// The newest complete snapshot. Called once, before any other call. Frees the space of older
    /// ones and of those that were never completed.
    ///
    /// # Errors
    /// The newest snapshot is damaged, or can't be read; the node does not start.
    fn newest(&self) -> Result<Option<Snapshot>, StoreError>;

    /// Begins to write a snapshot of this node's own state machine. Dropping the writer drops what
    /// was written.
    ///
    /// # Errors
    /// The system refuses; no snapshot is made.
    fn create(&self) -> Result<Box<dyn SnapshotWriter>, StoreError>;

    /// Reads at most `max_bytes` at `offset` of a snapshot: at least one byte, unless it ends there;
    /// `None` if the snapshot is not here any more.
    ///
    /// # Errors
    /// It is damaged or can't be read; the node stops.
    fn read(
        &self,
        snapshot: &Snapshot,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, StoreError>;

    /// Takes a piece of a snapshot that comes from a leader, see
    /// [`Output::WriteSnapshot`](raft_core::Output::WriteSnapshot). With the last piece the
    /// snapshot is durable and complete when this returns.
    ///
    /// # Errors
    /// The piece could not be stored; the node stops.
    fn receive(&self, snapshot: &Snapshot, offset: u64, data: &[u8]) -> Result<(), StoreError>;

    /// Opens a complete snapshot, to restore the state machine from it.
    ///
    /// # Errors
    /// It is damaged or can't be read; the node stops.
    fn open(&self, snapshot: &Snapshot) -> Result<Box<dyn io::Read + Send>, StoreError>;

    /// Frees the space of a snapshot, complete or not, if it is here. Readers that have it open go
    /// on.
    ///
    /// # Errors
    /// The system refuses; the node stops.
    fn remove(&self, snapshot: &Snapshot) -> Result<(), StoreError>;
}

/// A snapshot that is being written.
///
/// The node calls `flush` once, when all bytes are written, and `complete` unless it has learned
/// meanwhile that the snapshot is not wanted. So it is `flush` that should take the time that a
/// disk takes.
pub trait SnapshotWriter: io::Write + Send {
    /// All bytes are written: makes the snapshot durable and complete, and describes it. Size and
    /// checksum are counted by the writer.
    ///
    /// # Errors
    /// It is not durable; there is no such snapshot.
    fn complete(
        self: Box<Self>,
        position: LogPosition,
        membership: Arc<Membership>,
    ) -> Result<Snapshot, StoreError>;
}

impl<T: LogStore + ?Sized> LogStore for Box<T> {
    fn restore(&mut self) -> Result<StoredLog, StoreError> {
        (**self).restore()
    }

    fn append(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        (**self).append(writes)
    }

    fn load(
        &mut self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Entries, StoreError> {
        (**self).load(from, through, max_bytes)
    }

    fn metadata(&mut self) -> Result<Bytes, StoreError> {
        (**self).metadata()
    }

    fn set_metadata(&mut self, metadata: &[u8]) -> Result<(), StoreError> {
        (**self).set_metadata(metadata)
    }
}
