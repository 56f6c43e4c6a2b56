//! Events of a trace in words.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::{Buf, Bytes};
use raft_node::RequestError;
use raft_node::core::{AppendResult, Body, Entries, Membership, Message, Notice, Status, Write};

use crate::machine::{Command, decode_value};

/// What a node writes.
pub(crate) fn write(write: &Write) -> String {
    let hard = write.hard_state.map(|hard| match hard.vote {
        Some(vote) => format!("{:?} with a vote for {vote:?}", hard.term),
        None => format!("{:?} without a vote", hard.term),
    });
    let cut = write.truncate_from.map(|from| format!("no more entries from {from:?} on"));
    let begin = write.begin_after.map(|it| format!("a log after {:?} of {:?}", it.index, it.term));
    let added = (!write.entries.is_empty()).then(|| entries(&write.entries));
    let parts: Vec<String> = [hard, cut, begin, added].into_iter().flatten().collect();
    format!("writes {}", parts.join(", "))
}

/// Which entries these are, and of which terms.
pub(crate) fn entries(entries: &Entries) -> String {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return "no entries".into();
    };
    let term = match (first.term, last.term) {
        (first, last) if first == last => format!("{last:?}"),
        (first, last) => format!("{first:?} to {last:?}"),
    };
    match entries.len() {
        1 => format!("{:?} of {term}", first.index),
        _ => format!("{:?} to {:?} of {term}", first.index, last.index),
    }
}

/// What a node receives.
pub(crate) fn message(message: &Message) -> String {
    let Message { from, term, body, .. } = message;
    format!("receives from {from:?} in {term:?}: {}", said(body))
}

/// What a node sends.
#[cfg(feature = "std")]
pub(crate) fn sent(message: &Message) -> String {
    let Message { to, term, body, .. } = message;
    format!("sends to {to:?} in {term:?}: {}", said(body))
}

fn said(body: &Body) -> String {
    match body {
        Body::PreVote { last } => {
            format!("may I campaign? My log ends with {:?} of {:?}", last.index, last.term)
        }
        Body::Vote { last, .. } => {
            format!("vote for me! My log ends with {:?} of {:?}", last.index, last.term)
        }
        Body::PreVoteReply { granted } => format!("pre-vote granted: {granted}"),
        Body::VoteReply { granted } => format!("vote granted: {granted}"),
        Body::Append(append) => format!(
            "append {} after {:?} of {:?}, commit {:?}, number {}",
            entries(&append.entries),
            append.prev.index,
            append.prev.term,
            append.commit,
            append.sequence
        ),
        Body::AppendReply(reply) => match reply.result {
            AppendResult::Accepted { last, durable } => {
                format!("has up to {last:?}, durably up to {durable:?}, number {}", reply.sequence)
            }
            AppendResult::Rejected { prev, hint } => format!(
                "lacks {prev:?}, try {:?} of {:?}, number {}",
                hint.index, hint.term, reply.sequence
            ),
        },
        Body::SnapshotChunk(chunk) => format!(
            "snapshot of {:?}, {} of {} bytes from {}, number {}",
            chunk.snapshot.position.index,
            chunk.data.len(),
            chunk.snapshot.size,
            chunk.offset,
            chunk.sequence
        ),
        Body::Propose { commands, .. } => format!("please append {} commands", commands.len()),
        Body::ProposeReply { result: Ok(first), .. } => format!("appended from {first:?} on"),
        Body::ReadIndex { .. } => "where may I read?".into(),
        Body::ReadIndexReply { index, .. } => format!("read at {index:?} or later"),
        other => format!("{other:?}"),
    }
}

/// What a node says about itself.
pub(crate) fn notice(notice: &Notice) -> String {
    match notice {
        Notice::Leadership { role, term, leader: Some(leader) } => {
            format!("is {role:?} in {term:?}, follows {leader:?}")
        }
        Notice::Leadership { role, term, leader: None } => {
            format!("is {role:?} in {term:?}, knows no leader")
        }
        Notice::Membership(members) => format!("has the members {}", membership(members)),
        Notice::SnapshotWanted => "wants a snapshot of its state".into(),
    }
}

/// Who is a member.
fn membership(members: &Membership) -> String {
    let joint = if members.is_joint() { ", joint" } else { "" };
    format!("{:?}, learners {:?}{joint}", members.voters(), members.learners())
}

/// What a client asks of the state machine.
pub(crate) fn command(bytes: &Bytes) -> String {
    match Command::decode(bytes.clone()) {
        Some(Command::Write { key, value }) => format!("set register {key} to {value}"),
        Some(Command::Swap { key, expected: Some(expected), value }) => {
            format!("set register {key} to {value} if it is {expected}")
        }
        Some(Command::Swap { key, expected: None, value }) => {
            format!("set register {key} to {value} if it was never set")
        }
        Some(Command::Mark(_)) | None => format!("propose {bytes:?}"),
    }
}

/// What a client asks to read.
pub(crate) fn query(bytes: &Bytes) -> String {
    let mut number = bytes.clone();
    number
        .try_get_u64_le()
        .map_or_else(|_| format!("read {bytes:?}"), |key| format!("read register {key}"))
}

/// What a client is told.
pub(crate) fn answer(result: &Result<Bytes, RequestError>) -> String {
    match result {
        Ok(answer) if answer.is_empty() => "succeeds".into(),
        Ok(answer) => match decode_value(answer) {
            Some(Some(value)) if answer.len() == size_of::<u64>() => format!("succeeds: {value}"),
            _ => format!("succeeds: {answer:?}"),
        },
        Err(RequestError::Refused { reason, .. }) => format!("is refused: {reason:?}"),
        Err(error) => format!("fails: {error:?}"),
    }
}

/// How a node is, in a few words.
pub(crate) fn status(status: &Status) -> String {
    let Status { role, term, base, snapshot, last, durable, commit, applied, .. } = status;
    format!(
        "is {role:?} in {term:?}; log after {base:?} up to {last:?}, durable {durable:?}, commit \
         {commit:?}, applied {applied:?}, snapshot {snapshot:?}; members {}",
        membership(&status.membership)
    )
}
