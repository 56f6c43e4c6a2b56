//! A replicated counter: three nodes in one process, which keep what they know below the system's
//! directory for temporary files. A second run goes on counting. With the argument `smol` it runs on
//! smol, else on async-std.

use std::error::Error;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use raft_async_std::{Executor, Settings, start};
use raft_node::core::{LogIndex, NodeId};
use raft_node::{FrozenState, StateMachine, Storage};

#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    fn apply(&mut self, _index: LogIndex, _command: Bytes) -> Bytes {
        self.0 += 1;
        Bytes::from(self.0.to_string())
    }

    fn query(&self, _query: Bytes) -> Bytes {
        Bytes::from(self.0.to_string())
    }

    fn snapshot(&self) -> FrozenState {
        let count = self.0;
        Box::new(move |to| to.write_all(&count.to_le_bytes()))
    }

    fn restore(&mut self, _index: LogIndex, state: &mut dyn Read) -> io::Result<()> {
        let mut count = [0; 8];
        state.read_exact(&mut count)?;
        self.0 = u64::from_le_bytes(count);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let addresses = [7201, 7202, 7203].map(|port| format!("127.0.0.1:{port}"));
    let directory = std::env::temp_dir().join("raft-counter");
    let count = if std::env::args().any(|argument| argument == "smol") {
        smol::block_on(count(Executor::smol(), &directory, &addresses))
    } else {
        async_std::task::block_on(count(Executor::async_std(), &directory, &addresses))
    };
    println!("counted to {}", count?);
    Ok(())
}

/// Starts a node at each of these addresses, counts once, and stops them. Returns the count.
pub(crate) async fn count(
    executor: Executor,
    directory: &Path,
    addresses: &[String],
) -> Result<String, Box<dyn Error>> {
    let ids = (1..).map(NodeId::new);
    let mut nodes = Vec::new();
    for id in ids.clone().take(addresses.len()) {
        // Nodes on one machine need not wait long for each other.
        let mut settings = Settings::new(id).election_timeout(Duration::from_millis(300));
        for (peer, address) in ids.clone().zip(addresses) {
            settings = settings.peer(peer, address);
        }
        let place = directory.join(format!("node-{id}"));
        // Opening reads all of the log.
        let storage = smol::unblock(|| Storage::open(place)).await?;
        nodes.push(start(executor.clone(), settings, storage, Counter::default()).await?);
    }

    for node in &nodes {
        node.handle().wait_for_leadership(|now| now.leader.is_some()).await?;
    }

    // Any node will do: a follower passes the command on.
    let count = nodes[0].handle().propose("increment").await?;
    // So it is with reads, and they reflect all that was answered before.
    assert_eq!(nodes[1].handle().read("").await?, count);

    for node in nodes {
        node.shutdown().await?;
    }
    Ok(String::from_utf8(count.to_vec())?)
}
