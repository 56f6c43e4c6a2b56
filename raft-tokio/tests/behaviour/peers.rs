//! Peers that are not what they should be: they are cut off, and nobody else notices.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft_node::core::{Body, Message, NodeId, Term};
use raft_node::{ClusterId, Greeting, LinkError, Outbound, Outgoing, PeerQueue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{self, JoinHandle};

use crate::cluster::{cluster, eventually, in_time, places, propose, read, reign};

const ELECTION: Duration = Duration::from_secs(1);

/// Listens at a node's address, accepts connections, and reads nothing that comes after the
/// hello.
pub(crate) struct Mute(JoinHandle<()>);

impl Mute {
    /// Answers the hello if it `greets`, and otherwise not even that.
    pub(crate) async fn start(address: &str, greets: bool) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        Self(task::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                if greets {
                    stream.write_all(&welcome()).await.unwrap();
                }
                kept.push(stream);
            }
        }))
    }

    pub(crate) async fn stop(self) {
        self.0.abort();
        assert!(self.0.await.unwrap_err().is_cancelled(), "a mute peer failed");
    }
}

fn greeting(from: u64, to: u64) -> Greeting {
    Greeting { cluster: ClusterId::default(), from: NodeId::new(from), to: NodeId::new(to) }
}

/// What a listener answers to a dialler that it knows.
fn welcome() -> Bytes {
    let (me, peer) = (NodeId::new(1), NodeId::new(2));
    let mut inbound = raft_node::Inbound::new(ClusterId::default(), me, vec![peer], 1024);
    inbound.buffer().extend_from_slice(&Outgoing::new(greeting(2, 1)).hello());
    match inbound.receive() {
        Ok(Some(raft_node::Received::Welcome(answer))) => answer,
        other => panic!("{other:?}"),
    }
}

/// A message as it goes over a link.
fn framed(message: &Message) -> Bytes {
    let queue = Arc::new(PeerQueue::new(1 << 20, Arc::new(|| ())));
    let mut outbound = Outbound::default();
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
async fn closed(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = in_time("the other side closes", stream.read_to_end(&mut said)).await;
    said
}

async fn welcomed(stream: &mut TcpStream) {
    let mut answer = vec![0; welcome().len()];
    in_time("a welcome", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, welcome());
}

async fn say(address: &str, words: &[u8]) -> TcpStream {
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
    let hello = Outgoing::new(greeting(2, 1)).hello();

    // Half a hello waits for the rest, up to a limit.
    let half = say(address, &hello[..hello.len() / 2]).await;
    let silent = say(address, b"").await;
    let garbage = say(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(closed(garbage).await.is_empty());
    assert!(closed(say(address, &giant()).await).await.is_empty());

    let elsewhere = Greeting { cluster: ClusterId::new(7), ..greeting(2, 1) };
    let refusals = [
        (elsewhere, LinkError::OtherCluster),
        (greeting(9, 1), LinkError::NotAMember),
        (greeting(2, 3), LinkError::WrongNode),
        (greeting(1, 1), LinkError::WrongNode),
    ];
    for (greeting, why) in refusals {
        let mut link = Outgoing::new(greeting);
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
    let hello = Outgoing::new(greeting(2, 1)).hello();
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
        assert_eq!(closed(stream).await, welcome());
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
    let hello = Outgoing::new(greeting(2, 1)).hello();
    let mut old = say(&places[0].address, &hello).await;
    welcomed(&mut old).await;
    let mut new = say(&places[0].address, &hello).await;
    welcomed(&mut new).await;
    assert!(closed(old).await.is_empty());
    // What comes over the new one is heard.
    let term = Term::new(7).unwrap();
    let message = Message { term, ..heartbeat_answer(2) };
    new.write_all(&framed(&message)).await.unwrap();
    eventually("the message is heard", || async { places[0].status().await.term == term }).await;
}
