//! Messages on their way out: one bounded queue for each peer, so that a peer that reads slowly,
//! or not at all, costs the others nothing.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use bytes::{Bytes, BytesMut};
use raft_core::{Message, NodeId};

use crate::link::frame;
use crate::{Mutex, MutexGuard, Notifier};

/// The queue of encoded frames for one peer. When it is full, messages are dropped, as a network
/// would do; the protocol sends again what matters.
pub struct PeerQueue {
    frames: Mutex<BytesMut>,
    max_bytes: usize,
    notify: Notifier,
}

impl PeerQueue {
    /// A queue of at most `max_bytes` (and always at least one message) that calls `notify` when
    /// there is something to send.
    #[must_use]
    pub fn new(max_bytes: usize, notify: Notifier) -> Self {
        Self { frames: Mutex::default(), max_bytes, notify }
    }

    /// Takes everything that is to be sent, ready for the socket.
    #[must_use]
    pub fn take(&self) -> Bytes {
        self.frames.lock().split().freeze()
    }

    fn push(&self, message: &Message) {
        let mut frames = self.frames.lock();
        if frames.len() < self.max_bytes {
            let first = frames.is_empty();
            frame(&mut frames, |payload| message.encode(payload));
            drop(frames);
            if first {
                (self.notify)();
            }
        }
    }
}

/// The queues of all peers. Clones share them.
#[derive(Clone, Default)]
pub struct Outbound(Arc<Mutex<BTreeMap<NodeId, Arc<PeerQueue>>>>);

impl Outbound {
    fn queues(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<PeerQueue>>> {
        self.0.lock()
    }

    /// Adds a peer, or gives it another queue.
    pub fn add(&self, id: NodeId, queue: Arc<PeerQueue>) {
        self.queues().insert(id, queue);
    }

    /// Removes the queue of a peer, unless it has another one by now: what is sent to it from now on
    /// is dropped.
    pub fn remove(&self, id: NodeId, queue: &Arc<PeerQueue>) {
        let mut queues = self.queues();
        if queues.get(&id).is_some_and(|now| Arc::ptr_eq(now, queue)) {
            queues.remove(&id);
        }
    }

    /// Puts a message into the queue of the peer that it names, if there is such a peer.
    pub fn send(&self, message: &Message) {
        let queue = self.queues().get(&message.to).cloned();
        if let Some(queue) = queue {
            queue.push(message);
        }
    }

    /// [`send`](Self::send) as a function that shares these queues, as a node wants it.
    pub fn sender(&self) -> impl FnMut(Message) + Send + 'static {
        let outbound = self.clone();
        move |message| outbound.send(&message)
    }
}
