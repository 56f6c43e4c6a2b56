//! R137: a disk without space takes nothing, and destroys nothing that it has taken. Every write to
//! the device `/dev/full` fails for want of space, and a link to it under the name of a file that
//! is to be made brings it into a store; a pipe that nobody reads any more fails later. The tests
//! have a process for themselves, because temporary files are numbered by process.
#![allow(missing_docs, reason = "tests are described by their names")]
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed unwrap is a failed test")]

#[path = "common/disk.rs"]
mod disk;

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use conformance_tests::storage::values::{Model, content, entries, entry, position};
use disk::{names, open};
use raft_core::{Membership, NodeId, Snapshot, Write};
use raft_node::{FileSnapshots, LogStore, SnapshotStore, SnapshotWriter, StoreError};
use rustix::fs::{CWD, Mode, mkfifoat};

fn is_full(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == ErrorKind::StorageFull)
}

#[test]
fn a_disk_that_is_full_at_a_change_of_metadata_costs_neither_the_old_ones_nor_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let writes: Vec<Write> = (1..=9).map(|at| entries(vec![entry(at, 1, &[7; 900])])).collect();
    let mut log = open(dir.path()).unwrap();
    log.set_metadata(b"old").unwrap();
    log.append(&writes).unwrap();
    let link = dir.path().join("metadata.tmp");
    symlink("/dev/full", &link).unwrap();
    let error = log.set_metadata(b"new").unwrap_err();
    assert!(is_full(&error), "{error}");
    assert!(matches!(log.append(&[]), Err(StoreError::Poisoned { .. })));
    drop(log);

    let mut log = open(dir.path()).unwrap();
    assert_eq!((content(&mut log), log.metadata().unwrap()), (Model::of(&writes), "old".into()));
    // Somebody makes room.
    fs::remove_file(&link).unwrap();
    log.set_metadata(b"new").unwrap();
    assert_eq!((content(&mut log), log.metadata().unwrap()), (Model::of(&writes), "new".into()));
}

fn take(store: &FileSnapshots, at: u64, bytes: &[u8]) -> Result<Snapshot, StoreError> {
    finish(store.create()?, at, bytes)
}

fn finish(
    mut writer: Box<dyn SnapshotWriter>,
    at: u64,
    bytes: &[u8],
) -> Result<Snapshot, StoreError> {
    writer.write_all(bytes).unwrap();
    writer.complete(position(at, 1), Arc::new(Membership::of_voters([NodeId::new(1)])))
}

fn bytes_of(store: &FileSnapshots, snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.open(snapshot).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// The next temporary files are links to `target`.
fn link_temporaries(dir: &Path, target: &Path) {
    for number in 0..100 {
        symlink(target, dir.join(format!("{number:016x}.tmp"))).unwrap();
    }
}

#[test]
fn a_disk_that_is_full_at_a_snapshot_does_not_cost_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileSnapshots::open(dir.path()).unwrap();
    let old = take(&store, 5, b"old").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let sender = FileSnapshots::open(elsewhere.path()).unwrap();
    let sent = take(&sender, 9, b"sent").unwrap();
    link_temporaries(dir.path(), Path::new("/dev/full"));
    for error in
        [take(&store, 8, b"new").unwrap_err(), store.receive(&sent, 0, b"sent").unwrap_err()]
    {
        assert!(is_full(&error), "{error}");
    }
    assert_eq!(store.newest().unwrap(), Some(old.clone()));
    drop(store);

    let store = FileSnapshots::open(dir.path()).unwrap();
    assert_eq!(store.newest().unwrap(), Some(old.clone()));
    assert_eq!(bytes_of(&store, &old), b"old");
    // Looking for the newest removes what is unfinished, so there is room again.
    assert_eq!(names(dir.path()).len(), 2, "the lock and the snapshot");
    let new = take(&store, 9, b"new").unwrap();
    assert_eq!((store.newest().unwrap(), bytes_of(&store, &new)), (Some(new), b"new".to_vec()));
}

/// R136: a snapshot has its name when all of it is on the disk, and not before.
#[test]
fn a_snapshot_whose_end_cannot_be_written_has_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileSnapshots::open(dir.path()).unwrap();
    let old = take(&store, 5, b"old").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let pipe = elsewhere.path().join("pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    link_temporaries(dir.path(), &pipe);
    let reader = thread::spawn(move || File::open(pipe).unwrap());
    let writer = store.create().unwrap();
    drop(reader.join().unwrap());
    let error = finish(writer, 8, b"new").unwrap_err();
    let broken =
        matches!(&error, StoreError::Io { source, .. } if source.kind() == ErrorKind::BrokenPipe);
    assert!(broken, "{error}");
    let named = names(dir.path()).into_iter().filter(|name| name.ends_with(".snap"));
    assert_eq!(named.count(), 1, "the old one");
    assert_eq!(store.newest().unwrap(), Some(old));
}
