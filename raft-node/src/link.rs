//! The link between two nodes, as bytes in and bytes out.
//!
//! A connection carries messages one way, from the node that dialled to the node that listens.
//! Everything is sent in frames: a length (u32), the CRC-32 of the payload (u32), the payload; all
//! numbers are little-endian. The first frame is the dialler's hello: the bytes `RAFT`, the link
//! version (u8), the cluster id, its own node id, that of the node that it means to reach and the
//! id of its storage (u64 each), and the address at which it is reached (the rest, UTF-8). The
//! listener answers with one frame: `RAFT`, its link version (u8), a verdict (u8), see [`Verdict`],
//! and the id of its storage (u64). After a welcome every frame is one message of
//! [`raft_core`](raft_core::Message::encode).

use alloc::string::String;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft_core::{DecodeError, Message, NodeId};
use thiserror::Error;

use crate::identity::StorageId;
use crate::peers::{Greeting, Peers};

const MAGIC: &[u8; 4] = b"RAFT";
const LINK_VERSION: u8 = 2;
const HEADER: usize = 8;
const HELLO: usize = 4 + 1 + 4 * 8;
/// The longest address that a node can tell a peer, in bytes.
pub(crate) const MAX_ADDRESS: usize = 1024;
const ANSWER: usize = 4 + 1 + 1 + 8;
/// Frames below this size are copied out of the read buffer: a few bytes that stay in the log must
/// not keep a whole buffer of heartbeats in memory.
const COPY_BELOW: usize = 4096;
/// A read from a socket costs a call to the system, and memory is what a chip has little of.
const READ_BYTES: usize = if cfg!(feature = "std") { 64 * 1024 } else { 256 };

/// Tells clusters apart, so that a node with a wrong address list does no harm. Every node of a
/// cluster has the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClusterId(u64);

