//! The thread that serves snapshots to followers and takes in those of leaders, and the threads
//! that write the node's own.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use raft_core::{Event, LogPosition, Membership, Snapshot, SnapshotPiece};

use crate::error::guard;
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
        let result = guard(
            || run(&*store, &jobs, &mailbox),
            |text| StoreError::Other(format!("the snapshot store panicked: {text}")),
        );
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

/// Starts a thread that writes a frozen state to the store. It gives up when the node stops, or when
/// `given_up` is set because the state turns out to be damaged.
pub(crate) fn write(
    name: String,
    store: Arc<dyn SnapshotStore>,
    described: (LogPosition, Arc<Membership>),
    state: FrozenState,
    given_up: Arc<AtomicBool>,
    mailbox: Mailbox,
) -> Result<JoinHandle<()>, NodeError> {
    let work = move || {
        let write = || {
            let writer = store.create().map_err(|it| it.to_string())?;
            let mut sink = Sink { writer, given_up: &given_up, mailbox: &mailbox, failure: None };
            state(&mut sink).map_err(|it| it.to_string())?;
            sink.complete(described)
        };
        let written = guard(write, |text| text);
        match written {
            Ok(snapshot) => mailbox.complete(Completion::SnapshotWritten(snapshot)),
            // The log keeps everything that the snapshot would have: nothing is lost.
            Err(why) => mailbox.complete(Completion::SnapshotFailed(why)),
        }
    };
    thread::Builder::new().name(name).spawn(work).map_err(NodeError::Thread)
}

/// Passes bytes on for as long as the snapshot is wanted. A failure is final: the state's code may
/// have swallowed it, as a buffer does that is dropped, and what follows is not the whole.
struct Sink<'a> {
    writer: Box<dyn SnapshotWriter>,
    given_up: &'a AtomicBool,
    mailbox: &'a Mailbox,
    /// The first thing that went wrong.
    failure: Option<String>,
}

impl Sink<'_> {
    fn check(&mut self) -> Result<(), String> {
        if self.failure.is_none() && self.mailbox.is_closed() {
            self.failure = Some("the node has stopped".into());
        }
        if self.failure.is_none() && self.given_up.load(Ordering::Acquire) {
            self.failure = Some("the state was lost while it was written".into());
        }
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn complete(
        mut self,
        (position, membership): (LogPosition, Arc<Membership>),
    ) -> Result<Snapshot, String> {
        self.check()?;
        // This takes long. What is found out meanwhile still counts.
        self.writer.flush().map_err(|it| it.to_string())?;
        self.check()?;
        self.writer.complete(position, membership).map_err(|it| it.to_string())
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check().map_err(io::Error::other)?;
        self.writer.write(bytes).inspect_err(|error| {
            // Whoever is interrupted tries again.
            if error.kind() != io::ErrorKind::Interrupted {
                self.failure = Some(error.to_string());
            }
        })
    }

    /// Only the end of a snapshot is worth a sync.
    fn flush(&mut self) -> io::Result<()> {
        self.check().map_err(io::Error::other)
    }
}
