//! Clusters whose nodes run on different runtimes: whoever speaks the protocol is a member like any
//! other.

#[path = "../../raft-async-std/tests/bootstrap/mod.rs"]
mod async_io;
#[path = "../../raft-sync/tests/bootstrap/mod.rs"]
mod threads;
#[path = "../../raft-tokio/tests/bootstrap/mod.rs"]
mod tokio;

use conformance_tests::real::{Bootstrap, NodeSpec};
use conformance_tests::{real_tests, suite};
use raft_async_std::Executor;
use raft_node::{Handle, NodeError};

use self::async_io::On;
use self::threads::Threads;
use self::tokio::Tokio;

/// Four runtimes; a node is on the one that its number says, in all its lives.
struct Mixed {
    tokio: Tokio,
    async_std: On,
    smol: On,
    threads: Threads,
}

enum Node {
    Tokio(<Tokio as Bootstrap>::Node),
    AsyncStd(<On as Bootstrap>::Node),
    Smol(<On as Bootstrap>::Node),
    Threads(<Threads as Bootstrap>::Node),
}

impl Mixed {
    fn new() -> Self {
        Self {
            tokio: Tokio::new(2),
            async_std: On::from(Executor::async_std()),
            smol: On::from(Executor::smol()),
            threads: Threads,
        }
    }
}

impl Bootstrap for Mixed {
    type Node = Node;

    fn start(&self, spec: NodeSpec) -> Result<Node, NodeError> {
        match spec.settings.id().get() % 4 {
            0 => self.tokio.start(spec).map(Node::Tokio),
            1 => self.async_std.start(spec).map(Node::AsyncStd),
            2 => self.smol.start(spec).map(Node::Smol),
            _ => self.threads.start(spec).map(Node::Threads),
        }
    }

    fn handle(node: &Node) -> Handle {
        match node {
            Node::Tokio(node) => Tokio::handle(node),
            Node::AsyncStd(node) | Node::Smol(node) => On::handle(node),
            Node::Threads(node) => Threads::handle(node),
        }
    }

    fn stop(&self, node: Node) {
        match node {
            Node::Tokio(node) => self.tokio.stop(node),
            Node::AsyncStd(node) => self.async_std.stop(node),
            Node::Smol(node) => self.smol.stop(node),
            Node::Threads(node) => self.threads.stop(node),
        }
    }

    fn kill(&self, node: Node) {
        match node {
            Node::Tokio(node) => self.tokio.kill(node),
            Node::AsyncStd(node) => self.async_std.kill(node),
            Node::Smol(node) => self.smol.kill(node),
            Node::Threads(node) => self.threads.kill(node),
        }
    }
}

suite!(over_tcp, Mixed::new());

/// The scenarios in which nodes crash, are cut off and come back all the time.
mod in_process {
    use super::*;

    real_tests!(InProcess, Mixed::new();
        reliable_churn_2c 5,
        unreliable_churn_2c 5,
        linearizable_clients_partitions 5,
        linearizable_clients_crashes 5,
        linearizable_clients_leases 5,
        persist_partition_unreliable_linearizable_3a 7,
        snapshot_unreliable_recover_concurrent_partition_linearizable_3b 7,
        replace_every_node 6,
        rolling_restart 5,
    );
}
