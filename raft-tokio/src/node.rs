//! The loop of a node.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use raft_node::core::Message;
use raft_node::{
    Driver, Ending, Next, Node, NodeError, Notifier, Outbound, Settings, StateMachine, Storage,
};
use tokio::sync::{Notify, mpsc};
use tokio::task::{self, JoinSet};
use tokio::time;

use crate::dial::dial_all;
use crate::listen::{bind, listen};

/// Starts a node whose peers are reached over TCP: it listens before this returns. Call it
/// within a tokio runtime with time and I/O enabled.
///
/// # Errors
/// The settings make no sense, the store is damaged, the address is taken.
pub async fn start(
    settings: Settings,
    storage: Storage,
    machine: impl StateMachine,
) -> Result<Node, NodeError> {
    let socket = bind(&settings).await?;
    let outbound = Outbound::default();
    let send = outbound.sender();
    launch(settings, storage, machine, send, |driver, tasks, alive| {
        tasks.spawn(listen(socket, driver.reception(), alive.clone()));
        tasks.spawn(dial_all(driver.peers().clone(), outbound, alive));
    })
    .await
}

/// Starts a node on a network of your own: `send` is given every message for a peer and must not
/// block; pass what arrives to [`Handle::deliver`](crate::Handle::deliver). Addresses in the settings
/// are not used.
///
/// # Errors
/// The settings make no sense or the store is damaged.
pub async fn start_on_network(
    settings: Settings,
    storage: Storage,
    machine: impl StateMachine,
    send: impl FnMut(Message) + Send + 'static,
) -> Result<Node, NodeError> {
    launch(settings, storage, machine, send, |_, _, _| {}).await
}

async fn launch(
    settings: Settings,
    storage: Storage,
    machine: impl StateMachine,
    send: impl FnMut(Message) + Send + 'static,
    network: impl FnOnce(&Driver, &mut JoinSet<()>, Alive),
) -> Result<Node, NodeError> {
    let wake = Arc::new(Notify::new());
    let (id, notify) = (settings.id(), notifier(&wake));
    // All of the newest snapshot is read.
    let start =
        task::spawn_blocking(move || Driver::start(&settings, storage, machine, notify, send));
    let driver = start.await.map_err(|_| NodeError::ThreadGone)??;
    let handle = driver.handle();
    let (mut tasks, (alive, mut ended)) = (JoinSet::new(), mpsc::channel(1));
    network(&driver, &mut tasks, alive);
    task::spawn(async move {
        let ending = run(driver, &wake).await;
        tasks.shutdown().await;
        // Connections are tasks of these, which have not waited for them. There is nothing that they
        // could say.
        let _: Option<Infallible> = ended.recv().await;
        // An error means that the runtime is gone, and whoever asks is told so.
        let _ = task::spawn_blocking(move || ending.join()).await;
    });
    Ok(Node::new(id, handle))
}

/// Each task of a connection has one, and drops it when it ends.
pub(crate) type Alive = mpsc::Sender<Infallible>;

/// The work of such a task: it is dropped, with its socket, before this.
pub(crate) async fn while_alive(alive: Alive, work: impl Future<Output = ()>) {
    work.await;
    drop(alive);
}

pub(crate) fn notifier(notify: &Arc<Notify>) -> Notifier {
    let notify = notify.clone();
    Arc::new(move || notify.notify_one())
}

/// Gives the node its turns until it stops.
async fn run(mut driver: Driver, wake: &Notify) -> Ending {
    loop {
        let next = driver.turn();
        let mut woken = pin!(wake.notified());
        match next {
            Next::Stopped(result) => return driver.close(result),
            // A wait that is over at once lets no other task of the thread run.
            Next::Again => task::yield_now().await,
            Next::Wait(_) if woken.as_mut().enable() => task::yield_now().await,
            Next::Wait(None) => woken.await,
            // Both ends of the wait mean the same: it is time for another turn.
            Next::Wait(Some(timeout)) => drop(time::timeout(timeout, woken).await),
        }
    }
}
