//! What the durable log does with the files of entries that a snapshot covers.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

#[path = "common/disk.rs"]
mod disk;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use conformance_tests::storage::values::{
    Model, beginning, cases, content, entries, entry, index, members, position, vote,
};
use disk::{MARK, SEGMENT_HEADER, cut, names, open, segment, states, survivors, used};
use proptest::prelude::*;
use raft_core::Write;
use raft_node::{FileLog, LogStore, StoreError};
use tempfile::TempDir;

/// The bytes of all segments by their numbers.
type Files = BTreeMap<u64, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let number = |name: &String| u64::from_str_radix(name.strip_suffix(".log")?, 16).ok();
    let numbers: Vec<u64> = names(dir).iter().filter_map(number).collect();
    numbers.into_iter().map(|it| (it, fs::read(segment(dir, it)).unwrap())).collect()
}

fn with_files(files: &Files) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (number, bytes) in files {
        fs::write(segment(dir.path(), *number), bytes).unwrap();
    }
    dir
}

/// Entries from `from` to `through`, each as large as a quarter of a segment and a write of its
/// own.
fn large(from: u64, through: u64) -> Vec<Write> {
    (from..=through).map(|at| entries(vec![entry(at, 1, &[at as u8; 900])])).collect()
}

/// What an append did to the files.
struct Recorded {
    old: Files,
    new: Files,
    /// What the append had written before it removed the first file.
    whole: Files,
}

fn append(log: &mut FileLog, dir: &Path, batch: &[Write]) -> Recorded {
    let old = files(dir);
    // A file that is removed goes on under another name, with all that is written to it.
    let links = tempfile::tempdir_in(dir).unwrap();
    for number in old.keys() {
        fs::hard_link(segment(dir, *number), segment(links.path(), *number)).unwrap();
    }
    log.append(batch).unwrap();
    let new = files(dir);
    let mut whole = files(links.path());
    whole.extend(new.clone());
    Recorded { old, new, whole }
}

/// Writes `before` and then `batch` to a new log.
fn record(before: &[Write], batch: &[Write]) -> Recorded {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.append(before).unwrap();
    let recorded = append(&mut log, dir.path(), batch);
    drop(log);
    // This finishes what the append has only begun to remove.
    drop(open(dir.path()).unwrap());
    Recorded { new: files(dir.path()), ..recorded }
}

fn damaged_file(dir: &Path) -> String {
    match open(dir).unwrap_err() {
        StoreError::Damaged { path, .. } => path.file_name().unwrap().to_str().unwrap().to_owned(),
        other => panic!("{other}"),
    }
}

#[test]
fn compaction_frees_the_files_of_what_it_removes() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let mut writes = vec![vote(1, 1)];
    writes.extend(large(1, 40));
    log.append(&writes).unwrap();
    let count = files(dir.path()).len();
    assert!(count >= 10);
    writes.push(beginning(39, 1));
    log.append(&writes[writes.len() - 1..]).unwrap();
    // The rest is removed little by little, so that no append waits long.
    for _ in 0..count {
        log.append(&[]).unwrap();
    }
    assert!(files(dir.path()).len() <= 2);
    assert_eq!(content(&mut log), Model::of(&writes));
    drop(log);
    assert_eq!(content(&mut open(dir.path()).unwrap()), Model::of(&writes));
}

#[test]
fn opening_removes_all_that_is_left_to_remove() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.append(&large(1, 100)).unwrap();
    log.append(&[beginning(100, 1)]).unwrap();
    assert!(files(dir.path()).len() > 10);
    drop(log);
    drop(open(dir.path()).unwrap());
    assert_eq!(files(dir.path()).len(), 1);
}

#[test]
fn a_thousand_compactions_leave_few_files_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let mut newest = 0;
    for at in 1..=1000 {
        let write = entries(vec![entry(at, at, &[7; 500]), members(at + 1, at, 3)]);
        let write = Write { begin_after: Some(position(at - 1, at - 1)), ..write };
        let again = Write { truncate_from: Some(index(at + 1)), ..vote(at, 1) };
        log.append(&[write, again]).unwrap();
        let numbers: Vec<u64> = files(dir.path()).into_keys().collect();
        assert!(numbers.len() <= 2, "{numbers:?}");
        assert!(numbers.last() >= Some(&newest));
        newest = *numbers.last().unwrap();
        if at % 100 == 0 {
            drop(log);
            log = open(dir.path()).unwrap();
        }
    }
    assert!(newest > 100);
    let model = content(&mut log);
    assert_eq!((model.begin_after, model.last()), (position(999, 999), position(1000, 1000)));
}

