//! The thread that owns the state machine.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use raft_core::{Entries, Event, LogIndex, Payload, Snapshot};

use crate::error::guard;
use crate::mailbox::{Completion, Mailbox};
use crate::request::Reply;
use crate::{NodeError, SnapshotStore, StateMachine};

pub(crate) enum ApplyJob {
    Apply {
        entries: Entries,
        /// Who waits for the answers, by ascending index.
        replies: Vec<(LogIndex, Reply)>,
    },
    Query {
        query: Bytes,
        reply: Reply,
    },
    /// Replace the state by that of a snapshot.
    Restore(Snapshot),
    /// Hand out the state as it is.
    Freeze,
}

/// Starts the thread of the state machine. It ends when the sender is dropped or the node has
/// stopped; what it has not got to by then it leaves alone.
pub(crate) fn spawn(
    name: String,
    machine: impl StateMachine,
    snapshots: Arc<dyn SnapshotStore>,
    mailbox: Mailbox,
) -> Result<(Sender<ApplyJob>, JoinHandle<()>), NodeError> {
    let (sender, jobs) = channel();
    let work = move || {
        // The state machine is not looked at again after a panic, so whatever state the panic
        // left it in does no harm. Replies that it did not get to are dropped: "unknown".
        let work = || run(machine, &*snapshots, &jobs, &mailbox);
        let result = guard(work, NodeError::StateMachinePanicked);
        if let Err(error) = result {
            mailbox.fail(error);
        }
    };
    let thread = thread::Builder::new().name(name).spawn(work).map_err(NodeError::Thread)?;
    Ok((sender, thread))
}

fn run(
    mut machine: impl StateMachine,
    snapshots: &dyn SnapshotStore,
    jobs: &Receiver<ApplyJob>,
    mailbox: &Mailbox,
) -> Result<(), NodeError> {
    let mut applied = machine.applied();
    while let Ok(job) = jobs.recv()
        && !mailbox.is_closed()
    {
        match job {
            ApplyJob::Apply { entries, replies } => {
                apply(&mut machine, &entries, replies, mailbox);
                if let Some(last) = entries.last() {
                    applied = last.index;
                    mailbox.complete(Event::Applied(applied));
                }
            }
            ApplyJob::Query { query, reply } => reply.answer(Ok(machine.query(query))),
            ApplyJob::Restore(snapshot) => {
                applied = snapshot.position.index;
                let mut content = snapshots.open(&snapshot)?;
                machine.restore(applied, &mut content).map_err(NodeError::Restore)?;
                mailbox.complete(Event::Applied(applied));
            }
            ApplyJob::Freeze => {
                let state = machine.snapshot();
                mailbox.complete(Completion::Frozen { index: applied, state });
            }
        }
    }
    Ok(())
}

fn apply(
    machine: &mut impl StateMachine,
    entries: &Entries,
    replies: Vec<(LogIndex, Reply)>,
    mailbox: &Mailbox,
) {
    let mut replies = replies.into_iter().peekable();
    for entry in entries.iter() {
        // A node that stops waits for one slow command, not for all that are queued.
        if mailbox.is_closed() {
            return;
        }
        let answer = match &entry.payload {
            Payload::Command(command) => machine.apply(entry.index, command.clone()),
            Payload::Noop | Payload::Membership(_) => Bytes::new(),
        };
        if let Some((_, reply)) = replies.next_if(|(index, _)| *index == entry.index) {
            reply.answer(Ok(answer));
        }
    }
}
