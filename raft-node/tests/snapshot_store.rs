//! What every snapshot store must do, checked on each that this crate ships.

use conformance_tests::snapshot_store_suite;
use conformance_tests::storage::SnapshotPlace;
use raft_node::{FileSnapshots, MemorySnapshots};
use tempfile::TempDir;

#[derive(Default)]
struct InMemory(MemorySnapshots);

impl SnapshotPlace for InMemory {
    type Store = MemorySnapshots;

    fn open(&self) -> MemorySnapshots {
        self.0.clone()
    }
}

struct OnDisk(TempDir);

impl Default for OnDisk {
    fn default() -> Self {
        Self(tempfile::tempdir().expect("a directory for temporary files"))
    }
}

impl SnapshotPlace for OnDisk {
    type Store = FileSnapshots;

    fn open(&self) -> FileSnapshots {
        FileSnapshots::open(self.0.path()).expect("sound snapshots")
    }
}

snapshot_store_suite!(memory_snapshots, InMemory);
snapshot_store_suite!(file_snapshots, OnDisk);
