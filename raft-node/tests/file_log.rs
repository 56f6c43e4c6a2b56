//! What the durable log does when its files are torn, damaged or missing.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

#[path = "common/disk.rs"]
mod disk;

use std::fs;
use std::path::Path;

use bytes::Bytes;
use conformance_tests::storage::values::{
    Model, beginning, cases, content, entries, entry, index, members, position, replacing, vote,
};
use disk::{MARK, SEGMENT_HEADER, cut, open, segment, states, used};
use proptest::prelude::*;
use raft_core::{Entry, LogIndex, Payload, Write};
use raft_node::{FileLog, LogStore, StoreError};
use tempfile::TempDir;

/// The bytes of all segments, in order.
fn files(dir: &Path) -> Vec<Vec<u8>> {
    (1..).map_while(|sequence| fs::read(segment(dir, sequence)).ok()).collect()
}

/// A directory with these segments.
fn with_files(files: &[Vec<u8>]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (sequence, bytes) in (1..).zip(files) {
        fs::write(segment(dir.path(), sequence), bytes).unwrap();
    }
    dir
}

/// A few acknowledged writes, and a batch that touches everything.
fn small_history() -> (Vec<Write>, Vec<Write>) {
    let before = vec![vote(1, 1), entries(vec![entry(1, 1, b"one"), entry(2, 1, b"two")])];
    let batch = vec![
        vote(2, 9),
        replacing(2, vec![entry(2, 2, b"TWO"), entry(3, 2, b"")]),
        entries(vec![entry(4, 2, &[0xee; 50]), members(5, 2, 3)]),
        beginning(1, 1),
        Write { begin_after: Some(position(9, 2)), ..entries(vec![entry(10, 2, b"")]) },
    ];
    (before, batch)
}

/// Writes `before` and then `batch` to a new log; returns the files after each.
fn record(before: &[Write], batch: &[Write]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.append(before).unwrap();
    let old = files(dir.path());
    log.append(batch).unwrap();
    (old, files(dir.path()))
}

fn survivors(files: &[Vec<u8>], states: &[Model], what: &str) -> usize {
    disk::survivors(with_files(files).path(), states, what)
}

/// R096, C94: the batch cuts a suffix off and writes another.
#[test]
fn a_batch_cut_at_any_byte_leaves_the_old_state_or_whole_writes_of_the_new() {
    let (before, batch) = small_history();
    let (old, new) = record(&before, &batch);
    let states = states(&before, &batch);
    let end = used(&new[0]);
    for keep_length in [false, true] {
        let mut most = 0;
        // The mark behind the old writes was not synced before the batch, so it is lost as well.
        for at in used(&old[0]) - MARK..=end {
            let what = format!("cut at {at}, length kept: {keep_length}");
            let count = survivors(&[cut(&new[0], at, keep_length)], &states, &what);
            assert!(count >= most, "{what}: more bytes leave fewer writes");
            most = count;
            assert!(at < end - MARK || count == batch.len(), "{what}");
        }
    }
}

#[test]
fn a_batch_over_several_segments_cut_anywhere_leaves_whole_writes() {
    let before = [vote(1, 1)];
    let batch: Vec<Write> =
        (1..=9).map(|at| entries(vec![entry(at, 1, &[at as u8; 1000])])).collect();
    let (old, new) = record(&before, &batch);
    let states = states(&before, &batch);
    assert!(new.len() >= 3);
    let mut most = 0;
    for nth in 0..new.len() {
        let start = if nth == 0 { used(&old[0]) } else { 0 };
        for at in (start..=used(&new[nth])).filter(|at| *at <= SEGMENT_HEADER || at % 61 == 0) {
            let mut crashed = new[..nth].to_vec();
            crashed.push(cut(&new[nth], at, true));
            let count = survivors(&crashed, &states, &format!("segment {nth} cut at {at}"));
            assert!(count >= most);
            most = count;
        }
    }
}

proptest! {
    #![proptest_config(cases(128))]
    #[test]
    fn a_batch_of_which_any_words_are_missing_leaves_whole_writes(
        kept in prop::collection::vec(prop::bool::weighted(0.9), 100),
    ) {
        let (before, batch) = small_history();
        let (old, mut new) = record(&before, &batch);
        // The mark is written after the sync, so a crash that tears the batch leaves no mark.
        let end = used(&new[0]) - MARK;
        new[0][end..].fill(0);
        // The mark behind the old writes became durable no earlier than the batch.
        let words = new[0][used(&old[0]) - MARK..end].chunks_mut(8);
        words.zip(kept).filter(|(_, kept)| !kept).for_each(|(word, _)| word.fill(0));
        survivors(&new, &states(&before, &batch), "words missing");
    }
}

