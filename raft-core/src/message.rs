//! What nodes say to each other.

use crate::shared::Arc;
use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::entry::{Entries, LogPosition};
use crate::ids::{LogIndex, NodeId, Term};
use crate::membership::Membership;
use crate::output::{Outcome, Refusal};
use crate::snapshot::Snapshot;

/// A message between two nodes. It may be lost, delayed, repeated or overtaken on its way; the
/// protocol copes with all of that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Who sends it.
    pub from: NodeId,
    /// Whom it is for. Any other node drops it.
    pub to: NodeId,
    /// The sender's current term, which is on the sender's disk by the time the message leaves.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says. There is no variant for anything local: what a host or its disk tells the
/// core is an [`Event`](crate::Event) and can't come from the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
// A tag as wide as the fields behind it: a copy of the whole then lines up with them.
#[repr(usize)]
pub enum Body {
    /// Would you vote for me in the term after mine? (Dissertation, section 9.6.) Casts no vote. As
    /// with any message, a newer term is entered, unless the receiver hears a leader.
    PreVote {
        /// Where the sender's log ends.
        last: LogPosition,
    },
    /// The answer to `PreVote`.
    PreVoteReply {
        /// Whether the sender would vote so.
        granted: bool,
    },
    /// Vote for me in this term (paper, section 5.2).
    Vote {
        /// Where the candidate's log ends.
        last: LogPosition,
        /// The leader itself asked for this election, so that hearing the leader is no reason to
        /// refuse (dissertation, sections 3.10 and 4.2.3).
        transfer: bool,
    },
    /// The answer to `Vote`.
    VoteReply {
        /// Whether the candidate has the sender's vote of this term.
        granted: bool,
    },
    /// Entries from the leader; without entries it is a heartbeat (paper, section 5.3).
    Append(Append),
    /// The answer to `Append`.
    AppendReply(AppendReply),
    /// Commands that a follower passes on to the leader of its term.
    Propose {
        /// Names the batch, so that a repeated message is not appended twice.
        batch: BatchId,
        /// The commands.
        commands: Vec<Bytes>,
    },
    /// The leader's answer to `Propose`.
    ProposeReply {
        /// Which batch.
        batch: BatchId,
        /// The index of its first command in the log of the leader (in the term of this message),
        /// the others follow it; or why the leader appended nothing of it.
        result: Result<LogIndex, Refusal>,
    },
    /// A follower asks for an index that its reads may be served at (dissertation, section 6.4).
    ReadIndex {
        /// Names the question; it also stands for all the questions before it.
        sequence: u64,
    },
    /// The leader's answer to `ReadIndex`, given when it has made sure that it still leads.
    ReadIndexReply {
        /// Which question.
        sequence: u64,
        /// A read that began before the question was sent may be served once this index is
        /// applied.
        index: LogIndex,
    },
    /// A piece of a snapshot from the leader (paper, section 7); without bytes it asks how much has
    /// arrived, and is a heartbeat too.
    /// It is boxed because it is by far the largest, and rare.
    SnapshotChunk(Box<SnapshotChunk>),
    /// The answer to `SnapshotChunk`, until the snapshot is installed; then an `AppendReply` is.
    SnapshotReply(SnapshotReply),
    /// The leader's wish that the receiver, whose log is as long as its own, takes over at once
    /// (dissertation, section 3.10).
    TimeoutNow,
    /// A request about the cluster itself that a follower passes on to its leader.
    Control {
        /// Names the request, which is repeated until it is answered.
        batch: BatchId,
        /// What is asked.
        control: Control,
    },
    /// The leader's answer to `Control`.
    ControlReply {
        /// Which request.
        batch: BatchId,
        /// How it ended.
        result: ControlResult,
    },
}

/// What is asked of a leader about the cluster itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// Make these the members.
    ChangeMembership {
        /// The members to be.
        target: Arc<Membership>,
        /// If set, only if these are the members now.
        only_if: Option<Arc<Membership>>,
    },
    /// Let another node lead.
    TransferLeadership {
        /// Who; if not set, the leader chooses.
        to: Option<NodeId>,
    },
}

