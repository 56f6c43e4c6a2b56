//! A replicated counter: three nodes in one process, each with a directory of its own
//! below the system's directory for temporary files. A second run goes on counting, with `smol` as
//! an argument on smol.

use std::io::{self, Read};

use bytes::Bytes;
use raft_async_std::{Executor, Node, Settings};
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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().any(|argument| argument == "smol") {
        return smol::block_on(count(Executor::smol()));
    }
    async_std::task::block_on(count(Executor::async_std()))
}

async fn count(executor: Executor) -> Result<(), Box<dyn std::error::Error>> {
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let settings = (1..=3).fold(Settings::new(NodeId::new(id)), |settings, peer| {
            settings.peer(NodeId::new(peer), format!("127.0.0.1:{}", 7200 + peer))
        });
        let storage = Storage::open(std::env::temp_dir().join(format!("raft-counter-{id}")))?;
        nodes.push(Node::start(executor.clone(), settings, storage, Counter::default()).await?);
    }

    for node in &nodes {
        node.handle().wait_for_leadership(|now| now.leader.is_some()).await?;
    }

    // Any node will do: a follower passes the command on.
    let answer = nodes[0].handle().propose("increment").await?;
    println!("after one increment: {}", String::from_utf8_lossy(&answer));
    println!("read at node 2: {:?}", nodes[1].handle().read("").await?);

    for node in nodes {
        node.shutdown().await?;
    }
    Ok(())
}
