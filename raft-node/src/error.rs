//! What can go wrong below a node.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A log store failed. The node that uses it stops; none of these is worth a retry inside the
/// process.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused an operation. Free space, mend permissions or replace the
    /// disk, then start the node again: it recovers what was durable.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried ("sync", "create", ...).
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process holds this data directory. Stop it, or use another directory.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// A part of the log that was once complete no longer reads as it was written. Cutting it off
    /// could lose committed entries, so the node does not start: restore the file, or remove this
    /// member from the cluster and add a fresh one under a new id.
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
    #[error("{} has format version {found}; this program reads version {expected}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version that this program reads.
        expected: u32,
    },
    /// A store of the user's own failed, for the reason it gives.
    #[error("{0}")]
    Other(String),
}
