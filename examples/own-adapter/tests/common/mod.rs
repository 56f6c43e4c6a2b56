//! What all tests of this crate share.

use std::io::{self, Read};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::Bytes;
use raft_node::core::{LogIndex, NodeId};
use raft_node::{FrozenState, Settings, StateMachine};

/// How long a test waits for something before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Echo;

impl StateMachine for Echo {
    fn apply(&mut self, _: LogIndex, command: Bytes) -> Bytes {
        command
    }

    fn query(&self, query: Bytes) -> Bytes {
        query
    }

    fn snapshot(&self) -> FrozenState {
        Box::new(|_| Ok(()))
    }

    fn restore(&mut self, _: LogIndex, _: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }
}

/// An address on the loopback interface, below the ports that the system gives to outgoing
/// connections, so that nobody takes it while its node is down.
pub(crate) fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 10_000 + (std::process::id() % 20_000) as u16;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        let address = format!("127.0.0.1:{port}");
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// A node of a cluster at these addresses; the first is that of node 1.
pub(crate) fn settings(id: u64, addresses: &[String]) -> Settings {
    let settings = Settings::new(NodeId::new(id)).election_timeout(Duration::from_millis(60));
    (1..).zip(addresses).fold(settings, |settings, (peer, address)| {
        settings.peer(NodeId::new(peer), address.clone())
    })
}
