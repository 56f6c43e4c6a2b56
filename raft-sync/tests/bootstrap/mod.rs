//! How the suite starts and stops nodes on threads.

use conformance_tests::real::{Bootstrap, NodeNetwork, NodeSpec};
use raft_node::{Client, NodeError};
use raft_sync::{Handle, Node};

/// Nodes on threads of their own.
pub(crate) struct Threads;

impl Bootstrap for Threads {
    type Node = (Node, Handle);

    fn start(&self, spec: NodeSpec) -> Result<Self::Node, NodeError> {
        let NodeSpec { settings, storage, machine, network } = spec;
        let node = match network {
            NodeNetwork::Tcp => Node::start(settings, storage, machine),
            NodeNetwork::InProcess(send) => {
                Node::start_on_network(settings, storage, machine, send)
            }
        }?;
        let handle = node.handle();
        Ok((node, handle))
    }

    fn client(node: &Self::Node) -> &Client {
        node.1.client()
    }

    fn stop(&self, (node, _): Self::Node) {
        node.shutdown().expect("the node stops without a failure");
    }

    fn kill(&self, (node, _): Self::Node) {
        // A node that was crashed by the suite may report the failure of its storage.
        let _ = node.kill();
    }
}
