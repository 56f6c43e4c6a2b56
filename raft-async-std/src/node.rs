//! The loop of a node.

use std::sync::Arc;

use async_io::Timer;
use blocking::unblock;
use futures_lite::future;
use raft_node::core::{Message, NodeId};
use raft_node::{
    Driver, Ending, Handle, Next, NodeError, Outbound, Settings, StateMachine, Storage,
};

use crate::dial::dial_all;
use crate::executor::{Executor, Task, Tasks};
use crate::listen::{bind, listen};
use crate::wait::Signal;

/// A running node. Dropping it asks the node to stop, without waiting for it.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    handle: Handle,
}

impl Node {
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
    ) -> Result<Self, NodeError> {
        let socket = bind(&settings).await?;
        let outbound = Outbound::default();
        let queues = outbound.clone();
        let send = move |message: Message| queues.send(&message);
        Self::launch(executor, settings, storage, machine, send, |driver, tasks| {
            vec![
                tasks.spawn(listen(socket, driver.reception(), tasks.clone())),
                tasks.spawn(dial_all(driver.peers().clone(), outbound, tasks.clone())),
            ]
        })
        .await
    }

    /// Starts a node on a network of your own: `send` is given every message for a peer and must
    /// not block; pass what arrives to [`Handle::deliver`]. Addresses in the settings are not used.
    ///
    /// # Errors
    /// The settings make no sense or the store is damaged.
    pub async fn start_on_network(
        executor: Executor,
        settings: Settings,
        storage: Storage,
        machine: impl StateMachine,
        send: impl FnMut(Message) + Send + 'static,
    ) -> Result<Self, NodeError> {
        Self::launch(executor, settings, storage, machine, send, |_, _| Vec::new()).await
    }

    async fn launch(
        executor: Executor,
        settings: Settings,
        storage: Storage,
        machine: impl StateMachine,
        send: impl FnMut(Message) + Send + 'static,
        network: impl FnOnce(&Driver, &Tasks) -> Vec<Task>,
    ) -> Result<Self, NodeError> {
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
        Ok(Self { id, handle })
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
    pub async fn stopped(&self) -> Result<(), Arc<NodeError>> {
        self.handle.stopped().await
    }

    /// Stops the node at once, as a crash would, and waits until it has.
    ///
    /// # Errors
    /// The node had stopped by itself before: its store or its state machine failed.
    pub async fn kill(self) -> Result<(), Arc<NodeError>> {
        self.handle.client().kill();
        self.handle.stopped().await
    }

    /// Stops the node and waits until it has, see [`Handle::shutdown`].
    ///
    /// # Errors
    /// The node had stopped by itself before: its store or its state machine failed.
    pub async fn shutdown(self) -> Result<(), Arc<NodeError>> {
        self.handle.client().stop();
        self.handle.stopped().await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handle.client().stop();
    }
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
