//! What clients ask of a node, and how they get their answer on any runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use raft_core::{Membership, Message, NodeId, Outcome, Refusal};

use crate::mailbox::{Mailbox, Stop};
use crate::{NodeStatus, RequestError};

/// How many requests may be under way that are not for the state machine: changes of membership,
/// transfers, snapshots, questions for the status. They have room of their own, so that a node
/// that is overloaded can still be looked at and helped.
const CONTROLS: usize = 1024;

type Callback<T> = Box<dyn FnOnce(Result<T, RequestError>) + Send>;

/// The duty to answer a request: it is answered exactly once, even if it is only dropped.
pub(crate) struct Reply<T = Bytes> {
    callback: Option<Callback<T>>,
    if_dropped: RequestError,
    permit: Option<Permit>,
}

impl<T> Reply<T> {
    pub(crate) fn answer(mut self, result: Result<T, RequestError>) {
        self.settle(result);
    }

    fn settle(&mut self, result: Result<T, RequestError>) {
        if let Some(callback) = self.callback.take() {
            // Whoever is answered may ask again at once and must find the room that it left.
            self.permit = None;
            // A panic is the client's own affair. The panic hook has reported it, and on the
            // threads of the node it would pass for one of the state machine.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(result)));
        }
    }

    /// From now on the outcome is open: a command may be in somebody's log.
    pub(crate) const fn set_uncertain(&mut self) {
        self.if_dropped = RequestError::Unknown;
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.settle(Err(self.if_dropped));
    }
}

/// A bounded number of requests that may be under way anywhere in a node.
#[derive(Clone)]
struct Room {
    taken: Arc<AtomicUsize>,
    limit: usize,
}

impl Room {
    fn of(limit: usize) -> Self {
        Self { taken: Arc::default(), limit }
    }

    /// One of them, if there is room.
    fn enter(&self) -> Option<Permit> {
        let before = self.taken.fetch_add(1, Ordering::AcqRel);
        let permit = Permit(self.taken.clone());
        (before < self.limit).then_some(permit)
    }
}

/// A place in a [`Room`], free again when it is dropped.
struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(crate) enum Request {
    Propose { command: Bytes, reply: Reply },
    Read { query: Bytes, reply: Reply },
    ChangeMembership { target: Arc<Membership>, only_if: Option<Arc<Membership>>, reply: Reply<()> },
    TransferLeadership { to: Option<NodeId>, reply: Reply<NodeId> },
    Snapshot(Reply<()>),
    Status(Reply<NodeStatus>),
}

/// A node's front door, from any thread and without waiting. Adapters wrap it in something that
/// can be awaited; it is cheap to clone.
///
/// Each request has a callback, which runs exactly once and must neither block nor panic. A request
/// that is turned away at once, because the node has stopped or is overloaded, calls it before the
/// method returns, on the thread of the caller; everything else is answered on a thread of the
/// node. So don't hold a lock around a request that its callback takes too.
#[derive(Clone)]
pub struct Client {
    mailbox: Mailbox,
    commands: Room,
    controls: Room,
}

impl Client {
    pub(crate) fn new(mailbox: Mailbox, limit: usize) -> Self {
        Self { mailbox, commands: Room::of(limit), controls: Room::of(CONTROLS) }
    }

    /// Proposes a command. The callback gets the state machine's answer once the command has been
    /// applied on this node, or why not.
    pub fn propose(
        &self,
        command: Bytes,
        callback: impl FnOnce(Result<Bytes, RequestError>) + Send + 'static,
    ) {
        self.submit(&self.commands, callback, |reply| Request::Propose { command, reply });
    }

    /// Asks the state machine a question, linearizably: the answer reflects every command that was
    /// answered before this call.
    pub fn read(
        &self,
        query: Bytes,
        callback: impl FnOnce(Result<Bytes, RequestError>) + Send + 'static,
    ) {
        self.submit(&self.commands, callback, |reply| Request::Read { query, reply });
    }

