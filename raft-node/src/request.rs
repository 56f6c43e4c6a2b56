//! What clients ask of a node, and how they get their answer on any runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use raft_core::{Membership, Message, NodeId, Outcome, Refusal};
use thiserror::Error;

use crate::NodeStatus;
use crate::mailbox::{Mailbox, Rejection, Stop};

/// Why a request has no answer. The variants keep apart what is certain from what is not, since
/// only a command that was certainly not applied may be sent again without a second thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request was not accepted, and a command was certainly not applied. Wait a moment and send
    /// it again, to any node; never if it is too large.
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
    /// Nobody knows whether the command was applied or will be; or it was applied and its answer was
    /// missed. Find out by reading, or make the command one that may be applied twice.
    #[error("the outcome is unknown: it may have been applied, or may yet be")]
    Unknown,
    /// The node has stopped. A command was never looked at, and was certainly not applied; a read
    /// has no answer. Ask another node.
    #[error("the node has stopped")]
    Stopped,
}

impl RequestError {
    /// Whether it is certain that the command was not applied and never will be.
    #[must_use]
    pub const fn is_certain(self) -> bool {
        !matches!(self, Self::Unknown)
    }
}

type Callback<T> = Box<dyn FnOnce(T) + Send>;

/// The duty to answer a request: it is answered exactly once, even if it is only dropped.
pub(crate) struct Reply {
    callback: Option<Callback<Result<Bytes, RequestError>>>,
    if_dropped: RequestError,
    permit: Option<Permit>,
}

impl Reply {
    pub(crate) fn answer(mut self, result: Result<Bytes, RequestError>) {
        self.settle(result);
    }

    fn settle(&mut self, result: Result<Bytes, RequestError>) {
        if let Some(callback) = self.callback.take() {
            // Whoever is answered may ask again at once and must find the room that it left.
            self.permit = None;
            callback(result);
        }
    }

    /// From now on the outcome is open: a command may be in somebody's log.
    pub(crate) const fn set_uncertain(&mut self) {
        self.if_dropped = RequestError::Unknown;
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.settle(Err(self.if_dropped));
    }
}

/// One of a bounded number of requests that may be under way anywhere in a node.
struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(crate) enum Request {
    Propose { command: Bytes, reply: Reply },
    Read { query: Bytes, reply: Reply },
    ChangeMembership { target: Arc<Membership>, only_if: Option<Arc<Membership>>, reply: Reply },
    TransferLeadership { to: Option<NodeId>, reply: Reply },
    ForgetLeader,
    Snapshot(Reply),
    StateLost,
    Status(Callback<NodeStatus>),
}

impl Request {
    /// Whether the request must get through when the node is overloaded.
    pub(crate) const fn is_control(&self) -> bool {
        !matches!(self, Self::Propose { .. } | Self::Read { .. })
    }
}

/// A node's front door, from any thread and without waiting. Adapters wrap it in something that
/// can be awaited; it is cheap to clone.
#[derive(Clone)]
pub struct Client {
    mailbox: Mailbox,
    under_way: Arc<AtomicUsize>,
    limit: usize,
}

impl Client {
    pub(crate) fn new(mailbox: Mailbox, limit: usize) -> Self {
        Self { mailbox, under_way: Arc::default(), limit }
    }

    /// Proposes a command. The callback gets the state machine's answer once the command has been
    /// applied on this node, or why not; it runs exactly once, on a thread of the node, and must
    /// not block.
    pub fn propose(
        &self,
        command: Bytes,
        callback: impl FnOnce(Result<Bytes, RequestError>) + Send + 'static,
    ) {
        self.submit(callback, |reply| Request::Propose { command, reply });
    }

    /// Asks the state machine a question, linearizably: the answer reflects every command that was
    /// answered before this call. The callback is as for [`propose`](Client::propose).
    pub fn read(
        &self,
        query: Bytes,
        callback: impl FnOnce(Result<Bytes, RequestError>) + Send + 'static,
    ) {
        self.submit(callback, |reply| Request::Read { query, reply });
    }

