//! The loop of a node.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use raft_node::blocking::Node;
use raft_node::core::Message;
use raft_node::{Driver, Ending, Next, NodeError, Outbound, Settings, StateMachine, Storage};

use crate::dial::dial_all;
use crate::listen::{bind, listen};
use crate::wait::{Bell, Worker};

/// Starts a node whose peers are reached over TCP: it listens before this returns. It
/// blocks while all of the newest snapshot is read.
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
/// not block; pass what arrives to [`Handle::deliver`](crate::Handle::deliver). Addresses in the settings are not used.
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
    let id = settings.id();
    let (give, given) = sync_channel::<(Driver, Vec<Worker>)>(1);
    let thread = thread::Builder::new().name(format!("raft-{id}-loop"));
    // Whoever waits for the end is told by the thread itself.
    let spawned = thread.spawn(move || {
        // It is given nothing if the node does not start.
        if let Ok((driver, workers)) = given.recv() {
            let ending = run(driver);
            drop(workers);
            ending.join();
        }
    });
    let thread = spawned.map_err(NodeError::Thread)?.thread().clone();
    let notify = Arc::new(move || thread.unpark());
    let driver = Driver::start(settings, storage, machine, notify, send)?;
    let handle = driver.blocking_handle();
    let workers = network(&driver).map_err(NodeError::Thread)?;
    give.send((driver, workers)).map_err(|_| NodeError::ThreadGone)?;
    Ok(Node::new(id, handle))
}

/// Gives the node its turns until it stops.
fn run(mut driver: Driver) -> Ending {
    loop {
        match driver.turn() {
            Next::Stopped(result) => return driver.close(result),
            Next::Again => thread::yield_now(),
            Next::Wait(None) => thread::park(),
            Next::Wait(Some(timeout)) => thread::park_timeout(timeout),
        }
    }
}
