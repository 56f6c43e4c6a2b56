//! What every log store must do, checked on each that this crate ships.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{
    Model, beginning, cases, content, empty, entries, entry, index, members, position, replacing,
    vote,
};
use proptest::prelude::*;
use raft_core::{Entry, HardState, LogIndex, NodeId, Write};
use raft_node::{FileLog, LogStore, MemoryLog, StoreError};
use tempfile::TempDir;

/// A store that can be closed and opened again.
trait Place: Default {
    type Store: LogStore;
    fn open(&self) -> Self::Store;
}

#[derive(Default)]
struct InMemory(MemoryLog);

impl Place for InMemory {
    type Store = MemoryLog;
    fn open(&self) -> MemoryLog {
        self.0.clone()
    }
}

struct OnDisk(TempDir);

impl Default for OnDisk {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Place for OnDisk {
    type Store = FileLog;
    fn open(&self) -> FileLog {
        // The smallest segments, so that the checks cross from one to the next.
        FileLog::options().segment_bytes(0).open(self.0.path()).unwrap()
    }
}

fn a_new_log_is_empty<P: Place>() {
    assert_eq!(content(&mut P::default().open()), Model::default());
}

fn what_was_appended_is_there_after_reopening<P: Place>() {
    let place = P::default();
    let writes = [
        vote(3, 7),
        entries(vec![entry(1, 1, b""), entry(2, 3, b"set x")]),
        entries(vec![
            entry(3, 3, &[0; 3000]),
            members(4, 3, 3),
            entry(5, 3, b""),
            members(6, 3, 5),
        ]),
    ];
    place.open().append(&writes).unwrap();
    assert_eq!(content(&mut place.open()), Model::of(&writes));
}

fn entries_from_the_truncation_on_are_replaced<P: Place>() {
    let place = P::default();
    let old = entries((1..=5).map(|at| entry(at, 1, b"old")).collect());
    let new = replacing(3, vec![entry(3, 2, b"new")]);
    let cut = Write { truncate_from: Some(index(2)), ..empty() };
    let mut store = place.open();
    store.append(std::slice::from_ref(&old)).unwrap();
    store.append(std::slice::from_ref(&new)).unwrap();
    assert_eq!(content(&mut store), Model::of(&[old.clone(), new.clone()]));
    drop(store);
    let mut store = place.open();
    assert_eq!(content(&mut store), Model::of(&[old.clone(), new.clone()]));
    store.append(std::slice::from_ref(&cut)).unwrap();
    drop(store);
    assert_eq!(content(&mut place.open()), Model::of(&[old, new, cut]));
}

fn the_newest_hard_state_wins<P: Place>() {
    let place = P::default();
    let mut store = place.open();
    store.append(&[vote(1, 1), vote(2, 5)]).unwrap();
    let without_vote = HardState { term: common::term(9), vote: None };
    store.append(&[Write { hard_state: Some(without_vote), ..empty() }]).unwrap();
    drop(store);
    assert_eq!(place.open().restore().unwrap().hard_state, without_vote);
}

fn load_gives_at_least_one_entry_and_then_what_fits<P: Place>() {
    let place = P::default();
    let mut store = place.open();
    let stored: Vec<Entry> = (1..=9).map(|at| entry(at, 1, &[7; 100])).collect();
    store.append(&[entries(stored.clone())]).unwrap();
    let size = stored[0].size();
    let mut count = |from, through, bytes| {
        let run = store.load(index(from), index(through), bytes).unwrap();
        let from = usize::try_from(from).unwrap() - 1;
        assert_eq!(&run[..], &stored[from..from + run.len()]);
        run.len()
    };
    assert_eq!(count(2, 8, 0), 1);
    assert_eq!(count(2, 8, 2 * size - 1), 1);
    assert_eq!(count(2, 8, 2 * size), 2);
    assert_eq!(count(2, 8, usize::MAX), 7);
    assert_eq!(count(9, 100, usize::MAX), 1);
}

fn a_range_beyond_the_log_gives_no_entries<P: Place>() {
    let place = P::default();
    let mut store = place.open();
    store.append(&[entries(vec![entry(1, 1, b"a"), entry(2, 1, b"b")])]).unwrap();
    for (from, through) in [(3, 9), (0, 2), (2, 1), (LogIndex::MAX.get(), LogIndex::MAX.get())] {
        let run = store.load(index(from), index(through), usize::MAX).unwrap();
        assert!(run.is_empty(), "{from} to {through}");
    }
}

/// C75: nothing is written behind a gap.
fn a_write_that_does_not_continue_the_log_is_refused<P: Place>() {
    let first = entries(vec![entry(1, 2, b"a")]);
    for wrong in [
        entries(vec![entry(3, 2, b"gap")]),
        entries(vec![entry(1, 2, b"again")]),
        entries(vec![entry(2, 1, b"lower term")]),
        replacing(1, vec![entry(2, 2, b"gap")]),
    ] {
        let place = P::default();
        let mut store = place.open();
        store.append(std::slice::from_ref(&first)).unwrap();
        let error = store.append(&[wrong]).unwrap_err();
        assert!(matches!(error, StoreError::OutOfOrder { .. }), "{error}");
        drop(store);
        assert_eq!(content(&mut place.open()), Model::of(std::slice::from_ref(&first)));
    }
}

/// R102, R010: a log of which nothing is left knows where it goes on, and behind which term.
fn a_log_compacted_entirely_goes_on_at_the_right_index_and_term<P: Place>() {
    let place = P::default();
    let old = entries((1..=10).map(|at| entry(at, 2, &[1; 900])).collect());
    let writes = [vote(3, 1), old, beginning(10, 2)];
    place.open().append(&writes).unwrap();
    let mut store = place.open();
    let stored = store.restore().unwrap();
    assert_eq!((stored.begin_after, stored.last), (position(10, 2), index(10)));
    assert!(stored.terms.is_empty());
    assert_eq!(stored.hard_state, Model::of(&writes).hard_state);
    for wrong in [entry(10, 2, b""), entry(12, 2, b""), entry(1, 2, b""), entry(11, 1, b"")] {
        let other = P::default();
        let mut store = other.open();
        store.append(&writes).unwrap();
        let error = store.append(&[entries(vec![wrong])]).unwrap_err();
        assert!(matches!(error, StoreError::OutOfOrder { .. }), "{error}");
    }
    store.append(&[entries(vec![entry(11, 2, b"next")])]).unwrap();
    drop(store);
    let model = content(&mut place.open());
    assert_eq!(model.entries, [entry(11, 2, b"next")]);
}

/// C75: a snapshot from the leader takes the place of a log that does not reach it, or that holds
/// something else there, even of a later term.
fn a_log_that_does_not_reach_a_snapshot_is_empty_and_goes_on_behind_it<P: Place>() {
    for (after, in_term) in [(5, 9), (5, 2), (6, 9), (5000, 2)] {
        let place = P::default();
        let mut store = place.open();
        let old = entries((1..=5).map(|at| entry(at, 7, b"old")).collect());
        let new = vec![entry(after + 1, in_term, b"new"), members(after + 2, in_term, 3)];
        let install = Write {
            begin_after: Some(position(after, in_term)),
            truncate_from: Some(index(after + 1)),
            ..entries(new)
        };
        let writes = [old, install];
        store.append(&writes).unwrap();
        assert_eq!(content(&mut store), Model::of(&writes));
        drop(store);
        assert_eq!(content(&mut place.open()), Model::of(&writes));
    }
}

fn entries_behind_a_snapshot_stay<P: Place>() {
    let place = P::default();
    let old = vec![entry(1, 1, b""), members(2, 1, 3), entry(3, 2, b"x"), members(4, 2, 5)];
    let writes = [entries(old), beginning(1, 1), beginning(3, 2)];
    let mut store = place.open();
    for upto in 1..=writes.len() {
        store.append(&writes[upto - 1..upto]).unwrap();
        assert_eq!(content(&mut store), Model::of(&writes[..upto]));
        drop(store);
        store = place.open();
        assert_eq!(content(&mut store), Model::of(&writes[..upto]));
    }
    assert_eq!(store.restore().unwrap().memberships.len(), 1);
}

fn a_load_that_begins_with_a_compacted_entry_gives_none<P: Place>() {
    let place = P::default();
    let mut store = place.open();
    let old = entries((1..=9).map(|at| entry(at, 1, b"x")).collect());
    store.append(&[old, beginning(5, 1)]).unwrap();
    for from in 0..=5 {
        assert!(store.load(index(from), index(9), usize::MAX).unwrap().is_empty(), "{from}");
    }
    assert_eq!(store.load(index(6), index(9), usize::MAX).unwrap().len(), 4);
}

/// I10: what a snapshot covers is committed, and never replaced.
fn a_write_that_contradicts_a_snapshot_is_refused<P: Place>() {
    let old = entries((1..=6).map(|at| entry(at, 1 + at / 4, b"x")).collect());
    for wrong in [
        beginning(2, 1),
        beginning(3, 2),
        beginning(5, 1),
        replacing(3, vec![entry(3, 3, b"y")]),
        Write { truncate_from: Some(index(2)), ..beginning(5, 2) },
    ] {
        let place = P::default();
        let mut store = place.open();
        let before = [old.clone(), beginning(3, 1)];
        store.append(&before).unwrap();
        let error = store.append(std::slice::from_ref(&wrong)).unwrap_err();
        assert!(matches!(error, StoreError::OutOfOrder { .. }), "{wrong:?}: {error}");
        drop(store);
        assert_eq!(content(&mut place.open()), Model::of(&before));
    }
}

fn metadata_is_empty_at_first_and_survives<P: Place>() {
    let place = P::default();
    let mut store = place.open();
    assert!(store.metadata().unwrap().is_empty());
    for metadata in [b"node 7".as_slice(), &[9; 5000], b""] {
        store.set_metadata(metadata).unwrap();
        assert_eq!(store.metadata().unwrap(), metadata);
        store.append(&[vote(1, 1)]).unwrap();
        drop(store);
        store = place.open();
        assert_eq!(store.metadata().unwrap(), metadata);
        assert_eq!(content(&mut store), Model::of(&[vote(1, 1)]));
    }
}

/// One write, said relative to the log that it meets.
#[derive(Clone, Debug)]
struct Plan {
    vote: Option<u64>,
    keep_percent: Option<u64>,
    compact: Option<Compaction>,
    new_term: bool,
    payloads: Vec<Content>,
}

#[derive(Clone, Debug)]
enum Compaction {
    /// Up to a part of the log.
    Percent(u64),
    /// The whole log, with a snapshot that ends so far behind it.
    Beyond(u64),
}

#[derive(Clone, Debug)]
enum Content {
    Command(usize),
    Members(u64),
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Plan>),
    Reopen,
    Load { from: u64, count: u64, max_bytes: usize },
    Metadata(Vec<u8>),
}

