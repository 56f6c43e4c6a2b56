//! What goes into the core.

use crate::shared::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::entry::Entries;
use crate::ids::{LogIndex, NodeId, RequestId, Ticket};
use crate::membership::Membership;
use crate::message::Message;
use crate::snapshot::Snapshot;
use crate::time::Instant;

/// One step's input: something happened, at this time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Input {
    /// The host's clock. Time that runs backward is taken as standing still. Read the clock after
    /// the event was taken from where it waited: a read that is stamped with a time before it was
    /// made may be served by a lease that is over, see
    /// [`Config::read_leases`](crate::Config::read_leases).
    pub at: Instant,
    /// What happened.
    pub event: Event,
}

/// What can happen to a node. A late or repeated message, completion or wake-up is harmless; a
/// `Propose` is a new proposal each time. Never say `Persisted` or `Applied` before it is true.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Event {
    /// Nothing but the passing of time: the [`deadline`](crate::Raft::deadline) came.
    Wake,
    /// A peer's message arrived.
    Receive(Message),
    /// Every write up to and including this one is durable. There is no event for a write that
    /// failed: stop the node, because nobody knows what is on its disk.
    Persisted(Ticket),
    /// The state machine has applied every entry up to and including this one.
    Applied(LogIndex),
    /// The answer to [`Output::Load`](crate::Output::Load).
    Loaded {
        /// The `from` of the question.
        from: LogIndex,
        /// At least the entry at `from`, unless the log no longer has it; then an empty run.
        entries: Entries,
    },
    /// Clients propose commands. Each gets its own [`Done`](crate::Output::Done).
    Propose(Vec<Proposal>),
    /// A client wants to read: [`Done`](crate::Output::Done) tells when this node's state machine
    /// has caught up with everything that was committed before the read began.
    Read(RequestId),
    /// Somebody wants other members: [`Done`](crate::Output::Done) tells when the change is
    /// committed, or that it was refused. Any node takes it and passes it on to its leader.
    ///
    /// One change can be under way at a time. The leader brings new voters in as learners and waits
    /// until they have caught up (dissertation, section 4.2.1), then goes through a joint
    /// configuration (section 4.3) to the target, whatever the difference is. When the request is
    /// refused because a new voter does not catch up, it stays a learner.
    ChangeMembership {
        /// The host's name for the request.
        request: RequestId,
        /// The members to be.
        target: Arc<Membership>,
        /// If set, the change is made only if these are the members now.
        only_if: Option<Arc<Membership>>,
    },
    /// Somebody wants another leader (dissertation, section 3.10), `to` or the best one:
    /// [`Done`](crate::Output::Done) tells when there is one, or that it did not work. Any node
    /// takes it and passes it on to its leader, which accepts no proposals until it is over, for at
    /// most an election timeout.
    TransferLeadership {
        /// The host's name for the request.
        request: RequestId,
        /// Who shall lead. If not set, the voter that has the most of the log, of those with the
        /// highest priority.
        to: Option<NodeId>,
    },
    /// A follower shall not wait any longer for the leader that it knows: an operator is sure that
    /// it is gone. Ignored where leases are in use, for which a follower has to wait.
    ForgetLeader,
    /// The host has made a snapshot of the state machine and has it on its disk, under its final
    /// name. The core then drops entries that the snapshot covers. See
    /// [`Raft::describe_snapshot`](crate::Raft::describe_snapshot).
    SnapshotTaken(Snapshot),
    /// The answer to [`Output::ReadSnapshot`](crate::Output::ReadSnapshot).
    SnapshotRead {
        /// The snapshot of the question.
        snapshot: Snapshot,
        /// The offset of the question.
        offset: u64,
        /// The bytes there, at least one unless the snapshot ends there; `None` if the host no
        /// longer has the snapshot.
        data: Option<Bytes>,
    },
    /// The answer to [`Output::WriteSnapshot`](crate::Output::WriteSnapshot): everything up to
    /// `through` is written. If that is all of the snapshot, it is durable under its final name.
    SnapshotWritten {
        /// The snapshot.
        snapshot: Snapshot,
        /// The attempt of the piece.
        attempt: u64,
        /// So many bytes from its beginning are written.
        through: u64,
    },
    /// The host has found its state machine damaged and wants it restored from a snapshot of the
    /// leader. Nothing is applied here and reads are refused until then, whatever else happens in
    /// the same step. (A host whose log is damaged has to stop.)
    StateLost,
}

impl Event {
    /// Puts a time to the event.
    #[must_use]
    pub fn at(self, at: Instant) -> Input {
        Input { at, event: self }
    }
}

/// One command that a client wants in the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Proposal {
    /// The host's name for the request.
    pub request: RequestId,
    /// The command, opaque to the core.
    pub command: Bytes,
}