/// A file that is removed takes space for as long as somebody has it open.
#[test]
fn no_removed_file_stays_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.append(&large(1, 12)).unwrap();
    assert_eq!(log.load(index(1), index(1), 0).unwrap().len(), 1);
    log.append(&[beginning(11, 1)]).unwrap();
    assert!(!segment(dir.path(), 1).exists());
    let links = fs::read_dir("/proc/self/fd").unwrap();
    let open_files = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
    let removed: Vec<_> = open_files
        .filter(|path| path.starts_with(dir.path()) && path.to_string_lossy().contains("deleted"))
        .collect();
    assert!(removed.is_empty(), "{removed:?}");
}

/// The power may go at each step of the removal; what is acknowledged stays.
#[test]
fn a_crash_at_any_step_of_the_removal_loses_nothing_and_the_removal_is_finished() {
    let mut before = vec![vote(3, 7)];
    before.extend(large(1, 30));
    for upto in [30, 29, 14] {
        let batch = [beginning(upto, 1)];
        let Recorded { new, whole: mut left, .. } = record(&before, &batch);
        let states = states(&before, &batch);
        while left.len() >= new.len() {
            let dir = with_files(&left);
            assert_eq!(survivors(dir.path(), &states[1..], &format!("{} files", left.len())), 0);
            let needed = *new.keys().next().unwrap();
            assert!(files(dir.path()).keys().all(|number| *number >= needed));
            left.pop_first();
        }
    }
}

/// R096.
#[test]
fn a_compaction_cut_at_any_byte_leaves_the_old_log_or_the_new() {
    let mut before = vec![vote(3, 7)];
    before.extend(large(1, 11));
    let install = Write {
        begin_after: Some(position(20, 2)),
        truncate_from: Some(index(21)),
        ..entries(vec![members(21, 2, 3)])
    };
    let mut long = vec![beginning(8, 1)];
    long.extend(large(12, 17));
    for batch in [vec![beginning(11, 1)], vec![install], long] {
        let Recorded { old, whole, .. } = record(&before, &batch);
        let states = states(&before, &batch);
        let mut most = 0;
        for (number, bytes) in whole.range(old.keys().last().unwrap()..) {
            let begin = old.get(number).map_or(0, |bytes| used(bytes) - MARK);
            for at in (begin..=used(bytes)).filter(|at| *at <= begin + 200 || at % 61 == 0) {
                let mut crashed = whole.clone();
                crashed.split_off(&(number + 1));
                crashed.insert(*number, cut(bytes, at, true));
                let what = format!("segment {number} cut at {at}");
                let count = survivors(with_files(&crashed).path(), &states, &what);
                assert!(count >= most, "{what}");
                most = count;
            }
        }
        assert_eq!(most, batch.len());
    }
}

/// A log of several segments, the oldest ones of which are removed. All that are left are needed.
fn compacted() -> (Vec<Write>, Files) {
    let mut writes = vec![vote(3, 7)];
    writes.extend(large(1, 30));
    let Recorded { new, .. } = record(&writes, &[beginning(14, 1)]);
    assert!(*new.keys().next().unwrap() > 1 && new.len() >= 4);
    writes.push(beginning(14, 1));
    (writes, new)
}

/// A lost file must not pass for one that compaction removed.
#[test]
fn missing_segments_that_are_needed_are_damage_and_nothing_is_changed() {
    let (_, whole) = compacted();
    let first = *whole.keys().next().unwrap();
    let newest = *whole.keys().last().unwrap();
    for missing in first..newest {
        let mut files_left = whole.clone();
        files_left.remove(&missing);
        let dir = with_files(&files_left);
        assert_eq!(damaged_file(dir.path()), format!("{missing:016x}.log"));
        assert_eq!(files(dir.path()), files_left);
        files_left.retain(|number, _| *number > missing);
        let dir = with_files(&files_left);
        assert_eq!(damaged_file(dir.path()), format!("{missing:016x}.log"));
        assert_eq!(files(dir.path()), files_left);
    }
}

