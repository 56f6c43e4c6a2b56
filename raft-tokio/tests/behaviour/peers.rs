//! Peers that are not what they should be: they are cut off, and nobody else notices.

use std::sync::Arc;
use std::time::{Duration, Instant as RealInstant};

use bytes::Bytes;
use raft_node::core::{Body, Instant, Message, NodeId, Term};
use raft_node::{
    ClusterId, Inbound, LinkError, Outbound, Outgoing, PeerQueue, Peers, Received, Settings,
    Storage, Wiring,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{self, JoinHandle};

use crate::cluster::{Counter, Place, cluster, eventually, in_time, places, propose, read, reign};

const ELECTION: Duration = Duration::from_secs(1);

/// Listens at a node's address, accepts connections, and reads nothing that comes after the
/// hello.
pub(crate) struct Mute {
    task: JoinHandle<()>,
    visited: Arc<Notify>,
}

impl Mute {
    /// Takes the place of a node that is down. Answers the hello if it `greets`, and otherwise not
    /// even that.
    pub(crate) async fn start(place: &Place, greets: bool) -> Self {
        let listener = TcpListener::bind(&place.address).await.unwrap();
        let welcome = welcome(place, NodeId::new(99));
        let visited = Arc::new(Notify::new());
        let visits = visited.clone();
        let task = task::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                if greets {
                    stream.write_all(&welcome).await.unwrap();
                }
                kept.push(stream);
                visits.notify_one();
            }
        });
        Self { task, visited }
    }

    /// Waits until somebody has connected.
    pub(crate) async fn has_visitor(&self) {
        in_time("a connection", self.visited.notified()).await;
    }

    pub(crate) async fn stop(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled(), "a mute peer failed");
    }
}

/// The links of a node with these settings and this storage; it never gets a turn.
fn links(settings: &Settings, storage: Storage) -> Peers {
    let wiring =
        Wiring { notify: Arc::new(|| ()), send: Box::new(|_| ()), observe: Box::new(|_| ()) };
    let node = raft_node::Node::new(settings, storage, Counter::default(), wiring, Instant::ORIGIN);
    node.unwrap().0.peers().clone()
}

/// Dials in the name of a node, with its storage.
pub(crate) fn in_the_name_of(place: &Place, to: u64) -> Outgoing {
    Outgoing::new(links(&place.settings, place.storage()), NodeId::new(to))
}

/// Dials in the name of a node that nobody knows.
fn stranger(settings: Settings, to: u64) -> Outgoing {
    Outgoing::new(links(&settings, Storage::in_memory()), NodeId::new(to))
}

/// What a node answers to a dialler that is welcome, whoever that is.
fn welcome(place: &Place, guest: NodeId) -> Bytes {
    let to = place.settings.id();
    let hello = stranger(Settings::new(guest), to.get()).hello();
    let mut inbound = Inbound::new(links(&place.settings, place.storage()), 1024);
    inbound.buffer().extend_from_slice(&hello);
    match inbound.receive() {
        Ok(Some(Received::Welcome(answer))) => answer,
        other => panic!("{other:?}"),
    }
}

/// A message as it goes over a link.
fn framed(message: &Message) -> Bytes {
    let queue = Arc::new(PeerQueue::new(1 << 20, Arc::new(|| ())));
    let outbound = Outbound::default();
    outbound.add(message.to, queue.clone());
    outbound.send(message);
    queue.take()
}

fn heartbeat_answer(from: u64) -> Message {
    Message {
        from: NodeId::new(from),
        to: NodeId::new(1),
        term: Term::ZERO,
        body: Body::PreVoteReply { granted: false },
    }
}

/// Waits for the other side to close; a reset is as good. Returns what it had said.
pub(crate) async fn closed(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = in_time("the other side closes", stream.read_to_end(&mut said)).await;
    said
}

async fn welcomed(stream: &mut TcpStream, welcome: &[u8]) {
    let mut answer = vec![0; welcome.len()];
    in_time("a welcome", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, welcome);
}

pub(crate) async fn say(address: &str, words: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(words).await.unwrap();
    stream
}

