//! Why a request has no answer.

use raft_core::{NodeId, Refusal};
use thiserror::Error;

/// Why a request has no answer. The variants keep apart what is certain from what is not, since
/// only a command that was certainly not applied may be sent again without a second thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request was not accepted, and a command was certainly not applied. Wait a moment and
    /// send it again, to any node; never if it is too large.
    #[error("refused: {reason}")]
    Refused {
        /// Why.
        reason: Refusal,
        /// The leader, as far as the asked node knows.
        leader: Option<NodeId>,
    },
    /// A newer leader overwrote the command before it was committed: it was certainly not applied.
    /// Send it again.
    #[error("lost to a change of leader, certainly not applied")]
    Lost,
    /// Nobody knows whether the command was applied or will be; or it was applied and its answer
    /// was missed. Find out by reading, or make the command one that may be applied twice.
    #[error("the outcome is unknown: it may have been applied, or may yet be")]
    Unknown,
    /// The node has stopped. A command was never looked at, and was certainly not applied; a read
    /// has no answer. Ask another node.
    #[error("the node has stopped")]
    Stopped,
    /// No snapshot was taken. Nothing is lost: the log keeps what the snapshot would have had.
    #[error("no snapshot was taken: {0}")]
    NoSnapshot(NoSnapshot),
}

/// Why a node has not taken a snapshot that it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoSnapshot {
    /// It could not be written; [`NodeStatus::snapshot_failure`](crate::NodeStatus::snapshot_failure) says why. Free space or mend the
    /// disk, then ask again.
    #[error("it could not be written")]
    Failed,
    /// Nothing has been applied yet, so there is nothing to take a snapshot of.
    #[error("nothing has been applied yet")]
    NothingApplied,
    /// The node was added to the cluster, and its log does not say yet who the members are: not
    /// before the next change of membership, or a snapshot of the leader.
    #[error("the node does not know the members that the snapshot would have to name")]
    MembersUnknown,
    /// The node's state is lost, and not restored yet. Ask again when it is.
    #[error("the state of the node is lost, and not restored yet")]
    StateLost,
}

impl RequestError {
    /// Whether it is certain that the command was not applied and never will be.
    #[must_use]
    pub const fn is_certain(self) -> bool {
        !matches!(self, Self::Unknown)
    }
}