impl Control {
    /// What the request counts against limits, in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::ChangeMembership { target, only_if } => {
                target.size() + only_if.as_ref().map_or(0, |members| members.size())
            }
            Self::TransferLeadership { .. } => 0,
        }
    }
}

/// How a request about the cluster ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlResult {
    /// The change of membership is committed, with this as its last entry.
    Committed(LogPosition),
    /// The request was refused.
    Refused(Refusal),
    /// Nobody knows how it will end.
    Unknown,
}

impl ControlResult {
    pub(crate) const fn outcome(self, leader: Option<NodeId>) -> Outcome {
        match self {
            Self::Committed(LogPosition { index, term }) => Outcome::Committed { term, index },
            Self::Refused(reason) => Outcome::Refused { reason, leader },
            Self::Unknown => Outcome::Unknown,
        }
    }
}

/// The fields of [`Body::SnapshotChunk`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotChunk {
    /// The snapshot that it is a piece of.
    pub snapshot: Snapshot,
    /// Where the piece begins.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
    /// The number of this message among the leader's, see [`Append::sequence`].
    pub sequence: u64,
}

/// The fields of [`Body::SnapshotReply`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotReply {
    /// The number of the newest `SnapshotChunk` that this answers.
    pub sequence: u64,
    /// Which snapshot, by its last entry and its checksum.
    pub position: LogPosition,
    /// The checksum of that snapshot.
    pub checksum: u32,
    /// So many bytes from the beginning have arrived.
    pub received: u64,
    /// So many of them are written.
    pub written: u64,
    /// Something behind what has arrived was lost, or dropped for want of room that there is now.
    pub gap: bool,
}

/// The fields of [`Body::Append`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Append {
    /// The entry right before `entries`: the receiver must hold it.
    pub prev: LogPosition,
    /// The entries, none for a heartbeat.
    pub entries: Entries,
    /// The leader's commit index, but never beyond the last entry of this message: the receiver
    /// may commit up to here once `prev` has matched.
    pub commit: LogIndex,
    /// Numbers the leader's messages of this term; the answer repeats it. An answer proves that
    /// the follower still followed when that message arrived.
    pub sequence: u64,
}

impl Append {
    /// The last index that this message speaks of.
    pub(crate) fn last(&self) -> LogIndex {
        self.prev.index.plus(self.entries.len() as u64)
    }
}

/// The fields of [`Body::AppendReply`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppendReply {
    /// The number of the `Append` that this answers.
    pub sequence: u64,
    /// Whether the logs matched.
    pub result: AppendResult,
    /// If set, the follower has lost the state of its state machine and needs a snapshot whose
    /// index is not before this.
    pub needs_snapshot: Option<LogIndex>,
}

/// Whether an `Append` matched the receiver's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendResult {
    /// The logs are the same up to `last`.
    Accepted {
        /// The last index of the `Append`: the follower holds everything up to it, if only in
        /// memory.
        last: LogIndex,
        /// The part of that which is on the follower's disk. Only this counts towards a commit.
        durable: LogIndex,
    },
    /// The follower does not hold the entry before the message's entries.
    Rejected {
        /// The index of that entry, to recognise stale answers.
        prev: LogIndex,
        /// A position in the follower's log, at or before `prev`, beyond which nothing can match:
        /// it saves one round trip for each entry of a divergent tail (paper, end of section 5.3).
        hint: LogPosition,
    },
}

/// Names a batch of forwarded commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId {
    /// A number that the sender drew when it started, so that its batches are not taken for those
    /// of its life before a crash.
    pub incarnation: u64,
    /// Ascending within one incarnation.
    pub sequence: u64,
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// Events and outputs are copied several times on their way: none is larger than a message, and
    /// the message begins where they begin, so that the copies line up and are fast.
    #[test]
    fn events_and_outputs_are_no_larger_than_a_message() {
        let message = size_of::<Message>();
        let (event, output) = (size_of::<crate::Event>(), size_of::<crate::Output>());
        assert_eq!((message, event, output), (88, 88, 88));
    }
}
