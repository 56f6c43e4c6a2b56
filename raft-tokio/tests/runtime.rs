//! What is this adapter's own: how it treats the runtime.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use conformance_tests::process::{Echo, PATIENCE};
use raft_node::core::{LogIndex, NodeId};
use raft_node::{FrozenState, StateMachine, Storage};
use raft_tokio::{Settings, start_on_network};
use tokio::task;

/// A machine that does not know at once what it has applied.
struct Thoughtful(Arc<Mutex<Receiver<()>>>);

impl StateMachine for Thoughtful {
    fn apply(&mut self, index: LogIndex, command: Bytes) -> Bytes {
        Echo.apply(index, command)
    }

    fn query(&self, query: Bytes) -> Bytes {
        query
    }

    fn snapshot(&self) -> FrozenState {
        Echo.snapshot()
    }

    fn restore(&mut self, _: LogIndex, _: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }

    fn applied(&self) -> LogIndex {
        self.0.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        LogIndex::ZERO
    }
}

/// Reading back what the storage and the machine hold may take long. This runtime has one thread.
#[tokio::test]
async fn a_slow_start_leaves_the_runtime_to_others() {
    let (tell, known) = channel();
    task::spawn(async move {
        // Once for the node and once for the thread of the machine.
        tell.send(()).unwrap();
        tell.send(()).unwrap();
    });
    let machine = Thoughtful(Arc::new(Mutex::new(known)));
    let settings = Settings::new(NodeId::new(1)).peer(NodeId::new(1), "");
    let start = start_on_network(settings, Storage::in_memory(), machine, drop);
    start.await.unwrap().shutdown().await.unwrap();
}
