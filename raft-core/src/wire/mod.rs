//! Messages as bytes: one version byte, then a protobuf message. `docs/wire.md` has the schema for
//! other languages.
//!
//! The structs here mirror the schema and never leave this module: what comes out of
//! [`Message::decode`] is a [`Message`] that can't be ill-formed.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::{Buf, BufMut, Bytes};
use prost::{Message as _, Oneof};
use thiserror::Error;

use crate::entry::LogPosition;
use crate::ids::{LogIndex, NodeId, Term};
use crate::message::{BatchId, Body, Message};

mod append;
mod control;
mod membership;
mod snapshot;

use self::append::{Append, AppendReply};
use self::control::{Control, ControlReply, Refused};
use self::snapshot::{SnapshotChunk, SnapshotReply};

/// The version of the encoding that this crate writes, and the only one that it reads. Fields and
/// kinds of messages can be added without a new version: older nodes skip the former and drop the
/// latter.
pub const WIRE_VERSION: u8 = 1;

/// Why bytes are not a message. Drop the message and count it; the connection may go on after
/// `Unknown`, and had better be closed after the others.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The sender speaks another version of the protocol.
    #[error("wire version {found}; this node speaks version {WIRE_VERSION}")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// The bytes are cut short or are no protobuf.
    #[error("the message is cut short or garbled")]
    Garbled,
    /// A kind of message or of entry that this version does not know; probably the sender is
    /// newer.
    #[error("a kind of message or entry that this version does not know")]
    Unknown,
    /// The fields contradict each other: indexes that don't follow, a term out of range.
    #[error("the message contradicts itself")]
    Contradiction,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Frame {
    #[prost(uint64, tag = "1")]
    from: u64,
    #[prost(uint64, tag = "2")]
    to: u64,
    #[prost(uint64, tag = "3")]
    term: u64,
    #[prost(oneof = "Kind", tags = "4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(message, tag = "4")]
    PreVote(Position),
    #[prost(message, tag = "5")]
    PreVoteReply(Granted),
    #[prost(message, tag = "6")]
    Vote(Vote),
    #[prost(message, tag = "7")]
    VoteReply(Granted),
    #[prost(message, tag = "8")]
    Append(Append),
    #[prost(message, tag = "9")]
    AppendReply(AppendReply),
    #[prost(message, tag = "10")]
    Propose(Propose),
    #[prost(message, tag = "11")]
    ProposeReply(ProposeReply),
    #[prost(message, tag = "12")]
    ReadIndex(ReadIndex),
    #[prost(message, tag = "13")]
    ReadIndexReply(ReadIndexReply),
    #[prost(message, tag = "14")]
    SnapshotChunk(SnapshotChunk),
    #[prost(message, tag = "15")]
    SnapshotReply(SnapshotReply),
    #[prost(message, tag = "16")]
    TimeoutNow(TimeoutNow),
    #[prost(message, tag = "17")]
    Control(Control),
    #[prost(message, tag = "18")]
    ControlReply(ControlReply),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Position {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(uint64, tag = "2")]
    term: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Vote {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(bool, tag = "3")]
    transfer: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct TimeoutNow {}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Granted {
    #[prost(bool, tag = "1")]
    granted: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Propose {
    #[prost(uint64, tag = "1")]
    incarnation: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    commands: Vec<Bytes>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct ProposeReply {
    #[prost(uint64, tag = "1")]
    incarnation: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(oneof = "Proposed", tags = "3, 4")]
    proposed: Option<Proposed>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
enum Proposed {
    #[prost(uint64, tag = "3")]
    First(u64),
    #[prost(message, tag = "4")]
    Refused(Refused),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct ReadIndex {
    #[prost(uint64, tag = "1")]
    sequence: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct ReadIndexReply {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(uint64, tag = "2")]
    index: u64,
}

impl Message {
    /// Appends the encoded message to a buffer.
    pub fn encode(&self, buffer: &mut impl BufMut) {
        let frame = Frame::from(self);
        // A growable buffer can't be too short; a fixed one that is gets nothing.
        if buffer.remaining_mut() > frame.encoded_len() {
            buffer.put_u8(WIRE_VERSION);
            frame.encode_raw(buffer);
        }
    }

    /// Reads a message from exactly these bytes. Commands are not copied: they share the memory of
    /// `bytes`. Whatever the bytes are, this neither panics nor takes more memory than 128 times
    /// their number, plus a little.
    ///
    /// # Errors
    /// The bytes are no message of this version; the error says why.
    pub fn decode(mut bytes: Bytes) -> Result<Self, DecodeError> {
        match bytes.try_get_u8() {
            Ok(WIRE_VERSION) => {}
            Ok(found) => return Err(DecodeError::Version { found }),
            Err(_) => return Err(DecodeError::Garbled),
        }
        let frame = Frame::decode(bytes).map_err(|_| DecodeError::Garbled)?;
        Self::try_from(frame)
    }
}

impl From<&Message> for Frame {
    fn from(message: &Message) -> Self {
        let kind = match &message.body {
            Body::PreVote { last } => Kind::PreVote((*last).into()),
            Body::PreVoteReply { granted } => Kind::PreVoteReply(Granted { granted: *granted }),
            Body::Vote { last, transfer } => Kind::Vote(Vote {
                index: last.index.get(),
                term: last.term.get(),
                transfer: *transfer,
            }),
            Body::VoteReply { granted } => Kind::VoteReply(Granted { granted: *granted }),
            Body::Append(append) => Kind::Append(append.into()),
            Body::AppendReply(reply) => Kind::AppendReply(reply.into()),
            Body::Propose { batch, commands } => Kind::Propose(Propose {
                incarnation: batch.incarnation,
                sequence: batch.sequence,
                commands: commands.clone(),
            }),
            Body::ProposeReply { batch, result } => Kind::ProposeReply(ProposeReply {
                incarnation: batch.incarnation,
                sequence: batch.sequence,
                proposed: Some(match result {
                    Ok(first) => Proposed::First(first.get()),
                    Err(refusal) => Proposed::Refused((*refusal).into()),
                }),
            }),
            Body::ReadIndex { sequence } => Kind::ReadIndex(ReadIndex { sequence: *sequence }),
            Body::ReadIndexReply { sequence, index } => {
                Kind::ReadIndexReply(ReadIndexReply { sequence: *sequence, index: index.get() })
            }
            Body::SnapshotChunk(chunk) => Kind::SnapshotChunk((&**chunk).into()),
            Body::SnapshotReply(reply) => Kind::SnapshotReply(reply.into()),
            Body::TimeoutNow => Kind::TimeoutNow(TimeoutNow {}),
            Body::Control { batch, control } => Kind::Control(Control::new(*batch, control)),
            Body::ControlReply { batch, result } => {
                Kind::ControlReply(ControlReply::new(*batch, *result))
            }
        };
        Self {
            from: message.from.get(),
            to: message.to.get(),
            term: message.term.get(),
            kind: Some(kind),
        }
    }
}

impl TryFrom<Frame> for Message {
    type Error = DecodeError;

    fn try_from(frame: Frame) -> Result<Self, DecodeError> {
        let body = match frame.kind.ok_or(DecodeError::Unknown)? {
            Kind::PreVote(last) => Body::PreVote { last: last.try_into()? },
            Kind::PreVoteReply(reply) => Body::PreVoteReply { granted: reply.granted },
            Kind::Vote(Vote { index, term, transfer }) => {
                Body::Vote { last: Position { index, term }.try_into()?, transfer }
            }
            Kind::VoteReply(reply) => Body::VoteReply { granted: reply.granted },
            Kind::Append(append) => Body::Append(append.try_into()?),
            Kind::AppendReply(reply) => Body::AppendReply(reply.try_into()?),
            Kind::Propose(Propose { incarnation, sequence, commands }) => {
                Body::Propose { batch: BatchId { incarnation, sequence }, commands }
            }
            Kind::ProposeReply(ProposeReply { incarnation, sequence, proposed }) => {
                let result = match proposed.ok_or(DecodeError::Unknown)? {
                    Proposed::First(first) => Ok(index(first)?),
                    Proposed::Refused(refused) => Err(refused.try_into()?),
                };
                Body::ProposeReply { batch: BatchId { incarnation, sequence }, result }
            }
            Kind::ReadIndex(ReadIndex { sequence }) => Body::ReadIndex { sequence },
            Kind::ReadIndexReply(reply) => {
                Body::ReadIndexReply { sequence: reply.sequence, index: index(reply.index)? }
            }
            Kind::SnapshotChunk(chunk) => Body::SnapshotChunk(Box::new(chunk.try_into()?)),
            Kind::SnapshotReply(reply) => Body::SnapshotReply(reply.try_into()?),
            Kind::TimeoutNow(TimeoutNow {}) => Body::TimeoutNow,
            Kind::Control(control) => control.decode()?,
            Kind::ControlReply(reply) => reply.decode()?,
        };
        let (from, to) = (NodeId::new(frame.from), NodeId::new(frame.to));
        Ok(Self { from, to, term: term(frame.term)?, body })
    }
}

fn term(number: u64) -> Result<Term, DecodeError> {
    Term::new(number).ok_or(DecodeError::Contradiction)
}

fn index(number: u64) -> Result<LogIndex, DecodeError> {
    LogIndex::new(number).ok_or(DecodeError::Contradiction)
}

impl From<LogPosition> for Position {
    fn from(position: LogPosition) -> Self {
        Self { index: position.index.get(), term: position.term.get() }
    }
}

impl TryFrom<Position> for LogPosition {
    type Error = DecodeError;

    fn try_from(position: Position) -> Result<Self, DecodeError> {
        let (index, term) = (index(position.index)?, term(position.term)?);
        // Only the place before the first entry has neither.
        if (index == LogIndex::ZERO) != (term == Term::ZERO) {
            return Err(DecodeError::Contradiction);
        }
        Ok(Self { index, term })
    }
}
