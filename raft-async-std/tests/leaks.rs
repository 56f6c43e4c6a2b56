//! A node leaves nothing behind. This test has a process for itself, because it counts what the
//! process has.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::thread;
use std::time::{Duration, Instant};

use conformance_tests::process::{Echo, PATIENCE, free_address, open_files, settings, threads};
use futures_lite::future::{block_on, poll_once};
use raft_async_std::{Executor, Node, RequestError, Storage};

use common::{executor, in_time};

/// Waits until no task and no thread of a node is left, and at most so many files are open. The
/// last step of a task is not over yet when those who wait for it are told.
fn nothing_is_left_but(files: usize, tasks: &smol::Executor) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let left = (tasks.is_empty(), threads("raft-").len(), open_files());
        if left.0 && left.1 == 0 && left.2 <= files {
            return;
        }
        assert!(Instant::now() < give_up, "no tasks, threads and files: {left:?}, {files} files");
        thread::sleep(Duration::from_millis(1));
    }
}

/// One life of a cluster of two. It is stopped at once, or in the middle of its work. Whether
/// somebody waited for all of its ends.
fn live(round: u32, executor: &Executor) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let addresses = [free_address(), free_address()];
    let mut nodes = Vec::new();
    for id in 1..=2 {
        let settings = settings(id, &addresses);
        let storage = Storage::open(directory.path().join(id.to_string())).unwrap();
        let start = Node::start(executor.clone(), settings, storage, Echo);
        if round % 7 == 6 {
            // Given up while it starts.
            drop(block_on(poll_once(start)));
            continue;
        }
        nodes.push(in_time(start).unwrap());
    }
    if round.is_multiple_of(2) && round % 7 != 6 {
        let handle = nodes[0].handle();
        let give_up = Instant::now() + PATIENCE;
        while let Err(error) = block_on(handle.propose("a")) {
            assert!(error != RequestError::Stopped && Instant::now() < give_up, "{error}");
            thread::sleep(Duration::from_millis(5));
        }
        drop(block_on(poll_once(handle.propose("b"))));
    }
    for node in nodes {
        match round % 5 {
            // Dropped without a wait.
            4 => drop(node),
            3 => in_time(node.kill()).unwrap(),
            _ => in_time(node.shutdown()).unwrap(),
        }
    }
    round % 7 != 6 && round % 5 != 4
}

/// One life of a node without sockets and files. It is stopped while it waits for its companion, or
/// with requests under way.
fn live_in_memory(round: u32, executor: &Executor) {
    let settings = settings(1, &[String::new(), String::new()]);
    let start =
        Node::start_on_network(executor.clone(), settings, Storage::in_memory(), Echo, drop);
    let node = in_time(start).unwrap();
    if round.is_multiple_of(2) {
        drop(block_on(poll_once(node.handle().propose("a"))));
        let _ = block_on(poll_once(node.handle().snapshot()));
    }
    match round % 3 {
        // Dropped without a wait.
        0 => {}
        1 => in_time(node.kill()).unwrap(),
        _ => in_time(node.shutdown()).unwrap(),
    }
}

/// R128: tasks and threads that survive a stop.
#[test]
fn hundreds_of_starts_and_stops_leave_no_thread_task_or_file_behind() {
    let (tasks, executor) = executor(2);
    // What the executor's own needs once.
    live(0, &executor);
    let files = open_files();
    for round in 0..70 {
        if live(round, &executor) {
            // Whoever waited for the end finds no socket.
            assert!(open_files() <= files, "files open after the end of round {round}");
        }
        nothing_is_left_but(files, &tasks);
    }
    for round in 0..500 {
        live_in_memory(round, &executor);
        nothing_is_left_but(files, &tasks);
    }
}
