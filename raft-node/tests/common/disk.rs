//! What the tests of files share.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};

use raft_core::Write;
use raft_node::{FileLog, LogStore, StoreError};

use conformance_tests::storage::values::{Model, content, entries, entry};

pub(crate) const SEGMENT_HEADER: usize = 40;
pub(crate) const MARK: usize = 32;

pub(crate) fn open(dir: &Path) -> Result<FileLog, StoreError> {
    FileLog::options().segment_bytes(4096).open(dir)
}

pub(crate) fn segment(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:016x}.log"))
}

/// The length of a segment without the zeros at its end, up to the end of the last frame.
pub(crate) fn used(bytes: &[u8]) -> usize {
    let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    len.next_multiple_of(8)
}

/// `bytes` with everything from `at` on lost: the file is shorter, or zeros are in its place.
pub(crate) fn cut(bytes: &[u8], at: usize, keep_length: bool) -> Vec<u8> {
    let mut short = bytes[..at].to_vec();
    short.resize(if keep_length { bytes.len() } else { at }, 0);
    short
}

/// The states after none, one, ..., all of the writes of `batch`.
pub(crate) fn states(before: &[Write], batch: &[Write]) -> Vec<Model> {
    let mut model = Model::of(before);
    let mut states = vec![model.clone()];
    for write in batch {
        model.apply(write);
        states.push(model.clone());
    }
    states
}

/// Opens what a crash left, and checks that the log can go on from there. Returns how many writes
/// of the batch are there.
pub(crate) fn survivors(dir: &Path, states: &[Model], what: &str) -> usize {
    let mut log = open(dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut found = content(&mut log);
    let count = states.iter().position(|state| *state == found);
    let count = count.unwrap_or_else(|| panic!("{what}: {found:?}"));
    let next = entry(found.last().index.get() + 1, 1 << 40, b"after the crash");
    let next = entries(vec![next]);
    log.append(std::slice::from_ref(&next)).unwrap();
    found.apply(&next);
    drop(log);
    assert_eq!(content(&mut open(dir).unwrap()), found, "{what}, opened again");
    count
}

/// The names of all files in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let name = |file: fs::DirEntry| file.file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|file| name(file.unwrap())).collect();
    names.sort_unstable();
    names
}
