//! Short names for the values that scripts are made of.

use std::time::Duration;

use bytes::Bytes;
use raft_core::{
    Append, AppendReply, AppendResult, BatchId, Body, Entries, Entry, LogIndex, LogPosition,
    Message, NodeId, Payload, Proposal, RequestId, Term,
};

/// The election timeout of all scripts: the default.
pub(crate) const ELECTION: Duration = Duration::from_millis(1000);
/// The heartbeat interval of all scripts: the default.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);

pub(crate) const fn id(number: u64) -> NodeId {
    NodeId::new(number)
}

pub(crate) fn term(number: u64) -> Term {
    Term::new(number).expect("a term")
}

pub(crate) fn index(number: u64) -> LogIndex {
    LogIndex::new(number).expect("an index")
}

/// The position of the entry at an index, of a term.
pub(crate) fn at(at_index: u64, of_term: u64) -> LogPosition {
    LogPosition { index: index(at_index), term: term(of_term) }
}

/// A command, or the empty entry of a new leader for the empty string.
pub(crate) fn entry(at_index: u64, of_term: u64, command: &str) -> Entry {
    let payload = match command {
        "" => Payload::Noop,
        text => Payload::Command(Bytes::copy_from_slice(text.as_bytes())),
    };
    Entry { index: index(at_index), term: term(of_term), payload }
}

/// Entries from an index on, each with its term.
pub(crate) fn entries(first: u64, items: &[(u64, &str)]) -> Entries {
    let number = |(n, (of_term, command)): (u64, &(u64, &str))| entry(first + n, *of_term, command);
    Entries::new((0..).zip(items).map(number).collect()).expect("a sound run of entries")
}

pub(crate) fn vote(last: LogPosition) -> Body {
    Body::Vote { last }
}

pub(crate) fn pre_vote(last: LogPosition) -> Body {
    Body::PreVote { last }
}

pub(crate) const fn vote_reply(granted: bool) -> Body {
    Body::VoteReply { granted }
}

pub(crate) const fn pre_vote_reply(granted: bool) -> Body {
    Body::PreVoteReply { granted }
}

/// An `Append` of entries behind `prev`.
pub(crate) fn append(prev: LogPosition, items: &[(u64, &str)], commit: u64) -> Body {
    append_numbered(1, prev, items, commit)
}

pub(crate) fn append_numbered(
    sequence: u64,
    prev: LogPosition,
    items: &[(u64, &str)],
    commit: u64,
) -> Body {
    let entries = entries(prev.index.get() + 1, items);
    Body::Append(Append { prev, entries, commit: index(commit), sequence })
}

pub(crate) fn accepted(last: u64, durable: u64) -> Body {
    accepted_numbered(1, last, durable)
}

pub(crate) fn accepted_numbered(sequence: u64, last: u64, durable: u64) -> Body {
    let result = AppendResult::Accepted { last: index(last), durable: index(durable) };
    Body::AppendReply(AppendReply { sequence, result })
}

pub(crate) fn rejected(prev: u64, hint: LogPosition) -> Body {
    let result = AppendResult::Rejected { prev: index(prev), hint };
    Body::AppendReply(AppendReply { sequence: 1, result })
}

pub(crate) fn propose(batch: BatchId, commands: &[&str]) -> Body {
    let command = |text: &&str| Bytes::copy_from_slice(text.as_bytes());
    Body::Propose { batch, commands: commands.iter().map(command).collect() }
}

pub(crate) const fn batch(incarnation: u64, sequence: u64) -> BatchId {
    BatchId { incarnation, sequence }
}

pub(crate) fn proposal(request: u64, command: &str) -> Proposal {
    let command = Bytes::copy_from_slice(command.as_bytes());
    Proposal { request: RequestId::new(request), command }
}

pub(crate) fn message(from: u64, to: u64, of_term: u64, body: Body) -> Message {
    Message { from: id(from), to: id(to), term: term(of_term), body }
}

/// What an `Append` says; `None` for other messages.
pub(crate) const fn append_of(message: &Message) -> Option<&Append> {
    match &message.body {
        Body::Append(append) => Some(append),
        _ => None,
    }
}

/// The last and the durable index that a message acknowledges.
pub(crate) const fn accepted_of(message: &Message) -> Option<(u64, u64)> {
    match &message.body {
        Body::AppendReply(AppendReply {
            result: AppendResult::Accepted { last, durable }, ..
        }) => Some((last.get(), durable.get())),
        _ => None,
    }
}

pub(crate) const fn is_append(message: &Message) -> bool {
    matches!(message.body, Body::Append(_))
}

/// Whether it is an `Append` that carries entries.
pub(crate) fn has_entries(message: &Message) -> bool {
    append_of(message).is_some_and(|append| !append.entries.is_empty())
}

pub(crate) const fn is_append_reply(message: &Message) -> bool {
    matches!(message.body, Body::AppendReply(_))
}

pub(crate) const fn is_vote(message: &Message) -> bool {
    matches!(message.body, Body::Vote { .. })
}

pub(crate) const fn is_vote_reply(message: &Message) -> bool {
    matches!(message.body, Body::VoteReply { .. })
}

pub(crate) const fn is_pre_vote(message: &Message) -> bool {
    matches!(message.body, Body::PreVote { .. })
}

/// Entries as text: `1:` is the empty entry of term 1, `2:x` the command x of term 2.
pub(crate) fn show<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> String {
    let show = |entry: &Entry| format!("{}:{}", entry.term, command_of(entry));
    entries.into_iter().map(show).collect::<Vec<_>>().join(" ")
}

/// The command of an entry as text, empty for the empty entry.
pub(crate) fn command_of(entry: &Entry) -> String {
    match &entry.payload {
        Payload::Noop => String::new(),
        Payload::Command(command) => String::from_utf8_lossy(command).into_owned(),
    }
}
