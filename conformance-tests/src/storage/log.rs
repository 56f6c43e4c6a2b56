//! What every log store must do, check by check.
#![expect(missing_docs, reason = "the checks are described by their names")]
#![expect(clippy::missing_panics_doc, reason = "a check fails by a panic")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed check")]

use raft_core::{Entry, HardState, LogIndex, Write};
use raft_node::{LogStore, StoreError};

use super::LogPlace;
use super::values::{
    Model, beginning, content, empty, entries, entry, index, members, position, replacing, term,
    vote,
};

pub fn a_new_log_is_empty<P: LogPlace>() {
    assert_eq!(content(&mut P::default().open()), Model::default());
}

pub fn what_was_appended_is_there_after_reopening<P: LogPlace>() {
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

pub fn entries_from_the_truncation_on_are_replaced<P: LogPlace>() {
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

pub fn the_newest_hard_state_wins<P: LogPlace>() {
    let place = P::default();
    let mut store = place.open();
    store.append(&[vote(1, 1), vote(2, 5)]).unwrap();
    let without_vote = HardState { term: term(9), vote: None };
    store.append(&[Write { hard_state: Some(without_vote), ..empty() }]).unwrap();
    drop(store);
    assert_eq!(place.open().restore().unwrap().hard_state, without_vote);
}

pub fn load_gives_at_least_one_entry_and_then_what_fits<P: LogPlace>() {
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

pub fn a_range_beyond_the_log_gives_no_entries<P: LogPlace>() {
    let place = P::default();
    let mut store = place.open();
    store.append(&[entries(vec![entry(1, 1, b"a"), entry(2, 1, b"b")])]).unwrap();
    for (from, through) in [(3, 9), (0, 2), (2, 1), (LogIndex::MAX.get(), LogIndex::MAX.get())] {
        let run = store.load(index(from), index(through), usize::MAX).unwrap();
        assert!(run.is_empty(), "{from} to {through}");
    }
}

/// C75: nothing is written behind a gap.
pub fn a_write_that_does_not_continue_the_log_is_refused<P: LogPlace>() {
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
pub fn a_log_compacted_entirely_goes_on_at_the_right_index_and_term<P: LogPlace>() {
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
pub fn a_log_that_does_not_reach_a_snapshot_is_empty_and_goes_on_behind_it<P: LogPlace>() {
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

pub fn entries_behind_a_snapshot_stay<P: LogPlace>() {
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

pub fn a_load_that_begins_with_a_compacted_entry_gives_none<P: LogPlace>() {
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
pub fn a_write_that_contradicts_a_snapshot_is_refused<P: LogPlace>() {
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

pub fn metadata_is_empty_at_first_and_survives<P: LogPlace>() {
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