fn giant() -> Vec<u8> {
    let mut bytes = u32::MAX.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[0; 100]);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_cut_off_and_nobody_else_notices() {
    let places = cluster(3, ELECTION).await;
    let before = reign(&places).await;
    let address = &places[0].address;
    let hello = in_the_name_of(&places[1], 1).hello();

    // Half a hello waits for the rest, up to a limit.
    let half = say(address, &hello[..hello.len() / 2]).await;
    let silent = say(address, b"").await;
    let garbage = say(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(closed(garbage).await.is_empty());
    assert!(closed(say(address, &giant()).await).await.is_empty());

    let elsewhere = places[1].settings.clone().cluster(ClusterId::new(7));
    let refusals = [
        (stranger(elsewhere, 1), LinkError::OtherCluster),
        (stranger(places[1].settings.clone(), 1), LinkError::OtherStorage),
        (in_the_name_of(&places[1], 3), LinkError::WrongNode),
        (in_the_name_of(&places[0], 1), LinkError::WrongNode),
    ];
    for (mut link, why) in refusals {
        let answer = closed(say(address, &link.hello()).await).await;
        assert_eq!(link.receive(&answer), Err(why));
    }
    assert!(closed(half).await.is_empty());
    assert!(closed(silent).await.is_empty());
    propose(&places[0].handle()).await;
    assert_eq!(reign(&places).await, before);
}

/// R148: the same from a peer that was welcome.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_talks_nonsense_after_its_hello_is_cut_off() {
    let places = cluster(3, ELECTION).await;
    let before = reign(&places).await;
    let hello = in_the_name_of(&places[1], 1).hello();
    let welcome = welcome(&places[0], NodeId::new(99));
    let mut damaged = framed(&heartbeat_answer(2)).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let nonsense = [
        b"what is this?!!!".to_vec(),
        giant(),
        damaged,
        framed(&heartbeat_answer(3)).to_vec(),
        // A good message first changes nothing.
        [framed(&heartbeat_answer(2)).to_vec(), giant()].concat(),
    ];
    for words in nonsense {
        let stream = say(&places[0].address, &[&hello[..], &words].concat()).await;
        assert_eq!(closed(stream).await, welcome);
        // The real peer has to dial again, so a proposal might be lost with the old link; the
        // question of a read is repeated.
        read(&places[0].handle()).await;
    }
    assert_eq!(reign(&places).await, before);
}

/// A node that comes back after its host went down without a word must not wait for the old link
/// to fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_connection_of_a_peer_takes_the_place_of_the_old_one() {
    // The other node is never started, so nobody else dials in its name.
    let mut places = places(2, ELECTION);
    places[0].start().await;
    let hello = in_the_name_of(&places[1], 1).hello();
    let welcome = welcome(&places[0], NodeId::new(99));
    let mut old = say(&places[0].address, &hello).await;
    welcomed(&mut old, &welcome).await;
    let mut new = say(&places[0].address, &hello).await;
    welcomed(&mut new, &welcome).await;
    assert!(closed(old).await.is_empty());
    // What comes over the new one is heard.
    let term = Term::new(7).unwrap();
    let message = Message { term, ..heartbeat_answer(2) };
    new.write_all(&framed(&message)).await.unwrap();
    eventually("the message is heard", || async { places[0].status().await.term == term }).await;
}

/// Waits for so many connections, and says `words` on each before it is closed.
async fn dials(listener: &TcpListener, count: usize, words: &[u8]) -> Duration {
    let begin = RealInstant::now();
    for _ in 0..count {
        let (mut stream, _) = in_time("a connection", listener.accept()).await.unwrap();
        stream.write_all(words).await.unwrap();
        stream.shutdown().await.unwrap();
        closed(stream).await;
    }
    begin.elapsed()
}

/// R116: a peer that was away for long and came back is dialled without delay when the connection
/// is lost again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_resets_the_patience_between_dials() {
    let mut places = places(2, ELECTION);
    let welcome = welcome(&places[1], NodeId::new(99));
    let listener = TcpListener::bind(&places[1].address).await.unwrap();
    places[0].start().await;
    // Each wait is twice as long as the one before, up to the longest.
    dials(&listener, 7, b"").await;
    let before = dials(&listener, 2, b"").await;
    dials(&listener, 1, &welcome).await;
    let after = dials(&listener, 4, b"").await;
    assert!(after < before, "four dials after a connection took {after:?}, two before {before:?}");
}
