//! What the durable snapshots do when their files are torn, damaged or in the way.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

#[path = "common/disk.rs"]
mod disk;

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conformance_tests::storage::values::position;
use disk::names;
use raft_core::{Membership, NodeId, Snapshot};
use raft_node::{FileSnapshots, SnapshotStore, StoreError};
use tempfile::TempDir;

const BLOCK: u64 = 64 << 10;

fn open(dir: &Path) -> FileSnapshots {
    FileSnapshots::open(dir).unwrap()
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * at / 7) as u8).collect()
}

fn take(store: &FileSnapshots, at: u64, bytes: &[u8]) -> Snapshot {
    let mut writer = store.create().unwrap();
    writer.write_all(bytes).unwrap();
    let members = Arc::new(Membership::of_voters([1, 2, 3].map(NodeId::new)));
    writer.complete(position(at, 3), members).unwrap()
}

fn path_of(dir: &Path, snapshot: &Snapshot) -> PathBuf {
    let (index, term) = (snapshot.position.index.get(), snapshot.position.term.get());
    dir.join(format!("{index:016x}-{term:016x}-{:08x}.snap", snapshot.checksum))
}

/// A directory with one snapshot of two and a half blocks, and the bytes of its file.
fn stored() -> (TempDir, Snapshot, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = take(&open(dir.path()), 9, &bytes(160_000));
    let file = fs::read(path_of(dir.path(), &snapshot)).unwrap();
    (dir, snapshot, file)
}

/// Reads the snapshot in every way there is. Every byte that comes is right; says whether all came.
fn reads_nothing_wrong(dir: &Path, snapshot: &Snapshot) -> bool {
    let expected = bytes(160_000);
    let store = open(dir);
    let mut whole = true;
    for offset in (0..snapshot.size).step_by(30_000) {
        match store.read(snapshot, offset, 30_000) {
            Ok(data) => assert!(expected[offset as usize..].starts_with(&data.unwrap())),
            Err(StoreError::Damaged { path, .. }) => {
                assert_eq!(path, path_of(dir, snapshot));
                whole = false;
            }
            Err(other) => panic!("{other}"),
        }
    }
    let mut content = Vec::new();
    match store.open(snapshot) {
        Ok(mut reader) => match reader.read_to_end(&mut content) {
            Ok(_) => assert_eq!(content.len() as u64, snapshot.size),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidData);
                whole = false;
            }
        },
        Err(StoreError::Damaged { .. }) => whole = false,
        Err(other) => panic!("{other}"),
    }
    assert!(expected.starts_with(&content));
    whole
}

#[test]
fn damage_at_any_byte_is_found_and_no_damaged_byte_is_served() {
    let (dir, snapshot, file) = stored();
    let path = path_of(dir.path(), &snapshot);
    assert!(reads_nothing_wrong(dir.path(), &snapshot));
    let blocks = 20..20 + snapshot.size as usize + 3 * 4;
    for at in (0..file.len()).filter(|at| !blocks.contains(at) || at % 1021 == 0) {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        assert!(!reads_nothing_wrong(dir.path(), &snapshot), "byte {at}");
        let error = open(dir.path()).newest().unwrap_err();
        assert!(
            matches!(&error, StoreError::Damaged { path: it, offset, .. }
                if *it == path && *offset <= at as u64),
            "byte {at}: {error}"
        );
    }
}

#[test]
fn damage_is_found_when_its_own_part_is_read_and_not_before() {
    let (dir, snapshot, mut file) = stored();
    file[20 + BLOCK as usize + 4 + 100] ^= 1;
    fs::write(path_of(dir.path(), &snapshot), &file).unwrap();
    let store = open(dir.path());
    assert!(store.read(&snapshot, 0, BLOCK as usize).is_ok());
    assert!(store.read(&snapshot, BLOCK, 1).is_err());
    assert!(store.read(&snapshot, 0, BLOCK as usize + 1).is_err());
    assert!(store.read(&snapshot, 2 * BLOCK, 9).is_ok());
}

