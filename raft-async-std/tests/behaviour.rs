//! What is this adapter's own: how its tasks share a thread, and how they end.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use async_io::Timer;
use bytes::Bytes;
use conformance_tests::process::{Echo, PATIENCE, free_address};
use futures_lite::future;
use raft_async_std::{Executor, Node, NodeError, Settings, Storage};
use raft_node::core::{self, Entries, LogIndex, NodeId, StoredLog};
use raft_node::{Client, LogStore, MemorySnapshots, StoreError};

use common::{executor, in_time};

/// Three nodes that share an executor.
fn cluster(executor: &Executor) -> Vec<Node> {
    let addresses = [free_address(), free_address(), free_address()];
    let ids = (1..=3).map(NodeId::new);
    ids.clone()
        .map(|id| {
            let settings = Settings::new(id).election_timeout(Duration::from_secs(1));
            let settings = ids
                .clone()
                .zip(&addresses)
                .fold(settings, |settings, (peer, address)| settings.peer(peer, address.clone()));
            in_time(Node::start(executor.clone(), settings, Storage::in_memory(), Echo)).unwrap()
        })
        .collect()
}

/// Asks the node something, and again as soon as it answers, until it stops. So there is never a
/// turn after which its loop has to wait.
fn pester(client: &Client) {
    let again = client.clone();
    client.status(move |answer| {
        if answer.is_ok() {
            pester(&again);
        }
    });
}

/// R124: requests that never stop coming keep neither peers nor timers waiting, and no other task
/// either: all share one thread, so a loop that does not yield would starve the others.
#[test]
fn nodes_that_are_never_idle_leave_their_thread_to_others() {
    let (tasks, executor) = executor(1);
    let nodes = cluster(&executor);
    for node in &nodes {
        pester(node.handle().client());
    }
    let bystander = tasks.spawn(async {
        for _ in 0..100 {
            Timer::after(Duration::from_millis(1)).await;
        }
    });
    in_time(bystander);
    let handle = nodes[0].handle();
    in_time(handle.wait_for_leadership(|now| now.leader.is_some())).unwrap();
    assert_eq!(in_time(handle.propose("a")).unwrap(), "a");
    for node in nodes {
        in_time(node.shutdown()).unwrap();
    }
}

/// The port is free as soon as those who wait are told, whenever the executor comes to it.
#[test]
fn a_shutdown_waits_for_tasks_whose_turn_comes_late() {
    let executor = Executor::new(|mut task| {
        let late = async move {
            while future::poll_once(&mut task).await.is_none() {
                Timer::after(Duration::from_millis(200)).await;
            }
        };
        smol::spawn(late).detach();
    });
    let address = free_address();
    let settings = Settings::new(NodeId::new(1)).peer(NodeId::new(1), address.clone());
    let node = in_time(Node::start(executor, settings, Storage::in_memory(), Echo)).unwrap();
    in_time(node.shutdown()).unwrap();
    TcpListener::bind(address).unwrap();
}

/// Its tasks wait for an answer, for the rest of a hello, and for the first byte of one; each of
/// these waits would take seconds.
#[test]
fn a_node_in_the_company_of_the_silent_stops_at_once() {
    let silent = TcpListener::bind(free_address()).unwrap();
    let own = free_address();
    let settings = Settings::new(NodeId::new(1))
        .election_timeout(Duration::from_millis(50))
        .peer(NodeId::new(1), own.clone())
        .peer(NodeId::new(2), silent.local_addr().unwrap().to_string());
    let started = Arc::new(AtomicU64::new(0));
    let count = started.clone();
    let executor = Executor::new(move |task| {
        count.fetch_add(1, Ordering::Relaxed);
        smol::spawn(task).detach();
    });
    let node = in_time(Node::start(executor, settings, Storage::in_memory(), Echo)).unwrap();
    // Somebody dials, and never hears a word.
    let _dialler = silent.accept().unwrap();
    let before = started.load(Ordering::Relaxed);
    let _mute = TcpStream::connect(&own).unwrap();
    let mut half = TcpStream::connect(&own).unwrap();
    half.write_all(&[44, 0, 0]).unwrap();
    let give_up = Instant::now() + PATIENCE;
    while started.load(Ordering::Relaxed) < before + 2 {
        assert!(Instant::now() < give_up, "the callers are not received");
        thread::sleep(Duration::from_millis(1));
    }
    let begin = Instant::now();
    in_time(node.shutdown()).unwrap();
    assert!(begin.elapsed() < raft_node::PATIENCE / 2, "{:?}", begin.elapsed());
    TcpListener::bind(own).unwrap();
}

/// R116: no silence lasts for ever, on either side of a connection.
#[test]
fn a_peer_that_says_nothing_is_dialled_anew_and_a_mute_caller_is_cut_off() {
    let silent = TcpListener::bind(free_address()).unwrap();
    let own = free_address();
    let settings = Settings::new(NodeId::new(1))
        .peer(NodeId::new(1), own.clone())
        .peer(NodeId::new(2), silent.local_addr().unwrap().to_string());
    let start = Node::start(Executor::smol(), settings, Storage::in_memory(), Echo);
    let node = in_time(start).unwrap();
    let mut mute = TcpStream::connect(&own).unwrap();
    mute.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut first, _) = silent.accept().unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    first.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(mute.read(&mut [0]).unwrap(), 0);
    let _second = silent.accept().unwrap();
    in_time(node.shutdown()).unwrap();
}

/// Whoever waits for the end of a node must not wait for ever.
#[test]
fn a_node_whose_executor_ends_says_so() {
    let (tasks, executor) = executor(0);
    let addresses = [free_address(), free_address()];
    let settings = Settings::new(NodeId::new(1))
        .peer(NodeId::new(1), addresses[0].clone())
        .peer(NodeId::new(2), addresses[1].clone());
    let node = in_time(Node::start(executor, settings, Storage::in_memory(), Echo)).unwrap();
    for _ in 0..100 {
        future::block_on(future::poll_once(tasks.tick()));
    }
    let handle = node.handle();
    drop(node);
    drop(tasks);
    let why = in_time(handle.stopped()).unwrap_err();
    assert!(matches!(*why, NodeError::ThreadGone), "{why:?}");
    TcpListener::bind(&addresses[0]).unwrap();
}

/// A store with a fault of its author's.
struct Faulty;

#[expect(clippy::panic, reason = "that is the fault")]
impl LogStore for Faulty {
    fn restore(&mut self) -> Result<StoredLog, StoreError> {
        panic!("a fault in the store")
    }

    fn append(&mut self, _: &[core::Write]) -> Result<(), StoreError> {
        Ok(())
    }

    fn load(&mut self, _: LogIndex, _: LogIndex, _: usize) -> Result<Entries, StoreError> {
        Ok(Entries::empty())
    }

    fn metadata(&mut self) -> Result<Bytes, StoreError> {
        Ok(Bytes::new())
    }

    fn set_metadata(&mut self, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn a_storage_that_panics_at_the_start_is_an_error_and_leaves_the_port_free() {
    let address = free_address();
    let settings = Settings::new(NodeId::new(1)).peer(NodeId::new(1), address.clone());
    let storage = Storage::new(Faulty, MemorySnapshots::new());
    let why = in_time(Node::start(Executor::smol(), settings, storage, Echo)).unwrap_err();
    assert!(matches!(why, NodeError::ThreadGone), "{why:?}");
    TcpListener::bind(address).unwrap();
}
