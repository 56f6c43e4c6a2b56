//! How tasks wait: for as long as nothing happens. This test has a process for itself, because it
//! looks at all of its threads.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use conformance_tests::process::{Echo, free_address, threads, until_all_sleep};
use raft_async_std::{Executor, Node, Settings, Storage};
use raft_node::core::NodeId;

use common::{executor, in_time};

/// All threads but the one that asks, and the pool of the crate `blocking`. That is not the node's: a
/// thread of it looks twice a second whether it is still needed.
fn threads_of_the_node() -> Vec<PathBuf> {
    let own = fs::read_link("/proc/thread-self").unwrap();
    let pool = threads("blocking-");
    let others = |thread: &PathBuf| thread.file_name() != own.file_name() && !pool.contains(thread);
    threads("").into_iter().filter(others).collect()
}

#[test]
fn nobody_wakes_up_for_an_idle_single_node() {
    for executor in [Executor::async_std(), Executor::smol(), executor(1).1] {
        let id = NodeId::new(1);
        let settings = Settings::new(id).peer(id, free_address());
        let settings = settings.election_timeout(Duration::from_millis(50));
        let node = in_time(Node::start(executor, settings, Storage::in_memory(), Echo)).unwrap();
        let handle = node.handle();
        in_time(handle.wait_for_leadership(|now| now.leader == Some(id))).unwrap();
        assert_eq!(in_time(handle.propose("a")).unwrap(), "a");
        until_all_sleep(threads_of_the_node);
        in_time(node.shutdown()).unwrap();
    }
}
