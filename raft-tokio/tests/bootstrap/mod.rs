//! How the suite starts and stops nodes on tokio.

use conformance_tests::real::{Bootstrap, NodeNetwork, NodeSpec};
use raft_node::{Client, NodeError};
use raft_tokio::{Handle, Node};
use tokio::runtime::{Builder, Runtime};

/// Nodes on a runtime with two threads.
pub(crate) struct Tokio(Runtime);

impl Tokio {
    pub(crate) fn new() -> Self {
        Self(Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"))
    }
}

impl Bootstrap for Tokio {
    type Node = (Node, Handle);

    fn start(&self, spec: NodeSpec) -> Result<Self::Node, NodeError> {
        let NodeSpec { settings, storage, machine, network } = spec;
        let node = self.0.block_on(async {
            match network {
                NodeNetwork::Tcp => Node::start(settings, storage, machine).await,
                NodeNetwork::InProcess(send) => {
                    Node::start_on_network(settings, storage, machine, send).await
                }
            }
        })?;
        let handle = node.handle();
        Ok((node, handle))
    }

    fn client(node: &Self::Node) -> &Client {
        node.1.client()
    }

    fn stop(&self, (node, _): Self::Node) {
        self.0.block_on(node.shutdown()).expect("the node stops without a failure");
    }

    fn kill(&self, (node, _): Self::Node) {
        // A node that was crashed by the suite may report the failure of its storage.
        let _ = self.0.block_on(node.kill());
    }
}
