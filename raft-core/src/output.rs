//! What comes out of the core.

use crate::shared::Arc;
use alloc::boxed::Box;

use bytes::Bytes;
use thiserror::Error;

use crate::entry::{Entries, Write};
use crate::ids::{LogIndex, NodeId, RequestId, Term};
use crate::membership::Membership;
use crate::message::Message;
use crate::snapshot::Snapshot;

/// Something that the host must carry out. Writes are made durable in ticket order and entries are
/// applied in order; apart from these two orders everything may run at once.
///
/// The enum is exhaustive on purpose: a host that forgets a variant does not compile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Output {
    /// Make this durable, then answer with [`Event::Persisted`](crate::Event::Persisted). At most
    /// one for each step. A host that writes in place uses
    /// [`step_durably`](crate::Raft::step_durably).
    Persist(Write),
    /// Pass this to the node that it names. It may be lost.
    Send(Message),
    /// Apply these committed entries to the state machine, then answer with
    /// [`Event::Applied`](crate::Event::Applied). The runs come without gap or repetition, and
    /// contain entries of every kind; only the commands concern the state machine.
    Apply(Entries),
    /// Restore the state machine from this snapshot, which is durable on this node, then answer
    /// with [`Event::Applied`](crate::Event::Applied) and its index. It comes in the order of the
    /// [`Apply`](Output::Apply)s: those before it may be skipped, those after it continue it.
    Restore(Snapshot),
    /// Read bytes of a snapshot of this node, for a follower, and answer with
    /// [`Event::SnapshotRead`](crate::Event::SnapshotRead).
    ReadSnapshot {
        /// The snapshot.
        snapshot: Snapshot,
        /// Where to begin.
        offset: u64,
        /// How much to read at most, in bytes.
        max_bytes: usize,
    },
    /// Write bytes of a snapshot that the leader sends, then answer with
    /// [`Event::SnapshotWritten`](crate::Event::SnapshotWritten). The pieces of one snapshot come
    /// in order, from offset zero on; offset zero also means that what was written before of any
    /// snapshot that was not completed is of no use. With the last piece (`offset` plus the length
    /// of `data` is the size) make the snapshot durable under its final name before answering: from
    /// then on it is what [`Restored::snapshot`](crate::Restored::snapshot) says after a crash.
    WriteSnapshot(Box<SnapshotPiece>),
    /// Nobody needs this snapshot any more, nor what was written of it: free the space. It comes in
    /// the order of the `WriteSnapshot`s.
    DropSnapshot(Snapshot),
    /// Read entries back from the log store and answer with
    /// [`Event::Loaded`](crate::Event::Loaded): at least the one at `from`, at most those up to
    /// `through`, as many as fit in `max_bytes` (counted by [`Entry::size`](crate::Entry::size)).
    Load {
        /// The first entry that is needed.
        from: LogIndex,
        /// The last entry that is of use.
        through: LogIndex,
        /// The limit for all entries but the first, in bytes.
        max_bytes: usize,
    },
    /// The one answer to a request.
    Done {
        /// The request.
        request: RequestId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Something that observers may want to know. Ignoring it is fine.
    Notice(Notice),
}

/// A piece of a snapshot that arrives, see [`Output::WriteSnapshot`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SnapshotPiece {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Numbers the attempts at receiving a snapshot. The answer repeats it.
    pub attempt: u64,
    /// Where the piece belongs.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Outcome {
    /// The proposed command is committed at this place: it is in the log for ever, and every
    /// node's state machine gets it exactly there. On this node the [`Output::Apply`] that
    /// contains it comes later in the same step or in a later one; only where messages overtook
    /// each other on their way to a follower may it have come before.
    Committed {
        /// The term of its entry.
        term: Term,
        /// The index of its entry.
        index: LogIndex,
    },
    /// The read may be served from this node's state machine now: it has applied everything up to
    /// `index`, and with it every write that was complete when the read began.
    Readable {
        /// The index that the read waited for.
        index: LogIndex,
    },
    /// The request was not accepted: a proposal is certainly never applied by it. It may be sent
    /// again.
    Refused {
        /// Why.
        reason: Refusal,
        /// The leader, when this node knows it.
        leader: Option<NodeId>,
    },
    /// The proposed command was in the log for a while and was overwritten by a newer leader: it
    /// is certainly never applied. It may be sent again.
    Lost,
    /// Nobody knows: the proposed command may have been applied, may yet be, or may never be.
    /// Sending it again may apply it twice, unless the state machine recognises repetitions.
    Unknown,
    /// The leadership was transferred.
    Transferred {
        /// The new leader.
        leader: NodeId,
        /// Its term.
        term: Term,
    },
}

/// Why a request was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Refusal {
    /// No leader is known, or the leader was lost before a read was confirmed. Try again after the
    /// next election, which is a few election timeouts away as long as a majority is up.
    #[error("no leader is known")]
    NoLeader,
    /// A limit of the [`Config`](crate::Config) is reached: too many requests wait, or too many
    /// bytes are not yet committed or not yet on the disk. Try again a little later, and slow down.
    #[error("too much is under way: a limit on waiting requests or uncommitted bytes is reached")]
    Overloaded,
    /// The command is larger than the `Config` allows. It will never be accepted.
    #[error("the command has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// The size of the command in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The leader is handing over to another node. Try again when that leads, in a moment.
    #[error("the leader is handing over to another node")]
    Transferring,
    /// The leader is new and has not committed anything of its term, or changes the membership
    /// already. Try again a little later.
    #[error("the leader is too new, or another change of membership is under way")]
    ChangeInProgress,
    /// The members are not those that the change was conditional on. Read them again.
    #[error("the members are not those that the change was made for")]
    MembershipChanged,
    /// No cluster can be made of the target: it has no voters, or is itself joint.
    #[error("a cluster needs at least one voter")]
    NoVoters,
    /// A new voter did not catch up with the log: it can't be reached, or is too slow. It is a
    /// learner now. Look at it, then try again, or remove it.
    #[error("node {id} does not catch up with the log; it stays a learner")]
    NotCaughtUp {
        /// The new voter.
        id: NodeId,
    },
    /// The node that shall lead is no voter, or there is no other voter.
    #[error("there is no such voter to hand over to")]
    NoSuchVoter,
    /// The node that was to lead did not take over in time. The old leader goes on.
    #[error("the other node did not take over in time")]
    TransferFailed,
}

/// What an observer may want to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Notice {
    /// The node has another role or term, or follows another leader.
    Leadership {
        /// The role now.
        role: RoleKind,
        /// The term now.
        term: Term,
        /// The leader of that term, if it is known.
        leader: Option<NodeId>,
    },
    /// Another configuration is in force on this node. It may yet be replaced by the one before,
    /// until it is committed. A host connects to its members.
    Membership(Arc<Membership>),
    /// A follower has lost its state, and no snapshot of this node is new enough for it: please
    /// take one of the state machine as it is now.
    SnapshotWanted,
}

/// The role of a node (paper, section 5.1; for the pre-candidate the dissertation, section 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum RoleKind {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether an election could be won.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads. That is a belief: only a confirmed read or a commit proves it.
    Leader,
}