fn plan() -> impl Strategy<Value = Plan> {
    let content = prop_oneof![
        4 => (0_usize..40).prop_map(Content::Command),
        4 => (0_usize..3000).prop_map(Content::Command),
        1 => (1_u64..6).prop_map(Content::Members),
    ];
    let compaction = prop_oneof![
        4 => (0_u64..=100).prop_map(Compaction::Percent),
        1 => (0_u64..50).prop_map(Compaction::Beyond),
    ];
    (
        prop::option::of(0_u64..9),
        prop::option::weighted(0.2, 0_u64..=100),
        prop::option::weighted(0.3, compaction),
        any::<bool>(),
        prop::collection::vec(content, 0..5),
    )
        .prop_map(|(vote, keep_percent, compact, new_term, payloads)| Plan {
            vote,
            keep_percent,
            compact,
            new_term,
            payloads,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => prop::collection::vec(plan(), 0..4).prop_map(Step::Append),
        2 => Just(Step::Reopen),
        6 => (0_u64..60, 0_u64..30, 0_usize..9000)
            .prop_map(|(from, count, max_bytes)| Step::Load { from, count, max_bytes }),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Step::Metadata),
    ]
}

fn carry_out(plan: &Plan, model: &mut Model) -> Write {
    let len = model.entries.len() as u64;
    let part = |of: u64, percent: u64| of * percent / 100;
    let kept = plan.keep_percent.map_or(len, |percent| part(len, percent));
    let place = |nth: u64| match nth.checked_sub(1) {
        Some(before) => model.entries[usize::try_from(before).unwrap()].position(),
        None => model.begin_after,
    };
    let begin_after = plan.compact.as_ref().map(|compaction| match compaction {
        Compaction::Percent(percent) => place(part(kept, *percent)),
        Compaction::Beyond(gap) => {
            let last = place(kept);
            position(last.index.get() + gap, last.term.get() + gap.min(&1))
        }
    });
    let base = begin_after.unwrap_or_default();
    let last = if place(kept).index < base.index { base } else { place(kept) };
    let term = last.term.get().max(1) + u64::from(plan.new_term);
    let new = (last.index.get() + 1..).zip(&plan.payloads).map(|(at, payload)| match payload {
        Content::Command(size) => entry(at, term, &vec![at as u8; *size]),
        Content::Members(voters) => members(at, term, *voters),
    });
    let mut write = entries(new.collect());
    write.truncate_from = plan.keep_percent.map(|_| place(kept).index.next());
    write.begin_after = begin_after;
    write.hard_state = plan.vote.map(|vote| HardState {
        term: common::term(term),
        vote: (vote > 0).then_some(NodeId::new(vote)),
    });
    model.apply(&write);
    write
}