    /// Makes these the members of the cluster, see
    /// [`Event::ChangeMembership`](raft_core::Event::ChangeMembership); with `only_if`, only if
    /// those are the members now. The callback is as for [`propose`](Client::propose), and comes
    /// when the change is committed.
    ///
    /// Adding a voter takes as long as bringing it up to date. Lost and unknown have their usual
    /// meaning; read the members ([`NodeStatus`]) to find out.
    pub fn change_membership(
        &self,
        target: Membership,
        only_if: Option<Membership>,
        callback: impl FnOnce(Result<(), RequestError>) + Send + 'static,
    ) {
        let callback = |result: Result<Bytes, _>| callback(result.map(drop));
        let (target, only_if) = (Arc::new(target), only_if.map(Arc::new));
        self.submit(callback, |reply| Request::ChangeMembership { target, only_if, reply });
    }

    /// Lets another node lead: `to`, or the one that is best suited. The callback comes when a new
    /// leader is known.
    pub fn transfer_leadership(
        &self,
        to: Option<NodeId>,
        callback: impl FnOnce(Result<(), RequestError>) + Send + 'static,
    ) {
        let callback = |result: Result<Bytes, _>| callback(result.map(drop));
        self.submit(callback, |reply| Request::TransferLeadership { to, reply });
    }

    /// Takes a snapshot of this node's state machine now. The callback comes when it is durable;
    /// refused as overloaded means that it could not be written, and the status says why. If
    /// nothing has been applied since the last snapshot, that one will do.
    pub fn snapshot(&self, callback: impl FnOnce(Result<(), RequestError>) + Send + 'static) {
        let callback = |result: Result<Bytes, _>| callback(result.map(drop));
        self.submit(callback, Request::Snapshot);
    }

    /// Lets a follower wait no longer for a leader that an operator knows to be gone, see
    /// [`Event::ForgetLeader`](raft_core::Event::ForgetLeader).
    pub fn forget_leader(&self) {
        let _ = self.mailbox.request(Request::ForgetLeader);
    }

    /// The state of this node's state machine is damaged: replace it by a snapshot of the leader,
    /// see [`Event::StateLost`](raft_core::Event::StateLost).
    pub fn state_lost(&self) {
        let _ = self.mailbox.request(Request::StateLost);
    }

    fn submit(
        &self,
        callback: impl FnOnce(Result<Bytes, RequestError>) + Send + 'static,
        request: impl FnOnce(Reply) -> Request,
    ) {
        let before = self.under_way.fetch_add(1, Ordering::AcqRel);
        let permit = Permit(self.under_way.clone());
        let reply = Reply {
            callback: Some(Box::new(callback)),
            if_dropped: RequestError::Stopped,
            permit: Some(permit),
        };
        let overloaded = RequestError::Refused { reason: Refusal::Overloaded, leader: None };
        if before >= self.limit {
            return reply.answer(Err(overloaded));
        }
        // Only these two are ever turned away for want of room.
        if let Err((request, Rejection::Full)) = self.mailbox.request(request(reply))
            && let Request::Propose { reply, .. } | Request::Read { reply, .. } = request
        {
            reply.answer(Err(overloaded));
        }
    }

    /// Asks for a picture of the node. The callback is dropped without a call if the node has
    /// stopped.
    pub fn status(&self, callback: impl FnOnce(NodeStatus) + Send + 'static) {
        // A stopped node gives the request back, and dropping it drops the callback.
        let _ = self.mailbox.request(Request::Status(Box::new(callback)));
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

/// What a client is told at the end of a request, apart from the success of a proposal or read.
pub(crate) const fn failure(outcome: Outcome) -> Option<RequestError> {
    match outcome {
        Outcome::Committed { .. } | Outcome::Readable { .. } | Outcome::Transferred { .. } => None,
        Outcome::Refused { reason, leader } => Some(RequestError::Refused { reason, leader }),
        Outcome::Lost => Some(RequestError::Lost),
        Outcome::Unknown => Some(RequestError::Unknown),
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let under_way = self.under_way.load(Ordering::Relaxed);
        f.debug_struct("Client").field("under_way", &under_way).finish_non_exhaustive()
    }
}
