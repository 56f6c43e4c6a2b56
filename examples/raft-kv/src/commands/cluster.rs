//! The commands of operators, and of clients that have a session of their own. The `admin` module
//! says what they do.

use std::str;

use bytes::Bytes;
use raft_node::core::NodeId;

use super::{Action, CommandError, Outcome, exactly, subcommand};
use crate::admin::{Change, Order};
use crate::store::parse_integer;

/// More than a host name (255) and a port.
const MAX_ADDRESS: usize = 300;

pub(super) fn members(arguments: Vec<Bytes>) -> Outcome {
    let latest = match arguments.as_slice() {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"latest") => true,
        _ => return Err(CommandError::Syntax),
    };
    Ok(Action::Administer(Order::Members { latest }))
}

pub(super) fn change(arguments: Vec<Bytes>) -> Outcome {
    let (subcommand, rest) = subcommand(arguments);
    let mut words = rest.into_iter().peekable();
    let id = node_id(&words.next().ok_or(CommandError::Arity("raft.change"))?)?;
    let change = match subcommand.as_str() {
        "add" => {
            let address = address(&words.next().ok_or(CommandError::Arity("raft.change"))?)?;
            let learner = words.next_if(|word| word.eq_ignore_ascii_case(b"learner")).is_some();
            Change::Add { id, address, learner }
        }
        "move" => {
            let address = address(&words.next().ok_or(CommandError::Arity("raft.change"))?)?;
            Change::Move { id, address }
        }
        "remove" => Change::Remove(id),
        "promote" => Change::Promote(id),
        "demote" => Change::Demote(id),
        _ => return Err(CommandError::UnknownSubcommand(subcommand, "raft.change")),
    };
    let only_if = match (words.next(), words.next(), words.next()) {
        (None, ..) => None,
        (Some(word), Some(version), None) if word.eq_ignore_ascii_case(b"if") => {
            Some(hex(&version).ok_or(CommandError::MembersVersion)?)
        }
        _ => return Err(CommandError::Syntax),
    };
    Ok(Action::Administer(Order::Change { change, only_if }))
}

pub(super) fn transfer(arguments: Vec<Bytes>) -> Outcome {
    let to = match arguments.as_slice() {
        [] => None,
        [id] => Some(node_id(id)?),
        _ => return Err(CommandError::Arity("raft.transfer")),
    };
    Ok(Action::Administer(Order::Transfer(to)))
}

pub(super) fn snapshot(arguments: Vec<Bytes>) -> Outcome {
    let [] = exactly(arguments, "raft.snapshot")?;
    Ok(Action::Administer(Order::Snapshot))
}

pub(super) fn propose(arguments: Vec<Bytes>) -> Outcome {
    let [envelope] = exactly(arguments, "raft.propose")?;
    Ok(Action::Propose(envelope))
}

fn node_id(word: &[u8]) -> Result<NodeId, CommandError> {
    let id = parse_integer(word).and_then(|id| u64::try_from(id).ok());
    id.map(NodeId::new).ok_or(CommandError::NodeId)
}

fn address(word: &[u8]) -> Result<String, CommandError> {
    let text = str::from_utf8(word).ok().filter(|text| text.len() <= MAX_ADDRESS);
    text.and_then(|text| crate::cli::address(text).ok()).ok_or(CommandError::Address)
}

fn hex(word: &[u8]) -> Option<u32> {
    u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()
}
