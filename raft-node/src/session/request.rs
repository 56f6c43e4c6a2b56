//! One command of a session, on its way.

use bytes::Bytes;
use raft_core::LogIndex;

/// A numbered command of a [`Session`](super::Session), as bytes to propose. They are the same for
/// every try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub(super) session: LogIndex,
    pub(super) sequence: u64,
    pub(super) envelope: Bytes,
}

impl Request {
    /// What to propose, to any node of the cluster, as often as necessary.
    #[must_use]
    pub fn envelope(&self) -> Bytes {
        self.envelope.clone()
    }

    /// The number of the command in its session, from one on, for logs.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }
}