    /// Makes these the members of the cluster, see
    /// [`Event::ChangeMembership`](raft_core::Event::ChangeMembership); with `only_if`, only if
    /// those are the members now. The callback comes when the change is committed.
    ///
    /// Adding a voter takes as long as bringing it up to date. Lost and unknown have their usual
    /// meaning; read the members ([`NodeStatus`]) to find out.
    pub fn change_membership(
        &self,
        target: Membership,
        only_if: Option<Membership>,
        callback: impl FnOnce(Result<(), RequestError>) + Send + 'static,
    ) {
        let (target, only_if) = (Arc::new(target), only_if.map(Arc::new));
        let request = |reply| Request::ChangeMembership { target, only_if, reply };
        self.submit(&self.controls, callback, request);
    }

    /// Lets another node lead: `to`, or the one that is best suited. The callback comes when a new
    /// leader is known, and gets its id. It may be another one than `to`, if that one was elected
    /// in between.
    pub fn transfer_leadership(
        &self,
        to: Option<NodeId>,
        callback: impl FnOnce(Result<NodeId, RequestError>) + Send + 'static,
    ) {
        self.submit(&self.controls, callback, |reply| Request::TransferLeadership { to, reply });
    }

    /// Takes a snapshot of this node's state machine now. The callback comes when there is a
    /// durable snapshot with everything that was applied before this call: a new one, or the last
    /// one if nothing has been applied since. [`RequestError::NoSnapshot`] says why there is none.
    pub fn snapshot(&self, callback: impl FnOnce(Result<(), RequestError>) + Send + 'static) {
        self.submit(&self.controls, callback, Request::Snapshot);
    }

    /// Lets a follower wait no longer for a leader that an operator knows to be gone, see
    /// [`Event::ForgetLeader`](raft_core::Event::ForgetLeader). Never turned away: asking twice
    /// before the node gets to it is asking once.
    pub fn forget_leader(&self) {
        self.mailbox.forget_leader();
    }

    /// The state of this node's state machine is damaged: replace it by a snapshot of the leader,
    /// see [`Event::StateLost`](raft_core::Event::StateLost). Never turned away, and the node gets
    /// to it before it looks at any request.
    pub fn state_lost(&self) {
        self.mailbox.state_lost();
    }

    /// Asks for a picture of the node.
    pub fn status(&self, callback: impl FnOnce(Result<NodeStatus, RequestError>) + Send + 'static) {
        self.submit(&self.controls, callback, Request::Status);
    }

    fn submit<T>(
        &self,
        room: &Room,
        callback: impl FnOnce(Result<T, RequestError>) + Send + 'static,
        request: impl FnOnce(Reply<T>) -> Request,
    ) {
        let permit = room.enter();
        let turned_away = permit.is_none();
        let if_dropped = RequestError::Stopped;
        let reply = Reply { callback: Some(Box::new(callback)), if_dropped, permit };
        if turned_away {
            let reason = Refusal::Overloaded;
            return reply.answer(Err(RequestError::Refused { reason, leader: None }));
        }
        // A stopped node gives the request back, and dropping it answers it.
        drop(self.mailbox.request(request(reply)));
    }

    /// Passes a peer's message to the node. Adapters that bring their own network call it for
    /// everything that arrives; when the node is far behind, the message is dropped.
    pub fn deliver(&self, message: Message) {
        self.mailbox.deliver(message);
    }

    /// Asks the node to stop. A leader hands over to another node first, for at most an election
    /// timeout, so that the cluster is not without a leader for longer than that takes. Everybody
    /// who waits is answered.
    pub fn stop(&self) {
        self.mailbox.stop(Stop::Gracefully);
    }

    /// Stops the node at once, as a crash would.
    pub fn kill(&self) {
        self.mailbox.stop(Stop::AtOnce);
    }
}

/// What a client is told of a request that did not succeed.
pub(crate) const fn failure(outcome: Outcome) -> RequestError {
    match outcome {
        Outcome::Refused { reason, leader } => RequestError::Refused { reason, leader },
        Outcome::Lost => RequestError::Lost,
        // The core answers no request with the success of another kind.
        Outcome::Unknown
        | Outcome::Committed { .. }
        | Outcome::Readable { .. }
        | Outcome::Transferred { .. } => RequestError::Unknown,
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let under_way = self.commands.taken.load(Ordering::Relaxed);
        f.debug_struct("Client").field("under_way", &under_way).finish_non_exhaustive()
    }
}
