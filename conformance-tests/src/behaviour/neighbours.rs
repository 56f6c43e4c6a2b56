//! Whoever else may be on a network: played by threads, over plain sockets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use raft_node::core::{Body, Message, NodeId, Term};
use raft_node::{
    Driver, Inbound, Outbound, Outgoing, PeerQueue, Peers, Received, Settings, Storage,
};

use crate::behaviour::places::{Counter, Place};
use crate::process::PATIENCE;

/// Listens at a node's address, accepts connections, and reads nothing that comes.
pub(super) struct Mute {
    address: String,
    over: Arc<AtomicBool>,
    visits: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Mute {
    /// Takes the place of a node that is down. Answers the hello if it `greets`, and otherwise not
    /// even that.
    pub(super) fn start<N>(place: &Place<N>, greets: bool) -> Self {
        let listener = TcpListener::bind(&place.address).expect("the port is free");
        let welcome = if greets { welcome(place) } else { Bytes::new() };
        let over = Arc::new(AtomicBool::new(false));
        let (ended, (visit, visits)) = (over.clone(), channel());
        let thread = thread::spawn(move || {
            let mut kept = Vec::new();
            for mut stream in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // Whoever has left again need not be greeted.
                let _ = stream.write_all(&welcome);
                kept.push(stream);
                let _ = visit.send(());
            }
        });
        Self { address: place.address.clone(), over, visits, thread: Some(thread) }
    }

    /// Waits until somebody has connected.
    pub(super) fn has_visitor(&self) {
        self.visits.recv_timeout(PATIENCE).expect("somebody connects");
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the thread, which then ends.
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The links of a node with these settings and this storage; it never gets a turn.
fn links(settings: &Settings, storage: Storage) -> Peers {
    let driver = Driver::start(settings, storage, Counter::default(), Arc::new(|| ()), drop);
    driver.expect("settings that make sense").peers().clone()
}

/// Dials in the name of a node, with its storage.
pub(super) fn in_the_name_of<N>(place: &Place<N>, to: u64) -> Outgoing {
    Outgoing::new(links(&place.settings, place.storage()), NodeId::new(to))
}

/// Dials in the name of a node that nobody knows.
pub(super) fn stranger(settings: &Settings, to: u64) -> Outgoing {
    Outgoing::new(links(settings, Storage::in_memory()), NodeId::new(to))
}

/// What a node answers to a dialler that is welcome, whoever that is.
pub(super) fn welcome<N>(place: &Place<N>) -> Bytes {
    let guest = Settings::new(NodeId::new(99));
    let hello = stranger(&guest, place.settings.id().get()).hello();
    let mut inbound = Inbound::new(links(&place.settings, place.storage()), 1024);
    inbound.buffer().extend_from_slice(&hello);
    let answer = match inbound.receive() {
        Ok(Some(Received::Welcome(answer))) => Some(answer),
        _ => None,
    };
    answer.expect("a guest is welcome")
}

/// A message as it goes over a link.
pub(super) fn framed(message: &Message) -> Bytes {
    let queue = Arc::new(PeerQueue::new(1 << 20, Arc::new(|| ())));
    let outbound = Outbound::default();
    outbound.add(message.to, queue.clone());
    outbound.send(message);
    queue.take()
}

/// A message for node 1 that makes no difference but by its term.
pub(super) fn message(from: u64, term: Term) -> Message {
    let body = Body::PreVoteReply { granted: false };
    Message { from: NodeId::new(from), to: NodeId::new(1), term, body }
}

/// Waits for the other side to close; a reset is as good. Returns what it had said.
pub(super) fn closed(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let (mut said, mut bytes) = (Vec::new(), [0; 1024]);
    loop {
        match stream.read(&mut bytes) {
            Ok(count @ 1..) => said.extend_from_slice(&bytes[..count]),
            Ok(0) => return said,
            Err(error) => {
                let late = error.kind() == std::io::ErrorKind::WouldBlock;
                assert!(!late, "not in time: the other side closes");
                return said;
            }
        }
    }
}

/// Waits until the other side has said this.
pub(super) fn hears(stream: &mut TcpStream, words: &[u8]) {
    let mut heard = vec![0; words.len()];
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.read_exact(&mut heard).expect("an answer");
    assert_eq!(heard, words);
}

pub(super) fn say(address: &str, words: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    // Whoever is cut off while he speaks finds that out when he listens.
    let _ = stream.write_all(words);
    stream
}

/// The beginning of a frame that is larger than any.
pub(super) fn giant() -> Vec<u8> {
    let mut bytes = u32::MAX.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[0; 100]);
    bytes
}
