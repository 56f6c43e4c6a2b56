//! The loop of a node.

use std::io;
use std::thread;
use std::time::Instant;

use raft_node::blocking::Node;
use raft_node::core::Message;
use raft_node::{Driver, Ending, Next, NodeError, Outbound, Settings, StateMachine, Storage};

use crate::dial::Links;
use crate::listen::{Listener, bind};
use crate::watch::Watch;

/// Starts a node whose peers are reached over TCP: it listens before this returns. It blocks while
/// all of the newest snapshot is read. Addresses of peers have to be numbers, such as
/// `10.0.0.1:7100`: a name is never reached.
///
/// # Errors
/// The settings make no sense, the store is damaged, the address is taken.
pub fn start(
    settings: &Settings,
    storage: Storage,
    machine: impl StateMachine,
) -> Result<Node, NodeError> {
    let (socket, outbound) = (bind(settings)?, Outbound::default());
    let send = outbound.sender();
    launch(settings, storage, machine, send, |driver, watch| {
        let listener = Listener::new(socket, driver.reception(), watch)?;
        Ok(Some((listener, Links::new(driver.peers().clone(), outbound, watch))))
    })
}

/// Starts a node on a network of your own: `send` is given every message for a peer and must not
/// block; pass what arrives to [`Handle::deliver`](crate::Handle::deliver). Addresses in the settings
/// are not used.
///
/// # Errors
/// The settings make no sense or the store is damaged.
pub fn start_on_network(
    settings: &Settings,
    storage: Storage,
    machine: impl StateMachine,
    send: impl FnMut(Message) + Send + 'static,
) -> Result<Node, NodeError> {
    launch(settings, storage, machine, send, |_, _| Ok(None))
}

type Network = Option<(Listener, Links)>;

fn launch(
    settings: &Settings,
    storage: Storage,
    machine: impl StateMachine,
    send: impl FnMut(Message) + Send + 'static,
    network: impl FnOnce(&Driver, &mut Watch) -> io::Result<Network>,
) -> Result<Node, NodeError> {
    let mut watch = Watch::new().map_err(NodeError::Thread)?;
    let driver = Driver::start(settings, storage, machine, watch.notifier(), send)?;
    let network = match network(&driver, &mut watch) {
        Ok(network) => network,
        Err(error) => {
            driver.close(Ok(())).join();
            return Err(NodeError::Thread(error));
        }
    };
    let handle = driver.blocking_handle();
    let thread = thread::Builder::new().name(format!("raft-{}-loop", settings.id()));
    let spawned = thread.spawn(move || run(driver, watch, network).join());
    // Whoever waits for the end is told by the thread itself.
    spawned.map(drop).map_err(NodeError::Thread)?;
    Ok(Node::new(settings.id(), handle))
}

/// Gives the node its turns, and moves its bytes, until it stops.
fn run(mut driver: Driver, mut watch: Watch, mut network: Network) -> Ending {
    loop {
        if let Some((listener, _)) = &mut network {
            listener.hear(&mut watch);
        }
        match driver.turn() {
            // The sockets end with this function, before anybody is told that the node has.
            Next::Stopped(result) => return driver.close(result),
            Next::Again => watch.wait_until(Some(Instant::now())),
            Next::Wait(wait) => {
                watch.wait_until(wait.and_then(|wait| Instant::now().checked_add(wait)));
            }
        }
        if let Some((_, links)) = &mut network {
            links.speak(&mut watch);
        }
        for news in watch.wait() {
            if let Some((listener, links)) = &mut network {
                listener.hear_of(news);
                links.hear_of(news);
            }
        }
    }
}
