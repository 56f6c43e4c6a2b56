//! What every log store must do, checked on each that this crate ships.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{Model, content, empty, entries, entry, index, replacing, vote};
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
        entries(vec![entry(3, 3, &[0; 3000])]),
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

/// One write, said relative to the log that it meets.
#[derive(Clone, Debug)]
struct Plan {
    vote: Option<u64>,
    keep_percent: Option<u64>,
    new_term: bool,
    commands: Vec<usize>,
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Plan>),
    Reopen,
    Load { from: u64, count: u64, max_bytes: usize },
}

fn plan() -> impl Strategy<Value = Plan> {
    let sizes = prop::collection::vec(prop_oneof![0_usize..40, 0_usize..3000], 0..5);
    (prop::option::of(0_u64..9), prop::option::weighted(0.2, 0_u64..=100), any::<bool>(), sizes)
        .prop_map(|(vote, keep_percent, new_term, commands)| Plan {
            vote,
            keep_percent,
            new_term,
            commands,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => prop::collection::vec(plan(), 0..4).prop_map(Step::Append),
        1 => Just(Step::Reopen),
        3 => (0_u64..60, 0_u64..30, 0_usize..9000)
            .prop_map(|(from, count, max_bytes)| Step::Load { from, count, max_bytes }),
    ]
}

fn carry_out(plan: &Plan, model: &mut Model) -> Write {
    let len = model.entries.len() as u64;
    let kept = plan.keep_percent.map_or(len, |percent| len * percent / 100);
    let last = kept.checked_sub(1).and_then(|at| model.entries.get(usize::try_from(at).unwrap()));
    let term = last.map_or(1, |entry| entry.term.get()) + u64::from(plan.new_term);
    let new = (kept + 1..).zip(&plan.commands);
    let mut write =
        entries(new.map(|(at, size)| entry(at, term, &vec![at as u8; *size])).collect());
    write.truncate_from = plan.keep_percent.map(|_| index(kept + 1));
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

fn behaves_like_the_model<P: Place>(steps: &[Step]) -> Result<(), TestCaseError> {
    let place = P::default();
    let mut store = place.open();
    let mut model = Model::default();
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
                let through = from + count;
                let run = store.load(index(*from), index(through), *max_bytes).unwrap();
                let expected = if *from == 0 {
                    Vec::new()
                } else {
                    expected_run(&model, *from, through, *max_bytes)
                };
                prop_assert_eq!(&run[..], &expected[..]);
            }
        }
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
                #![proptest_config(ProptestConfig {
                    cases: 64,
                    failure_persistence: None,
                    ..ProptestConfig::default()
                })]
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
]);