fn expected_run(model: &Model, from: u64, through: u64, max_bytes: usize) -> Vec<Entry> {
    let mut run: Vec<Entry> = Vec::new();
    let wanted = index(from)..=index(through);
    for entry in model.entries.iter().filter(|entry| wanted.contains(&entry.index)) {
        let size: usize = run.iter().map(Entry::size).sum();
        if !run.is_empty() && size + entry.size() > max_bytes {
            break;
        }
        run.push(entry.clone());
    }
    run
}

/// An index that is in the log or near it, wherever the log begins.
fn near(offset: u64, model: &Model) -> u64 {
    (model.begin_after.index.get() + offset).saturating_sub(5)
}

fn behaves_like_the_model<P: Place>(steps: &[Step]) -> Result<(), TestCaseError> {
    let place = P::default();
    let mut store = place.open();
    let mut model = Model::default();
    let mut metadata = Vec::new();
    for step in steps {
        match step {
            Step::Append(plans) => {
                let writes: Vec<_> = plans.iter().map(|plan| carry_out(plan, &mut model)).collect();
                store.append(&writes).unwrap();
            }
            Step::Reopen => {
                drop(store);
                store = place.open();
                prop_assert_eq!(&content(&mut store), &model);
            }
            Step::Load { from, count, max_bytes } => {
                let (from, through) = (near(*from, &model), near(from + count, &model));
                let run = store.load(index(from), index(through), *max_bytes).unwrap();
                let expected = if from <= model.begin_after.index.get() {
                    Vec::new()
                } else {
                    expected_run(&model, from, through, *max_bytes)
                };
                prop_assert_eq!(&run[..], &expected[..]);
            }
            Step::Metadata(new) => {
                store.set_metadata(new).unwrap();
                metadata.clone_from(new);
            }
        }
        prop_assert_eq!(&store.metadata().unwrap(), &metadata);
        prop_assert_eq!(store.restore().unwrap(), model.describe());
    }
    drop(store);
    prop_assert_eq!(content(&mut place.open()), model);
    Ok(())
}