/// Everything in the lost file is of no use, so nothing is lost.
#[test]
fn a_missing_segment_of_which_nothing_is_needed_is_no_damage() {
    let mut before = vec![vote(3, 7)];
    before.extend(large(1, 30));
    let Recorded { new, mut whole, .. } = record(&before, &[beginning(20, 1)]);
    before.push(beginning(20, 1));
    whole.pop_first();
    assert!(whole.len() > new.len());
    survivors(with_files(&whole).path(), &[Model::of(&before)], "the first is missing");
}

#[test]
fn the_beginning_of_the_oldest_segment_is_under_a_checksum() {
    let (writes, whole) = compacted();
    let (first, bytes) = whole.first_key_value().unwrap();
    // The header, the frame that says what older segments have come to, and its padding.
    for at in 0..SEGMENT_HEADER + 32 + 42 {
        let mut damaged = whole.clone();
        damaged.get_mut(first).unwrap()[at] ^= 4;
        let dir = with_files(&damaged);
        assert_eq!(damaged_file(dir.path()), format!("{first:016x}.log"), "byte {at}");
    }
    let mut without = whole.clone();
    without.insert(*first, cut(bytes, SEGMENT_HEADER, true));
    assert_eq!(damaged_file(with_files(&without).path()), format!("{first:016x}.log"));
    survivors(with_files(&whole).path(), &[Model::of(&writes)], "undamaged");
}

#[test]
fn a_segment_that_does_not_follow_from_those_before_it_is_damage() {
    let written = |candidate| {
        let mut writes = vec![vote(3, candidate)];
        writes.extend(large(1, 10));
        record(&writes, &[]).new
    };
    let mut mixed = written(1);
    mixed.insert(2, written(2)[&2].clone());
    assert_eq!(damaged_file(with_files(&mixed).path()), format!("{:016x}.log", 2));
}

#[test]
fn an_only_segment_that_does_not_begin_the_log_must_have_a_beginning() {
    let mut before = vec![vote(3, 7)];
    before.extend(large(1, 10));
    let Recorded { new, .. } = record(&before, &[beginning(10, 1)]);
    assert_eq!(new.len(), 1);
    let (number, bytes) = new.first_key_value().unwrap();
    for at in [0, SEGMENT_HEADER - 1, SEGMENT_HEADER, SEGMENT_HEADER + 50] {
        let torn = Files::from([(*number, cut(bytes, at, true))]);
        let dir = with_files(&torn);
        damaged_file(dir.path());
        assert_eq!(files(dir.path()), torn, "cut at {at}");
    }
}

/// The newest segment may be cut to nothing, when the ones before it are still there. From then on
/// it has to stand for them.
#[test]
fn a_new_segment_whose_beginning_was_torn_can_replace_the_old_ones() {
    let mut before = vec![vote(3, 7)];
    before.extend(large(1, 4));
    let Recorded { whole: mut torn, .. } = record(&before, &large(5, 8));
    let newest = torn.last_entry().unwrap().into_mut();
    *newest = cut(newest, SEGMENT_HEADER, true);
    let dir = with_files(&torn);
    let mut log = open(dir.path()).unwrap();
    let model = content(&mut log);
    assert_eq!(model.hard_state, Model::of(&before).hard_state);
    let last = model.last();
    log.append(&[beginning(last.index.get(), 1)]).unwrap();
    drop(log);
    let mut log = open(dir.path()).unwrap();
    assert_eq!(files(dir.path()).len(), 1);
    assert_eq!((content(&mut log).last(), content(&mut log).hard_state), (last, model.hard_state));
}

#[test]
fn a_log_of_votes_alone_does_not_grow_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    for term in 1..=1000 {
        log.append(&[vote(term, 1)]).unwrap();
    }
    assert!(files(dir.path()).len() <= 2);
    drop(log);
    assert_eq!(content(&mut open(dir.path()).unwrap()), Model::of(&[vote(1000, 1)]));
}

/// One append of a random history.
#[derive(Clone, Debug)]
struct Batch {
    sizes: Vec<usize>,
    truncate: Option<u64>,
    compact: Option<u64>,
    reopen: bool,
    /// Where the power goes, in thousandths of what the batch has written.
    cut: usize,
    /// How many of the segments that are to be removed are gone before that.
    removed: usize,
}

