//! Messages as bytes: one version byte, then a protobuf message. `docs/wire.md` has the schema for
//! other languages.
//!
//! The structs here mirror the schema and never leave this module: what comes out of
//! [`Message::decode`] is a [`Message`] that can't be ill-formed.

use alloc::vec::Vec;

use bytes::{Buf, BufMut, Bytes};
use prost::{Message as _, Oneof};
use thiserror::Error;

use crate::entry::{self, Entries, LogPosition};
use crate::ids::{LogIndex, NodeId, Term};
use crate::message::{self, AppendResult, BatchId, Body, Message};

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
    #[prost(oneof = "Kind", tags = "4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(message, tag = "4")]
    PreVote(Position),
    #[prost(message, tag = "5")]
    PreVoteReply(Granted),
    #[prost(message, tag = "6")]
    Vote(Position),
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
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Position {
    #[prost(uint64, tag = "1")]
    index: u64,
    #[prost(uint64, tag = "2")]
    term: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Granted {
    #[prost(bool, tag = "1")]
    granted: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Append {
    #[prost(message, required, tag = "1")]
    prev: Position,
    #[prost(uint64, tag = "2")]
    commit: u64,
    #[prost(uint64, tag = "3")]
    sequence: u64,
    #[prost(message, repeated, tag = "4")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(oneof = "Payload", tags = "2, 3")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Payload {
    #[prost(bool, tag = "2")]
    Noop(bool),
    #[prost(bytes = "bytes", tag = "3")]
    Command(Bytes),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct AppendReply {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(oneof = "Verdict", tags = "2, 3")]
    verdict: Option<Verdict>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
enum Verdict {
    #[prost(message, tag = "2")]
    Accepted(Accepted),
    #[prost(message, tag = "3")]
    Rejected(Rejected),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Accepted {
    #[prost(uint64, tag = "1")]
    last: u64,
    #[prost(uint64, tag = "2")]
    durable: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Rejected {
    #[prost(uint64, tag = "1")]
    prev: u64,
    #[prost(message, required, tag = "2")]
    hint: Position,
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
    #[prost(uint64, optional, tag = "3")]
    first: Option<u64>,
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
    /// `bytes`. Whatever the bytes are, this neither panics nor takes more memory than 64 times
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
            Body::Vote { last } => Kind::Vote((*last).into()),
            Body::VoteReply { granted } => Kind::VoteReply(Granted { granted: *granted }),
            Body::Append(append) => Kind::Append(append.into()),
            Body::AppendReply(reply) => Kind::AppendReply(reply.into()),
            Body::Propose { batch, commands } => Kind::Propose(Propose {
                incarnation: batch.incarnation,
                sequence: batch.sequence,
                commands: commands.clone(),
            }),
            Body::ProposeReply { batch, first } => Kind::ProposeReply(ProposeReply {
                incarnation: batch.incarnation,
                sequence: batch.sequence,
                first: first.map(LogIndex::get),
            }),
            Body::ReadIndex { sequence } => Kind::ReadIndex(ReadIndex { sequence: *sequence }),
            Body::ReadIndexReply { sequence, index } => {
                Kind::ReadIndexReply(ReadIndexReply { sequence: *sequence, index: index.get() })
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
            Kind::Vote(last) => Body::Vote { last: last.try_into()? },
            Kind::VoteReply(reply) => Body::VoteReply { granted: reply.granted },
            Kind::Append(append) => Body::Append(append.try_into()?),
            Kind::AppendReply(reply) => Body::AppendReply(reply.try_into()?),
            Kind::Propose(Propose { incarnation, sequence, commands }) => {
                Body::Propose { batch: BatchId { incarnation, sequence }, commands }
            }
            Kind::ProposeReply(ProposeReply { incarnation, sequence, first }) => {
                let first = first.map(index).transpose()?;
                Body::ProposeReply { batch: BatchId { incarnation, sequence }, first }
            }
            Kind::ReadIndex(ReadIndex { sequence }) => Body::ReadIndex { sequence },
            Kind::ReadIndexReply(reply) => {
                Body::ReadIndexReply { sequence: reply.sequence, index: index(reply.index)? }
            }
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

impl From<&message::Append> for Append {
    fn from(append: &message::Append) -> Self {
        let entries = append.entries.iter().map(|entry| Entry {
            term: entry.term.get(),
            payload: Some(match &entry.payload {
                entry::Payload::Noop => Payload::Noop(true),
                entry::Payload::Command(command) => Payload::Command(command.clone()),
            }),
        });
        Self {
            prev: append.prev.into(),
            commit: append.commit.get(),
            sequence: append.sequence,
            entries: entries.collect(),
        }
    }
}

impl TryFrom<Append> for message::Append {
    type Error = DecodeError;

    fn try_from(append: Append) -> Result<Self, DecodeError> {
        let prev: LogPosition = append.prev.try_into()?;
        let mut at = prev.index;
        let entries = append.entries.into_iter().map(|entry| {
            at = at.next();
            let payload = match entry.payload.ok_or(DecodeError::Unknown)? {
                Payload::Noop(_) => entry::Payload::Noop,
                Payload::Command(command) => entry::Payload::Command(command),
            };
            Ok(entry::Entry { term: term(entry.term)?, index: at, payload })
        });
        let entries: Vec<entry::Entry> = entries.collect::<Result<_, DecodeError>>()?;
        let entries = Entries::new(entries).ok_or(DecodeError::Contradiction)?;
        Ok(Self { prev, entries, commit: index(append.commit)?, sequence: append.sequence })
    }
}

impl From<&message::AppendReply> for AppendReply {
    fn from(reply: &message::AppendReply) -> Self {
        let verdict = match reply.result {
            AppendResult::Accepted { last, durable } => {
                Verdict::Accepted(Accepted { last: last.get(), durable: durable.get() })
            }
            AppendResult::Rejected { prev, hint } => {
                Verdict::Rejected(Rejected { prev: prev.get(), hint: hint.into() })
            }
        };
        Self { sequence: reply.sequence, verdict: Some(verdict) }
    }
}

impl TryFrom<AppendReply> for message::AppendReply {
    type Error = DecodeError;

    fn try_from(reply: AppendReply) -> Result<Self, DecodeError> {
        let result = match reply.verdict.ok_or(DecodeError::Unknown)? {
            Verdict::Accepted(Accepted { last, durable }) => {
                AppendResult::Accepted { last: index(last)?, durable: index(durable)? }
            }
            Verdict::Rejected(Rejected { prev, hint }) => {
                AppendResult::Rejected { prev: index(prev)?, hint: hint.try_into()? }
            }
        };
        Ok(Self { sequence: reply.sequence, result })
    }
}
