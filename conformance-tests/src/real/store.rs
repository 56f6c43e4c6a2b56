//! Logs that outlive their node's crash, and nothing that came after it.

use std::sync::{Arc, Mutex, PoisonError};

use raft_node::core::{Entries, LogIndex, StoredLog, Write};
use raft_node::{LogStore, StoreError};

/// A store whose node can be crashed: from then on nothing of that node reaches the disk.
pub(crate) struct Fenced {
    store: Box<dyn LogStore>,
    fence: Fence,
}

/// Stands between a crashed node and its disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fence(Arc<Mutex<bool>>);

impl Fence {
    /// The crash. A write that is under way is over when this returns.
    pub(crate) fn shut(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Fenced {
    pub(crate) fn new(store: Box<dyn LogStore>, fence: Fence) -> Self {
        Self { store, fence }
    }
}

impl LogStore for Fenced {
    fn restore(&mut self) -> Result<StoredLog, StoreError> {
        self.store.restore()
    }

    fn append(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let shut = self.fence.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *shut {
            return Err(StoreError::Other("the node was crashed by its test".into()));
        }
        self.store.append(writes)
    }

    fn load(
        &mut self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Entries, StoreError> {
        self.store.load(from, through, max_bytes)
    }
}
