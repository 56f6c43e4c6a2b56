//! The conformance suite on this adapter: in one process, and over TCP with storage in files.

use conformance_tests::real::{Bootstrap, NodeNetwork, NodeSpec};
use conformance_tests::suite;
use own_adapter::{Handle, start, start_on_network};
use raft_node::{Client, NodeError};

struct Own;

impl Bootstrap for Own {
    type Node = Handle;

    fn start(&self, spec: NodeSpec) -> Result<Handle, NodeError> {
        let NodeSpec { settings, storage, machine, network } = spec;
        match network {
            NodeNetwork::Tcp => start(&settings, storage, machine),
            NodeNetwork::InProcess(send) => start_on_network(&settings, storage, machine, send),
        }
    }

    fn client(node: &Handle) -> &Client {
        node.client()
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
}

suite!(in_process, Own);
suite!(over_tcp, Own);