#[test]
fn a_file_that_is_cut_or_longer_is_damage() {
    let (dir, snapshot, file) = stored();
    let path = path_of(dir.path(), &snapshot);
    let mut changed: Vec<Vec<u8>> = Vec::new();
    for at in (0..file.len()).filter(|at| *at < 50 || at % 4001 == 0 || *at > file.len() - 60) {
        changed.push(file[..at].to_vec());
        changed.push([&file[..at], &vec![0; file.len() - at]].concat());
    }
    changed.push([file.as_slice(), &[0]].concat());
    // Bytes between the content and what describes it.
    let end = 20 + snapshot.size as usize + 3 * 4;
    changed.push([&file[..end], &[7; 8], &file[end..]].concat());
    changed.push([&file[..file.len() - 12], &[1; 8], &file[file.len() - 12..]].concat());
    for bytes in changed.iter().filter(|bytes| **bytes != file) {
        fs::write(&path, bytes).unwrap();
        assert!(!reads_nothing_wrong(dir.path(), &snapshot));
        let error = open(dir.path()).newest().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}

/// Every checksum depends on the place and on the file.
#[test]
fn blocks_that_changed_places_or_come_from_another_file_are_damage() {
    let (dir, snapshot, file) = stored();
    let path = path_of(dir.path(), &snapshot);
    let block = BLOCK as usize + 4;
    let mut swapped = file.clone();
    swapped.copy_within(20..20 + block, 20 + block);
    fs::write(&path, &swapped).unwrap();
    assert!(!reads_nothing_wrong(dir.path(), &snapshot));
    let other = tempfile::tempdir().unwrap();
    take(&open(other.path()), 9, &bytes(160_000));
    let mut mixed = file;
    let foreign = fs::read(path_of(other.path(), &snapshot)).unwrap();
    mixed[20..20 + block].copy_from_slice(&foreign[20..20 + block]);
    fs::write(&path, &mixed).unwrap();
    assert!(!reads_nothing_wrong(dir.path(), &snapshot));
}

/// The log may be compacted up to it, so an older one is no substitute.
#[test]
fn a_damaged_newest_snapshot_is_an_error_and_nothing_is_removed() {
    let (dir, snapshot, mut file) = stored();
    take(&open(dir.path()), 8, b"older");
    fs::write(dir.path().join("0.tmp"), "torn").unwrap();
    file[70_000] ^= 1;
    fs::write(path_of(dir.path(), &snapshot), &file).unwrap();
    let before = names(dir.path());
    for _ in 0..2 {
        let error = open(dir.path()).newest().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert_eq!(names(dir.path()), before);
    }
}

#[test]
fn a_snapshot_under_the_name_of_another_is_damage() {
    let (dir, snapshot, _) = stored();
    let other = Snapshot { position: position(10, 3), ..snapshot.clone() };
    fs::rename(path_of(dir.path(), &snapshot), path_of(dir.path(), &other)).unwrap();
    let error = open(dir.path()).newest().unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(open(dir.path()).read(&other, 0, 1).unwrap(), None);
}

#[test]
fn a_snapshot_of_another_version_is_an_error_that_says_so() {
    let (dir, snapshot, mut file) = stored();
    file[8] = 7;
    let crc = crc32fast::hash(&file[..16]);
    file[16..20].copy_from_slice(&crc.to_le_bytes());
    fs::write(path_of(dir.path(), &snapshot), &file).unwrap();
    let error = open(dir.path()).newest().unwrap_err();
    assert!(matches!(error, StoreError::Version { found: 7, expected: 1, .. }), "{error}");
}

/// R093, R136: before the renaming there is no snapshot, after it there is a whole one.
#[test]
fn whatever_a_crash_leaves_of_an_unfinished_snapshot_is_removed() {
    let (dir, snapshot, file) = stored();
    let older = open(dir.path()).newest().unwrap();
    for at in (0..=file.len()).step_by(9973).chain([file.len()]) {
        fs::write(dir.path().join("0000000000000000.tmp"), &file[..at]).unwrap();
        assert_eq!(open(dir.path()).newest().unwrap(), older);
        assert_eq!(names(dir.path()).len(), 2, "the lock and the snapshot");
    }
    // Power goes while a newer one is half written, taken here or sent by a leader.
    let store = open(dir.path());
    let mut writer = store.create().unwrap();
    writer.write_all(&bytes(100_000)).unwrap();
    let newer = Snapshot { position: position(20, 3), ..snapshot.clone() };
    store.receive(&newer, 0, &bytes(100_000)).unwrap();
    let copy = tempfile::tempdir().unwrap();
    for name in names(dir.path()) {
        fs::copy(dir.path().join(&name), copy.path().join(&name)).unwrap();
    }
    assert_eq!(names(copy.path()).len(), 4);
    assert_eq!(open(copy.path()).newest().unwrap().as_ref(), Some(&snapshot));
    assert_eq!(names(copy.path()).len(), 2);
}

#[test]
fn writers_and_transfers_that_are_given_up_leave_no_files() {
    let (dir, snapshot, _) = stored();
    let store = open(dir.path());
    let before = names(dir.path());
    let mut writer = store.create().unwrap();
    writer.write_all(&bytes(100_000)).unwrap();
    let newer = Snapshot { position: position(20, 3), ..snapshot };
    for _ in 0..3 {
        store.receive(&newer, 0, &bytes(100)).unwrap();
    }
    assert_eq!(names(dir.path()).len(), before.len() + 2);
    drop(writer);
    store.remove(&newer).unwrap();
    assert_eq!(names(dir.path()), before);
    store.receive(&newer, 0, &bytes(100)).unwrap();
    store.receive(&newer, 50, &[]).unwrap_err();
    assert_eq!(names(dir.path()), before);
}

/// A node that is stopped and started again in one process may meet a writer of its former life.
/// A name has only the position and the checksum of a snapshot, which another one may share.
#[test]
fn only_the_snapshot_that_is_meant_is_removed() {
    let (dir, snapshot, _) = stored();
    let store = open(dir.path());
    let members = Arc::new(Membership::of_voters([4].map(NodeId::new)));
    store.remove(&Snapshot { membership: members, ..snapshot.clone() }).unwrap();
    assert!(path_of(dir.path(), &snapshot).exists());
    store.remove(&snapshot).unwrap();
    assert!(!path_of(dir.path(), &snapshot).exists());
}

#[test]
fn a_writer_that_outlives_its_store_does_not_touch_the_files_of_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = open(dir.path()).create().unwrap();
    old.write_all(b"of the former life").unwrap();
    let store = open(dir.path());
    assert_eq!(store.newest().unwrap(), None);
    let mut new = store.create().unwrap();
    new.write_all(b"new").unwrap();
    let members = Arc::new(Membership::of_voters([NodeId::new(1)]));
    assert!(old.complete(position(5, 3), members.clone()).is_err(), "its file was removed");
    let snapshot = new.complete(position(4, 3), members).unwrap();
    assert_eq!(store.newest().unwrap(), Some(snapshot));
}

#[test]
fn the_directory_is_open_only_once_and_other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("a/snapshots");
    let store = open(&nested);
    assert!(matches!(FileSnapshots::open(&nested), Err(StoreError::InUse { .. })));
    drop(store);
    fs::write(nested.join("notes.txt"), "keep").unwrap();
    fs::write(nested.join("1-2-3.snap"), "keep").unwrap();
    fs::write(nested.join("notes.tmp"), "keep").unwrap();
    assert_eq!(open(&nested).newest().unwrap(), None);
    assert_eq!(names(&nested), ["1-2-3.snap", "lock", "notes.tmp", "notes.txt"]);
}
