//! Builders and a model that the tests of log stores share.

use bytes::Bytes;
use raft_core::{
    Entries, Entry, HardState, LogIndex, NodeId, Payload, StoredLog, Term, TermStart, Ticket, Write,
};
use raft_node::LogStore;

pub(crate) fn index(index: u64) -> LogIndex {
    LogIndex::new(index).unwrap()
}

pub(crate) fn term(term: u64) -> Term {
    Term::new(term).unwrap()
}

/// A command; no bytes stand for an entry without one.
pub(crate) fn entry(at: u64, in_term: u64, command: &[u8]) -> Entry {
    let payload = match command {
        [] => Payload::Noop,
        bytes => Payload::Command(Bytes::copy_from_slice(bytes)),
    };
    Entry { term: term(in_term), index: index(at), payload }
}

pub(crate) fn empty() -> Write {
    Write {
        ticket: Ticket::default(),
        hard_state: None,
        truncate_from: None,
        entries: Entries::empty(),
    }
}

pub(crate) fn entries(entries: Vec<Entry>) -> Write {
    Write { entries: Entries::new(entries).unwrap(), ..empty() }
}

pub(crate) fn replacing(from: u64, with: Vec<Entry>) -> Write {
    Write { truncate_from: Some(index(from)), ..entries(with) }
}

pub(crate) fn vote(in_term: u64, candidate: u64) -> Write {
    let vote = Some(NodeId::new(candidate));
    Write { hard_state: Some(HardState { term: term(in_term), vote }), ..empty() }
}

/// What a store should hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) hard_state: HardState,
    pub(crate) entries: Vec<Entry>,
}

impl Model {
    pub(crate) fn of(writes: &[Write]) -> Self {
        let mut model = Self::default();
        writes.iter().for_each(|write| model.apply(write));
        model
    }

    pub(crate) fn apply(&mut self, write: &Write) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(from) = write.truncate_from {
            self.entries.retain(|entry| entry.index < from);
        }
        self.entries.extend(write.entries.iter().cloned());
    }

    pub(crate) fn describe(&self) -> StoredLog {
        let mut terms: Vec<TermStart> = Vec::new();
        for entry in &self.entries {
            if terms.last().map(|start| start.term) != Some(entry.term) {
                terms.push(TermStart { first: entry.index, term: entry.term });
            }
        }
        let last = self.entries.last().map_or(LogIndex::ZERO, |entry| entry.index);
        StoredLog { hard_state: self.hard_state, terms, last }
    }
}

/// All that `store` holds; panics when its description does not fit its entries.
pub(crate) fn content(store: &mut impl LogStore) -> Model {
    let stored = store.restore().unwrap();
    let entries = store.load(index(1), LogIndex::MAX, usize::MAX).unwrap().to_vec();
    let model = Model { hard_state: stored.hard_state, entries };
    assert_eq!(stored, model.describe());
    model
}
