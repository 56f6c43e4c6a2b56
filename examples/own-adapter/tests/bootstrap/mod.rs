//! How the suites start and stop nodes of this adapter.

use conformance_tests::real::{Bootstrap, NodeNetwork, NodeSpec};
use own_adapter::{Node, start, start_on_network};
use raft_node::NodeError;

pub(crate) struct Own;

impl Bootstrap for Own {
    type Node = Node;

    fn start(&self, spec: NodeSpec) -> Result<Node, NodeError> {
        let NodeSpec { settings, storage, machine, network } = spec;
        match network {
            NodeNetwork::Tcp => start(&settings, storage, machine),
            NodeNetwork::InProcess(send) => start_on_network(&settings, storage, machine, send),
        }
    }

    fn handle(node: &Node) -> raft_node::Handle {
        (&node.handle()).into()
    }

    fn stop(&self, node: Node) {
        node.shutdown().expect("the node stops without a failure");
    }

    fn kill(&self, node: Node) {
        // A node that was crashed by the suite may report the failure of its storage.
        let _ = node.kill();
    }
}
