//! Where everything that a node shall react to arrives, from any thread.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::{Event, Message};

use crate::NodeError;
use crate::request::Request;

/// Wakes somebody who waits: a task, a thread. It must not block.
pub type Notifier = Arc<dyn Fn() + Send + Sync>;

/// The queues in front of a node. Pushing never waits: what finds no room is dropped (messages,
/// which come again) or refused (requests).
#[derive(Clone)]
pub(crate) struct Mailbox(Arc<Shared>);

struct Shared {
    queues: Mutex<Queues>,
    notify: Notifier,
    limits: Limits,
}

/// How much may wait in a mailbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) messages: usize,
    pub(crate) requests: usize,
}

#[derive(Default)]
struct Queues {
    completions: Vec<Event>,
    messages: VecDeque<Message>,
    requests: VecDeque<Request>,
    dropped_messages: u64,
    closed: bool,
    failure: Option<NodeError>,
}

/// What one turn of the node works on.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) completions: Vec<Event>,
    pub(crate) messages: Vec<Message>,
    pub(crate) requests: Vec<Request>,
    pub(crate) failure: Option<NodeError>,
    /// Whether more waits already.
    pub(crate) more: bool,
}

impl Mailbox {
    pub(crate) fn new(notify: Notifier, limits: Limits) -> Self {
        Self(Arc::new(Shared { queues: Mutex::default(), notify, limits }))
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        // The queues are whole after each statement, so a panic elsewhere leaves them usable.
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that the node asked for is done.
    pub(crate) fn complete(&self, event: Event) {
        self.queues().completions.push(event);
        (self.0.notify)();
    }

    pub(crate) fn deliver(&self, message: Message) {
        let mut queues = self.queues();
        if queues.messages.len() >= self.0.limits.messages {
            queues.dropped_messages += 1;
            return;
        }
        queues.messages.push_back(message);
        drop(queues);
        (self.0.notify)();
    }

    /// Hands a request in, or gives it back when the node has stopped or has no room.
    pub(crate) fn request(&self, request: Request) -> Result<(), (Request, Rejection)> {
        let mut queues = self.queues();
        if queues.closed {
            return Err((request, Rejection::Stopped));
        }
        if queues.requests.len() >= self.0.limits.requests && !request.is_control() {
            return Err((request, Rejection::Full));
        }
        queues.requests.push_back(request);
        drop(queues);
        (self.0.notify)();
        Ok(())
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
        Batch {
            completions: mem::take(&mut queues.completions),
            messages: queues.messages.drain(..messages).collect(),
            requests: queues.requests.drain(..requests).collect(),
            failure: queues.failure.take(),
            more: !queues.messages.is_empty() || !queues.requests.is_empty(),
        }
    }

    /// Lets nothing in any more and returns the requests that still waited.
    pub(crate) fn close(&self) -> Vec<Request> {
        let mut queues = self.queues();
        queues.closed = true;
        queues.messages.clear();
        queues.requests.drain(..).collect()
    }

    pub(crate) fn dropped_messages(&self) -> u64 {
        self.queues().dropped_messages
    }
}

/// Why a mailbox gave a request back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rejection {
    Full,
    Stopped,
}
