//! Short names for the values that scripts are made of.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft_core::{
    Append, AppendReply, AppendResult, BatchId, Body, Entries, Entry, LogIndex, LogPosition,
    Membership, Message, NodeId, Payload, Proposal, RequestId, Snapshot, SnapshotChunk,
    SnapshotReply, Term,
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

/// A command, or the empty entry of a new leader for the empty string, or a configuration if it
/// looks like one, see [`members`].
pub(crate) fn entry(at_index: u64, of_term: u64, command: &str) -> Entry {
    let payload = match command {
        "" => Payload::Noop,
        text if text.starts_with('{') => Payload::Membership(Arc::new(members(text))),
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
    Body::Vote { last, transfer: false }
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
    Body::AppendReply(AppendReply { sequence, result, needs_snapshot: None })
}

pub(crate) fn rejected(prev: u64, hint: LogPosition) -> Body {
    let result = AppendResult::Rejected { prev: index(prev), hint };
    Body::AppendReply(AppendReply { sequence: 1, result, needs_snapshot: None })
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

pub(crate) const fn is_chunk(message: &Message) -> bool {
    matches!(message.body, Body::SnapshotChunk(_))
}

/// The piece of a snapshot that a message carries, or the question that it asks.
pub(crate) const fn chunk_of(message: &Message) -> Option<&SnapshotChunk> {
    match &message.body {
        Body::SnapshotChunk(chunk) => Some(chunk),
        _ => None,
    }
}

/// Whether it is a piece of a snapshot and not only a question.
pub(crate) fn has_bytes(message: &Message) -> bool {
    chunk_of(message).is_some_and(|chunk| !chunk.data.is_empty())
}

/// How much of a snapshot a message says to be received and written, and whether there is a gap.
pub(crate) const fn arrived_of(message: &Message) -> Option<(u64, u64, bool)> {
    match &message.body {
        Body::SnapshotReply(SnapshotReply { received, written, gap, .. }) => {
            Some((*received, *written, *gap))
        }
        _ => None,
    }
}

/// The snapshot after these entries, which begin with the first one, and its bytes.
pub(crate) fn snapshot_of(items: &[(u64, &str)], in_force: &str) -> (Snapshot, Bytes) {
    let bytes = pack(&entries(1, items));
    let (last_term, _) = items.last().expect("an entry");
    let snapshot = Snapshot {
        position: at(items.len() as u64, *last_term),
        membership: Arc::new(members(in_force)),
        size: bytes.len() as u64,
        checksum: crc32fast::hash(&bytes),
    };
    (snapshot, bytes)
}

/// A piece of a snapshot: so many bytes from `offset` on; none is a question.
pub(crate) fn chunk(
    (snapshot, bytes): &(Snapshot, Bytes),
    offset: usize,
    length: usize,
    sequence: u64,
) -> Body {
    let data = bytes.slice(offset..bytes.len().min(offset + length));
    let (snapshot, offset) = (snapshot.clone(), offset as u64);
    Body::SnapshotChunk(Box::new(SnapshotChunk { snapshot, offset, data, sequence }))
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
        Payload::Membership(members) => show_members(members),
    }
}

/// A configuration as text: `{1 2 3}`, with `|` before outgoing voters and `+` before learners.
pub(crate) fn show_members(members: &Membership) -> String {
    let list = |ids: &[NodeId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut text = list(members.voters());
    for (sign, ids) in [(" | ", members.outgoing()), (" + ", members.learners())] {
        if !ids.is_empty() {
            text = text + sign + &list(ids);
        }
    }
    format!("{{{text}}}")
}

/// The configuration that [`show_members`] shows like this.
pub(crate) fn members(text: &str) -> Membership {
    let (text, learners) = text.trim_matches(['{', '}']).split_once('+').unwrap_or((text, ""));
    let text = text.trim_matches(['{', '}']);
    let (voters, outgoing) = text.split_once('|').unwrap_or((text, ""));
    let numbers = |list: &str| -> Vec<u8> {
        list.split(['{', '}', ' ']).filter_map(|number| number.parse().ok()).collect()
    };
    let lists = [numbers(voters), numbers(outgoing), numbers(learners)];
    let mut ids: Vec<u8> = lists.concat();
    ids.sort_unstable();
    ids.dedup();
    // A joint configuration is made by leaders only, so it comes from the wire.
    let member = |id: &u8| {
        let mut bytes = vec![0x08, *id];
        for (list, key) in lists.iter().zip([0x20, 0x28, 0x30]) {
            if list.contains(id) {
                bytes.extend([key, 1]);
            }
        }
        [vec![0x0a, bytes.len() as u8], bytes].concat()
    };
    let bytes: Vec<u8> = ids.iter().flat_map(member).collect();
    Membership::decode(bytes.into()).expect("a sound configuration")
}

/// Voters with these numbers.
pub(crate) fn voters(numbers: &[u64]) -> Membership {
    Membership::of_voters(numbers.iter().copied().map(id))
}

/// What a state machine has applied, as the bytes of a snapshot.
pub(crate) fn pack(machine: &[Entry]) -> Bytes {
    let entries = Entries::new(machine.to_vec()).expect("a run from the first entry on");
    let append = Append { prev: at(0, 0), entries, commit: index(0), sequence: 0 };
    let mut bytes = bytes::BytesMut::new();
    message(0, 1, 0, Body::Append(append)).encode(&mut bytes);
    bytes.freeze()
}

/// What [`pack`] has packed.
pub(crate) fn unpack(bytes: &Bytes) -> Vec<Entry> {
    match Message::decode(bytes.clone()).map(|message| message.body) {
        Ok(Body::Append(append)) => append.entries.to_vec(),
        other => unreachable!("not a snapshot: {other:?}"),
    }
}
