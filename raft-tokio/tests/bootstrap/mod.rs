//! How the suites start and stop nodes on tokio.

use conformance_tests::process::in_polls;
use conformance_tests::real::{Bootstrap, NodeNetwork, NodeSpec};
use raft_node::NodeError;
use raft_tokio::{Handle, Node, start_on_network};
use tokio::runtime::{Builder, Runtime};

/// Nodes on a runtime with so many threads.
pub(crate) struct Tokio(Runtime);

impl Tokio {
    pub(crate) fn new(threads: usize) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build();
        Self(runtime.expect("a runtime"))
    }
}

async fn start(spec: NodeSpec) -> Result<Node, NodeError> {
    let NodeSpec { settings, storage, machine, network } = spec;
    match network {
        NodeNetwork::Tcp => raft_tokio::start(settings, storage, machine).await,
        NodeNetwork::InProcess(send) => start_on_network(settings, storage, machine, send).await,
    }
}

impl Bootstrap for Tokio {
    type Node = Node;

    fn start(&self, spec: NodeSpec) -> Result<Node, NodeError> {
        self.0.block_on(start(spec))
    }

    fn handle(node: &Node) -> Handle {
        node.handle()
    }

    fn stop(&self, node: Node) {
        self.0.block_on(node.shutdown()).expect("the node stops without a failure");
    }

    fn kill(&self, node: Node) {
        // A node that was crashed by the suite may report the failure of its storage.
        let _ = self.0.block_on(node.kill());
    }

    fn start_in_part(&self, spec: NodeSpec, polls: usize) -> bool {
        let _context = self.0.enter();
        in_polls(polls, start(spec)).is_some_and(|started| started.is_ok())
    }

    fn tasks(&self) -> usize {
        self.0.metrics().num_alive_tasks()
    }
}
