//! Starting, asking, stopping, starting again.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use conformance_tests::process::{PATIENCE, free_address};
use raft_node::core::{LogIndex, NodeId, RoleKind};
use raft_node::{FrozenState, StateMachine, Storage, StoreError};
use raft_tokio::{Node, NodeError, Settings};
use tokio::runtime::Builder;
use tokio::{task, time};

use crate::cluster::{
    Counter, cluster, eventually, follower, in_agreement, in_time, is_leader, leader, places,
    propose, read,
};

const ELECTION: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_takes_commands_and_answers_linearizable_reads() {
    let places = cluster(3, ELECTION).await;
    for round in 0..5 {
        for (nth, place) in places.iter().enumerate() {
            let count = propose(&place.handle()).await;
            assert_eq!(count, round * 3 + nth as u64 + 1);
            for reader in &places {
                assert_eq!(read(&reader.handle()).await, count);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_restarted_catches_up() {
    let mut places = cluster(3, ELECTION).await;
    let leader = leader(&places).await;
    let follower = follower(&places, leader);
    propose(&places[leader].handle()).await;
    places[follower].stop().await;
    for _ in 0..100 {
        propose(&places[leader].handle()).await;
    }
    places[follower].start().await;
    assert_eq!(read(&places[follower].handle()).await, 101);
    in_agreement(&places).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_was_stopped_comes_back_with_all_it_had() {
    let directory = tempfile::tempdir().unwrap();
    let places = places(3, ELECTION);
    for life in 0..2 {
        let mut nodes = Vec::new();
        for place in &places {
            let storage = Storage::open(directory.path().join(place.settings.id().to_string()));
            let start =
                Node::start(place.settings.clone(), storage.unwrap(), place.machine.clone());
            let node = start.await;
            nodes.push(node.unwrap());
        }
        for node in &nodes {
            propose(&node.handle()).await;
        }
        assert_eq!(read(&nodes[1].handle()).await, 3 + 3 * life);
        for node in nodes {
            in_time("a shutdown", node.shutdown()).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_see_a_leader_come_and_another_one_follow() {
    let mut places = cluster(3, ELECTION).await;
    let first = leader(&places).await;
    let watcher = follower(&places, first);
    let watched = places[watcher].handle();
    let known = watched.wait_for_leadership(|now| now.leader.is_some());
    let before = in_time("a leader", known).await.unwrap();
    assert_eq!(watched.leadership(), before);
    assert_eq!(before.leader, Some(places[first].settings.id()));
    assert_ne!(before.role, RoleKind::Leader);

    places[first].stop().await;
    let other = |now: &raft_tokio::Leadership| {
        now.term > before.term && now.leader.is_some() && now.leader != before.leader
    };
    let after = in_time("another leader", watched.wait_for_leadership(other)).await.unwrap();
    let second = leader(&places).await;
    assert!(after.term <= places[second].status().await.term);
}

/// The node's loop must not wait for a client that takes its time to look at the news.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_is_slow_to_look_holds_nobody_up() {
    let mut places = places(1, ELECTION);
    places[0].start().await;
    let handle = places[0].handle();
    let (answered, answer) = channel();
    let proposer = handle.clone();
    task::spawn(async move { answered.send(propose(&proposer).await) });
    let slow = handle.wait_for_leadership(|now| {
        if now.leader.is_none() {
            // Meanwhile the node becomes the leader, tells so, and answers.
            assert_eq!(answer.recv_timeout(PATIENCE), Ok(1));
        }
        now.leader.is_some()
    });
    let leader = in_time("a leader", slow).await.unwrap().leader;
    assert_eq!(leader, Some(places[0].settings.id()));
    assert!(handle.membership().is_voter(places[0].settings.id()));
}

/// A machine that does not know at once what it has applied.
struct Thoughtful {
    machine: Counter,
    known: Arc<Mutex<Receiver<()>>>,
}

impl StateMachine for Thoughtful {
    fn apply(&mut self, index: LogIndex, command: Bytes) -> Bytes {
        self.machine.apply(index, command)
    }

    fn query(&self, query: Bytes) -> Bytes {
        self.machine.query(query)
    }

    fn snapshot(&self) -> FrozenState {
        self.machine.snapshot()
    }

    fn restore(&mut self, index: LogIndex, state: &mut dyn Read) -> io::Result<()> {
        self.machine.restore(index, state)
    }

    fn applied(&self) -> LogIndex {
        self.known.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        LogIndex::ZERO
    }
}

/// Reading back what the storage and the machine hold may take long. This runtime has one thread.
#[tokio::test]
async fn a_slow_start_leaves_the_runtime_to_others() {
    let place = places(1, ELECTION).remove(0);
    let (tell, known) = channel();
    let known = Arc::new(Mutex::new(known));
    task::spawn(async move {
        // Once for the node and once for the thread of the machine.
        tell.send(()).unwrap();
        tell.send(()).unwrap();
    });
    let machine = Thoughtful { machine: Counter::default(), known };
    let node = Node::start(place.settings, Storage::in_memory(), machine).await.unwrap();
    assert_eq!(propose(&node.handle()).await, 1);
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_that_names_it() {
    let mut places = places(1, ELECTION);
    places[0].start().await;
    let again =
        Node::start(places[0].settings.clone(), Storage::in_memory(), Counter::default()).await;
    match again.unwrap_err() {
        NodeError::Listen { address, .. } => assert_eq!(address, places[0].address),
        other => panic!("{other:?}"),
    }
    propose(&places[0].handle()).await;
}

#[tokio::test]
async fn a_node_without_an_address_does_not_start() {
    let settings = Settings::new(NodeId::new(1));
    let refused = Node::start(settings, Storage::in_memory(), Counter::default()).await;
    assert!(matches!(refused, Err(NodeError::NoAddress { id }) if id == NodeId::new(1)));
}

#[tokio::test]
async fn settings_that_make_no_sense_leave_the_port_free() {
    let address = free_address();
    let settings = Settings::new(NodeId::new(1)).peer(NodeId::new(1), address.clone());
    let senseless = settings.clone().election_timeout(Duration::ZERO);
    let refused = Node::start(senseless, Storage::in_memory(), Counter::default()).await;
    assert!(matches!(refused, Err(NodeError::Config(_))));
    let node = Node::start(settings, Storage::in_memory(), Counter::default()).await.unwrap();
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_data_directory_has_one_node_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let place = places(1, ELECTION).remove(0);
    let storage = Storage::open(directory.path()).unwrap();
    let node = Node::start(place.settings, storage, Counter::default()).await.unwrap();
    propose(&node.handle()).await;
    assert!(matches!(Storage::open(directory.path()), Err(StoreError::InUse { .. })));
    node.shutdown().await.unwrap();
    Storage::open(directory.path()).unwrap();
}

/// Runs on a runtime of its own, whose one thread sleeps for as long as nothing happens.
#[test]
fn an_idle_single_node_never_wakes_up() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut places = places(1, ELECTION);
        places[0].start().await;
        assert_eq!(propose(&places[0].handle()).await, 1);
        eventually("it leads and is idle", || is_leader(&places[0])).await;
        let metrics = runtime.metrics();
        let before = metrics.worker_park_count(0);
        time::sleep(Duration::from_secs(1)).await;
        let naps = metrics.worker_park_count(0) - before;
        // This test's own timer may need a few.
        assert!(naps < 20, "the runtime woke up {naps} times");
    });
}
