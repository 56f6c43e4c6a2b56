//! How threads wait: for as long as nothing happens, and no longer than they have to.
#![allow(missing_docs, reason = "tests are described by their names")]

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use conformance_tests::process::{Echo, PATIENCE, free_address, threads, until_all_sleep};
use raft_node::Storage;
use raft_node::core::NodeId;
use raft_sync::{Node, Settings};

#[test]
fn the_threads_of_an_idle_single_node_never_wake_up() {
    let id = NodeId::new(77);
    let settings = Settings::new(id).peer(id, free_address());
    let settings = settings.election_timeout(Duration::from_millis(50));
    let node = Node::start(settings, Storage::in_memory(), Echo).unwrap();
    let handle = node.handle();
    handle.wait_for_leadership(|now| now.leader == Some(id)).unwrap();
    assert_eq!(handle.propose("a").unwrap(), "a");
    let threads = threads("raft-77-");
    assert_eq!(threads.len(), 6, "{threads:?}");
    until_all_sleep(|| threads.clone());
    node.shutdown().unwrap();
}

/// Its threads wait for an answer, for the rest of a hello, and for the first byte of one; each of
/// these waits would take seconds.
#[test]
fn a_node_in_the_company_of_the_silent_stops_at_once() {
    let silent = TcpListener::bind(free_address()).unwrap();
    let own = free_address();
    let settings = Settings::new(NodeId::new(1))
        .election_timeout(Duration::from_millis(50))
        .peer(NodeId::new(1), own.clone())
        .peer(NodeId::new(2), silent.local_addr().unwrap().to_string());
    let node = Node::start(settings, Storage::in_memory(), Echo).unwrap();
    // Somebody dials, and never hears a word.
    let _dialler = silent.accept().unwrap();
    let _mute = TcpStream::connect(&own).unwrap();
    let mut half = TcpStream::connect(&own).unwrap();
    half.write_all(&[44, 0, 0]).unwrap();
    let give_up = Instant::now() + PATIENCE;
    while threads("raft-1-hear").len() < 2 {
        assert!(Instant::now() < give_up, "the callers are not received");
        thread::sleep(Duration::from_millis(1));
    }
    let begin = Instant::now();
    node.shutdown().unwrap();
    assert!(begin.elapsed() < raft_node::PATIENCE / 2, "{:?}", begin.elapsed());
    TcpListener::bind(own).unwrap();
}
