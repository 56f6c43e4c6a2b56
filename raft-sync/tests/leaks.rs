//! A node leaves nothing behind. This test has a process for itself, because it counts what the
//! process has.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::thread;
use std::time::{Duration, Instant};

use conformance_tests::process::{Echo, PATIENCE, free_address, open_files, settings, threads};
use raft_node::Storage;
use raft_sync::{Node, RequestError};

/// Waits until no thread of a node is left, and at most so many files are open. The last step of a
/// thread is not over yet when those who wait for it are told.
fn nothing_is_left_but(files: usize) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let left = (threads("raft-").len(), open_files());
        if left.0 == 0 && left.1 <= files {
            return;
        }
        assert!(Instant::now() < give_up, "threads and files left: {left:?}, {files} files");
        thread::sleep(Duration::from_millis(1));
    }
}

/// One life of a cluster of two. It is stopped at once, or in the middle of its work.
fn live(round: u32) {
    let directory = tempfile::tempdir().unwrap();
    let addresses = [free_address(), free_address()];
    let mut nodes = Vec::new();
    for id in 1..=2 {
        let settings = settings(id, &addresses);
        let storage = Storage::open(directory.path().join(id.to_string())).unwrap();
        nodes.push(Node::start(settings, storage, Echo).unwrap());
    }
    if round.is_multiple_of(2) {
        let handle = nodes[0].handle();
        let give_up = Instant::now() + PATIENCE;
        while let Err(error) = handle.propose("a") {
            assert!(error != RequestError::Stopped && Instant::now() < give_up, "{error}");
            thread::sleep(Duration::from_millis(5));
        }
        handle.client().propose("b".into(), drop);
    }
    for node in nodes {
        match round % 5 {
            // Dropped without a wait.
            4 => drop(node),
            3 => node.kill().unwrap(),
            _ => node.shutdown().unwrap(),
        }
    }
}

/// One life of a node without sockets and files. It is stopped while it waits for its companion, or
/// with requests under way.
fn live_in_memory(round: u32) {
    let settings = settings(1, &[String::new(), String::new()]);
    let node = Node::start_on_network(settings, Storage::in_memory(), Echo, drop).unwrap();
    if round.is_multiple_of(2) {
        node.handle().client().propose("a".into(), drop);
        node.handle().client().snapshot(drop);
    }
    match round % 3 {
        // Dropped without a wait.
        0 => {}
        1 => node.kill().unwrap(),
        _ => node.shutdown().unwrap(),
    }
}

/// R128: threads that survive a stop.
#[test]
fn hundreds_of_starts_and_stops_leave_no_thread_or_file_behind() {
    let files = open_files();
    for round in 0..50 {
        live(round);
        nothing_is_left_but(files);
    }
    for round in 0..500 {
        live_in_memory(round);
        nothing_is_left_but(files);
    }
}
