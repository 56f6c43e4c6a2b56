//! What every snapshot store must do, checked on each that this crate ships.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::io::Read;
use std::sync::Arc;
use std::thread;

use common::{cases, position};
use proptest::prelude::*;
use raft_core::{Membership, NodeId, Snapshot};
use raft_node::{FileSnapshots, MemorySnapshots, SnapshotStore, StoreError};
use tempfile::TempDir;

/// A store that can be closed and opened again.
trait Place: Default {
    type Store: SnapshotStore;
    fn open(&self) -> Self::Store;
}

#[derive(Default)]
struct InMemory(MemorySnapshots);

impl Place for InMemory {
    type Store = MemorySnapshots;
    fn open(&self) -> MemorySnapshots {
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
    type Store = FileSnapshots;
    fn open(&self) -> FileSnapshots {
        FileSnapshots::open(self.0.path()).unwrap()
    }
}

fn membership() -> Arc<Membership> {
    let id = NodeId::new;
    Arc::new(Membership::new().voter(id(1), "one:1").voter(id(2), "two:2").learner(id(3), ""))
}

/// Bytes of which no two stretches are alike.
fn bytes(size: usize, salt: u64) -> Vec<u8> {
    let words = (0..size as u64 / 8 + 1).map(|at| (at + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).take(size).collect()
}

/// What a leader would say of these bytes.
fn described(at: u64, bytes: &[u8]) -> Snapshot {
    let (size, checksum) = (bytes.len() as u64, crc32fast::hash(bytes));
    Snapshot { position: position(at, 3), membership: membership(), size, checksum }
}

fn take(store: &impl SnapshotStore, at: u64, bytes: &[u8]) -> Snapshot {
    let mut writer = store.create().unwrap();
    writer.write_all(bytes).unwrap();
    writer.flush().unwrap();
    writer.complete(position(at, 3), membership()).unwrap()
}

fn receive(store: &impl SnapshotStore, snapshot: &Snapshot, bytes: &[u8], piece: usize) {
    if bytes.is_empty() {
        return store.receive(snapshot, 0, bytes).unwrap();
    }
    for (nth, data) in bytes.chunks(piece).enumerate() {
        store.receive(snapshot, (nth * piece) as u64, data).unwrap();
    }
}

fn content(store: &impl SnapshotStore, snapshot: &Snapshot) -> Vec<u8> {
    let mut content = Vec::new();
    store.open(snapshot).unwrap().read_to_end(&mut content).unwrap();
    content
}

/// Sizes around the boundaries of whatever a store may divide content into.
const SIZES: [usize; 8] = [0, 1, 4095, 65_535, 65_536, 65_537, 131_072, 200_000];

fn a_new_store_has_no_snapshot<P: Place>() {
    assert_eq!(P::default().open().newest().unwrap(), None);
}

fn a_snapshot_of_any_size_reads_back_and_survives<P: Place>() {
    for size in SIZES {
        let place = P::default();
        let bytes = bytes(size, 0);
        let snapshot = take(&place.open(), 9, &bytes);
        assert_eq!(snapshot, described(9, &bytes));
        assert!(content(&place.open(), &snapshot) == bytes, "{size}");
        assert_eq!(place.open().newest().unwrap().as_ref(), Some(&snapshot));
        assert!(content(&place.open(), &snapshot) == bytes, "{size}");
    }
}

fn a_snapshot_received_in_pieces_is_the_same<P: Place>() {
    for size in SIZES {
        for piece in [1 << 20, 65_536, 7001] {
            let place = P::default();
            let bytes = bytes(size, 1);
            let snapshot = described(5, &bytes);
            receive(&place.open(), &snapshot, &bytes, piece);
            assert_eq!(place.open().newest().unwrap().as_ref(), Some(&snapshot));
            assert!(content(&place.open(), &snapshot) == bytes, "{size} in pieces of {piece}");
        }
    }
}

fn a_read_gives_at_least_one_byte_and_at_most_what_was_asked_for<P: Place>() {
    let place = P::default();
    let store = place.open();
    let bytes = bytes(200_000, 0);
    let snapshot = take(&store, 9, &bytes);
    for offset in [0, 1, 65_535, 65_536, 65_537, 131_000, 199_999, 200_000, 200_001, usize::MAX] {
        for max in [0, 1, 2, 65_536, 150_000, usize::MAX] {
            let data = store.read(&snapshot, offset as u64, max).unwrap().unwrap();
            let start = offset.min(bytes.len());
            let end = start.saturating_add(max.max(1)).min(bytes.len());
            let expected = &bytes[start..end];
            assert!(!data.is_empty() || expected.is_empty(), "{offset} {max}");
            assert!(expected.starts_with(&data), "{offset} {max}");
        }
    }
}

fn the_newest_is_the_one_with_the_highest_position_and_the_others_are_removed<P: Place>() {
    let place = P::default();
    let store = place.open();
    let snapshots = [7, 300, 20].map(|at| take(&store, at, &bytes(10, at)));
    drop(store);
    let store = place.open();
    assert_eq!(store.newest().unwrap().as_ref(), Some(&snapshots[1]));
    assert_eq!(store.read(&snapshots[0], 0, 1).unwrap(), None);
    assert_eq!(store.read(&snapshots[2], 0, 1).unwrap(), None);
    assert_eq!(content(&store, &snapshots[1]), bytes(10, 300));
}

fn what_was_not_completed_is_never_seen<P: Place>() {
    let place = P::default();
    let store = place.open();
    let bytes = bytes(100_000, 0);
    let mut dropped = store.create().unwrap();
    dropped.write_all(&bytes).unwrap();
    drop(dropped);
    let snapshot = described(8, &bytes);
    store.receive(&snapshot, 0, &bytes[..99_999]).unwrap();
    assert_eq!(store.read(&snapshot, 0, 10).unwrap(), None);
    assert!(store.open(&snapshot).is_err());
    drop(store);
    let store = place.open();
    assert_eq!(store.newest().unwrap(), None);
    // The end alone is of no use after a restart.
    assert!(store.receive(&snapshot, 99_999, &bytes[99_999..]).is_err());
    assert_eq!(store.newest().unwrap(), None);
}

fn a_first_piece_begins_anew_whatever_was_there<P: Place>() {
    let place = P::default();
    let store = place.open();
    let (old, new) = (bytes(1000, 5), bytes(900, 6));
    store.receive(&described(5, &old), 0, &old[..600]).unwrap();
    store.receive(&described(6, &new), 0, &new[..500]).unwrap();
    store.receive(&described(6, &new), 0, &new[..100]).unwrap();
    store.receive(&described(6, &new), 100, &new[100..]).unwrap();
    assert_eq!(content(&store, &described(6, &new)), new);
    assert!(store.receive(&described(5, &old), 600, &old[600..]).is_err());
}

fn pieces_that_do_not_follow_each_other_are_refused<P: Place>() {
    let bytes = bytes(1000, 0);
    let snapshot = described(5, &bytes);
    let other = described(6, &bytes);
    let too_long = vec![0; 501];
    for (snapshot, offset, data) in [
        (&snapshot, 499, &bytes[499..]),
        (&snapshot, 501, &bytes[501..]),
        (&other, 500, &bytes[500..]),
        (&snapshot, 500, &too_long[..]),
    ] {
        let place = P::default();
        let store = place.open();
        store.receive(&described(5, &bytes), 0, &bytes[..500]).unwrap();
        let error = store.receive(snapshot, offset, data).unwrap_err();
        assert!(matches!(error, StoreError::OutOfOrder { .. }), "{error}");
        drop(store);
        assert_eq!(place.open().newest().unwrap(), None);
    }
}

fn a_received_snapshot_with_a_wrong_checksum_is_refused<P: Place>() {
    let place = P::default();
    let store = place.open();
    let mut bytes = bytes(1000, 0);
    let snapshot = described(5, &bytes);
    bytes[700] ^= 1;
    store.receive(&snapshot, 0, &bytes[..500]).unwrap();
    assert!(store.receive(&snapshot, 500, &bytes[500..]).is_err());
    assert_eq!(store.read(&snapshot, 0, 1).unwrap(), None);
    drop(store);
    assert_eq!(place.open().newest().unwrap(), None);
}

fn a_removed_snapshot_is_gone_and_its_readers_go_on<P: Place>() {
    let place = P::default();
    let store = place.open();
    let bytes = bytes(300_000, 0);
    let snapshot = take(&store, 9, &bytes);
    let mut reader = store.open(&snapshot).unwrap();
    let mut read = vec![0; 10];
    reader.read_exact(&mut read).unwrap();
    store.remove(&snapshot).unwrap();
    assert_eq!(store.read(&snapshot, 0, 1).unwrap(), None);
    reader.read_to_end(&mut read).unwrap();
    assert!(read == bytes);
    store.remove(&snapshot).unwrap();
    store.remove(&described(1, b"never seen")).unwrap();
    drop(store);
    assert_eq!(place.open().newest().unwrap(), None);
}

fn removing_a_snapshot_that_is_arriving_gives_it_up<P: Place>() {
    let place = P::default();
    let store = place.open();
    let bytes = bytes(1000, 0);
    let snapshot = described(5, &bytes);
    store.receive(&snapshot, 0, &bytes[..500]).unwrap();
    store.remove(&described(6, &bytes)).unwrap();
    store.receive(&snapshot, 500, &bytes[500..600]).unwrap();
    store.remove(&snapshot).unwrap();
    assert!(store.receive(&snapshot, 600, &bytes[600..]).is_err());
}

/// The same state may be taken here and come from a leader.
fn a_snapshot_that_is_here_may_be_written_again<P: Place>() {
    let place = P::default();
    let store = place.open();
    let bytes = bytes(1000, 0);
    let snapshot = take(&store, 5, &bytes);
    receive(&store, &snapshot, &bytes, 300);
    assert_eq!(take(&store, 5, &bytes), snapshot);
    assert_eq!(content(&store, &snapshot), bytes);
}

fn own_and_received_snapshots_are_written_at_once<P: Place>() {
    let place = P::default();
    let store = place.open();
    let all: Vec<_> = (1..=3).map(|at| bytes(150_000, at)).collect();
    thread::scope(|scope| {
        for (at, bytes) in (1..).zip(&all[..2]) {
            let store = &store;
            scope.spawn(move || take(store, at, bytes));
        }
        receive(&store, &described(3, &all[2]), &all[2], 10_000);
    });
    for (at, bytes) in (1..).zip(&all) {
        assert!(content(&store, &described(at, bytes)) == *bytes, "{at}");
    }
}

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

fn behaves_like_a_list<P: Place>(steps: &[Step]) {
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

macro_rules! checks {
    ($module:ident, $place:ty, [$($check:ident),* $(,)?]) => {
        mod $module {
            use super::*;

            $(#[test]
            fn $check() {
                super::$check::<$place>();
            })*

            proptest! {
                #![proptest_config(cases(32))]
                #[test]
                fn random_steps_match_a_list(steps in prop::collection::vec(step(), 0..12)) {
                    behaves_like_a_list::<$place>(&steps);
                }
            }
        }
    };
    ($($module:ident: $place:ty),* ; $checks:tt) => {
        $(checks!($module, $place, $checks);)*
    };
}

checks!(memory_snapshots: InMemory, file_snapshots: OnDisk; [
    a_new_store_has_no_snapshot,
    a_snapshot_of_any_size_reads_back_and_survives,
    a_snapshot_received_in_pieces_is_the_same,
    a_read_gives_at_least_one_byte_and_at_most_what_was_asked_for,
    the_newest_is_the_one_with_the_highest_position_and_the_others_are_removed,
    what_was_not_completed_is_never_seen,
    a_first_piece_begins_anew_whatever_was_there,
    pieces_that_do_not_follow_each_other_are_refused,
    a_received_snapshot_with_a_wrong_checksum_is_refused,
    a_removed_snapshot_is_gone_and_its_readers_go_on,
    removing_a_snapshot_that_is_arriving_gives_it_up,
    a_snapshot_that_is_here_may_be_written_again,
    own_and_received_snapshots_are_written_at_once,
]);
