//! The thread that owns the state machine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use raft_core::{Entries, Event, LogIndex, Payload};

use crate::error::text_of;
use crate::mailbox::Mailbox;
use crate::request::Reply;
use crate::{NodeError, StateMachine};

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
}

/// Starts the thread of the state machine. It ends when the sender is dropped or the node has
/// stopped; what it has not got to by then it leaves alone.
pub(crate) fn spawn(
    name: String,
    machine: impl StateMachine,
    mailbox: Mailbox,
) -> Result<(Sender<ApplyJob>, JoinHandle<()>), NodeError> {
    let (sender, jobs) = channel();
    let work = move || {
        // The state machine is not looked at again after a panic, so whatever state the panic
        // left it in does no harm. Replies that it did not get to are dropped: "unknown".
        let panic = catch_unwind(AssertUnwindSafe(|| run(machine, &jobs, &mailbox)));
        if let Err(payload) = panic {
            mailbox.fail(NodeError::StateMachinePanicked(text_of(payload.as_ref())));
        }
    };
    let thread = thread::Builder::new().name(name).spawn(work).map_err(NodeError::Thread)?;
    Ok((sender, thread))
}

fn run(mut machine: impl StateMachine, jobs: &Receiver<ApplyJob>, mailbox: &Mailbox) {
    while let Ok(job) = jobs.recv()
        && !mailbox.is_closed()
    {
        match job {
            ApplyJob::Apply { entries, replies } => {
                apply(&mut machine, &entries, replies, mailbox);
                if let Some(last) = entries.last() {
                    mailbox.complete(Event::Applied(last.index));
                }
            }
            ApplyJob::Query { query, reply } => reply.answer(Ok(machine.query(query))),
        }
    }
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
            Payload::Noop => Bytes::new(),
        };
        if let Some((_, reply)) = replies.next_if(|(index, _)| *index == entry.index) {
            reply.answer(Ok(answer));
        }
    }
}
