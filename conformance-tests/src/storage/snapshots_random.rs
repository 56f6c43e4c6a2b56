//! Random uses of a snapshot store, compared with a list.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed check")]

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use raft_core::Snapshot;
use raft_node::SnapshotStore;

use super::SnapshotPlace;
use super::snapshots::{bytes, content, described, membership, receive};
use super::values::{cases, position};

#[derive(Clone, Debug)]
enum Step {
    Take { at: u64, writes: Vec<usize> },
    Receive { at: u64, size: usize, piece: usize, percent: usize },
    Remove { nth: usize },
    Read { nth: usize, offset: u64, max_bytes: usize },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_u64..50, prop::collection::vec(0_usize..90_000, 0..4))
            .prop_map(|(at, writes)| Step::Take { at, writes }),
        (1_u64..50, 0_usize..200_000, 10_000_usize..80_000, 0_usize..150)
            .prop_map(|(at, size, piece, percent)| Step::Receive { at, size, piece, percent }),
        (0_usize..9).prop_map(|nth| Step::Remove { nth }),
        (0_usize..9, 0_u64..200_000, 0_usize..100_000)
            .prop_map(|(nth, offset, max_bytes)| Step::Read { nth, offset, max_bytes }),
        Just(Step::Reopen),
    ]
}

type Known = Vec<(Snapshot, Vec<u8>)>;

fn add(known: &mut Known, snapshot: Snapshot, bytes: Vec<u8>) {
    known.retain(|(it, _)| *it != snapshot);
    known.push((snapshot, bytes));
}

fn carry_out(store: &impl SnapshotStore, step: &Step, salt: u64, known: &mut Known) {
    match step {
        Step::Take { at, writes } => {
            let bytes = bytes(writes.iter().sum(), salt);
            let mut writer = store.create().unwrap();
            let mut rest = bytes.as_slice();
            for size in writes {
                let (now, later) = rest.split_at(*size);
                writer.write_all(now).unwrap();
                rest = later;
            }
            let snapshot = writer.complete(position(*at, 3), membership()).unwrap();
            add(known, snapshot, bytes);
        }
        Step::Receive { at, size, piece, percent } => {
            let bytes = bytes(*size, salt);
            let snapshot = described(*at, &bytes);
            if *percent >= 100 || bytes.is_empty() {
                receive(store, &snapshot, &bytes, *piece);
                add(known, snapshot, bytes);
            } else {
                let part = &bytes[..size * percent / 100];
                receive(store, &snapshot, part, *piece);
            }
        }
        Step::Remove { nth } if *nth < known.len() => {
            store.remove(&known.remove(*nth).0).unwrap();
        }
        Step::Read { nth, offset, max_bytes } => {
            let Some((snapshot, bytes)) = known.get(*nth) else { return };
            let data = store.read(snapshot, *offset, *max_bytes).unwrap().unwrap();
            let rest = &bytes[bytes.len().min(*offset as usize)..];
            assert!(rest.starts_with(&data) && data.is_empty() == rest.is_empty());
            assert!(data.len() <= (*max_bytes).max(1));
        }
        Step::Remove { .. } | Step::Reopen => {}
    }
}

fn behaves_like_a_list<P: SnapshotPlace>(steps: &[Step]) {
    let place = P::default();
    let mut store = place.open();
    let mut known = Known::new();
    for (salt, step) in (0..).zip(steps) {
        carry_out(&store, step, salt, &mut known);
        if let Step::Reopen = step {
            drop(store);
            store = place.open();
            let newest = store.newest().unwrap();
            let highest = known.iter().map(|(snapshot, _)| snapshot.position.index).max();
            assert_eq!(newest.as_ref().map(|snapshot| snapshot.position.index), highest);
            known.retain(|(snapshot, _)| Some(snapshot) == newest.as_ref());
            assert_eq!(known.len(), usize::from(highest.is_some()));
        }
        for (snapshot, bytes) in &known {
            assert!(content(&store, snapshot) == *bytes);
        }
    }
}

pub(super) fn run<P: SnapshotPlace>() {
    let result = TestRunner::new(cases(32)).run(&prop::collection::vec(step(), 0..12), |steps| {
        behaves_like_a_list::<P>(&steps);
        Ok(())
    });
    assert!(
        result.is_ok(),
        "{}",
        result.map_or_else(|failure| failure.to_string(), |()| String::new())
    );
}
