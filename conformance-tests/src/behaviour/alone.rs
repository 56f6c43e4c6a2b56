//! What a node leaves behind, and how it waits. These look at the whole process, so each runs alone.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use raft_node::core::NodeId;
use raft_node::{Handle, RequestError, Settings, Storage};
use tempfile::TempDir;

use crate::behaviour::clients::{Clients, proposing};
use crate::behaviour::places::{Cluster, STEADY, propose, start};
use crate::process::{
    Echo, PATIENCE, eventually, free_address, in_polls, in_time, naps, open_files, other_threads,
    settings, threads, until_all_sleep, work,
};
use crate::real::{Bootstrap, NodeNetwork, NodeSpec};

/// A message wakes up who sends it, who hears it, and the loop that it is for; twice as much is fine.
const WAKE_UPS_FOR_A_MESSAGE: u64 = 6;
/// So many threads the pools of an executor may still start after the first lives.
const POOLS: usize = 100;

/// The tests of this module are in one file, and the test harness would run them side by side.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// It has nobody to send heartbeats to, so there is nothing to wake up for.
pub fn an_idle_single_node_never_wakes_up<B: Bootstrap>(bootstrap: B) {
    let _alone = alone();
    let settings = settings(1, &[free_address()]);
    let node = start(&bootstrap, settings, Storage::in_memory(), Echo).expect("the node starts");
    let handle = B::handle(&node);
    let known = handle.wait_for_leadership(|now| now.leader == Some(NodeId::new(1)));
    in_time("a leader", known).expect("the node runs");
    assert_eq!(in_time("an answer", handle.propose("a")).expect("it leads"), "a");
    until_all_sleep();
    bootstrap.stop(node);
}

/// What all other threads have done so far.
struct Effort {
    wake_ups: u64,
    work: Duration,
}

impl Effort {
    fn so_far() -> Self {
        let threads = other_threads();
        Self {
            wake_ups: threads.iter().filter_map(|thread: &PathBuf| naps(thread)).sum(),
            work: threads.iter().filter_map(|thread| work(thread)).sum(),
        }
    }

    /// What they do while this thread sleeps.
    fn during(time: Duration) -> Self {
        let before = Self::so_far();
        thread::sleep(time);
        let after = Self::so_far();
        Self {
            wake_ups: after.wake_ups.saturating_sub(before.wake_ups),
            work: after.work.saturating_sub(before.work),
        }
    }
}

/// A heartbeat for each follower, ten in an election timeout, an answer to each, and nothing besides.
pub fn an_idle_cluster_wakes_up_for_heartbeats_only<B: Bootstrap>(bootstrap: B) {
    let _alone = alone();
    let cluster = Cluster::running(bootstrap, 3, STEADY);
    propose(&cluster.handle(0));
    cluster.in_agreement();
    let begin = Instant::now();
    let idle = Effort::during(2 * STEADY);
    // A busy machine may have made it longer.
    let intervals = (10.0 * begin.elapsed().as_secs_f64() / STEADY.as_secs_f64()).ceil();
    let messages = 4 * intervals as u64;
    assert!(idle.wake_ups >= messages / 4, "{} wake-ups can't be all", idle.wake_ups);
    assert!(
        idle.wake_ups <= messages * WAKE_UPS_FOR_A_MESSAGE,
        "{} wake-ups for {messages} messages",
        idle.wake_ups
    );
    let clients = Clients::start(20, &cluster.handles(), proposing);
    let busy = Effort::during(STEADY);
    clients.stop();
    assert!(idle.work < busy.work / 5, "{:?} idle, {:?} in half the time", idle.work, busy.work);
}

/// Waits until no task and no thread of a node is left, and at most so many files are open. The last
/// step of a task is not over yet when those who wait for it are told.
fn nothing_is_left_but<B: Bootstrap>(files: usize, bootstrap: &B) {
    let left = || (bootstrap.tasks(), threads("raft-").len(), open_files().saturating_sub(files));
    let give_up = Instant::now() + PATIENCE;
    while left() != (0, 0, 0) {
        assert!(Instant::now() < give_up, "tasks, threads and files left: {:?}", left());
        thread::sleep(Duration::from_millis(1));
    }
}

