//! How the suites start and stop nodes of this adapter.

use conformance_tests::real::{Bootstrap, NodeNetwork, NodeSpec};
use own_adapter::{Handle, start, start_on_network};
use raft_node::NodeError;

pub(crate) struct Own;

impl Bootstrap for Own {
    type Node = Handle;

    fn start(&self, spec: NodeSpec) -> Result<Handle, NodeError> {
        let NodeSpec { settings, storage, machine, network } = spec;
        match network {
            NodeNetwork::Tcp => start(&settings, storage, machine),
            NodeNetwork::InProcess(send) => start_on_network(&settings, storage, machine, send),
        }
    }

    fn handle(node: &Handle) -> raft_node::Handle {
        node.into()
    }

    fn stop(&self, node: Handle) {
        node.client().stop();
        node.stopped().expect("the node stops without a failure");
    }

    fn kill(&self, node: Handle) {
        node.client().kill();
        // A node that was crashed by the suite may report the failure of its storage.
        let _ = node.stopped();
    }

    fn abandon(&self, node: Handle) {
        node.client().stop();
    }
}
