//! How the suites start and stop nodes on an executor.

use std::pin::Pin;
use std::sync::Arc;

use conformance_tests::process::in_polls;
use conformance_tests::real::{Bootstrap, NodeNetwork, NodeSpec};
use futures_lite::future::block_on;
use raft_async_std::{Executor, Handle, Node, start_on_network};
use raft_node::NodeError;

/// Nodes on an executor.
pub(crate) struct On {
    executor: Executor,
    /// Each task that is counted has one of these.
    alive: Arc<()>,
}

impl From<Executor> for On {
    fn from(executor: Executor) -> Self {
        Self { executor, alive: Arc::default() }
    }
}

#[allow(dead_code, reason = "most test files do not count tasks")]
impl On {
    /// Nodes on the executor to which this gives its tasks, which are counted.
    pub(crate) fn counting(spawn: fn(Pin<Box<dyn Future<Output = ()> + Send>>)) -> Self {
        let alive = Arc::new(());
        let one_more = Arc::downgrade(&alive);
        let executor = Executor::new(move |task| {
            let alive = one_more.upgrade();
            spawn(Box::pin(async move {
                task.await;
                drop(alive);
            }));
        });
        Self { executor, alive }
    }
}

async fn start(executor: Executor, spec: NodeSpec) -> Result<Node, NodeError> {
    let NodeSpec { settings, storage, machine, network } = spec;
    match network {
        NodeNetwork::Tcp => raft_async_std::start(executor, settings, storage, machine).await,
        NodeNetwork::InProcess(send) => {
            start_on_network(executor, settings, storage, machine, send).await
        }
    }
}

impl Bootstrap for On {
    type Node = Node;

    fn start(&self, spec: NodeSpec) -> Result<Node, NodeError> {
        block_on(start(self.executor.clone(), spec))
    }

    fn handle(node: &Node) -> Handle {
        node.handle()
    }

    fn stop(&self, node: Node) {
        block_on(node.shutdown()).expect("the node stops without a failure");
    }

    fn kill(&self, node: Node) {
        // A node that was crashed by the suite may report the failure of its storage.
        let _ = block_on(node.kill());
    }

    fn start_in_part(&self, spec: NodeSpec, polls: usize) -> bool {
        let started = in_polls(polls, start(self.executor.clone(), spec));
        started.is_some_and(|started| started.is_ok())
    }

    fn tasks(&self) -> usize {
        Arc::strong_count(&self.alive) - 1
    }
}
