//! How the suites start and stop nodes on threads.

use conformance_tests::real::{Bootstrap, NodeNetwork, NodeSpec};
use raft_node::{Handle, NodeError};
use raft_sync::{Node, start, start_on_network};

/// Nodes on threads of their own.
pub(crate) struct Threads;

impl Bootstrap for Threads {
    type Node = Node;

    fn start(&self, spec: NodeSpec) -> Result<Node, NodeError> {
        let NodeSpec { settings, storage, machine, network } = spec;
        match network {
            NodeNetwork::Tcp => start(settings, storage, machine),
            NodeNetwork::InProcess(send) => start_on_network(settings, storage, machine, send),
        }
    }

    fn handle(node: &Node) -> Handle {
        Handle::from(&node.handle())
    }

    fn stop(&self, node: Node) {
        node.shutdown().expect("the node stops without a failure");
    }

    fn kill(&self, node: Node) {
        // A node that was crashed by the suite may report the failure of its storage.
        let _ = node.kill();
    }
}
