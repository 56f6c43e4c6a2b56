//! A node takes no more than it needs, and leaves nothing behind. This test has a process for
//! itself, because it counts what the process has.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::thread;
use std::time::{Duration, Instant};

use conformance_tests::process::{
    Echo, PATIENCE, free_address, open_files, settings, threads, until_all_sleep,
};
use own_adapter::start;
use raft_node::core::NodeId;
use raft_node::{RequestError, Storage};

/// One life of a cluster of two, which is stopped at once or in the middle of its work. Clients keep
/// their handles until the end.
fn live(round: u32, files: usize) {
    let directory = tempfile::tempdir().unwrap();
    let addresses = [free_address(), free_address()];
    let nodes = [1, 2].map(|id| {
        let storage = Storage::open(directory.path().join(id.to_string())).unwrap();
        start(&settings(id, &addresses), storage, Echo).unwrap()
    });
    if round.is_multiple_of(2) {
        let give_up = Instant::now() + PATIENCE;
        while let Err(error) = nodes[0].propose("a") {
            assert!(error != RequestError::Stopped && Instant::now() < give_up, "{error}");
            thread::sleep(Duration::from_millis(5));
        }
        nodes[0].client().propose("b".into(), drop);
    }
    for node in &nodes {
        if round.is_multiple_of(3) {
            node.client().kill();
        }
        node.shutdown();
        node.stopped().unwrap();
    }
    // The last step of a thread is not over yet when those who wait for it are told.
    let give_up = Instant::now() + PATIENCE;
    while !threads("raft-").is_empty() || open_files() > files {
        assert!(Instant::now() < give_up, "left: {:?}, {} files", threads("raft-"), open_files());
        thread::sleep(Duration::from_millis(1));
    }
}

/// R128: threads that survive a stop.
#[test]
fn an_idle_node_never_wakes_up_and_a_stopped_one_leaves_nothing_behind() {
    let (files, id) = (open_files(), NodeId::new(1));
    let node = start(&settings(1, &[free_address()]), Storage::in_memory(), Echo).unwrap();
    node.wait_for_leadership(|now| now.leader == Some(id)).unwrap();
    assert_eq!(node.propose("a").unwrap(), "a");
    let awake = threads("raft-");
    assert_eq!(awake.len(), 4, "disk, state machine, snapshots and the loop: {awake:?}");
    until_all_sleep(|| awake.clone());
    node.shutdown();
    for round in 0..50 {
        live(round, files);
    }
}
