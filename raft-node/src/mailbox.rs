//! Where everything that a node shall react to arrives, from any thread.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::{Body, Control, Event, LogIndex, Membership, Message, Snapshot};

use crate::NodeError;
use crate::Notifier;
use crate::request::Request;
use crate::state_machine::FrozenState;

/// The queues in front of a node. Pushing never waits: messages that find no room are dropped, for
/// they come again. Requests are bounded by whoever hands them in.
#[derive(Clone)]
pub(crate) struct Mailbox(Arc<Shared>);

struct Shared {
    queues: Mutex<Queues>,
    /// Changed together with the queues, and read without them by the state machine's thread.
    closed: AtomicBool,
    notify: Notifier,
    limits: Limits,
}

/// How much may wait in a mailbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) messages: usize,
    /// A message is let in for as long as those before it have fewer bytes.
    pub(crate) message_bytes: usize,
}

#[derive(Default)]
struct Queues {
    completions: Vec<Completion>,
    /// Each with its size.
    messages: VecDeque<(usize, Message)>,
    message_bytes: usize,
    requests: VecDeque<Request>,
    forget_leader: bool,
    state_lost: bool,
    dropped_messages: u64,
    stop: Option<Stop>,
    failure: Option<NodeError>,
}

/// Something that the node has asked for, done by one of its threads.
pub(crate) enum Completion {
    Event(Event),
    /// The state machine has frozen its state after this entry.
    Frozen {
        index: LogIndex,
        state: FrozenState,
    },
    /// The node's own snapshot is on the disk.
    SnapshotWritten(Snapshot),
    /// A snapshot could not be written, for this reason.
    SnapshotFailed(String),
}

impl From<Event> for Completion {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}

/// How a node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// A leader hands over first.
    Gracefully,
    AtOnce,
}

/// What one turn of the node works on.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) completions: Vec<Completion>,
    pub(crate) messages: Vec<Message>,
    pub(crate) requests: Vec<Request>,
    /// Somebody is sure that the leader is gone.
    pub(crate) forget_leader: bool,
    /// The state machine's state is damaged.
    pub(crate) state_lost: bool,
    /// Somebody asked the node to stop.
    pub(crate) stop: Option<Stop>,
    pub(crate) failure: Option<NodeError>,
    /// Whether more waits already.
    pub(crate) more: bool,
}

impl Mailbox {
    pub(crate) fn new(notify: Notifier, limits: Limits) -> Self {
        let closed = AtomicBool::new(false);
        Self(Arc::new(Shared { queues: Mutex::default(), closed, notify, limits }))
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        // The queues are whole after each statement, so a panic elsewhere leaves them usable.
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that the node asked for is done.
    pub(crate) fn complete(&self, done: impl Into<Completion>) {
        let mut queues = self.queues();
        // Nobody would ever take it, and a frozen state may be large.
        if self.is_closed() {
            return;
        }
        queues.completions.push(done.into());
        drop(queues);
        (self.0.notify)();
    }

    pub(crate) fn deliver(&self, message: Message) {
        let bytes = size_of(&message);
        let limits = self.0.limits;
        let mut queues = self.queues();
        if self.is_closed() {
            return;
        }
        if queues.messages.len() >= limits.messages || queues.message_bytes >= limits.message_bytes
        {
            queues.dropped_messages += 1;
            return;
        }
        queues.message_bytes += bytes;
        queues.messages.push_back((bytes, message));
        drop(queues);
        (self.0.notify)();
    }

    /// Hands a request in, or gives it back when the node has stopped.
    pub(crate) fn request(&self, request: Request) -> Option<Request> {
        let mut queues = self.queues();
        if self.is_closed() {
            return Some(request);
        }
        queues.requests.push_back(request);
        drop(queues);
        (self.0.notify)();
        None
    }

    pub(crate) fn forget_leader(&self) {
        self.queues().forget_leader = true;
        (self.0.notify)();
    }

    pub(crate) fn state_lost(&self) {
        self.queues().state_lost = true;
        (self.0.notify)();
    }

    /// Lets the node stop.
    pub(crate) fn stop(&self, how: Stop) {
        let mut queues = self.queues();
        queues.stop = queues.stop.max(Some(how));
        drop(queues);
        (self.0.notify)();
    }

    /// Something below the node failed: it will stop. The first failure counts.
    pub(crate) fn fail(&self, error: NodeError) {
        self.queues().failure.get_or_insert(error);
        (self.0.notify)();
    }

    /// Takes what waits: all completions, and of messages and requests at most so many, so that
    /// none of the three starves the others.
    pub(crate) fn take(&self, messages: usize, requests: usize) -> Batch {
        let mut queues = self.queues();
        let messages = messages.min(queues.messages.len());
        let requests = requests.min(queues.requests.len());
        let mut freed = 0;
        let messages = queues.messages.drain(..messages);
        let messages = messages.inspect(|(bytes, _)| freed += bytes).map(|(_, message)| message);
        let messages = messages.collect();
        queues.message_bytes -= freed;
        Batch {
            completions: mem::take(&mut queues.completions),
            messages,
            requests: queues.requests.drain(..requests).collect(),
            forget_leader: mem::take(&mut queues.forget_leader),
            state_lost: mem::take(&mut queues.state_lost),
            stop: queues.stop,
            failure: queues.failure.take(),
            more: !queues.messages.is_empty() || !queues.requests.is_empty(),
        }
    }

    /// Lets nothing in any more and returns what still waited, to be dropped without the lock:
    /// answers and states run code of the user's.
    pub(crate) fn close(&self) -> (Vec<Completion>, Vec<Request>) {
        let mut queues = self.queues();
        self.0.closed.store(true, Ordering::Release);
        queues.messages.clear();
        (mem::take(&mut queues.completions), queues.requests.drain(..).collect())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    pub(crate) fn dropped_messages(&self) -> u64 {
        self.queues().dropped_messages
    }
}

/// What a message counts in memory, in bytes.
fn size_of(message: &Message) -> usize {
    let payload = match &message.body {
        Body::Append(append) => append.entries.size(),
        Body::SnapshotChunk(chunk) => {
            chunk.data.len() + size_of_members(&chunk.snapshot.membership)
        }
        Body::Propose { commands, .. } => {
            commands.iter().map(|command| mem::size_of_val(command) + command.len()).sum()
        }
        Body::Control { control: Control::ChangeMembership { target, only_if }, .. } => {
            size_of_members(target) + only_if.as_ref().map_or(0, |members| size_of_members(members))
        }
        _ => 0,
    };
    mem::size_of::<Message>() + payload
}

fn size_of_members(membership: &Membership) -> usize {
    let address = |id| membership.address(id).map_or(0, str::len);
    membership.members().map(|id| mem::size_of::<String>() + address(id)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frozen state holds on to as much as the state machine has.
    #[test]
    fn nothing_is_kept_for_a_node_that_is_gone() {
        let limits = Limits { messages: 1, message_bytes: 1 };
        let mailbox = Mailbox::new(Arc::new(|| ()), limits);
        let content = Arc::new(());
        let frozen = || {
            let content = content.clone();
            let state: FrozenState = Box::new(move |_| {
                drop(content);
                Ok(())
            });
            Completion::Frozen { index: LogIndex::ZERO, state }
        };
        mailbox.complete(frozen());
        drop(mailbox.close());
        mailbox.complete(frozen());
        assert_eq!(Arc::strong_count(&content), 1);
    }
}
