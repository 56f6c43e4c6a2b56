//! The link between two nodes, as bytes in and bytes out.
//!
//! A connection carries messages one way, from the node that dialled to the node that listens.
//! Everything is sent in frames: a length (u32), the CRC-32 of the payload (u32), the payload; all
//! numbers are little-endian. The first frame is the dialler's hello: the bytes `RAFT`, the link
//! version (u8), the cluster id, its own node id and that of the node that it means to reach (u64
//! each). The listener answers with one frame: `RAFT`, its link version (u8) and a verdict (u8),
//! see [`Verdict`]. After a welcome every frame is one message of
//! [`raft_core`](raft_core::Message::encode).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft_core::{DecodeError, Message, NodeId};
use thiserror::Error;

const MAGIC: &[u8; 4] = b"RAFT";
const LINK_VERSION: u8 = 1;
const HEADER: usize = 8;
const HELLO: usize = 4 + 1 + 3 * 8;
const ANSWER: usize = 4 + 1 + 1;
/// Frames below this size are copied out of the read buffer: a few bytes that stay in the log must
/// not keep a whole buffer of heartbeats in memory.
const COPY_BELOW: usize = 4096;
const READ_BYTES: usize = 64 * 1024;

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
}

/// Who dials whom, in which cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The cluster that both belong to.
    pub cluster: ClusterId,
    /// Who dials.
    pub from: NodeId,
    /// Who is dialled.
    pub to: NodeId,
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
    /// The dialler is not a member that the listener knows.
    #[error("the dialling node is not a known member")]
    NotAMember,
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
    /// Whether an I/O error was made of one of these: the peer is there and does not fit.
    #[must_use]
    pub fn is_behind(error: &std::io::Error) -> bool {
        error.get_ref().is_some_and(|source| source.is::<Self>())
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
    greeting: Greeting,
    buffer: BytesMut,
}

impl Outgoing {
    /// A connection that was just made.
    #[must_use]
    pub fn new(greeting: Greeting) -> Self {
        Self { greeting, buffer: BytesMut::new() }
    }

    /// The first bytes to send.
    #[must_use]
    pub fn hello(&self) -> Bytes {
        let Greeting { cluster, from, to } = self.greeting;
        let mut bytes = BytesMut::with_capacity(HEADER + HELLO);
        frame(&mut bytes, |payload| {
            payload.put_slice(MAGIC);
            payload.put_u8(LINK_VERSION);
            payload.put_u64_le(cluster.0);
            payload.put_u64_le(from.get());
            payload.put_u64_le(to.get());
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
        match verdict {
            v if v == Verdict::Welcome as u8 => Ok(true),
            v if v == Verdict::Version as u8 => Err(LinkError::Version { theirs }),
            v if v == Verdict::OtherCluster as u8 => Err(LinkError::OtherCluster),
            v if v == Verdict::WrongNode as u8 => Err(LinkError::WrongNode),
            v if v == Verdict::NotAMember as u8 => Err(LinkError::NotAMember),
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

/// The listening side of a connection.
#[derive(Debug)]
pub struct Inbound {
    cluster: ClusterId,
    id: NodeId,
    members: Vec<NodeId>,
    max_frame: usize,
    peer: Option<NodeId>,
    buffer: BytesMut,
}

impl Inbound {
    /// A connection that was just accepted by node `id`. Only `members` are welcome. A frame may
    /// have at most `max_frame` bytes, see
    /// [`Config::max_message_bytes`](raft_core::Config::max_message_bytes).
    #[must_use]
    pub fn new(cluster: ClusterId, id: NodeId, members: Vec<NodeId>, max_frame: usize) -> Self {
        Self { cluster, id, members, max_frame, peer: None, buffer: BytesMut::new() }
    }

    /// Who is at the other end, once it has greeted.
    #[must_use]
    pub const fn peer(&self) -> Option<NodeId> {
        self.peer
    }

    /// Where to put the bytes that arrive: append to it, then call [`receive`](Inbound::receive) until
    /// nothing more comes. There is room for some bytes, and never more than a frame waits in it.
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
        let hello = take_frame(&mut self.buffer, HELLO).map_err(|_| LinkError::NotRaft)?;
        let Some(mut hello) = hello else { return Ok(None) };
        if hello.len() != HELLO || hello.split_to(MAGIC.len()) != MAGIC[..] {
            return Err(LinkError::NotRaft);
        }
        let version = hello.get_u8();
        let cluster = ClusterId(hello.get_u64_le());
        let (from, to) = (NodeId::new(hello.get_u64_le()), NodeId::new(hello.get_u64_le()));
        let (verdict, error) = if version != LINK_VERSION {
            (Verdict::Version, Some(LinkError::Version { theirs: version }))
        } else if cluster != self.cluster {
            (Verdict::OtherCluster, Some(LinkError::OtherCluster))
        } else if to != self.id || from == self.id {
            (Verdict::WrongNode, Some(LinkError::WrongNode))
        } else if !self.members.contains(&from) {
            (Verdict::NotAMember, Some(LinkError::NotAMember))
        } else {
            (Verdict::Welcome, None)
        };
        let mut answer = BytesMut::with_capacity(HEADER + ANSWER);
        frame(&mut answer, |payload| {
            payload.put_slice(MAGIC);
            payload.put_u8(LINK_VERSION);
            payload.put_u8(verdict as u8);
        });
        Ok(Some(match error {
            Some(error) => Received::Refused(answer.freeze(), error),
            None => {
                self.peer = Some(from);
                Received::Welcome(answer.freeze())
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raft_core::{Body, Term};

    use super::*;

    const CLUSTER: ClusterId = ClusterId::new(9);

    fn greeting() -> Greeting {
        Greeting { cluster: CLUSTER, from: NodeId::new(1), to: NodeId::new(2) }
    }

    fn listener() -> Inbound {
        Inbound::new(CLUSTER, NodeId::new(2), vec![NodeId::new(1), NodeId::new(3)], 1000)
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
        inbound.buffer().extend_from_slice(&Outgoing::new(greeting()).hello());
        assert!(matches!(inbound.receive(), Ok(Some(Received::Welcome(_)))));
        inbound
    }

    #[test]
    fn messages_pass_after_the_greeting_in_whatever_pieces_bytes_come() {
        let mut outgoing = Outgoing::new(greeting());
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
        let other = |change: fn(&mut Greeting)| {
            let mut greeting = greeting();
            change(&mut greeting);
            greeting
        };
        let cases = [
            (other(|g| g.cluster = ClusterId::new(8)), LinkError::OtherCluster),
            (other(|g| g.to = NodeId::new(5)), LinkError::WrongNode),
            (other(|g| g.from = NodeId::new(2)), LinkError::WrongNode),
            (other(|g| g.from = NodeId::new(4)), LinkError::NotAMember),
        ];
        for (greeting, reason) in cases {
            let mut outgoing = Outgoing::new(greeting);
            let mut inbound = listener();
            inbound.buffer().extend_from_slice(&outgoing.hello());
            let Ok(Some(Received::Refused(answer, why))) = inbound.receive() else {
                panic!("{greeting:?} was not refused");
            };
            assert_eq!(why, reason);
            assert_eq!(outgoing.receive(&answer), Err(reason));
        }
    }

    #[test]
    fn a_redis_client_is_no_raft_node() {
        let mut inbound = listener();
        inbound.buffer().extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        assert!(matches!(inbound.receive(), Err(LinkError::NotRaft)));
        let mut outgoing = Outgoing::new(greeting());
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
            let _ = Outgoing::new(greeting()).receive(&bytes);
        }
    }
}
