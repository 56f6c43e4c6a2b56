//! What a store holds after a crash at any of its steps.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed check")]

use std::io::Write as _;
use std::mem;

use bytes::Bytes;
use raft_core::{Entries, LogIndex, Snapshot, StoredLog, Write};
use raft_node::{LogStore, SnapshotStore, StoreError};

use super::snapshots::{bytes, content as snapshot_content, described, membership, receive, take};
use super::values::{
    Model, beginning, content, entries, entry, members, position, replacing, vote,
};
use super::{LogPlace, SnapshotPlace};

/// A store that crashes: after so many writes nothing gets through any more, in the middle of an
/// append as well.
#[derive(Debug)]
pub struct Crashing<S> {
    store: S,
    left: usize,
    crashed: bool,
}

impl<S: LogStore> Crashing<S> {
    /// Lets so many writes through.
    #[must_use]
    pub const fn after(writes: usize, store: S) -> Self {
        Self { store, left: writes, crashed: false }
    }

    /// What is left of the store.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.store
    }

    fn alive(&mut self) -> Result<&mut S, StoreError> {
        if self.crashed { Err(StoreError::Other("crashed".into())) } else { Ok(&mut self.store) }
    }
}

impl<S: LogStore> LogStore for Crashing<S> {
    fn restore(&mut self) -> Result<StoredLog, StoreError> {
        self.alive()?.restore()
    }

    fn append(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let through = writes.len().min(self.left);
        self.left -= through;
        self.alive()?.append(&writes[..through])?;
        self.crashed = through < writes.len();
        self.alive().map(|_| ())
    }

    fn load(
        &mut self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Entries, StoreError> {
        self.alive()?.load(from, through, max_bytes)
    }

    fn metadata(&mut self) -> Result<Bytes, StoreError> {
        self.alive()?.metadata()
    }

    fn set_metadata(&mut self, metadata: &[u8]) -> Result<(), StoreError> {
        self.alive()?.set_metadata(metadata)
    }
}

/// A life of a log, with a bit of everything in it.
fn life() -> Vec<Vec<Write>> {
    let large = |from: u64, through: u64, term: u64| {
        entries((from..=through).map(|at| entry(at, term, &[at as u8; 900])).collect())
    };
    let install = Write { truncate_from: Some(beginning_of(60)), ..beginning(59, 6) };
    vec![
        vec![vote(1, 1), entries(vec![members(1, 1, 3), entry(2, 1, b"a")])],
        vec![large(3, 9, 1), large(10, 12, 1), vote(2, 3)],
        vec![replacing(8, vec![entry(8, 2, b"b"), entry(9, 2, b"")])],
        vec![beginning(5, 1), large(10, 20, 2), replacing(20, vec![members(20, 3, 5)])],
        vec![beginning(20, 3)],
        vec![large(21, 30, 4), beginning(28, 4), vote(5, 2), replacing(31, Vec::new())],
        vec![install, large(60, 61, 7)],
    ]
}

fn beginning_of(at: u64) -> LogIndex {
    position(at, 1).index
}

/// C39, C40: each write is there as a whole or not at all, none without those before it, and
/// whatever was acknowledged is.
///
/// # Panics
/// It is not so.
pub fn a_crash_at_any_write_leaves_the_writes_before_it<P: LogPlace>() {
    let batches = life();
    let writes = batches.concat();
    for survivors in 0..=writes.len() {
        let place = P::default();
        let mut store = Crashing::after(survivors, place.open());
        let mut acknowledged = 0;
        for batch in &batches {
            if store.append(batch).is_err() {
                break;
            }
            acknowledged += batch.len();
        }
        place.crash(store.into_inner());
        let mut store = place.open();
        let found = content(&mut store);
        let mut possible = acknowledged..=survivors;
        let Some(kept) = possible.find(|kept| Model::of(&writes[..*kept]) == found) else {
            assert_eq!(found, Model::of(&writes[..survivors]), "after {survivors} writes");
            return;
        };
        // Two neighbours may mean the same, and repeating a write that appends nothing is harmless.
        store.append(&writes[kept..]).unwrap();
        place.crash(store);
        assert_eq!(content(&mut place.open()), Model::of(&writes), "after {survivors} writes");
    }
}

/// What must be there after a crash: the old snapshot, or the new one as a whole, and in the second
/// case only if all of it had been written.
fn check_newest<P: SnapshotPlace>(place: &P, old: &(Snapshot, Vec<u8>), new: &[u8], whole: bool) {
    let store = place.open();
    let newest = store.newest().unwrap();
    let wanted = described(20, new);
    if newest.as_ref() == Some(&wanted) {
        assert!(whole, "what was not whole is not there");
        assert!(snapshot_content(&store, &wanted) == new);
    } else {
        assert!(!whole, "what was completed is there");
        assert_eq!(newest.as_ref(), Some(&old.0));
        assert!(snapshot_content(&store, &old.0) == old.1);
    }
    // Nothing that is left of the crash stands in the way.
    assert_eq!(take(&store, 20, new), wanted);
    assert!(snapshot_content(&store, &wanted) == new);
}

/// C43: a snapshot counts once all of it is durable, and the old one until then.
///
/// # Panics
/// It is not so.
pub fn a_crash_while_a_snapshot_is_taken_leaves_the_old_one_or_the_whole_new_one<
    P: SnapshotPlace,
>() {
    let (before, new) = (bytes(70_000, 1), bytes(150_000, 2));
    const STEPS: usize = 6;
    for steps in 0..=STEPS {
        let place = P::default();
        let store = place.open();
        let old = (take(&store, 10, &before), before.clone());
        if steps > 0 {
            let mut writer = store.create().unwrap();
            for piece in new.chunks(50_000).take(steps - 1) {
                writer.write_all(piece).unwrap();
            }
            if steps > 4 {
                writer.flush().unwrap();
            }
            if steps == STEPS {
                writer.complete(position(20, 3), membership()).unwrap();
            } else {
                // A crash gives nobody the time to tidy up.
                mem::forget(writer);
            }
        }
        place.crash(store);
        check_newest(&place, &old, &new, steps == STEPS);
    }
}

/// C43: the same, for one that comes from a leader.
///
/// # Panics
/// It is not so.
pub fn a_crash_while_a_snapshot_arrives_leaves_the_old_one_or_the_whole_new_one<
    P: SnapshotPlace,
>() {
    const PIECE: usize = 30_000;
    let (before, new) = (bytes(70_000, 1), bytes(150_000, 2));
    for pieces in 0..=new.len() / PIECE {
        let place = P::default();
        let store = place.open();
        let old = (take(&store, 10, &before), before.clone());
        let arrived = pieces * PIECE;
        if arrived > 0 {
            receive(&store, &described(20, &new), &new[..arrived], PIECE);
        }
        place.crash(store);
        check_newest(&place, &old, &new, arrived == new.len());
    }
}
