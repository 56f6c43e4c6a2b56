//! A running node, for whoever owns it in a program with tasks.

use std::sync::Arc;

use raft_core::NodeId;

use crate::{Handle, NodeError};

/// A running node, on any runtime. Dropping it asks the node to stop, without waiting for it.
/// [`blocking::Node`](crate::blocking::Node) is the same for threads.
#[derive(Debug)]
#[must_use = "dropping it stops the node"]
pub struct Node {
    id: NodeId,
    handle: Handle,
}

impl Node {
    /// For adapters: makes the owner of the running node with this id and this handle.
    pub const fn new(id: NodeId, handle: Handle) -> Self {
        Self { id, handle }
    }

    /// The node's id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// A handle for clients.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until the node has stopped, for whatever reason. Cancelling the wait is fine, and so
    /// is asking again.
    ///
    /// # Errors
    /// The node stopped by itself: its store or its state machine failed.
    pub async fn stopped(&self) -> Result<(), Arc<NodeError>> {
        self.handle.stopped().await
    }

    /// Stops the node at once, as a crash would, and waits until it has. Cancelling the wait changes
    /// nothing about the end.
    ///
    /// # Errors
    /// The node had stopped by itself before: its store or its state machine failed.
    pub async fn kill(self) -> Result<(), Arc<NodeError>> {
        self.handle.client().kill();
        self.handle.stopped().await
    }

    /// Stops the node and waits until it has, see [`Handle::shutdown`]. Cancelling the wait changes
    /// nothing about the end.
    ///
    /// # Errors
    /// The node had stopped by itself before: its store or its state machine failed.
    pub async fn shutdown(self) -> Result<(), Arc<NodeError>> {
        self.handle.client().stop();
        self.handle.stopped().await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handle.client().stop();
    }
}
