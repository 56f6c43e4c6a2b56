//! The loop of a node.

use std::io;
use std::sync::Arc;
use std::thread;

use raft_node::blocking::Handle;
use raft_node::core::{Message, NodeId};
use raft_node::{Driver, Ending, Next, NodeError, Outbound, Settings, StateMachine, Storage};

use crate::dial::dial_all;
use crate::listen::{bind, listen};
use crate::wait::{Bell, Signal, Worker};

/// A running node. Dropping it asks the node to stop, without waiting for it.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    handle: Handle,
}

impl Node {
    /// Starts a node whose peers are reached over TCP: it listens before this returns. It
    /// blocks while all of the newest snapshot is read.
    ///
    /// # Errors
    /// The settings make no sense, the store is damaged, the address is taken.
    pub fn start(
        settings: Settings,
        storage: Storage,
        machine: impl StateMachine,
    ) -> Result<Self, NodeError> {
        let (id, socket) = (settings.id(), bind(&settings)?);
        let outbound = Outbound::default();
        let queues = outbound.clone();
        let send = move |message: Message| queues.send(&message);
        Self::launch(&settings, storage, machine, send, |driver| {
            let (reception, peers) = (driver.reception(), driver.peers().clone());
            Ok(vec![
                Worker::spawn(format!("raft-{id}-listen"), Bell::new()?, move |bell| {
                    listen(id, &socket, &reception, bell);
                })?,
                Worker::spawn(format!("raft-{id}-dial"), Bell::new()?, move |bell| {
                    dial_all(id, &peers, &outbound, bell);
                })?,
            ])
        })
    }

    /// Starts a node on a network of your own: `send` is given every message for a peer and must
    /// not block; pass what arrives to [`Handle::deliver`]. Addresses in the settings are not used.
    ///
    /// # Errors
    /// The settings make no sense or the store is damaged.
    pub fn start_on_network(
        settings: Settings,
        storage: Storage,
        machine: impl StateMachine,
        send: impl FnMut(Message) + Send + 'static,
    ) -> Result<Self, NodeError> {
        Self::launch(&settings, storage, machine, send, |_| Ok(Vec::new()))
    }

    fn launch(
        settings: &Settings,
        storage: Storage,
        machine: impl StateMachine,
        send: impl FnMut(Message) + Send + 'static,
        network: impl FnOnce(&Driver) -> io::Result<Vec<Worker>>,
    ) -> Result<Self, NodeError> {
        let wake = Arc::new(Signal::default());
        let (id, notify) = (settings.id(), wake.notifier());
        let driver = Driver::start(settings, storage, machine, notify, send)?;
        let handle = driver.blocking_handle();
        let workers = network(&driver).map_err(NodeError::Thread)?;
        let thread = thread::Builder::new().name(format!("raft-{id}-loop"));
        let spawned = thread.spawn(move || {
            let ending = run(driver, &wake);
            drop(workers);
            ending.join();
        });
        // Whoever waits for the end is told by the thread itself.
        spawned.map(drop).map_err(NodeError::Thread)?;
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

/// Gives the node its turns until it stops.
fn run(mut driver: Driver, wake: &Signal) -> Ending {
    loop {
        match driver.turn() {
            Next::Stopped(result) => return driver.close(result),
            Next::Again => thread::yield_now(),
            Next::Wait(timeout) => wake.wait(timeout),
        }
    }
}
