//! The loop of a node.

use async_io::Timer;
use blocking::unblock;
use futures_lite::future;
use raft_node::core::Message;
use raft_node::{Driver, Ending, Next, Node, NodeError, Outbound, Settings, StateMachine, Storage};

use crate::dial::dial_all;
use crate::executor::{Executor, Task, Tasks};
use crate::listen::{bind, listen};
use crate::wait::Signal;

/// Starts a node whose peers are reached over TCP: it listens before this returns. Dropping
/// the future before it is ready starts nothing that lasts.
///
/// # Errors
/// The settings make no sense, the store is damaged, the address is taken.
pub async fn start(
    executor: Executor,
    settings: Settings,
    storage: Storage,
    machine: impl StateMachine,
) -> Result<Node, NodeError> {
    let socket = bind(&settings).await?;
    let outbound = Outbound::default();
    let send = outbound.sender();
    launch(executor, settings, storage, machine, send, |driver, tasks| {
        vec![
            tasks.spawn(listen(socket, driver.reception(), tasks.clone())),
            tasks.spawn(dial_all(driver.peers().clone(), outbound, tasks.clone())),
        ]
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
    executor: Executor,
    settings: Settings,
    storage: Storage,
    machine: impl StateMachine,
    send: impl FnMut(Message) + Send + 'static,
) -> Result<Node, NodeError> {
    launch(executor, settings, storage, machine, send, |_, _| Vec::new()).await
}

async fn launch(
    executor: Executor,
    settings: Settings,
    storage: Storage,
    machine: impl StateMachine,
    send: impl FnMut(Message) + Send + 'static,
    network: impl FnOnce(&Driver, &Tasks) -> Vec<Task>,
) -> Result<Node, NodeError> {
    let wake = Signal::new();
    let (id, notify) = (settings.id(), wake.notifier());
    // All of the newest snapshot is read.
    let start = move || Driver::start(&settings, storage, machine, notify, send);
    let driver = unblock(start).await?;
    let handle = driver.handle();
    let (tasks, ended) = Tasks::new(executor.clone());
    let links = network(&driver, &tasks);
    executor.spawn(async move {
        let ending = run(driver, &wake).await;
        drop((links, tasks));
        ended.wait().await;
        unblock(|| ending.join()).await;
    });
    Ok(Node::new(id, handle))
}

/// Gives the node its turns until it stops.
async fn run(mut driver: Driver, wake: &Signal) -> Ending {
    loop {
        match driver.turn() {
            Next::Stopped(result) => return driver.close(result),
            // A wait that is over at once lets no other task of the thread run.
            Next::Again => future::yield_now().await,
            Next::Wait(_) if wake.take() => future::yield_now().await,
            Next::Wait(None) => wake.wait().await,
            Next::Wait(Some(timeout)) => {
                let due = async {
                    Timer::after(timeout).await;
                };
                future::or(wake.wait(), due).await;
            }
        }
    }
}
