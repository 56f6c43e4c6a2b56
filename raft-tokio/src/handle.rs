//! What clients of a node hold.

use bytes::Bytes;
use raft_node::core::Message;
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
    stopped: watch::Receiver<bool>,
}

impl Handle {
    pub(crate) const fn new(
        client: Client,
        leadership: watch::Receiver<Leadership>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self { client, leadership, stopped }
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
        // A failure to send means that nobody waits for the answer any more.
        self.client.propose(command.into(), move |result| drop(answer.send(result)));
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
        self.client.read(query.into(), move |result| drop(answer.send(result)));
        answered.await.unwrap_or(Err(RequestError::Stopped))
    }

    /// A picture of the node.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn status(&self) -> Result<NodeStatus, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.client.status(move |status| drop(answer.send(status)));
        answered.await.map_err(|_| RequestError::Stopped)
    }

    /// Follows who leads. The receiver holds the latest state; a fast change may be skipped.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Stops the node and waits until it has: everybody who waited is answered, its port is free,
    /// its tasks and threads have ended. A write or a command that is under way is waited for;
    /// commands that are only queued are not, and their outcome is unknown.
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
