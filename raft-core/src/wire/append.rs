//! `Append` and its answer.

use crate::shared::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Oneof;

use super::membership::Members;
use super::{DecodeError, Position, index, term};
use crate::entry::{self, Entries, LogPosition};
use crate::ids::LogIndex;
use crate::membership::Membership;
use crate::message::{self, AppendResult};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Append {
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
pub(super) struct Entry {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(oneof = "Payload", tags = "2, 3, 4")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Payload {
    #[prost(bool, tag = "2")]
    Noop(bool),
    #[prost(bytes = "bytes", tag = "3")]
    Command(Bytes),
    #[prost(message, tag = "4")]
    Membership(Members),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct AppendReply {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(oneof = "Verdict", tags = "2, 3")]
    verdict: Option<Verdict>,
    #[prost(uint64, optional, tag = "4")]
    needs_snapshot: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum Verdict {
    #[prost(message, tag = "2")]
    Accepted(Accepted),
    #[prost(message, tag = "3")]
    Rejected(Rejected),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Accepted {
    #[prost(uint64, tag = "1")]
    last: u64,
    #[prost(uint64, tag = "2")]
    durable: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Rejected {
    #[prost(uint64, tag = "1")]
    prev: u64,
    #[prost(message, required, tag = "2")]
    hint: Position,
}

impl From<&message::Append> for Append {
    fn from(append: &message::Append) -> Self {
        let entries = append.entries.iter().map(|entry| Entry {
            term: entry.term.get(),
            payload: Some(match &entry.payload {
                entry::Payload::Noop => Payload::Noop(true),
                entry::Payload::Command(command) => Payload::Command(command.clone()),
                entry::Payload::Membership(membership) => {
                    Payload::Membership(membership.as_ref().into())
                }
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
                Payload::Membership(members) => {
                    let members: Membership = members.try_into()?;
                    if members.is_empty() {
                        return Err(DecodeError::Contradiction);
                    }
                    entry::Payload::Membership(Arc::new(members))
                }
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
        let needs_snapshot = reply.needs_snapshot.map(LogIndex::get);
        Self { sequence: reply.sequence, verdict: Some(verdict), needs_snapshot }
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
        let needs_snapshot = reply.needs_snapshot.map(index).transpose()?;
        Ok(Self { sequence: reply.sequence, result, needs_snapshot })
    }
}
