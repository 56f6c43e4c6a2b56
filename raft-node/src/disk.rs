//! The thread that owns the log store.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use raft_core::{Event, LogIndex, Write};

use crate::error::guard;
use crate::mailbox::Mailbox;
use crate::{LogStore, NodeError, StoreError};

pub(crate) enum DiskJob {
    Write(Write),
    Load { from: LogIndex, through: LogIndex, max_bytes: usize },
    Metadata(Bytes),
}

/// Starts the disk thread. It ends when the sender is dropped, after everything that was queued.
pub(crate) fn spawn(
    name: String,
    store: impl LogStore,
    mailbox: Mailbox,
) -> Result<(Sender<DiskJob>, JoinHandle<()>), NodeError> {
    let (sender, jobs) = channel();
    let work = move || {
        // The store is not looked at again after a panic. A thread that ended without a word would
        // leave everybody waiting.
        let result = guard(
            || run(store, &jobs, &mailbox),
            |text| StoreError::Other(format!("the log store panicked: {text}")),
        );
        if let Err(error) = result {
            mailbox.fail(NodeError::Store(error));
        }
    };
    let thread = thread::Builder::new().name(name).spawn(work).map_err(NodeError::Thread)?;
    Ok((sender, thread))
}

/// Takes everything that is queued, writes it, syncs once and acknowledges the newest ticket
/// (group commit). A failure is final: see [`LogStore`].
fn run(
    mut store: impl LogStore,
    jobs: &Receiver<DiskJob>,
    mailbox: &Mailbox,
) -> Result<(), StoreError> {
    let mut writes = Vec::new();
    let mut next = jobs.recv().ok();
    while let Some(job) = next {
        next = match job {
            DiskJob::Write(write) => {
                writes.push(write);
                jobs.try_recv().ok()
            }
            DiskJob::Metadata(metadata) => {
                // It may speak of what they hold.
                persist(&mut store, &mut writes, mailbox)?;
                store.set_metadata(&metadata)?;
                jobs.try_recv().ok()
            }
            DiskJob::Load { from, through, max_bytes } => {
                persist(&mut store, &mut writes, mailbox)?;
                let entries = store.load(from, through, max_bytes)?;
                mailbox.complete(Event::Loaded { from, entries });
                jobs.try_recv().ok()
            }
        };
        if next.is_none() {
            persist(&mut store, &mut writes, mailbox)?;
            next = jobs.recv().ok();
        }
    }
    Ok(())
}

fn persist(
    store: &mut impl LogStore,
    writes: &mut Vec<Write>,
    mailbox: &Mailbox,
) -> Result<(), StoreError> {
    if let Some(ticket) = writes.last().map(|write| write.ticket) {
        store.append(writes)?;
        writes.clear();
        mailbox.complete(Event::Persisted(ticket));
    }
    Ok(())
}