/// R094, R138, C94: damage in the middle is never taken for the end.
#[test]
fn a_flipped_byte_is_reported_with_its_file_or_changes_nothing() {
    let before: Vec<Write> =
        (1..=7).map(|at| entries(vec![entry(at, 1, &[at as u8; 801])])).collect();
    let (_, files) = record(&before, &[entries(vec![entry(8, 1, b"newest")])]);
    let full = content(&mut open(with_files(&files).path()).unwrap());
    let last = files.len() - 1;
    for nth in 0..files.len() {
        let mark = used(&files[nth]) - MARK;
        for at in (0..used(&files[nth])).filter(|at| nth == last || at % 37 == 0) {
            let mut damaged = files.clone();
            damaged[nth][at] ^= 0x20;
            let dir = with_files(&damaged);
            match open(dir.path()) {
                Err(StoreError::Damaged { path, offset, .. }) => {
                    assert_eq!(path, segment(dir.path(), nth as u64 + 1));
                    assert!(offset <= at as u64, "{offset} is behind {at}");
                }
                Ok(mut log) => {
                    assert_eq!(content(&mut log), full, "byte {at} of segment {nth}");
                    let harmless = (nth == last && at >= mark) || files[nth][at] == 0;
                    assert!(harmless, "byte {at} of segment {nth} is under a checksum");
                }
                Err(other) => panic!("byte {at} of segment {nth}: {other}"),
            }
        }
    }
}

/// R094.
#[test]
fn damage_in_the_newest_acknowledged_batch_is_not_taken_for_a_torn_write() {
    let (before, batch) = small_history();
    let (old, mut new) = record(&before, &batch);
    let begin = used(&old[0]);
    let end = used(&new[0]) - MARK;
    new[0][end - 20] ^= 1;
    let error = open(with_files(&new).path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { offset, .. } if offset > begin as u64));
    new[0][begin..end].fill(0);
    let error = open(with_files(&new).path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { offset, .. } if offset == begin as u64));
}

#[test]
fn damage_is_reported_again_at_every_start_and_nothing_is_changed() {
    let (before, batch) = small_history();
    let (_, mut files_before) = record(&before, &batch);
    files_before[0][SEGMENT_HEADER + 9] ^= 1;
    let dir = with_files(&files_before);
    for _ in 0..2 {
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { offset, .. } if offset == 40), "{error}");
        assert_eq!(files(dir.path()), files_before);
    }
}

#[test]
fn damage_under_an_open_log_is_reported_by_load() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.append(&[entries(vec![entry(1, 1, b"first"), entry(2, 1, b"second")])]).unwrap();
    let path = segment(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|window| window == b"second").unwrap();
    bytes[at] = b'S';
    fs::write(&path, &bytes).unwrap();
    assert_eq!(log.load(index(1), index(1), 0).unwrap()[0], entry(1, 1, b"first"));
    let error = log.load(index(1), index(2), usize::MAX).unwrap_err();
    let named = matches!(&error, StoreError::Damaged { path: p, offset, .. }
        if *p == path && *offset <= at as u64 && *offset + 16 > at as u64);
    assert!(named, "{error}");
    fs::write(&path, &bytes[..at]).unwrap();
    let error = log.load(index(2), index(2), 0).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

/// Three segments of acknowledged writes, each of them a batch of its own.
fn long_history() -> (Vec<Write>, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let writes: Vec<Write> =
        (1..=8).map(|at| entries(vec![entry(at, 1, &[at as u8; 1100])])).collect();
    writes.iter().for_each(|write| log.append(std::slice::from_ref(write)).unwrap());
    let files = files(dir.path());
    assert_eq!(files.len(), 3);
    (writes, files)
}