macro_rules! checks {
    ($module:ident, $place:ty, [$($check:ident),* $(,)?]) => {
        mod $module {
            use super::*;

            $(#[test]
            fn $check() {
                super::$check::<$place>();
            })*

            proptest! {
                #![proptest_config(cases(64))]
                #[test]
                fn random_writes_and_reopens_match_a_list(
                    steps in prop::collection::vec(step(), 0..30),
                ) {
                    behaves_like_the_model::<$place>(&steps)?;
                }
            }
        }
    };
    ($($module:ident: $place:ty),* ; $checks:tt) => {
        $(checks!($module, $place, $checks);)*
    };
}

checks!(memory_log: InMemory, file_log: OnDisk; [
    a_new_log_is_empty,
    what_was_appended_is_there_after_reopening,
    entries_from_the_truncation_on_are_replaced,
    the_newest_hard_state_wins,
    load_gives_at_least_one_entry_and_then_what_fits,
    a_range_beyond_the_log_gives_no_entries,
    a_write_that_does_not_continue_the_log_is_refused,
    a_log_compacted_entirely_goes_on_at_the_right_index_and_term,
    a_log_that_does_not_reach_a_snapshot_is_empty_and_goes_on_behind_it,
    entries_behind_a_snapshot_stay,
    a_load_that_begins_with_a_compacted_entry_gives_none,
    a_write_that_contradicts_a_snapshot_is_refused,
    metadata_is_empty_at_first_and_survives,
]);
