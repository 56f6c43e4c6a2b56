//! What every snapshot store must do, check by check.
#![expect(missing_docs, reason = "the checks are described by their names")]
#![expect(clippy::missing_panics_doc, reason = "a check fails by a panic")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed check")]

use std::io::Read;
use std::sync::Arc;
use std::thread;

use raft_core::{Membership, NodeId, Snapshot};
use raft_node::{SnapshotStore, StoreError};

use super::SnapshotPlace;
use super::values::position;

pub(super) fn membership() -> Arc<Membership> {
    let id = NodeId::new;
    Arc::new(Membership::new().voter(id(1), "one:1").voter(id(2), "two:2").learner(id(3), ""))
}

/// Bytes of which no two stretches are alike.
pub(super) fn bytes(size: usize, salt: u64) -> Vec<u8> {
    let words = (0..size as u64 / 8 + 1).map(|at| (at + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).take(size).collect()
}

/// What a leader would say of these bytes.
pub(super) fn described(at: u64, bytes: &[u8]) -> Snapshot {
    let (size, checksum) = (bytes.len() as u64, crc32fast::hash(bytes));
    Snapshot { position: position(at, 3), membership: membership(), size, checksum }
}

pub(super) fn take(store: &impl SnapshotStore, at: u64, bytes: &[u8]) -> Snapshot {
    let mut writer = store.create().unwrap();
    writer.write_all(bytes).unwrap();
    writer.flush().unwrap();
    writer.complete(position(at, 3), membership()).unwrap()
}

pub(super) fn receive(store: &impl SnapshotStore, snapshot: &Snapshot, bytes: &[u8], piece: usize) {
    if bytes.is_empty() {
        return store.receive(snapshot, 0, bytes).unwrap();
    }
    for (nth, data) in bytes.chunks(piece).enumerate() {
        store.receive(snapshot, (nth * piece) as u64, data).unwrap();
    }
}

pub(super) fn content(store: &impl SnapshotStore, snapshot: &Snapshot) -> Vec<u8> {
    let mut content = Vec::new();
    store.open(snapshot).unwrap().read_to_end(&mut content).unwrap();
    content
}

/// Sizes around the boundaries of whatever a store may divide content into.
const SIZES: [usize; 8] = [0, 1, 4095, 65_535, 65_536, 65_537, 131_072, 200_000];

pub fn a_new_store_has_no_snapshot<P: SnapshotPlace>() {
    assert_eq!(P::default().open().newest().unwrap(), None);
}

pub fn a_snapshot_of_any_size_reads_back_and_survives<P: SnapshotPlace>() {
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

pub fn a_snapshot_received_in_pieces_is_the_same<P: SnapshotPlace>() {
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

pub fn a_read_gives_at_least_one_byte_and_at_most_what_was_asked_for<P: SnapshotPlace>() {
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

pub fn the_newest_is_the_one_with_the_highest_position_and_the_others_are_removed<
    P: SnapshotPlace,
>() {
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

pub fn what_was_not_completed_is_never_seen<P: SnapshotPlace>() {
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

pub fn a_first_piece_begins_anew_whatever_was_there<P: SnapshotPlace>() {
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

pub fn pieces_that_do_not_follow_each_other_are_refused<P: SnapshotPlace>() {
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

pub fn a_received_snapshot_with_a_wrong_checksum_is_refused<P: SnapshotPlace>() {
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

pub fn a_removed_snapshot_is_gone_and_its_readers_go_on<P: SnapshotPlace>() {
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

pub fn removing_a_snapshot_that_is_arriving_gives_it_up<P: SnapshotPlace>() {
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
pub fn a_snapshot_that_is_here_may_be_written_again<P: SnapshotPlace>() {
    let place = P::default();
    let store = place.open();
    let bytes = bytes(1000, 0);
    let snapshot = take(&store, 5, &bytes);
    receive(&store, &snapshot, &bytes, 300);
    assert_eq!(take(&store, 5, &bytes), snapshot);
    assert_eq!(content(&store, &snapshot), bytes);
}

pub fn own_and_received_snapshots_are_written_at_once<P: SnapshotPlace>() {
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