#[test]
fn a_missing_segment_is_damage() {
    let (_, files) = long_history();
    for missing in [1, 2] {
        let dir = with_files(&files);
        fs::remove_file(segment(dir.path(), missing)).unwrap();
        match open(dir.path()).unwrap_err() {
            StoreError::Damaged { path, .. } => assert_eq!(path, segment(dir.path(), missing)),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_segment_under_the_name_of_another_is_damage() {
    let (_, mut files) = long_history();
    files.swap(1, 2);
    let error = open(with_files(&files).path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn frames_missing_at_the_end_of_an_old_segment_are_damage() {
    let (_, files) = long_history();
    let end = used(&files[0]);
    // Without its last mark the segment still ends with a whole frame and zeros.
    for keep_length in [false, true] {
        let mut damaged = files.clone();
        damaged[0] = cut(&files[0], end - MARK, keep_length);
        let dir = with_files(&damaged);
        match open(dir.path()).unwrap_err() {
            StoreError::Damaged { path, offset, .. } => {
                assert_eq!((path, offset), (segment(dir.path(), 1), (end - MARK) as u64));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_segment_whose_creation_was_interrupted_is_made_anew() {
    let (writes, files) = long_history();
    let header = [&files[2][..20], &[0; 4000]].concat();
    for unfinished in [Vec::new(), files[2][..SEGMENT_HEADER - 1].to_vec(), vec![0; 4096], header] {
        let mut crashed = files.clone();
        crashed.push(unfinished.clone());
        survivors(&crashed, &[Model::of(&writes)], "fourth segment unfinished");
        survivors(&[unfinished], &[Model::default()], "first segment unfinished");
    }
}

#[test]
fn damage_at_the_end_of_a_full_segment_is_no_torn_write_even_if_the_next_is_unfinished() {
    let (_, mut files) = long_history();
    let newest_frame = used(&files[1]) - MARK - 20;
    files[1][newest_frame..].fill(0);
    files[2].fill(0);
    let dir = with_files(&files);
    match open(dir.path()).unwrap_err() {
        StoreError::Damaged { path, .. } => assert_eq!(path, segment(dir.path(), 2)),
        other => panic!("{other}"),
    }
}

#[test]
fn a_newest_segment_with_content_but_without_header_is_damage() {
    let (_, mut files) = long_history();
    files[2][3] ^= 1;
    let error = open(with_files(&files).path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { offset: 0, .. }), "{error}");
}

#[test]
fn a_log_is_open_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    match open(dir.path()).unwrap_err() {
        StoreError::InUse { path } => assert_eq!(path, dir.path()),
        other => panic!("{other}"),
    }
    drop(log);
    open(dir.path()).unwrap();
}

/// R089, R090, R137: the next segment can't be made, as on a disk without space.
#[test]
fn a_failed_roll_over_poisons_the_log_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    fs::write(segment(dir.path(), 2), "").unwrap();
    let mut acknowledged = Model::default();
    let error = loop {
        let at = acknowledged.entries.len() as u64 + 1;
        let write = entries(vec![entry(at, 1, &[1; 500])]);
        match log.append(std::slice::from_ref(&write)) {
            Ok(()) => acknowledged.apply(&write),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(matches!(log.restore(), Err(StoreError::Poisoned { .. })));
    drop(log);
    assert!(!acknowledged.entries.is_empty());
    assert_eq!(content(&mut open(dir.path()).unwrap()), acknowledged);
}

#[test]
fn no_write_and_no_mark_goes_beyond_the_reserved_space() {
    for size in (500..600).step_by(8) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path()).unwrap();
        for at in 1..=20 {
            log.append(&[entries(vec![entry(at, 1, &vec![1; size])])]).unwrap();
            assert!(files(dir.path()).iter().all(|file| file.len() == 4096), "size {size}");
        }
    }
}

#[test]
fn a_write_larger_than_a_segment_gets_a_larger_segment() {
    let writes = [
        entries(vec![entry(1, 1, b"first")]),
        entries(vec![entry(2, 1, &vec![3; 20_000])]),
        entries(vec![entry(3, 1, b"small")]),
    ];
    let (_, files) = record(&writes, &[]);
    assert_eq!(content(&mut open(with_files(&files).path()).unwrap()), Model::of(&writes));
}

#[test]
fn a_write_above_the_limit_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let before = files(dir.path());
    let huge = Payload::Command(Bytes::from(vec![0; 1 << 30]));
    let error =
        log.append(&[entries(vec![Entry { payload: huge, ..entry(1, 1, b"") }])]).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit, .. } if limit == 1 << 30), "{error}");
    assert_eq!(files(dir.path()), before);
}

#[test]
fn a_command_that_contains_a_log_does_not_pass_for_proof() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = FileLog::options().segment_bytes(64 << 10).open(dir.path()).unwrap();
    let mut before = vec![vote(1, 1)];
    before.extend((1..=5).map(|at| entries(vec![entry(at, 1, b"some command")])));
    before.iter().for_each(|write| log.append(std::slice::from_ref(write)).unwrap());
    let old = files(dir.path());
    // Seven bytes more or less decide whether the frames in the copy are aligned: try them all.
    let copy = &old[0][..used(&old[0])];
    for shift in 1..=8 {
        let command = [&vec![1; shift][..], copy].concat();
        let dir = with_files(&old);
        open(dir.path()).unwrap().append(&[entries(vec![entry(6, 1, &command)])]).unwrap();
        let mut torn = files(dir.path());
        let begin = used(&old[0]) + MARK;
        let end = used(&torn[0]) - MARK;
        torn[0][end..].fill(0);
        torn[0][begin..begin + 40].fill(0);
        survivors(&torn, &[Model::of(&before)], "a copy of the log in a torn command");
    }
}

#[test]
fn missing_directories_are_created_and_other_files_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("a/b");
    open(&nested).unwrap().append(&[vote(4, 2)]).unwrap();
    fs::write(nested.join("notes.txt"), "keep").unwrap();
    fs::write(nested.join("17.log"), "keep").unwrap();
    assert_eq!(content(&mut open(&nested).unwrap()), Model::of(&[vote(4, 2)]));
    assert_eq!(fs::read_to_string(nested.join("17.log")).unwrap(), "keep");
}

#[test]
fn opening_again_for_every_write_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    for at in 1..=300 {
        let write = entries(vec![entry(at, at, b"command")]);
        let mut log = open(dir.path()).unwrap();
        log.append(std::slice::from_ref(&write)).unwrap();
        model.apply(&write);
    }
    let mut log = open(dir.path()).unwrap();
    assert_eq!(content(&mut log), model);
    assert!(log.load(index(301), LogIndex::MAX, usize::MAX).unwrap().is_empty());
}
