//! The durable log, as the node needs it.

use raft_core::{Entries, LogIndex, StoredLog, Write};

use crate::StoreError;

/// A durable log with the hard state of its node. All calls come from one thread, the node's disk
/// thread, and may block.
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
}
