//! What went into the cores of real nodes is given to bare cores, which must answer the same.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use raft_node::Settings;
use raft_node::recording::{Recording, RecordingWriter};

/// Far more than any scenario makes.
const MAX_BYTES: u64 = 1 << 30;

/// The recordings of all lives of all nodes of a cluster.
#[derive(Clone, Default)]
pub(super) struct Recordings(Arc<Mutex<Vec<Buffer>>>);

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Recordings {
    /// Settings of a node that is recorded.
    pub(super) fn of(&self, settings: Settings) -> Settings {
        let recordings = self.clone();
        settings.record(move |beginning| {
            let buffer = Buffer::default();
            recordings.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer.clone());
            Ok(Box::new(RecordingWriter::new(buffer, beginning, MAX_BYTES)?))
        })
    }

    /// An adapter adds nothing and leaves nothing out: the bare core goes the way of each node.
    pub(super) fn check(&self) {
        let recordings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Buffer(bytes) in recordings.iter() {
            let bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
            let recording = Recording::read(&mut bytes.as_slice()).expect("a recording reads back");
            let id = recording.beginning().config.id();
            let diverged = recording.replay().err().map(|error| error.to_string());
            assert_eq!(diverged, None, "node {id}");
        }
    }
}
