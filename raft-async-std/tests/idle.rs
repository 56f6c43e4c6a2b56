//! How tasks wait: for as long as nothing happens. This test has a process for itself, because it
//! looks at all of its threads.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use raft_async_std::{Executor, Node, Settings, Storage};
use raft_node::core::NodeId;

use common::{Echo, PATIENCE, executor, free_address, in_time};

/// How often each thread went to sleep so far, without the one that asks. The pool of the crate
/// `blocking` is not the node's: a thread of it looks twice a second whether it is still needed.
fn naps() -> BTreeMap<OsString, String> {
    let own = fs::read_link("/proc/thread-self").unwrap();
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    let others = threads.filter(|thread| Some(&*thread.file_name()) != own.file_name());
    let naps = others.filter_map(|thread| {
        // A thread may end while it is looked at.
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        if status.starts_with("Name:\tblocking-") {
            return None;
        }
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:"))?;
        Some((thread.file_name(), line.to_owned()))
    });
    naps.collect()
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
        // What follows from the command may take a moment.
        let give_up = Instant::now() + PATIENCE;
        loop {
            let before = naps();
            thread::sleep(Duration::from_secs(1));
            if naps() == before {
                break;
            }
            assert!(Instant::now() < give_up, "somebody wakes up each second");
        }
        in_time(node.shutdown()).unwrap();
    }
}
