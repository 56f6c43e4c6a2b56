//! What clients of a node hold.

use std::sync::Arc;

use bytes::Bytes;
use raft_node::core::{Membership, Message, NodeId};
use raft_node::{Client, Leadership, NodeStatus, RequestError};
use tokio::sync::{oneshot, watch};

/// A node's clients talk to it through this; it is cheap to clone and works from any task.
///
/// Dropping one of its futures gives up the waiting, not the request: a command that was proposed
/// may still be applied.
#[derive(Clone, Debug)]
pub struct Handle {
    client: Client,
    leadership: watch::Receiver<Leadership>,
    membership: watch::Receiver<Arc<Membership>>,
    stopped: watch::Receiver<bool>,
}

impl Handle {
    pub(crate) const fn new(
        client: Client,
        leadership: watch::Receiver<Leadership>,
        membership: watch::Receiver<Arc<Membership>>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self { client, leadership, membership, stopped }
    }

    /// Proposes a command to the cluster, from any node, and returns the state machine's answer
    /// once the command is applied on this node.
    ///
    /// While no majority can be reached the answer comes within about twice the election timeout
    /// plus the outcome timeout, as long as check-quorum is on.
    ///
    /// # Errors
    /// The command was certainly not applied, or its outcome is unknown: see [`RequestError`]. No
    /// command is ever proposed twice behind your back.
    pub async fn propose(&self, command: impl Into<Bytes>) -> Result<Bytes, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.client.propose(command.into(), tell(answer));
        answered.await.unwrap_or(Err(RequestError::Unknown))
    }

    /// Asks this node's state machine a question, linearizably: the answer reflects every command
    /// that was answered anywhere before this call.
    ///
    /// # Errors
    /// No leader confirmed the read, or the node is overloaded or stopped. A read that failed may
    /// always be repeated.
    pub async fn read(&self, query: impl Into<Bytes>) -> Result<Bytes, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.client.read(query.into(), tell(answer));
        answered.await.unwrap_or(Err(RequestError::Stopped))
    }

    /// Makes these the members of the cluster, at any node: see
    /// [`Client::change_membership`]. Returns when the change is committed; bringing a new voter up
    /// to date may take long. With `only_if`, only if those are the members now.
    ///
    /// ```
    /// # use raft_tokio::raft_node::core::{Membership, NodeId};
    /// # use raft_tokio::{Handle, RequestError};
    /// /// Adds a voter, unless somebody else changes the members at the same time.
    /// async fn add(handle: &Handle, id: NodeId, address: &str) -> Result<(), RequestError> {
    ///     let members = Membership::clone(&handle.membership());
    ///     let grown = members.clone().voter(id, address);
    ///     handle.change_membership(grown, Some(members)).await
    /// }
    /// ```
    ///
    /// # Errors
    /// The change was refused, or its outcome is unknown: look at the members then.
    pub async fn change_membership(
        &self,
        target: Membership,
        only_if: Option<Membership>,
    ) -> Result<(), RequestError> {
        let (answer, answered) = oneshot::channel();
        self.client.change_membership(target, only_if, tell(answer));
        answered.await.unwrap_or(Err(RequestError::Unknown))
    }

    /// Lets another node lead: `to`, or the one that is best suited. Returns when a new leader is
    /// known, and its id. It may be another one than `to`, if that one was elected in between.
    ///
    /// # Errors
    /// There is no such voter, it did not take over in time, or nobody knows.
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.client.transfer_leadership(to, tell(answer));
        answered.await.unwrap_or(Err(RequestError::Unknown))
    }

    /// Takes a snapshot of this node's state machine now; returns when it is durable. The settings
    /// have a policy by which the node does so by itself.
    ///
    /// # Errors
    /// The snapshot could not be written: [`NodeStatus`] says why. Nothing is lost.
    pub async fn snapshot(&self) -> Result<(), RequestError> {
        let (answer, answered) = oneshot::channel();
        self.client.snapshot(tell(answer));
        answered.await.unwrap_or(Err(RequestError::Stopped))
    }

    /// The members, as this node's log has them: nobody on a node that was not added yet. They may
    /// be of a change that is not committed.
    #[must_use]
    pub fn membership(&self) -> Arc<Membership> {
        self.membership.borrow().clone()
    }

    /// Waits until the members, as this node's log has them, fulfil a condition, and returns them.
    /// It looks at once and after each change; of changes in quick succession it may see only the
    /// last.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn wait_for_membership(
        &self,
        condition: impl FnMut(&Arc<Membership>) -> bool,
    ) -> Result<Arc<Membership>, RequestError> {
        wait_for(self.membership.clone(), condition).await
    }

    /// A picture of the node.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn status(&self) -> Result<NodeStatus, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.client.status(tell(answer));
        answered.await.unwrap_or(Err(RequestError::Stopped))
    }

    /// Who leads, as far as this node knows.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        *self.leadership.borrow()
    }

    /// Waits until the leadership, as this node knows it, fulfils a condition, and returns it. It
    /// looks at once and after each change; of changes in quick succession it may see only the
    /// last.
    ///
    /// ```
    /// # use raft_tokio::{Handle, RequestError};
    /// /// Follows who leads, for as long as the node runs.
    /// async fn follow(handle: &Handle) -> Result<(), RequestError> {
    ///     let mut now = handle.leadership();
    ///     loop {
    ///         println!("{now:?}");
    ///         now = handle.wait_for_leadership(|next| *next != now).await?;
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn wait_for_leadership(
        &self,
        condition: impl FnMut(&Leadership) -> bool,
    ) -> Result<Leadership, RequestError> {
        wait_for(self.leadership.clone(), condition).await
    }

    /// Stops the node and waits until it has. A leader hands over first, for at most an election
    /// timeout, so that the cluster has a new one in no time. Everybody who waited is answered, its
    /// port is free, its tasks and threads have ended. A write or a command that is under way is
    /// waited for; commands that are only queued are not, and their outcome is unknown.
    pub async fn shutdown(&self) {
        self.client.stop();
        let mut stopped = self.stopped.clone();
        // An error means that the sender, and so the node, is gone.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    /// Passes a message to a node that was started on a network of your own.
    pub fn deliver(&self, message: Message) {
        self.client.deliver(message);
    }

    /// The front door that all adapters share: callbacks instead of futures.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }
}

/// Waits for a value that fulfils a condition. The value is copied out before anybody else's code
/// looks at it: the node's loop would have to wait for whoever holds the original.
async fn wait_for<T: Clone>(
    mut watched: watch::Receiver<T>,
    mut condition: impl FnMut(&T) -> bool,
) -> Result<T, RequestError> {
    loop {
        let now = watched.borrow_and_update().clone();
        if condition(&now) {
            return Ok(now);
        }
        // An error means that the sender, and so the node, is gone.
        watched.changed().await.map_err(|_| RequestError::Stopped)?;
    }
}

/// A callback that passes its argument on. A failure to send means that nobody waits for it any
/// more.
fn tell<T>(answer: oneshot::Sender<T>) -> impl FnOnce(T) {
    move |value| {
        let _ = answer.send(value);
    }
}
