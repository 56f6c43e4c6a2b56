//! Peers that say nothing, and peers that come back.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use conformance_tests::process::{Echo, PATIENCE, free_address, settings};
use own_adapter::start;
use raft_node::core::NodeId;
use raft_node::{Dialler, Driver, Outbound, Storage};

/// Waits until the other side closes; a reset is as good.
fn closed(mut stream: TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let end = stream.read_to_end(&mut Vec::new());
    assert!(end.is_ok_and(|count| count == 0), "something was said");
}

#[test]
fn the_silent_are_cut_off_and_dialled_again() {
    let silent = TcpListener::bind(free_address()).unwrap();
    let addresses = [free_address(), silent.local_addr().unwrap().to_string()];
    let node = start(&settings(1, &addresses), Storage::in_memory(), Echo).unwrap();
    let (mut dialler, _) = silent.accept().unwrap();
    let mute = TcpStream::connect(&addresses[0]).unwrap();
    let mut half = TcpStream::connect(&addresses[0]).unwrap();
    half.write_all(&[44, 0, 0]).unwrap();
    closed(mute);
    closed(half);
    dialler.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(dialler.read_to_end(&mut Vec::new()).unwrap() > 0, "no hello was said");
    let _again = silent.accept().unwrap();
    node.shutdown();
}

#[test]
fn a_node_in_the_company_of_the_silent_stops_at_once() {
    let silent = TcpListener::bind(free_address()).unwrap();
    let addresses = [free_address(), silent.local_addr().unwrap().to_string()];
    let node = start(&settings(1, &addresses), Storage::in_memory(), Echo).unwrap();
    let (mut dialler, _) = silent.accept().unwrap();
    dialler.read_exact(&mut [0]).unwrap();
    let mute = TcpStream::connect(&addresses[0]).unwrap();
    let begin = Instant::now();
    node.shutdown();
    assert!(begin.elapsed() < raft_node::PATIENCE / 2, "{:?}", begin.elapsed());
    TcpListener::bind(&addresses[0]).unwrap();
    drop(mute);
}

#[test]
fn a_new_connection_of_a_peer_ends_the_old_one() {
    let addresses = [free_address(), free_address()];
    let node = start(&settings(1, &addresses), Storage::in_memory(), Echo).unwrap();
    // Node 2 never gets a turn: it only lends its name.
    let (storage, nobody) = (Storage::in_memory(), Arc::new(|| {}));
    let two = Driver::start(&settings(2, &addresses), storage, Echo, nobody.clone(), drop).unwrap();
    let greet = || {
        let (to, outbound) = (NodeId::new(1), Outbound::default());
        let mut link =
            Dialler::new(two.peers(), &outbound, to, &addresses[0], nobody.clone()).begin();
        let mut stream = TcpStream::connect(&addresses[0]).unwrap();
        stream.write_all(&link.hello()).unwrap();
        let mut byte = [0];
        loop {
            stream.read_exact(&mut byte).unwrap();
            if link.receive(&byte).unwrap() {
                return stream;
            }
        }
    };
    let old = greet();
    let mut new = greet();
    closed(old);
    // The new one is still there: nothing comes, not even the end.
    new.set_nonblocking(true).unwrap();
    assert!(new.read(&mut [0]).is_err());
    node.shutdown();
}
