//! The loop of a node.

use std::pin::pin;
use std::sync::Arc;

use raft_node::core::{Message, NodeId, Notice};
use raft_node::{
    Clock, Leadership, NodeError, Notifier, Outbound, Peers, Settings, StateMachine, Storage,
    Threads, Turn, Wiring,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{self, JoinHandle, JoinSet};
use tokio::time;

use crate::Handle;
use crate::dial::dial_all;
use crate::listen::Listener;

/// A running node. Dropping it asks the node to stop, without waiting for it.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    handle: Handle,
    task: JoinHandle<Outcome>,
    /// How the node ended, once the task has said so.
    outcome: Option<Outcome>,
}

/// How a node ended; it can be asked for more than once.
type Outcome = Result<(), Arc<NodeError>>;

impl Node {
    /// Starts a node whose peers are reached over TCP: it listens before this returns. Call it
    /// within a tokio runtime with time and I/O enabled.
    ///
    /// # Errors
    /// The settings make no sense, the store is damaged, the address is taken.
    pub async fn start(
        settings: Settings,
        storage: Storage,
        machine: impl StateMachine,
    ) -> Result<Self, NodeError> {
        let listener = Listener::bind(&settings).await?;
        let outbound = Outbound::default();
        let queues = outbound.clone();
        let send = Box::new(move |message: Message| queues.send(&message));
        Self::launch(settings, storage, machine, send, |handle, peers, tasks, alive| {
            tasks.spawn(listener.run(handle.clone(), peers.clone(), alive));
            tasks.spawn(dial_all(peers.clone(), outbound));
        })
        .await
    }

    /// Starts a node on a network of your own: `send` is given every message for a peer and must
    /// not block; pass what arrives to [`Handle::deliver`]. Addresses in the settings are not used.
    ///
    /// # Errors
    /// The settings make no sense or the store is damaged.
    pub async fn start_on_network(
        settings: Settings,
        storage: Storage,
        machine: impl StateMachine,
        send: impl FnMut(Message) + Send + 'static,
    ) -> Result<Self, NodeError> {
        Self::launch(settings, storage, machine, Box::new(send), |_, _, _, _| {}).await
    }

    async fn launch(
        settings: Settings,
        storage: Storage,
        machine: impl StateMachine,
        send: Box<dyn FnMut(Message) + Send>,
        network: impl FnOnce(&Handle, &Peers, &mut JoinSet<()>, mpsc::Sender<()>),
    ) -> Result<Self, NodeError> {
        let wake = Arc::new(Notify::new());
        let (leadership, watched) = watch::channel(Leadership::default());
        let (membership, members) = watch::channel(Arc::default());
        let (stopped, when_stopped) = watch::channel(false);
        let wiring = Wiring {
            notify: notifier(&wake),
            send,
            observe: Box::new(move |notice| {
                leadership.send_if_modified(|state| state.update(notice));
                if let Notice::Membership(members) = notice {
                    membership.send_replace(members.clone());
                }
            }),
        };
        let (clock, id) = (Clock::start(), settings.id());
        // All of the newest snapshot is read.
        let start = task::spawn_blocking(move || {
            raft_node::Node::new(&settings, storage, machine, wiring, clock.now())
        });
        let (node, client) = start.await.map_err(|_| NodeError::ThreadGone)??;
        let handle = Handle::new(client, watched, members, when_stopped);
        let mut tasks = JoinSet::new();
        let (alive, mut ended) = mpsc::channel(1);
        network(&handle, node.peers(), &mut tasks, alive);
        let task = task::spawn(async move {
            let (result, threads) = run(node, &wake, clock).await;
            tasks.shutdown().await;
            // The listener's connections have senders, and nothing to send.
            let _ = ended.recv().await;
            // The threads end by themselves; the node has stopped when they have.
            let joined = task::spawn_blocking(move || Threads::join(threads)).await;
            let _ = stopped.send(true);
            drop(joined);
            result.map_err(Arc::new)
        });
        Ok(Self { id, handle, task, outcome: None })
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

    /// Waits until the node has stopped, for whatever reason. Cancelling the wait is fine, and so
    /// is asking again.
    ///
    /// # Errors
    /// The node stopped by itself: its store or its state machine failed.
    pub async fn stopped(&mut self) -> Result<(), Arc<NodeError>> {
        if let Some(outcome) = &self.outcome {
            return outcome.clone();
        }
        // The task is aborted only together with its runtime.
        let gone = |_| Err(Arc::new(NodeError::ThreadGone));
        let outcome = (&mut self.task).await.unwrap_or_else(gone);
        self.outcome.insert(outcome).clone()
    }

    /// Stops the node at once, as a crash would, and waits until it has.
    ///
    /// # Errors
    /// The node had stopped by itself before: its store or its state machine failed.
    pub async fn kill(mut self) -> Result<(), Arc<NodeError>> {
        self.handle.client().kill();
        self.stopped().await
    }

    /// Stops the node and waits until it has, see [`Handle::shutdown`].
    ///
    /// # Errors
    /// The node had stopped by itself before: its store or its state machine failed.
    pub async fn shutdown(mut self) -> Result<(), Arc<NodeError>> {
        self.handle.client().stop();
        self.stopped().await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handle.client().stop();
    }
}

pub(crate) fn notifier(notify: &Arc<Notify>) -> Notifier {
    let notify = notify.clone();
    Arc::new(move || notify.notify_one())
}

/// Gives the node its turns until it stops.
async fn run(
    mut node: raft_node::Node,
    wake: &Notify,
    clock: Clock,
) -> (Result<(), NodeError>, Threads) {
    loop {
        match node.turn(|| clock.now()) {
            Turn::Stopped(result) => return (result, node.close()),
            Turn::Continue { deadline, more } => {
                let mut woken = pin!(wake.notified());
                if more || woken.as_mut().enable() {
                    // A wait that is over at once lets no other task of the thread run.
                    task::yield_now().await;
                } else if let Some(deadline) = deadline {
                    // Both ends of the wait mean the same: it is time for another turn.
                    let _ = time::timeout(clock.until(deadline), woken).await;
                } else {
                    woken.await;
                }
            }
        }
    }
}
