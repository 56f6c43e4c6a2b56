//! What nodes say to each other.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::entry::{Entries, LogPosition};
use crate::ids::{LogIndex, NodeId, Term};

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
        /// the others follow it; or `None` when the leader is overloaded and appended nothing.
        first: Option<LogIndex>,
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
