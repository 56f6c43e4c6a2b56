//! The thread that serves snapshots to followers and takes in those of leaders, and the threads that
//! write the node's own.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use raft_core::{Event, LogPosition, Membership, Snapshot, SnapshotPiece};

use crate::error::text_of;
use crate::mailbox::{Completion, Mailbox};
use crate::state_machine::FrozenState;
use crate::{NodeError, SnapshotStore, SnapshotWriter, StoreError};

pub(crate) enum SnapshotJob {
    Read { snapshot: Snapshot, offset: u64, max_bytes: usize },
    Write(SnapshotPiece),
    Drop(Snapshot),
}

/// Starts the thread that reads and takes in pieces of snapshots. It ends when the sender is
/// dropped.
pub(crate) fn spawn(
    name: String,
    store: Arc<dyn SnapshotStore>,
    mailbox: Mailbox,
) -> Result<(Sender<SnapshotJob>, JoinHandle<()>), NodeError> {
    let (sender, jobs) = channel();
    let work = move || {
        let result = catch_unwind(AssertUnwindSafe(|| run(&*store, &jobs, &mailbox)));
        let result = result.unwrap_or_else(|panic| {
            let text = text_of(panic.as_ref());
            Err(StoreError::Other(format!("the snapshot store panicked: {text}")))
        });
        if let Err(error) = result {
            mailbox.fail(NodeError::Store(error));
        }
    };
    let thread = thread::Builder::new().name(name).spawn(work).map_err(NodeError::Thread)?;
    Ok((sender, thread))
}

fn run(
    store: &dyn SnapshotStore,
    jobs: &Receiver<SnapshotJob>,
    mailbox: &Mailbox,
) -> Result<(), StoreError> {
    while let Ok(job) = jobs.recv()
        && !mailbox.is_closed()
    {
        match job {
            SnapshotJob::Read { snapshot, offset, max_bytes } => {
                let data = store.read(&snapshot, offset, max_bytes)?;
                mailbox.complete(Event::SnapshotRead { snapshot, offset, data });
            }
            SnapshotJob::Write(SnapshotPiece { snapshot, attempt, offset, data }) => {
                store.receive(&snapshot, offset, &data)?;
                let through = offset + data.len() as u64;
                mailbox.complete(Event::SnapshotWritten { snapshot, attempt, through });
            }
            SnapshotJob::Drop(snapshot) => store.remove(&snapshot)?,
        }
    }
    Ok(())
}

/// Starts a thread that writes a frozen state to the store. It gives up when the node stops.
pub(crate) fn write(
    name: String,
    store: Arc<dyn SnapshotStore>,
    (position, membership): (LogPosition, Arc<Membership>),
    state: FrozenState,
    mailbox: Mailbox,
) -> Result<JoinHandle<()>, NodeError> {
    let work = move || {
        let written = catch_unwind(AssertUnwindSafe(|| {
            let mut sink =
                Sink { writer: store.create().map_err(|it| it.to_string())?, mailbox: &mailbox };
            state(&mut sink).and_then(|()| sink.flush()).map_err(|it| it.to_string())?;
            sink.writer.complete(position, membership).map_err(|it| it.to_string())
        }));
        let written = written.unwrap_or_else(|panic| Err(text_of(panic.as_ref())));
        match written {
            Ok(snapshot) => mailbox.complete(Completion::SnapshotWritten(snapshot)),
            // The log keeps everything that the snapshot would have: nothing is lost.
            Err(why) => mailbox.complete(Completion::SnapshotFailed(why)),
        }
    };
    thread::Builder::new().name(name).spawn(work).map_err(NodeError::Thread)
}

/// Passes bytes on for as long as the node runs.
struct Sink<'a> {
    writer: Box<dyn SnapshotWriter>,
    mailbox: &'a Mailbox,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.mailbox.is_closed() {
            return Err(io::Error::other("the node has stopped"));
        }
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
