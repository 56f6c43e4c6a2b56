//! What every log store must do, checked on each that this crate ships.

use conformance_tests::log_store_suite;
use conformance_tests::storage::LogPlace;
use raft_node::{FileLog, MemoryLog};
use tempfile::TempDir;

#[derive(Default)]
struct InMemory(MemoryLog);

impl LogPlace for InMemory {
    type Store = MemoryLog;

    fn open(&self) -> MemoryLog {
        self.0.clone()
    }
}

struct OnDisk(TempDir);

impl Default for OnDisk {
    fn default() -> Self {
        Self(tempfile::tempdir().expect("a directory for temporary files"))
    }
}

impl LogPlace for OnDisk {
    type Store = FileLog;

    fn open(&self) -> FileLog {
        // The smallest segments, so that the checks cross from one to the next.
        FileLog::options().segment_bytes(0).open(self.0.path()).expect("a sound log")
    }
}

log_store_suite!(memory_log, InMemory);
log_store_suite!(file_log, OnDisk);