impl ClusterId {
    /// Names a cluster.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number behind the name.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Why a connection can't go on. Close it; the dialler may try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The other side is no Raft node, or the first bytes were garbled.
    #[error("the other side does not speak this protocol")]
    NotRaft,
    /// The other side speaks another version of the link. Upgrade the older node.
    #[error("the other side speaks link version {theirs}, this node speaks {LINK_VERSION}")]
    Version {
        /// The version of the other side.
        theirs: u8,
    },
    /// The other side belongs to another cluster. Mend the address lists.
    #[error("the other side belongs to another cluster")]
    OtherCluster,
    /// Another node than the one that was meant listens at this address. Mend the address lists.
    #[error("another node listens at this address")]
    WrongNode,
    /// The dialler was removed from the cluster. Shut it down; to take part again it needs a fresh
    /// storage and an id that was never used.
    #[error("the dialling node was removed from the cluster")]
    NotAMember,
    /// A node has another storage than when it was first met: its disk was wiped or replaced, or
    /// its id is used twice. It may have forgotten what it promised. Remove it from the cluster
    /// and add a new node with an id that was never used.
    #[error("the node's storage is not the one that it had before: wiped, or an id used twice")]
    OtherStorage,
    /// Too many nodes that are no members, as far as the listener knows, are connected to it. Find
    /// out what they want there; a member is never turned away for it.
    #[error("the other side has too many connections of nodes that are no members")]
    Crowded,
    /// A frame is larger than the limit. The nodes have different limits, or the bytes are
    /// garbled.
    #[error("a frame of {size} bytes, the limit is {limit}")]
    TooLarge {
        /// What the frame claims.
        size: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A payload does not have the checksum of its frame.
    #[error("a frame was garbled on its way")]
    Checksum,
    /// A frame is not a message.
    #[error("a frame is no message")]
    Message,
    /// A message claims to be from another node than the one that greeted.
    #[error("a message claims to come from another node")]
    Impostor,
}

impl LinkError {
    /// The one that an I/O error was made of, if it was: the peer is there and does not fit.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn behind(error: &std::io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

#[cfg(feature = "std")]
impl From<LinkError> for std::io::Error {
    fn from(error: LinkError) -> Self {
        Self::other(error)
    }
}

/// What the listener thinks of a hello; the number is the byte on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Welcome = 0,
    Version = 1,
    OtherCluster = 2,
    WrongNode = 3,
    NotAMember = 4,
    OtherStorage = 5,
    Crowded = 6,
}

/// Puts the frame around a payload that `write` appends.
pub(crate) fn frame(buffer: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = buffer.len();
    buffer.put_bytes(0, HEADER);
    write(buffer);
    let (header, payload) = buffer[start..].split_at_mut(HEADER);
    let mut header = header;
    // Frames are bounded by the limits of the configuration, far below 4 GiB.
    header.put_u32_le(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    header.put_u32_le(crc32fast::hash(payload));
}

/// Takes the next whole frame out of a buffer.
fn take_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, LinkError> {
    let mut header = buffer.as_ref();
    let (Ok(size), Ok(checksum)) = (header.try_get_u32_le(), header.try_get_u32_le()) else {
        return Ok(None);
    };
    let size = size as usize;
    if size > limit {
        return Err(LinkError::TooLarge { size, limit });
    }
    if header.len() < size {
        return Ok(None);
    }
    buffer.advance(HEADER);
    let payload = if size < COPY_BELOW {
        let copy = Bytes::copy_from_slice(&buffer[..size]);
        buffer.advance(size);
        copy
    } else {
        buffer.split_to(size).freeze()
    };
    if crc32fast::hash(&payload) != checksum {
        return Err(LinkError::Checksum);
    }
    Ok(Some(payload))
}

/// The dialling side of a connection, until it may send.
#[derive(Debug)]
pub struct Outgoing {
    peers: Peers,
    to: NodeId,
    buffer: BytesMut,
}

impl Outgoing {
    /// A connection that was just made, to reach this node.
    #[must_use]
    pub fn new(peers: Peers, to: NodeId) -> Self {
        Self { peers, to, buffer: BytesMut::new() }
    }

    /// The first bytes to send.
    #[must_use]
    pub fn hello(&self) -> Bytes {
        let greeting = self.peers.greeting(self.to);
        let mut bytes = BytesMut::with_capacity(HEADER + HELLO + greeting.address.len());
        frame(&mut bytes, |payload| {
            payload.put_slice(MAGIC);
            payload.put_u8(LINK_VERSION);
            payload.put_u64_le(greeting.cluster.get());
            payload.put_u64_le(greeting.from.get());
            payload.put_u64_le(greeting.to.get());
            payload.put_u64_le(greeting.storage.get());
            payload.put_slice(greeting.address.as_bytes());
        });
        bytes.freeze()
    }

    /// Takes what the other side has sent; says whether the link is open now.
    ///
    /// # Errors
    /// The other side refuses, or is something else than it should be.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<bool, LinkError> {
        self.buffer.extend_from_slice(bytes);
        let answer = take_frame(&mut self.buffer, ANSWER).map_err(|_| LinkError::NotRaft)?;
        let Some(mut answer) = answer else { return Ok(false) };
        if answer.len() != ANSWER || answer.split_to(MAGIC.len()) != MAGIC[..] {
            return Err(LinkError::NotRaft);
        }
        let (theirs, verdict) = (answer.get_u8(), answer.get_u8());
        let storage = StorageId::new(answer.get_u64_le());
        match verdict {
            v if v == Verdict::Welcome as u8 => self.peers.meet(self.to, storage).map(|()| true),
            v if v == Verdict::Version as u8 => Err(LinkError::Version { theirs }),
            v if v == Verdict::OtherCluster as u8 => Err(LinkError::OtherCluster),
            v if v == Verdict::WrongNode as u8 => Err(LinkError::WrongNode),
            v if v == Verdict::NotAMember as u8 => Err(LinkError::NotAMember),
            v if v == Verdict::OtherStorage as u8 => Err(LinkError::OtherStorage),
            v if v == Verdict::Crowded as u8 => Err(LinkError::Crowded),
            _ => Err(LinkError::NotRaft),
        }
    }
}

/// What has come in over a connection.
#[derive(Debug)]
pub enum Received {
    /// The dialler is welcome: send this back.
    Welcome(Bytes),
    /// The dialler is refused: send this back, then close.
    Refused(Bytes, LinkError),
    /// A message for the node.
    Message(Message),
}

/// The listening side of a connection. Drop it when the connection has ended.
#[derive(Debug)]
pub struct Inbound {
    peers: Peers,
    max_frame: usize,
    peer: Option<NodeId>,
    buffer: BytesMut,
}

impl Inbound {
    /// A connection that was just accepted. A frame may have at most `max_frame` bytes, see
    /// [`Config::max_message_bytes`](raft_core::Config::max_message_bytes).
    #[must_use]
    pub fn new(peers: Peers, max_frame: usize) -> Self {
        Self { peers, max_frame, peer: None, buffer: BytesMut::new() }
    }

