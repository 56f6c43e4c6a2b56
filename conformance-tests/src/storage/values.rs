//! What the checks of stores write, and a model of what a store should then hold.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed check")]

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use proptest::test_runner::{Config, RngSeed};
use raft_core::{
    Entries, Entry, HardState, LogIndex, LogPosition, Membership, NodeId, Payload, StoredLog, Term,
    TermStart, Write,
};
use raft_node::LogStore;

/// A log index.
///
/// # Panics
/// There is no such index.
#[must_use]
pub fn index(index: u64) -> LogIndex {
    LogIndex::new(index).unwrap()
}

/// A term.
///
/// # Panics
/// There is no such term.
#[must_use]
pub fn term(term: u64) -> Term {
    Term::new(term).unwrap()
}

/// A command; no bytes stand for an entry without one.
#[must_use]
pub fn entry(at: u64, in_term: u64, command: &[u8]) -> Entry {
    let payload = match command {
        [] => Payload::Noop,
        bytes => Payload::Command(Bytes::copy_from_slice(bytes)),
    };
    Entry { term: term(in_term), index: index(at), payload }
}

/// A configuration of so many voters.
#[must_use]
pub fn members(at: u64, in_term: u64, voters: u64) -> Entry {
    let voters = (1..=voters).map(|id| (NodeId::new(id), format!("10.0.0.{id}:7100")));
    let membership = voters.fold(Membership::new(), |it, (id, address)| it.voter(id, address));
    Entry { payload: Payload::Membership(Arc::new(membership)), ..entry(at, in_term, b"") }
}

/// The place of an entry.
#[must_use]
pub fn position(at: u64, in_term: u64) -> LogPosition {
    LogPosition { index: index(at), term: term(in_term) }
}

/// A write of nothing.
#[must_use]
pub fn empty() -> Write {
    Write::default()
}

/// A write that appends these.
///
/// # Panics
/// They do not follow each other.
#[must_use]
pub fn entries(entries: Vec<Entry>) -> Write {
    Write { entries: Entries::new(entries).unwrap(), ..empty() }
}

/// A write that cuts the log from `from` on and appends these.
#[must_use]
pub fn replacing(from: u64, with: Vec<Entry>) -> Write {
    Write { truncate_from: Some(index(from)), ..entries(with) }
}

/// A write that drops what a snapshot of this end covers.
#[must_use]
pub fn beginning(after: u64, in_term: u64) -> Write {
    Write { begin_after: Some(position(after, in_term)), ..empty() }
}

/// A write of a vote.
#[must_use]
pub fn vote(in_term: u64, candidate: u64) -> Write {
    let vote = Some(NodeId::new(candidate));
    Write { hard_state: Some(HardState { term: term(in_term), vote }), ..empty() }
}

/// What a store should hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The newest term and vote.
    pub hard_state: HardState,
    /// The place before the first entry.
    pub begin_after: LogPosition,
    /// All entries.
    pub entries: Vec<Entry>,
}

impl Model {
    /// What is there after these writes.
    #[must_use]
    pub fn of(writes: &[Write]) -> Self {
        let mut model = Self::default();
        writes.iter().for_each(|write| model.apply(write));
        model
    }

    /// Carries out a write.
    pub fn apply(&mut self, write: &Write) {
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

    /// The place of the last entry, or where the log begins.
    #[must_use]
    pub fn last(&self) -> LogPosition {
        self.entries.last().map_or(self.begin_after, Entry::position)
    }

    /// What a store says when it is restored.
    #[must_use]
    pub fn describe(&self) -> StoredLog {
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

/// All that a store holds.
///
/// # Panics
/// What it says of itself does not fit its entries.
pub fn content(store: &mut impl LogStore) -> Model {
    let stored = store.restore().unwrap();
    let begin_after = stored.begin_after;
    let entries = store.load(begin_after.index.next(), LogIndex::MAX, usize::MAX).unwrap().to_vec();
    let model = Model { hard_state: stored.hard_state, begin_after, entries };
    assert_eq!(stored, model.describe());
    model
}

/// So many random cases. A failure prints the seed of all of them: set `PROPTEST_RNG_SEED` to it
/// to get them again.
#[must_use]
pub fn cases(cases: u32) -> Config {
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