fn batch() -> impl Strategy<Value = Batch> {
    (
        prop::collection::vec(0_usize..2000, 0..6),
        prop::option::weighted(0.3, 0_u64..=100),
        prop::option::weighted(0.4, 0_u64..=130),
        prop::bool::weighted(0.2),
        0_usize..=1000,
        0_usize..5,
    )
        .prop_map(|(sizes, truncate, compact, reopen, cut, removed)| Batch {
            sizes,
            truncate,
            compact,
            reopen,
            cut,
            removed,
        })
}

/// The writes of a batch; the term rises with each, so that it tells which entries are which.
fn writes_of(batch: &Batch, model: &Model, term: u64) -> Vec<Write> {
    let mut model = model.clone();
    let mut writes = vec![vote(term, 1)];
    let base = model.begin_after.index.get();
    let len = model.entries.len() as u64;
    if let Some(percent) = batch.truncate {
        let from = index(base + len * percent / 100 + 1);
        writes.push(Write { truncate_from: Some(from), ..vote(term, 2) });
        model.apply(&writes[1]);
    }
    for size in &batch.sizes {
        let at = model.last().index.get() + 1;
        writes.push(entries(vec![entry(at, term, &vec![at as u8; *size])]));
        model.apply(&writes[writes.len() - 1]);
    }
    if let Some(percent) = batch.compact {
        let len = model.entries.len() as u64;
        let at = base + len * percent / 100;
        let inside = model.entries.iter().find(|entry| entry.index.get() == at);
        match inside {
            Some(entry) => writes.push(beginning(at, entry.term.get())),
            None if at > model.last().index.get() => writes.push(beginning(at, term)),
            None => {}
        }
    }
    writes
}

/// What a crash leaves on the disk: all that was written up to a place, and nothing of what came
/// later. Says too whether that is all, so that the batch may have been acknowledged.
fn crashed(recorded: &Recorded, batch: &Batch) -> (Files, bool) {
    let Recorded { old, new, whole } = recorded;
    let tail = *old.keys().last().unwrap();
    // Files that were made and removed by the same append are not known.
    let complete = whole.keys().zip(whole.keys().skip(1)).all(|(one, next)| one + 1 == *next);
    if batch.cut == 1000 || !complete {
        let removed = if complete { batch.removed } else { usize::MAX };
        let kept = whole.keys().nth(removed).unwrap_or(&u64::MAX).min(new.keys().next().unwrap());
        return (whole.range(kept..).map(|(it, bytes)| (*it, bytes.clone())).collect(), true);
    }
    let begin = |number: &u64| match old.get(number) {
        Some(bytes) if *number == tail => used(bytes) - MARK,
        Some(bytes) => used(bytes),
        None => 0,
    };
    let written = |number: &u64, bytes: &Vec<u8>| used(bytes) - begin(number).min(used(bytes));
    let total: usize = whole.iter().map(|(number, bytes)| written(number, bytes)).sum();
    let mut left = total * batch.cut / 1000;
    let mut result = Files::new();
    for (number, bytes) in whole {
        let size = written(number, bytes);
        if left < size {
            result.insert(*number, cut(bytes, begin(number) + left, true));
            break;
        }
        left -= size;
        result.insert(*number, bytes.clone());
    }
    (result, false)
}

proptest! {
    #![proptest_config(cases(96))]
    #[test]
    fn whenever_the_power_goes_whole_writes_are_left(
        batches in prop::collection::vec(batch(), 1..10),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path()).unwrap();
        let mut history = Vec::new();
        for (term, batch) in (1..).zip(&batches) {
            let writes = writes_of(batch, &Model::of(&history), term);
            let recorded = append(&mut log, dir.path(), &writes);
            let (left, acknowledged) = crashed(&recorded, batch);
            let states = states(&history, &writes);
            let possible = if acknowledged { &states[writes.len()..] } else { &states[..] };
            survivors(with_files(&left).path(), possible, "after the crash");
            history.extend(writes);
            if batch.reopen {
                drop(log);
                log = open(dir.path()).unwrap();
            }
            prop_assert_eq!(content(&mut log), Model::of(&history));
        }
    }
}
