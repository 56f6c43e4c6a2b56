//! Builders and a model that the tests of stores share.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use proptest::test_runner::{Config, RngSeed};
use raft_core::{
    Entries, Entry, HardState, LogIndex, LogPosition, Membership, NodeId, Payload, StoredLog, Term,
    TermStart, Ticket, Write,
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

/// A configuration of so many voters.
pub(crate) fn members(at: u64, in_term: u64, voters: u64) -> Entry {
    let voters = (1..=voters).map(|id| (NodeId::new(id), format!("10.0.0.{id}:7100")));
    let membership = voters.fold(Membership::new(), |it, (id, address)| it.voter(id, address));
    Entry { payload: Payload::Membership(Arc::new(membership)), ..entry(at, in_term, b"") }
}

pub(crate) fn position(at: u64, in_term: u64) -> LogPosition {
    LogPosition { index: index(at), term: term(in_term) }
}

pub(crate) fn empty() -> Write {
    Write {
        ticket: Ticket::default(),
        hard_state: None,
        truncate_from: None,
        begin_after: None,
        entries: Entries::empty(),
    }
}

pub(crate) fn entries(entries: Vec<Entry>) -> Write {
    Write { entries: Entries::new(entries).unwrap(), ..empty() }
}

pub(crate) fn replacing(from: u64, with: Vec<Entry>) -> Write {
    Write { truncate_from: Some(index(from)), ..entries(with) }
}

pub(crate) fn beginning(after: u64, in_term: u64) -> Write {
    Write { begin_after: Some(position(after, in_term)), ..empty() }
}

pub(crate) fn vote(in_term: u64, candidate: u64) -> Write {
    let vote = Some(NodeId::new(candidate));
    Write { hard_state: Some(HardState { term: term(in_term), vote }), ..empty() }
}

/// What a store should hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) hard_state: HardState,
    pub(crate) begin_after: LogPosition,
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
        if let Some(position) = write.begin_after {
            self.begin_after = position;
            self.entries.retain(|entry| entry.index > position.index);
        }
        self.entries.extend(write.entries.iter().cloned());
    }

    pub(crate) fn last(&self) -> LogPosition {
        self.entries.last().map_or(self.begin_after, Entry::position)
    }

    pub(crate) fn describe(&self) -> StoredLog {
        let mut terms: Vec<TermStart> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if terms.last().map(|start| start.term) != Some(entry.term) {
                terms.push(TermStart { first: entry.index, term: entry.term });
            }
            if let Payload::Membership(membership) = &entry.payload {
                memberships.push((entry.index, membership.clone()));
            }
        }
        StoredLog {
            hard_state: self.hard_state,
            begin_after: self.begin_after,
            terms,
            last: self.last().index,
            memberships,
        }
    }
}

/// All that `store` holds; panics when its description does not fit its entries.
pub(crate) fn content(store: &mut impl LogStore) -> Model {
    let stored = store.restore().unwrap();
    let begin_after = stored.begin_after;
    let entries = store.load(begin_after.index.next(), LogIndex::MAX, usize::MAX).unwrap().to_vec();
    let model = Model { hard_state: stored.hard_state, begin_after, entries };
    assert_eq!(stored, model.describe());
    model
}

/// So many random cases. A failure prints the seed of all of them: set `PROPTEST_RNG_SEED` to it
/// to get them again.
pub(crate) fn cases(cases: u32) -> Config {
    let mut config = Config { cases, failure_persistence: None, ..Config::default() };
    if env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(rand_seed());
    }
    println!("replay: PROPTEST_RNG_SEED={}", config.rng_seed);
    config
}

/// A number that is another at each start.
fn rand_seed() -> u64 {
    RandomState::new().hash_one(0)
}
