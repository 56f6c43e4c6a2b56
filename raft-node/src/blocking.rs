//! What clients and the owner of a node hold in threads: the same as [`Handle`](crate::Handle) and
//! [`Node`](crate::Node), without futures.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use bytes::Bytes;
use raft_core::{Membership, Message, NodeId};

use crate::news::News;
use crate::watched::Watched;
use crate::{Client, Leadership, NodeError, NodeStatus, RequestError};

/// A node's clients talk to it through this; it is cheap to clone and works from any thread, except
/// those of the node: a callback or a state machine that waits for its own node waits for ever.
///
/// The methods are those of the [handle for tasks](crate::Handle), with the same answers; each
/// blocks its thread for as long as that takes. Whoever wants to give up the waiting asks the
/// [`client`](Handle::client), with a callback that sends the answer to a channel, and waits there.
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
    /// once the command is applied on this node. See [`propose`](crate::Handle::propose) for tasks.
    ///
    /// # Errors
    /// The command was certainly not applied, or its outcome is unknown: see [`RequestError`]. No
    /// command is ever proposed twice behind your back.
    pub fn propose(&self, command: impl Into<Bytes>) -> Result<Bytes, RequestError> {
        let (answer, answered) = sync_channel(1);
        self.client.propose(command.into(), tell(answer));
        answered.recv().unwrap_or(Err(RequestError::Unknown))
    }

    /// Asks this node's state machine a question, linearizably: the answer reflects every command
    /// that was answered anywhere before this call.
    ///
    /// # Errors
    /// No leader confirmed the read, or the node is overloaded or stopped. A read that failed may
    /// always be repeated.
    pub fn read(&self, query: impl Into<Bytes>) -> Result<Bytes, RequestError> {
        let (answer, answered) = sync_channel(1);
        self.client.read(query.into(), tell(answer));
        answered.recv().unwrap_or(Err(RequestError::Stopped))
    }

    /// Makes these the members of the cluster; with `only_if`, only if those are the members now.
    /// Returns when the change is committed; bringing a new voter up to date may take long. See
    /// [`change_membership`](crate::Handle::change_membership) for tasks.
    ///
    /// # Errors
    /// The change was refused, or its outcome is unknown: look at the members then.
    pub fn change_membership(
        &self,
        target: Membership,
        only_if: Option<Membership>,
    ) -> Result<(), RequestError> {
        let (answer, answered) = sync_channel(1);
        self.client.change_membership(target, only_if, tell(answer));
        answered.recv().unwrap_or(Err(RequestError::Unknown))
    }

    /// Lets another node lead: `to`, or the one that is best suited. Returns when a new leader is
    /// known, and its id, which may be another one than `to`.
    ///
    /// # Errors
    /// There is no such voter, it did not take over in time, or nobody knows.
    pub fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, RequestError> {
        let (answer, answered) = sync_channel(1);
        self.client.transfer_leadership(to, tell(answer));
        answered.recv().unwrap_or(Err(RequestError::Unknown))
    }

    /// Takes a snapshot of this node's state machine now; returns when it is durable.
    ///
    /// # Errors
    /// The snapshot could not be written: [`NodeStatus`] says why. Nothing is lost.
    pub fn snapshot(&self) -> Result<(), RequestError> {
        let (answer, answered) = sync_channel(1);
        self.client.snapshot(tell(answer));
        answered.recv().unwrap_or(Err(RequestError::Stopped))
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
    pub fn wait_for_membership(
        &self,
        condition: impl FnMut(&Arc<Membership>) -> bool,
    ) -> Result<Arc<Membership>, RequestError> {
        self.news.block_for(News::until(|news| news.membership, condition))
    }

    /// A picture of the node.
    ///
    /// # Errors
    /// The node has stopped.
    pub fn status(&self) -> Result<NodeStatus, RequestError> {
        let (answer, answered) = sync_channel(1);
        self.client.status(tell(answer));
        answered.recv().unwrap_or(Err(RequestError::Stopped))
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
    /// # Errors
    /// The node has stopped.
    pub fn wait_for_leadership(
        &self,
        condition: impl FnMut(&Leadership) -> bool,
    ) -> Result<Leadership, RequestError> {
        self.news.block_for(News::until(|news| news.leadership, condition))
    }

    /// Stops the node and waits until it has, see [`shutdown`](crate::Handle::shutdown) for tasks:
    /// a leader hands over first, for at most an election timeout, and everybody who waited is
    /// answered.
    pub fn shutdown(&self) {
        self.client.stop();
        // Why it had stopped before, if it had, is for those who ask for it.
        let _ = self.stopped();
    }

    /// Waits until the node has stopped, for whatever reason: its port is free, its threads have
    /// ended. It may be asked any number of times.
    ///
    /// # Errors
    /// The node stopped by itself: its store or its state machine failed.
    pub fn stopped(&self) -> Result<(), Arc<NodeError>> {
        self.news.block_for(News::outcome)
    }

    /// Passes a message to a node that was started on a network of your own.
    pub fn deliver(&self, message: Message) {
        self.client.deliver(message);
    }

    /// The front door that all adapters share: callbacks instead of waiting.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }
}

/// A running node. Dropping it asks the node to stop, without waiting for it.
#[derive(Debug)]
#[must_use = "dropping it stops the node"]
pub struct Node {
    id: NodeId,
    handle: Handle,
}

impl Node {
    /// For adapters: makes the owner of the running node with this id and this handle.
    pub const fn new(id: NodeId, handle: Handle) -> Self {
        Self { id, handle }
    }

    /// The node's id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// A handle for clients.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until the node has stopped, for whatever reason. It may be asked any number of times.
    ///
    /// # Errors
    /// The node stopped by itself: its store or its state machine failed.
    pub fn stopped(&self) -> Result<(), Arc<NodeError>> {
        self.handle.stopped()
    }

    /// Stops the node at once, as a crash would, and waits until it has.
    ///
    /// # Errors
    /// The node had stopped by itself before: its store or its state machine failed.
    pub fn kill(self) -> Result<(), Arc<NodeError>> {
        self.handle.client().kill();
        self.handle.stopped()
    }

    /// Stops the node and waits until it has, see [`Handle::shutdown`].
    ///
    /// # Errors
    /// The node had stopped by itself before: its store or its state machine failed.
    pub fn shutdown(self) -> Result<(), Arc<NodeError>> {
        self.handle.client().stop();
        self.handle.stopped()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handle.client().stop();
    }
}

/// The handle for tasks of the same node: both may be used side by side. For a program that serves
/// its clients in tasks, whatever its node runs on.
impl From<&Handle> for crate::Handle {
    fn from(handle: &Handle) -> Self {
        Self::new(handle.client.clone(), handle.news.clone())
    }
}

/// A callback that passes its argument on. A failure to send means that nobody waits for it any
/// more.
fn tell<T>(answer: SyncSender<T>) -> impl FnOnce(T) {
    move |value| {
        let _ = answer.send(value);
    }
}
