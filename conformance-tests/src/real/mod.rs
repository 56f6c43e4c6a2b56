//! The suite on real nodes: real threads or tasks, real timers, and a network that the suite can
//! cut.

mod cluster;
mod network;
pub(crate) mod proxy;
mod recorded;
mod store;

use raft_node::core::Message;
use raft_node::{Handle, NodeError, Settings, StateMachine, Storage};

pub use cluster::RealCluster;
pub use proxy::{Flow, Proxy, Way};

/// How to start and stop a node on the runtime under test: all that an adapter has to bring.
pub trait Bootstrap {
    /// A running node. Dropping it stops it, without waiting for that.
    type Node;

    /// Starts a node.
    ///
    /// # Errors
    /// What the adapter says.
    fn start(&self, spec: NodeSpec) -> Result<Self::Node, NodeError>;

    /// What clients of the node hold. One for threads gives one for tasks, which can be waited for
    /// without a runtime.
    fn handle(node: &Self::Node) -> Handle;

    /// Stops a node as an operator does ([`Client::stop`](raft_node::Client::stop)) and waits until it has: its port is free
    /// and its threads have ended.
    fn stop(&self, node: Self::Node);

    /// The same at once ([`Client::kill`](raft_node::Client::kill)): nothing is handed over.
    fn kill(&self, node: Self::Node);

    /// Begins to start a node and gives that up: an adapter in which starting is a future polls it
    /// so many times ([`in_polls`](crate::process::in_polls)) and drops it, and with it the node if
    /// it was ready, and says whether it was. In any other adapter there is nothing to give up.
    fn start_in_part(&self, spec: NodeSpec, polls: usize) -> bool {
        let _ = (spec, polls);
        true
    }

    /// How many tasks are alive on the runtime, on one that can tell and runs nothing else.
    fn tasks(&self) -> usize {
        0
    }
}

/// A node to be started.
pub struct NodeSpec {
    /// Its place in the cluster.
    pub settings: Settings,
    /// Its log and its snapshots.
    pub storage: Storage,
    /// Its state machine.
    pub machine: Box<dyn StateMachine>,
    /// What carries its messages.
    pub network: NodeNetwork,
}

/// What carries the messages of a node.
pub enum NodeNetwork {
    /// The adapter's own sockets, at the addresses of the settings.
    Tcp,
    /// The suite: give it every message that the node sends, and pass what arrives to
    /// [`Client::deliver`](raft_node::Client::deliver).
    InProcess(Box<dyn FnMut(Message) + Send>),
}

/// What a real cluster runs on besides the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Substance {
    /// Storage in memory, and a network inside the process that loses, delays and reorders.
    InProcess,
    /// Storage in files, and TCP over loopback through proxies that can be cut.
    FilesAndTcp,
}

/// Defines one test for each scenario, on one adapter: `in_process` on a network inside the
/// process, `over_tcp` with storage in files and TCP links that can be cut.
///
/// ```text
/// conformance_tests::suite!(in_process, MyBootstrap::new());
/// conformance_tests::suite!(over_tcp, MyBootstrap::new());
/// ```
#[macro_export]
macro_rules! suite {
    (in_process, $bootstrap:expr) => {
        mod in_process {
            use super::*;
            use $crate::real_tests;
            $crate::for_each_scenario!(real_tests!(InProcess, $bootstrap;));
        }
    };
    (over_tcp, $bootstrap:expr) => {
        mod over_tcp {
            use super::*;
            use $crate::real_tests;
            $crate::for_each_scenario_over_tcp!(real_tests!(FilesAndTcp, $bootstrap;));
        }
    };
}

/// The body of [`suite!`].
#[doc(hidden)]
#[macro_export]
macro_rules! real_tests {
    ($substance:ident, $bootstrap:expr; $($name:ident $size:literal,)*) => {$(
        #[test]
        fn $name() {
            let substance = $crate::real::Substance::$substance;
            $crate::scenarios::$name($crate::real::RealCluster::new($bootstrap, substance, $size));
        }
    )*};
}
