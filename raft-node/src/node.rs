//! The node without a runtime: the core, its disk thread, its state machine and its clients.

use std::collections::BTreeMap;
use std::mem;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use bytes::Bytes;
use raft_core::{
    Config, Entries, Event, Instant, LogIndex, Message, Notice, Outcome, Output, Proposal, Raft,
    RequestId, Restored, Status,
};

use crate::applier::{self, ApplyJob};
use crate::disk::{self, DiskJob};
use crate::mailbox::{Limits, Mailbox, Notifier};
use crate::request::{Client, Reply, Request, RequestError, failure};
use crate::{LogStore, NodeError, StateMachine};

/// Requests of one turn are proposed together; more would hold up peers and timers.
const REQUESTS_PER_TURN: usize = 1024;
const MESSAGES_PER_TURN: usize = 256;
/// Messages that wait beyond this are dropped: by the time it is their turn they are stale.
const MESSAGES_WAITING: usize = 8192;
const MESSAGE_BYTES_WAITING: usize = 64 << 20;

/// What an adapter gives a node to reach the world. Both functions are called on the thread that
/// calls [`Node::turn`] and must not block.
pub struct Wiring {
    /// Wakes the adapter's loop: there is something to do for [`Node::turn`].
    pub notify: Notifier,
    /// Passes a message on to the peer that it names, or drops it.
    pub send: Box<dyn FnMut(Message) + Send>,
    /// Is told of the role and term that the node starts with, and of changes of role and leader.
    pub observe: Box<dyn FnMut(Notice) + Send>,
}

/// A node, to be driven by one loop of any runtime: call [`turn`](Node::turn) when the notifier of
/// the [`Wiring`] was called or the deadline of the last turn has come, and not from two places at
/// once.
pub struct Node {
    raft: Raft,
    mailbox: Mailbox,
    wiring: Wiring,
    disk: Sender<DiskJob>,
    applier: Sender<ApplyJob>,
    threads: Threads,
    outputs: Vec<Output>,
    next_request: u64,
    waiting: BTreeMap<RequestId, Waiting>,
    /// Committed proposals of clients of this node whose entries are not with the state machine.
    committed: BTreeMap<LogIndex, Reply>,
    handed_out: LogIndex,
}

enum Waiting {
    Proposal(Reply),
    Read { query: Bytes, reply: Reply },
}

/// What an adapter does after a turn.
#[derive(Debug)]
pub enum Turn {
    /// Wait for the notifier or the deadline, whichever comes first; call again at once when there
    /// is no need to wait.
    Continue {
        /// When to call again if nothing happens; `None` for no deadline.
        deadline: Option<Instant>,
        /// More work is waiting already. Let other tasks have their turn and call again.
        more: bool,
    },
    /// The node has stopped, because it was asked to or because something failed.
    Stopped(Result<(), NodeError>),
}

/// A picture of a node, see [`Status`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeStatus {
    /// The node's part in the protocol.
    pub raft: Status,
    /// Messages that found the mailbox full.
    pub dropped_messages: u64,
}

/// The threads of a node. They end by themselves after the node is dropped.
#[derive(Debug, Default)]
pub struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    /// Waits until they have ended; blocks for as long as a write or an `apply` that is under way
    /// takes.
    pub fn join(self) {
        for thread in self.0 {
            // Panics of the store and of the state machine were caught and reported; nothing else
            // panics there.
            let _ = thread.join();
        }
    }
}

impl Node {
    /// Reads back what the store holds, starts the threads, and returns the node and the front
    /// door for its clients. `now` is the time at the adapter's [`Clock`](crate::Clock).
    ///
    /// # Errors
    /// The settings make no sense, the store is damaged or contradicts itself, or the system gives
    /// no threads.
    pub fn new(
        config: Config,
        mut store: impl LogStore,
        machine: impl StateMachine,
        mut wiring: Wiring,
        now: Instant,
    ) -> Result<(Self, Client), NodeError> {
        let applied = machine.applied();
        let restored = Restored { log: store.restore()?, applied };
        let id = config.id();
        let requests = config.pending_requests_limit();
        let raft = Raft::new(config, restored, now)?;
        let Status { role, term, .. } = raft.status();
        (wiring.observe)(Notice::Role { role, term });
        let limits =
            Limits { messages: MESSAGES_WAITING, message_bytes: MESSAGE_BYTES_WAITING, requests };
        let mailbox = Mailbox::new(wiring.notify.clone(), limits);
        let client = Client::new(mailbox.clone(), requests);
        let (disk, disk_thread) = disk::spawn(format!("raft-{id}-disk"), store, mailbox.clone())?;
        let (applier, apply_thread) =
            applier::spawn(format!("raft-{id}-apply"), machine, mailbox.clone())?;
        let node = Self {
            raft,
            mailbox,
            wiring,
            disk,
            applier,
            threads: Threads(vec![disk_thread, apply_thread]),
            outputs: Vec::new(),
            next_request: 0,
            waiting: BTreeMap::new(),
            committed: BTreeMap::new(),
            handed_out: applied,
        };
        Ok((node, client))
    }