/// Ends a node in one way or another; whether somebody waited for the end.
fn end<B: Bootstrap>(bootstrap: &B, node: B::Node, round: u32) -> bool {
    match round % 5 {
        4 => drop(node),
        3 => bootstrap.kill(node),
        _ => bootstrap.stop(node),
    }
    round % 5 != 4
}

/// One life of a cluster of two with files and sockets. It is stopped at once, or in the middle of
/// its work.
fn live<B: Bootstrap>(bootstrap: &B, round: u32) {
    let directory = TempDir::new().expect("a temporary directory");
    let addresses = [free_address(), free_address()];
    let nodes = [1, 2].map(|id: u64| {
        let storage = Storage::open(directory.path().join(id.to_string())).expect("it opens");
        start(bootstrap, settings(id, &addresses), storage, Echo).expect("the node starts")
    });
    if round.is_multiple_of(2) {
        let handle = B::handle(&nodes[0]);
        eventually("a command is answered", || {
            let answer = in_time("an answer", handle.propose("a"));
            assert_ne!(answer, Err(RequestError::Stopped));
            answer.is_ok()
        });
        give_up_waiting(&handle);
    }
    let waited = nodes.map(|node| end(bootstrap, node, round));
    for (address, waited) in addresses.iter().zip(waited) {
        assert!(!waited || TcpListener::bind(address).is_ok(), "{address} is not free");
    }
}

/// Asks for this and that, and does not wait for the answers.
fn give_up_waiting(handle: &Handle) {
    let _ = in_polls(1, handle.propose("b"));
    let _ = in_polls(1, handle.read("b"));
    let _ = in_polls(1, handle.snapshot());
    let _ = in_polls(1, handle.wait_for_leadership(|_| false));
    let _ = in_polls(1, handle.stopped());
}

/// One life of a node without sockets and files. It is stopped while it waits for its companion, or
/// with requests under way.
fn live_in_memory<B: Bootstrap>(bootstrap: &B, round: u32) {
    let node = bootstrap
        .start(NodeSpec {
            settings: settings(1, &[String::new(), String::new()]),
            storage: Storage::in_memory(),
            machine: Box::new(Echo),
            network: NodeNetwork::InProcess(Box::new(drop)),
        })
        .expect("the node starts");
    if round.is_multiple_of(2) {
        give_up_waiting(&B::handle(&node));
    }
    end(bootstrap, node, round);
}

/// Of the lives 960 are in memory and 40 with sockets and files (R128).
pub fn a_thousand_starts_and_stops_leave_nothing_behind<B: Bootstrap>(bootstrap: B) {
    let _alone = alone();
    // What the runtime itself needs once.
    live(&bootstrap, 0);
    nothing_is_left_but(usize::MAX, &bootstrap);
    let (files, all) = (open_files(), other_threads().len());
    for round in 0..20 {
        live(&bootstrap, round);
        nothing_is_left_but(files, &bootstrap);
    }
    for round in 0..960 {
        live_in_memory(&bootstrap, round);
        nothing_is_left_but(files, &bootstrap);
    }
    let now = other_threads().len();
    assert!(now < all + POOLS, "of {now} threads there were {all} before");
}

/// Wherever starting waits (R128).
pub fn a_start_that_is_given_up_at_any_point_leaves_nothing_behind<B: Bootstrap>(bootstrap: B) {
    let _alone = alone();
    live(&bootstrap, 0);
    nothing_is_left_but(usize::MAX, &bootstrap);
    let files = open_files();
    let addresses = [free_address(), free_address()];
    for _ in 0..20 {
        let mut polls = 0;
        while !begin(&bootstrap, settings(1, &addresses), polls) {
            nothing_is_left_but(files, &bootstrap);
            polls += 1;
            assert!(polls < 100, "it never starts");
        }
        nothing_is_left_but(files, &bootstrap);
        TcpListener::bind(&addresses[0]).expect("the port is free");
    }
}

fn begin<B: Bootstrap>(bootstrap: &B, settings: Settings, polls: usize) -> bool {
    let (storage, machine, network) = (Storage::in_memory(), Box::new(Echo), NodeNetwork::Tcp);
    bootstrap.start_in_part(NodeSpec { settings, storage, machine, network }, polls)
}
