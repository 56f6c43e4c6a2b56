//! What can go wrong below a node.

use alloc::string::String;
#[cfg(feature = "std")]
use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

#[cfg(feature = "std")]
use raft_core::{ConfigError, NodeId};
use thiserror::Error;

#[cfg(feature = "std")]
use crate::ClusterId;

/// A log store failed. The node that uses it stops; none of these is worth a retry inside the
/// process.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused an operation. Free space, mend permissions or replace the
    /// disk, then start the node again: it recovers what was durable.
    #[cfg(feature = "std")]
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried ("sync", "create", ...).
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// This data directory is open already, in this process or another. Close it there, or use
    /// another directory.
    #[cfg(feature = "std")]
    #[error("{} is in use already", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// A part of the log or of a snapshot that was once complete no longer reads as it was written.
    /// Cutting it off could lose committed entries, so the node does not start. Keep the other
    /// members running without this one; don't start it on an empty directory or an older copy, for
    /// it would have forgotten what it promised.
    #[cfg(feature = "std")]
    #[error("{} is damaged at offset {offset}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged part begins, in bytes.
        offset: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// The files come from a version that this one can't read.
    #[cfg(feature = "std")]
    #[error("{} has format version {found}; this program reads version {expected}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version that this program reads.
        expected: u32,
    },
    /// One write is larger than the store can hold in one piece. Propose smaller batches or smaller
    /// commands.
    #[error("a write of {bytes} bytes is above the limit of {limit} bytes")]
    TooLarge {
        /// The size of the write in bytes.
        bytes: u64,
        /// The largest size that the store takes, in bytes.
        limit: u64,
    },
    /// A write does not continue the log, or a piece of a snapshot what came before it. This is a
    /// mistake of the caller: nothing of it was stored.
    #[error("a write does not continue what is stored: {what}")]
    OutOfOrder {
        /// What does not fit.
        what: &'static str,
    },
    /// An earlier write or sync of this store failed, so what the disk holds is unknown. Stop the
    /// node and open the store again: that finds out.
    #[cfg(feature = "std")]
    #[error("{} failed earlier and must be opened again", path.display())]
    Poisoned {
        /// The data directory.
        path: PathBuf,
    },
    /// A store of the user's own failed or panicked, for the reason it gives.
    #[error("{0}")]
    Other(String),
}

/// Why a node did not start, or stopped by itself.
#[cfg(feature = "std")]
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The settings make no sense, or the stored log contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log store failed. See [`StoreError`] for what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The storage belongs to another node, or to a node of another cluster. Start the node with
    /// its own storage, or under the name that this one belongs to.
    #[error("this storage belongs to node {node} of cluster {}", cluster.get())]
    OtherNode {
        /// The cluster that the storage belongs to.
        cluster: ClusterId,
        /// The node that it belongs to.
        node: NodeId,
    },
    /// The storage belongs to a cluster that was founded with other members, or to a node that was
    /// added to a cluster. Members are changed with a change of membership, not by other settings.
    #[error("this storage belongs to a cluster that was founded with other members")]
    OtherFounders,
    /// The settings list the founding members, and this node is not among them.
    #[error("node {id} is not among the founding members that its settings list")]
    NotAFounder {
        /// The node.
        id: NodeId,
    },
    /// The storage holds entries, a vote or a snapshot, and its log does not say whose they are: a
    /// part of the storage is missing, such as a directory that is not mounted. Bring it back. If
    /// it is lost, so is what the node has promised: remove the node from the cluster, and add a
    /// new one with an id that was never used and an empty storage.
    #[error(
        "the storage does not say whose it is, and is not empty: the log, or a part of it, is \
         missing"
    )]
    NoIdentity,
    /// What the log says of its node comes from a version that this one can't read. Start the
    /// program that wrote it.
    #[error("the node's name has format version {found}; this program reads version {expected}")]
    IdentityVersion {
        /// The version in the log.
        found: u8,
        /// The version that this program reads.
        expected: u8,
    },
    /// The state machine could not be restored from a snapshot: the reader failed, or the machine
    /// made no sense of it, for instance because a newer version wrote it.
    #[error("the state machine can't be restored from the snapshot: {0}")]
    Restore(io::Error),
    /// The user's state machine panicked, with this message. The node stops, because a replica
    /// that skips a command is no replica; on the same command every other node may panic too.
    /// Mend the state machine, then start the nodes again.
    #[error("the state machine panicked: {0}")]
    StateMachinePanicked(String),
    /// The system gave no thread.
    #[error("can't start a thread: {0}")]
    Thread(io::Error),
    /// The recorder that the settings name could not begin. Mend what it says, or start the node
    /// without it.
    #[error("can't begin a recording: {0}")]
    Recorder(io::Error),
    /// The system has no randomness to give.
    #[error("no randomness from the system: {0}")]
    Randomness(getrandom::Error),
    /// A thread of the node ended unexpectedly.
    #[error("a thread of the node is gone")]
    ThreadGone,
    /// The listen address is not free, or can't be resolved. Choose another, or stop who uses it.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The settings have an address that no node can tell its peers. Give a shorter one.
    #[error("the address of node {id} has more than {limit} bytes")]
    AddressTooLong {
        /// The node.
        id: NodeId,
        /// The limit in bytes.
        limit: usize,
    },
    /// The node was not given its own address among the peers.
    #[error("node {id} has no address of its own to listen on")]
    NoAddress {
        /// The node.
        id: NodeId,
    },
}

/// What a panic said.
#[cfg(feature = "std")]
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Runs code of the user's, whose panic is an error like any other: it must not end a thread without
/// a word, nor be passed on to whoever starts a node. What it has touched is not looked at again.
#[cfg(feature = "std")]
pub(crate) fn guard<T, E>(
    code: impl FnOnce() -> Result<T, E>,
    panicked: impl FnOnce(String) -> E,
) -> Result<T, E> {
    let result = catch_unwind(AssertUnwindSafe(code));
    result.unwrap_or_else(|panic| Err(panicked(text_of(panic.as_ref()))))
}