    /// Takes in what has arrived, and carries out what follows from it. Never blocks.
    pub fn turn(&mut self, now: Instant) -> Turn {
        let batch = self.mailbox.take(MESSAGES_PER_TURN, REQUESTS_PER_TURN);
        if let Some(error) = batch.failure {
            return Turn::Stopped(Err(error));
        }
        if batch.stop {
            return Turn::Stopped(Ok(()));
        }
        for event in batch.completions {
            self.step(event, now);
        }
        for message in batch.messages {
            self.step(Event::Receive(message), now);
        }
        self.take_requests(batch.requests, now);
        self.step(Event::Wake, now);
        match self.carry_out() {
            Ok(()) => {
                let deadline = self.raft.deadline();
                // A sleep of no time still costs the resolution of a runtime's timer.
                let due = deadline.is_some_and(|deadline| deadline <= now);
                Turn::Continue { deadline, more: batch.more || due }
            }
            // A thread that is gone has said why.
            Err(gone) => {
                let why = self.mailbox.take(0, 0).failure;
                Turn::Stopped(Err(why.unwrap_or(gone)))
            }
        }
    }

    fn step(&mut self, event: Event, now: Instant) {
        self.raft.step_into(event.at(now), &mut self.outputs);
    }

    fn take_requests(&mut self, requests: Vec<Request>, now: Instant) {
        let mut proposals = Vec::new();
        for request in requests {
            match request {
                Request::Propose { command, mut reply } => {
                    reply.set_uncertain();
                    let request = self.wait(Waiting::Proposal(reply));
                    proposals.push(Proposal { request, command });
                }
                Request::Read { query, reply } => {
                    let request = self.wait(Waiting::Read { query, reply });
                    self.step(Event::Read(request), now);
                }
                Request::Status(callback) => callback(NodeStatus {
                    raft: self.raft.status(),
                    dropped_messages: self.mailbox.dropped_messages(),
                }),
            }
        }
        if !proposals.is_empty() {
            self.step(Event::Propose(proposals), now);
        }
    }

    fn wait(&mut self, waiting: Waiting) -> RequestId {
        self.next_request += 1;
        let request = RequestId::new(self.next_request);
        self.waiting.insert(request, waiting);
        request
    }

    fn carry_out(&mut self) -> Result<(), NodeError> {
        let mut outputs = mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Persist(write) => self.to_disk(DiskJob::Write(write))?,
                Output::Load { from, through, max_bytes } => {
                    self.to_disk(DiskJob::Load { from, through, max_bytes })?;
                }
                Output::Send(message) => (self.wiring.send)(message),
                Output::Apply(entries) => self.apply(entries)?,
                Output::Done { request, outcome } => self.finish(request, outcome)?,
                Output::Notice(notice) => (self.wiring.observe)(notice),
            }
        }
        self.outputs = outputs;
        Ok(())
    }

    fn to_disk(&self, job: DiskJob) -> Result<(), NodeError> {
        self.disk.send(job).map_err(|_| NodeError::ThreadGone)
    }

    fn to_applier(&self, job: ApplyJob) -> Result<(), NodeError> {
        self.applier.send(job).map_err(|_| NodeError::ThreadGone)
    }

    fn apply(&mut self, entries: Entries) -> Result<(), NodeError> {
        let Some(last) = entries.last().map(|entry| entry.index) else { return Ok(()) };
        let later = self.committed.split_off(&last.next());
        let replies = mem::replace(&mut self.committed, later).into_iter().collect();
        self.handed_out = last;
        self.to_applier(ApplyJob::Apply { entries, replies })
    }

    fn finish(&mut self, request: RequestId, outcome: Outcome) -> Result<(), NodeError> {
        let Some(waiting) = self.waiting.remove(&request) else { return Ok(()) };
        match (waiting, outcome) {
            (Waiting::Proposal(reply), Outcome::Committed { index, .. }) => {
                if index > self.handed_out {
                    self.committed.insert(index, reply);
                } else {
                    // News of the commit overtook the leader's answer, and the state machine's
                    // answer has gone by: the command was applied, its result is not known.
                    reply.answer(Err(RequestError::Unknown));
                }
                Ok(())
            }
            (Waiting::Read { query, reply }, Outcome::Readable { .. }) => {
                self.to_applier(ApplyJob::Query { query, reply })
            }
            (Waiting::Proposal(reply) | Waiting::Read { reply, .. }, outcome) => {
                if let Some(error) = failure(outcome) {
                    reply.answer(Err(error));
                }
                Ok(())
            }
        }
    }

    /// Ends the node: everybody who waits is answered, and the threads end with the write or the
    /// command that they are at.
    #[must_use = "the threads still run; join them where blocking is allowed"]
    pub fn close(mut self) -> Threads {
        mem::take(&mut self.threads)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Dropping what waits answers it.
        drop(self.mailbox.close());
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("status", &self.raft.status()).finish_non_exhaustive()
    }
}
