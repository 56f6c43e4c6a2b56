//! The loop of a node.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use raft_node::blocking::Node;
use raft_node::core::Message;
use raft_node::{Driver, Ending, Next, NodeError, Outbound, Settings, StateMachine, Storage};

use crate::dial::dial_all;
use crate::listen::{bind, listen};
use crate::wait::{Bell, Worker};

/// Starts a node whose peers are reached over TCP: it listens before this returns. It blocks while
/// all of the newest snapshot is read.
///
/// # Errors
/// The settings make no sense, the store is damaged, the address is taken.
pub fn start(
    settings: Settings,
    storage: Storage,
    machine: impl StateMachine,
) -> Result<Node, NodeError> {
    let (id, socket) = (settings.id(), bind(&settings)?);
    let outbound = Outbound::default();
    let send = outbound.sender();
    launch(&settings, storage, machine, send, |driver| {
        let (reception, peers) = (driver.reception(), driver.peers().clone());
        Ok(vec![
            Worker::with_bell(format!("raft-{id}-listen"), Bell::new()?, move |bell| {
                listen(id, &socket, &reception, bell);
            })?,
            Worker::with_bell(format!("raft-{id}-dial"), Bell::new()?, move |bell| {
                dial_all(id, &peers, &outbound, bell);
            })?,
        ])
    })
}

/// Starts a node on a network of your own: `send` is given every message for a peer and must not
/// block; pass what arrives to [`Handle::deliver`](crate::Handle::deliver). Addresses in the settings
/// are not used.
///
/// # Errors
/// The settings make no sense or the store is damaged.
pub fn start_on_network(
    settings: Settings,
    storage: Storage,
    machine: impl StateMachine,
    send: impl FnMut(Message) + Send + 'static,
) -> Result<Node, NodeError> {
    launch(&settings, storage, machine, send, |_| Ok(Vec::new()))
}

fn launch(
    settings: &Settings,
    storage: Storage,
    machine: impl StateMachine,
    send: impl FnMut(Message) + Send + 'static,
    network: impl FnOnce(&Driver) -> io::Result<Vec<Worker>>,
) -> Result<Node, NodeError> {
    let (wake, woken) = sync_channel(1);
    let notify = Arc::new(move || {
        // If there is no room, it is woken already.
        let _ = wake.try_send(());
    });
    let driver = Driver::start(settings, storage, machine, notify, send)?;
    let workers = match network(&driver) {
        Ok(workers) => workers,
        Err(error) => {
            driver.close(Ok(())).join();
            return Err(NodeError::Thread(error));
        }
    };
    let (id, handle) = (settings.id(), driver.blocking_handle());
    let thread = thread::Builder::new().name(format!("raft-{id}-loop"));
    let spawned = thread.spawn(move || {
        let ending = run(driver, &woken);
        drop(workers);
        ending.join();
    });
    // Whoever waits for the end is told by the thread itself.
    spawned.map(drop).map_err(NodeError::Thread)?;
    Ok(Node::new(id, handle))
}

/// Gives the node its turns until it stops.
fn run(mut driver: Driver, woken: &Receiver<()>) -> Ending {
    loop {
        match driver.turn() {
            Next::Stopped(result) => return driver.close(result),
            Next::Again => thread::yield_now(),
            // However a wait ends, it is time for another turn.
            Next::Wait(None) => drop(woken.recv()),
            Next::Wait(Some(timeout)) => drop(woken.recv_timeout(timeout)),
        }
    }
}
