//! What adapters are made of: the driver, the handles, both ends of a connection.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::panic, reason = "tests panic to fail")]

mod handles;
mod links;
mod recordings;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use conformance_tests::process::{Echo, PATIENCE};
use raft_node::core::NodeId;
use raft_node::{Driver, Next, Notifier, Settings, Storage};

/// A notifier, and what it notifies.
fn bell() -> (Notifier, Receiver<()>) {
    let (ring, rung): (Sender<()>, _) = channel();
    let ring = Mutex::new(ring);
    let notify = Arc::new(move || {
        // Nobody may be there to hear it.
        let _ = ring.lock().unwrap().send(());
    });
    (notify, rung)
}

/// The settings of a node of a cluster of so many.
fn founded(id: u64, voters: u64) -> Settings {
    let settings = Settings::new(NodeId::new(id)).election_timeout(Duration::from_millis(50));
    (1..=voters).fold(settings, |settings, voter| {
        settings.peer(NodeId::new(voter), format!("node-{voter}"))
    })
}

/// A node of a cluster of so many, without a network.
fn driver(id: u64, voters: u64) -> (Driver, Receiver<()>) {
    let (notify, rung) = bell();
    let driver =
        Driver::start(&founded(id, voters), Storage::in_memory(), Echo, notify, drop).unwrap();
    (driver, rung)
}

/// The loop of an adapter, on a thread.
fn run(mut driver: Driver, rung: Receiver<()>) -> JoinHandle<()> {
    thread::spawn(move || {
        loop {
            match driver.turn() {
                Next::Again => thread::yield_now(),
                Next::Wait(None) => rung.recv().unwrap(),
                Next::Wait(Some(timeout)) => drop(rung.recv_timeout(timeout)),
                Next::Stopped(result) => return driver.close(result).join(),
            }
        }
    })
}