    /// Who is at the other end, once it has greeted.
    #[must_use]
    pub const fn peer(&self) -> Option<NodeId> {
        self.peer
    }

    /// Where to put the bytes that arrive: append to it, then call [`receive`](Inbound::receive)
    /// until nothing more comes. There is room for some bytes, and never more than a frame waits in
    /// it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(READ_BYTES);
        &mut self.buffer
    }

    /// What the bytes so far amount to, one thing at a time.
    ///
    /// # Errors
    /// The connection can't go on: close it.
    pub fn receive(&mut self) -> Result<Option<Received>, LinkError> {
        let Some(peer) = self.peer else { return self.greet() };
        loop {
            let Some(payload) = take_frame(&mut self.buffer, self.max_frame)? else {
                return Ok(None);
            };
            match Message::decode(payload) {
                Ok(message) if message.from == peer => return Ok(Some(Received::Message(message))),
                Ok(_) => return Err(LinkError::Impostor),
                // A newer node says something that this one does not understand yet.
                Err(DecodeError::Unknown) => {}
                Err(_) => return Err(LinkError::Message),
            }
        }
    }

    fn greet(&mut self) -> Result<Option<Received>, LinkError> {
        let hello = take_frame(&mut self.buffer, HELLO + MAX_ADDRESS);
        let Some(mut hello) = hello.map_err(|_| LinkError::NotRaft)? else { return Ok(None) };
        // The first bytes are the same in all versions.
        if hello.len() <= MAGIC.len() || hello.split_to(MAGIC.len()) != MAGIC[..] {
            return Err(LinkError::NotRaft);
        }
        let version = hello.get_u8();
        let greeting = read_greeting(hello);
        let verdict = match &greeting {
            _ if version != LINK_VERSION => Err(LinkError::Version { theirs: version }),
            None => return Err(LinkError::NotRaft),
            Some(greeting) => self.peers.welcome(greeting),
        };
        let mut answer = BytesMut::with_capacity(HEADER + ANSWER);
        frame(&mut answer, |payload| {
            payload.put_slice(MAGIC);
            payload.put_u8(LINK_VERSION);
            payload.put_u8(byte_of(verdict));
            payload.put_u64_le(self.peers.storage().get());
        });
        Ok(Some(match verdict {
            Err(error) => Received::Refused(answer.freeze(), error),
            Ok(()) => {
                self.peer = greeting.map(|greeting| greeting.from);
                Received::Welcome(answer.freeze())
            }
        }))
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if let Some(peer) = self.peer {
            self.peers.part(peer);
        }
    }
}

/// The hello behind magic and version.
fn read_greeting(mut hello: Bytes) -> Option<Greeting> {
    let mut number = || hello.try_get_u64_le().ok();
    let cluster = ClusterId(number()?);
    let (from, to) = (NodeId::new(number()?), NodeId::new(number()?));
    let storage = StorageId::new(number()?);
    let address = String::from_utf8(hello.to_vec()).ok()?;
    Some(Greeting { cluster, from, to, storage, address })
}

