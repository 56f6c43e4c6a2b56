//! What the suites on both executors share.

use conformance_tests::real::{Bootstrap, NodeNetwork, NodeSpec};
use futures_lite::future::block_on;
use raft_async_std::{Executor, Handle, Node};
use raft_node::{Client, NodeError};

/// Nodes on an executor.
pub(crate) struct On(pub(crate) Executor);

impl Bootstrap for On {
    type Node = (Node, Handle);

    fn start(&self, spec: NodeSpec) -> Result<Self::Node, NodeError> {
        let NodeSpec { settings, storage, machine, network } = spec;
        let executor = self.0.clone();
        let node = block_on(async {
            match network {
                NodeNetwork::Tcp => Node::start(executor, settings, storage, machine).await,
                NodeNetwork::InProcess(send) => {
                    Node::start_on_network(executor, settings, storage, machine, send).await
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
        block_on(node.shutdown()).expect("the node stops without a failure");
    }

    fn kill(&self, (node, _): Self::Node) {
        // A node that was crashed by the suite may report the failure of its storage.
        let _ = block_on(node.kill());
    }
}
