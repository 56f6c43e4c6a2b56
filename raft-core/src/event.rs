//! What goes into the core.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::entry::Entries;
use crate::ids::{LogIndex, RequestId, Ticket};
use crate::message::Message;
use crate::time::Instant;

/// One step's input: something happened, at this time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Input {
    /// The host's clock. Time that runs backward is taken as standing still.
    pub at: Instant,
    /// What happened.
    pub event: Event,
}

/// What can happen to a node. A late or repeated message, completion or wake-up is harmless; a
/// `Propose` is a new proposal each time. Never say `Persisted` or `Applied` before it is true.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
pub struct Proposal {
    /// The host's name for the request.
    pub request: RequestId,
    /// The command, opaque to the core.
    pub command: Bytes,
}
