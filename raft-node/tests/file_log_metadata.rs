//! The metadata file of the durable log, when it is torn, damaged or all that is left.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

#[path = "common/disk.rs"]
mod disk;

use std::fs;
use std::path::Path;

use conformance_tests::storage::values::vote;
use disk::{names, open, segment};
use raft_node::{LogStore, StoreError};
use tempfile::TempDir;

const METADATA: &[u8] = b"cluster 5, node 7";

/// A log with metadata and one write, closed.
fn closed_log() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.set_metadata(METADATA).unwrap();
    log.append(&[vote(1, 1)]).unwrap();
    dir
}

fn read(dir: &Path) -> Result<Vec<u8>, StoreError> {
    Ok(open(dir)?.metadata()?.to_vec())
}

#[test]
fn every_flipped_byte_and_every_cut_is_damage_and_never_taken_for_missing() {
    let dir = closed_log();
    let path = dir.path().join("metadata");
    let whole = fs::read(&path).unwrap();
    let is_damage = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = read(dir.path()).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { path: it, .. } if *it == path), "{error}");
    };
    for at in 0..whole.len() {
        is_damage(&whole[..at]);
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        is_damage(&damaged);
    }
    is_damage(&[whole.as_slice(), &[0]].concat());
    fs::write(&path, &whole).unwrap();
    assert_eq!(read(dir.path()).unwrap(), METADATA);
}

#[test]
fn metadata_of_another_version_is_an_error_that_says_so() {
    let dir = closed_log();
    let path = dir.path().join("metadata");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 9;
    let crc = crc32fast::hash(&[&bytes[..16], METADATA].concat());
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = read(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Version { found: 9, expected: 1, .. }), "{error}");
}

/// R093, R136: the power may go at each step of a replacement.
#[test]
fn a_replacement_that_a_crash_interrupted_leaves_the_old_metadata() {
    let dir = closed_log();
    let whole = fs::read(dir.path().join("metadata")).unwrap();
    for at in 0..=whole.len() {
        fs::write(dir.path().join("metadata.tmp"), &whole[..at]).unwrap();
        assert_eq!(read(dir.path()).unwrap(), METADATA);
    }
    open(dir.path()).unwrap().set_metadata(b"new").unwrap();
    assert_eq!(read(dir.path()).unwrap(), b"new");
    assert_eq!(names(dir.path()).len(), 3, "lock, metadata and a segment");
}

/// A node that has forgotten its votes must not start, even if it knows who it is.
#[test]
fn metadata_without_a_log_is_damage() {
    let dir = closed_log();
    for unfinished in [false, true] {
        fs::remove_file(segment(dir.path(), 1)).unwrap();
        if unfinished {
            fs::write(segment(dir.path(), 1), []).unwrap();
        }
        let before = names(dir.path());
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert_eq!(names(dir.path()), before);
        fs::write(segment(dir.path(), 1), []).unwrap();
    }
}

#[test]
fn a_failed_replacement_poisons_the_log_and_the_old_metadata_stays() {
    let dir = closed_log();
    let blocker = dir.path().join("metadata.tmp");
    fs::create_dir(&blocker).unwrap();
    let mut log = open(dir.path()).unwrap();
    assert!(matches!(log.set_metadata(b"new"), Err(StoreError::Io { .. })));
    assert!(matches!(log.metadata(), Err(StoreError::Poisoned { .. })));
    assert!(matches!(log.set_metadata(b"new"), Err(StoreError::Poisoned { .. })));
    assert!(matches!(log.append(&[vote(2, 1)]), Err(StoreError::Poisoned { .. })));
    drop(log);
    assert_eq!(read(dir.path()).unwrap(), METADATA);
}

#[test]
fn metadata_above_the_limit_is_refused() {
    let dir = closed_log();
    let error = open(dir.path()).unwrap().set_metadata(&vec![1; (1 << 20) + 1]).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit, .. } if limit == 1 << 20), "{error}");
    assert_eq!(read(dir.path()).unwrap(), METADATA);
    let largest = vec![1; 1 << 20];
    open(dir.path()).unwrap().set_metadata(&largest).unwrap();
    assert_eq!(read(dir.path()).unwrap(), largest);
}
