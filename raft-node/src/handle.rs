//! What clients of a node hold in tasks, on any runtime.

use std::sync::Arc;

use bytes::Bytes;
use futures_channel::oneshot;
use raft_core::{Membership, Message, NodeId};

use crate::news::News;
use crate::watched::Watched;
use crate::{Client, Leadership, NodeError, NodeStatus, RequestError};

/// A node's clients talk to it through this; it is cheap to clone and works from any task, on any
/// runtime. [`blocking::Handle`](crate::blocking::Handle) is the same for threads.
///
/// Dropping one of its futures gives up the waiting, not the request: a command that was proposed
/// may still be applied.
#[derive(Clone, Debug)]
pub struct Handle {
    client: Client,
    news: Watched<News>,
}

impl Handle {
    pub(crate) const fn new(client: Client, news: Watched<News>) -> Self {
        Self { client, news }
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
    /// # use raft_node::core::{Membership, NodeId};
    /// # use raft_node::{Handle, RequestError};
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
        self.news.get().membership
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
        self.news.wait_for(News::until(|news| news.membership, condition)).await
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
        self.news.get().leadership
    }

    /// Waits until the leadership, as this node knows it, fulfils a condition, and returns it. It
    /// looks at once and after each change; of changes in quick succession it may see only the
    /// last.
    ///
    /// ```
    /// # use raft_node::{Handle, RequestError};
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
        self.news.wait_for(News::until(|news| news.leadership, condition)).await
    }

    /// Stops the node and waits until it has. A leader hands over first, for at most an election
    /// timeout, so that the cluster has a new one in no time. Everybody who waited is answered, its
    /// port is free, its tasks and threads have ended. A write or a command that is under way is
    /// waited for; commands that are only queued are not, and their outcome is unknown.
    pub async fn shutdown(&self) {
        self.client.stop();
        // Why it had stopped before, if it had, is for those who ask for it.
        let _ = self.stopped().await;
    }

    /// Waits until the node has stopped, for whatever reason: its port is free, its tasks and
    /// threads have ended. It may be asked any number of times.
    ///
    /// # Errors
    /// The node stopped by itself: its store or its state machine failed.
    pub async fn stopped(&self) -> Result<(), Arc<NodeError>> {
        self.news.wait_for(News::outcome).await
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

/// A callback that passes its argument on. A failure to send means that nobody waits for it any
/// more.
fn tell<T>(answer: oneshot::Sender<T>) -> impl FnOnce(T) {
    move |value| {
        let _ = answer.send(value);
    }
}