const fn byte_of(verdict: Result<(), LinkError>) -> u8 {
    let verdict = match verdict {
        Ok(()) => Verdict::Welcome,
        Err(LinkError::Version { .. }) => Verdict::Version,
        Err(LinkError::OtherCluster) => Verdict::OtherCluster,
        Err(LinkError::WrongNode) => Verdict::WrongNode,
        Err(LinkError::OtherStorage) => Verdict::OtherStorage,
        Err(LinkError::Crowded) => Verdict::Crowded,
        Err(_) => Verdict::NotAMember,
    };
    verdict as u8
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use proptest::prelude::*;
    use raft_core::{Body, Membership, Term};

    use super::*;
    use crate::identity::Identity;

    const CLUSTER: ClusterId = ClusterId::new(9);

    /// The peers of a node, of a cluster of nodes 1, 2 and 3.
    fn peers_of(cluster: ClusterId, node: u64, storage: u64) -> Peers {
        let members = Membership::of_voters([1, 2, 3].map(NodeId::new));
        let identity = Identity {
            cluster,
            node: NodeId::new(node),
            storage: StorageId::new(storage),
            founders: members.clone(),
            met: BTreeMap::new(),
            removed: BTreeSet::new(),
        };
        Peers::new(identity, Arc::new(members), format!("node-{node}"), None)
    }

    fn dialler() -> Outgoing {
        Outgoing::new(peers_of(CLUSTER, 1, 100), NodeId::new(2))
    }

    fn listener() -> Inbound {
        Inbound::new(peers_of(CLUSTER, 2, 200), 1000)
    }

    fn message(from: u64) -> Message {
        let (from, to) = (NodeId::new(from), NodeId::new(2));
        Message { from, to, term: Term::ZERO, body: Body::PreVoteReply { granted: true } }
    }

    fn framed(message: &Message) -> BytesMut {
        let mut bytes = BytesMut::new();
        frame(&mut bytes, |payload| message.encode(payload));
        bytes
    }

    fn opened() -> Inbound {
        let mut inbound = listener();
        inbound.buffer().extend_from_slice(&dialler().hello());
        assert!(matches!(inbound.receive(), Ok(Some(Received::Welcome(_)))));
        inbound
    }

    #[test]
    fn messages_pass_after_the_greeting_in_whatever_pieces_bytes_come() {
        let mut outgoing = dialler();
        let mut inbound = listener();
        let mut bytes = outgoing.hello().to_vec();
        bytes.extend_from_slice(&framed(&message(1)));
        let (mut answer, mut messages) = (Bytes::new(), 0);
        for byte in bytes {
            inbound.buffer().put_u8(byte);
            match inbound.receive() {
                Ok(Some(Received::Welcome(bytes))) => answer = bytes,
                Ok(Some(Received::Message(received))) => {
                    assert_eq!(received, message(1));
                    messages += 1;
                }
                other => assert!(matches!(other, Ok(None)), "{other:?}"),
            }
        }
        assert_eq!(messages, 1);
        assert_eq!(inbound.peer(), Some(NodeId::new(1)));
        let (end, start) = answer.split_last().unwrap();
        assert_eq!(outgoing.receive(start), Ok(false));
        assert_eq!(outgoing.receive(&[*end]), Ok(true));
    }

    /// R125: messages from another cluster or for another node are refused, with the reason.
    #[test]
    fn a_stranger_is_told_why_it_is_refused() {
        let dials =
            |cluster, from, to| Outgoing::new(peers_of(cluster, from, 100), NodeId::new(to));
        let listens = peers_of(CLUSTER, 2, 200);
        listens.commit(Arc::new(Membership::of_voters([1, 2, 3, 4].map(NodeId::new))));
        listens.commit(Arc::new(Membership::of_voters([1, 2, 3].map(NodeId::new))));
        let cases = [
            (dials(ClusterId::new(8), 1, 2), LinkError::OtherCluster),
            (dials(CLUSTER, 1, 5), LinkError::WrongNode),
            (dials(CLUSTER, 2, 2), LinkError::WrongNode),
            (dials(CLUSTER, 4, 2), LinkError::NotAMember),
        ];
        for (mut outgoing, reason) in cases {
            let mut inbound = Inbound::new(listens.clone(), 1000);
            inbound.buffer().extend_from_slice(&outgoing.hello());
            let Ok(Some(Received::Refused(answer, why))) = inbound.receive() else {
                panic!("not refused: {reason}");
            };
            assert_eq!(why, reason);
            assert_eq!(outgoing.receive(&answer), Err(reason));
        }
    }

    fn greet(outgoing: &mut Outgoing, listens: &Peers) -> Result<bool, LinkError> {
        let mut inbound = Inbound::new(listens.clone(), 1000);
        inbound.buffer().extend_from_slice(&outgoing.hello());
        match inbound.receive() {
            Ok(Some(Received::Welcome(answer) | Received::Refused(answer, _))) => {
                outgoing.receive(&answer)
            }
            other => panic!("{other:?}"),
        }
    }

    /// R072: a node that comes back without its disk, or a second one of the same name.
    #[test]
    fn a_node_with_another_storage_than_before_is_refused_on_either_side() {
        let (one, two) = (peers_of(CLUSTER, 1, 100), peers_of(CLUSTER, 2, 200));
        let dial =
            |from: &Peers, to: &Peers| greet(&mut Outgoing::new(from.clone(), NodeId::new(2)), to);
        assert_eq!(dial(&one, &two), Ok(true));
        assert!(one.take_unsaved().is_some() && two.take_unsaved().is_some());
        let wiped = peers_of(CLUSTER, 1, 101);
        assert_eq!(dial(&wiped, &two), Err(LinkError::OtherStorage));
        let wiped = peers_of(CLUSTER, 2, 201);
        assert_eq!(dial(&one, &wiped), Err(LinkError::OtherStorage));
        assert_eq!(dial(&one, &two), Ok(true), "the real ones still meet");
        assert!(one.take_unsaved().is_none());
    }

    /// R143: a leader that was just added is heard, and answered at the address that it gives.
    #[test]
    fn a_node_that_is_not_known_yet_is_welcome_and_dialled_back() {
        let two = peers_of(CLUSTER, 2, 200);
        let nine = Outgoing::new(peers_of(CLUSTER, 9, 900), NodeId::new(2));
        let connect = || {
            let mut inbound = Inbound::new(two.clone(), 1000);
            inbound.buffer().extend_from_slice(&nine.hello());
            assert!(matches!(inbound.receive(), Ok(Some(Received::Welcome(_)))));
            inbound
        };
        let first = connect();
        assert_eq!(two.to_dial().get(&NodeId::new(9)).map(String::as_str), Some("node-9"));
        drop(first);
        assert_eq!(two.to_dial().get(&NodeId::new(9)), None, "it has left");
        let _again = connect();
        assert_eq!(two.to_dial().get(&NodeId::new(9)).map(String::as_str), Some("node-9"));
        two.adopt(Arc::new(Membership::of_voters([2, 9].map(NodeId::new))));
        assert_eq!(two.to_dial().get(&NodeId::new(9)), None, "the configuration has no address");
    }

    #[test]
    fn a_redis_client_is_no_raft_node() {
        let mut inbound = listener();
        inbound.buffer().extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        assert!(matches!(inbound.receive(), Err(LinkError::NotRaft)));
        let mut outgoing = dialler();
        assert_eq!(outgoing.receive(b"+PONG\r\n-ERR unknown\r\n"), Err(LinkError::NotRaft));
    }

    /// R148: what a peer garbles closes its link, with a reason.
    #[test]
    fn a_garbled_frame_an_oversized_one_and_an_impostor_end_the_link() {
        let mut flipped = framed(&message(1));
        flipped[HEADER] ^= 1;
        let mut huge = BytesMut::new();
        huge.put_u32_le(1001);
        huge.put_u32_le(0);
        let mut nonsense = BytesMut::new();
        frame(&mut nonsense, |payload| payload.put_slice(b"\x01\xff\xff"));
        let cases = [
            (flipped, LinkError::Checksum),
            (huge, LinkError::TooLarge { size: 1001, limit: 1000 }),
            (nonsense, LinkError::Message),
            (framed(&message(3)), LinkError::Impostor),
        ];
        for (bytes, reason) in cases {
            let mut inbound = opened();
            inbound.buffer().extend_from_slice(&bytes);
            assert_eq!(inbound.receive().unwrap_err(), reason);
        }
    }

    /// A newer version may say more (U76): what is not understood is passed over.
    #[test]
    fn a_message_of_an_unknown_kind_is_passed_over() {
        let mut inbound = opened();
        let mut unknown = BytesMut::new();
        frame(&mut unknown, |payload| payload.put_slice(b"\x01\x08\x01\x10\x02"));
        inbound.buffer().extend_from_slice(&unknown);
        inbound.buffer().extend_from_slice(&framed(&message(1)));
        assert!(matches!(inbound.receive(), Ok(Some(Received::Message(m))) if m == message(1)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_link_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), greeted: bool) {
            let mut inbound = if greeted { opened() } else { listener() };
            inbound.buffer().extend_from_slice(&bytes);
            while let Ok(Some(_)) = inbound.receive() {}
            let _ = dialler().receive(&bytes);
        }
    }
}
