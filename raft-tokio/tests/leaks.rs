//! A node leaves nothing behind. This test has a process for itself, because it counts what the
//! process has.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::{Duration, Instant};

use conformance_tests::process::{Echo, PATIENCE, free_address, open_files, settings, threads};
use raft_node::Storage;
use raft_tokio::{Node, RequestError};
use tokio::runtime::{Builder, Handle as Runtime};
use tokio::time;

/// Waits until no task and no thread of a node is left, and at most so many files are open. The
/// last step of a task is not over yet when those who wait for it are told.
async fn nothing_is_left_but(files: usize) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let tasks = Runtime::current().metrics().num_alive_tasks();
        let left = (tasks, threads("raft-").len(), open_files());
        if left.0 == 0 && left.1 == 0 && left.2 <= files {
            return;
        }
        assert!(Instant::now() < give_up, "tasks, threads and files left: {left:?}, {files} files");
        time::sleep(Duration::from_millis(1)).await;
    }
}

/// One life of a cluster of two. It is stopped at once, or in the middle of its work.
async fn live(round: u32) {
    let directory = tempfile::tempdir().unwrap();
    let addresses = [free_address(), free_address()];
    let mut nodes = Vec::new();
    for id in 1..=2 {
        let settings = settings(id, &addresses);
        let storage = Storage::open(directory.path().join(id.to_string())).unwrap();
        nodes.push(Node::start(settings, storage, Echo).await.unwrap());
    }
    if round.is_multiple_of(2) {
        let handle = nodes[0].handle();
        let give_up = Instant::now() + PATIENCE;
        while let Err(error) = handle.propose("a").await {
            assert!(error != RequestError::Stopped && Instant::now() < give_up, "{error}");
            time::sleep(Duration::from_millis(5)).await;
        }
        drop(time::timeout(Duration::ZERO, handle.propose("b")).await);
    }
    for node in nodes {
        if round % 5 == 4 {
            // Dropped without a wait.
            continue;
        }
        if round.is_multiple_of(3) {
            time::timeout(PATIENCE, node.kill()).await.unwrap().unwrap();
        } else {
            time::timeout(PATIENCE, node.shutdown()).await.unwrap().unwrap();
        }
    }
}

/// One life of a node without sockets and files. It is stopped while it waits for its companion, or
/// with requests under way.
async fn live_in_memory(round: u32) {
    let settings = settings(1, &[String::new(), String::new()]);
    let node = Node::start_on_network(settings, Storage::in_memory(), Echo, drop).await.unwrap();
    if round.is_multiple_of(2) {
        drop(time::timeout(Duration::ZERO, node.handle().propose("a")).await);
        drop(time::timeout(Duration::ZERO, node.handle().snapshot()).await);
    }
    match round % 3 {
        // Dropped without a wait.
        0 => {}
        1 => time::timeout(PATIENCE, node.kill()).await.unwrap().unwrap(),
        _ => time::timeout(PATIENCE, node.shutdown()).await.unwrap().unwrap(),
    }
}

/// R128: tasks and threads that survive a stop.
#[test]
fn a_thousand_starts_and_stops_leave_no_thread_task_or_file_behind() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let files = open_files();
        for round in 0..50 {
            live(round).await;
            nothing_is_left_but(files).await;
        }
        for round in 0..1000 {
            live_in_memory(round).await;
            nothing_is_left_but(files).await;
        }
    });
}
