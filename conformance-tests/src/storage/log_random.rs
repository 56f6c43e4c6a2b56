//! Random writes to a log store, compared with a list.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed check")]

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use raft_core::{Entry, HardState, NodeId, Write};
use raft_node::LogStore;

use super::LogPlace;
use super::values::{Model, cases, content, entries, entry, index, members, position};

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
        term: super::values::term(term),
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

fn behaves_like_the_model<P: LogPlace>(steps: &[Step]) -> Result<(), TestCaseError> {
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

pub(super) fn run<P: LogPlace>() {
    let result = TestRunner::new(cases(64))
        .run(&prop::collection::vec(step(), 0..30), |steps| behaves_like_the_model::<P>(&steps));
    assert!(
        result.is_ok(),
        "{}",
        result.map_or_else(|failure| failure.to_string(), |()| String::new())
    );
}
