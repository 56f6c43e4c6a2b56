//! The node without a runtime: the core, its threads and its clients.

mod outputs;
mod requests;
mod snapshots;

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use raft_core::{
    Event, Instant, LogIndex, Message, Notice, Output, Raft, RequestId, Restored, RoleKind,
    Snapshot, Status,
};

use self::requests::Waiting;
use self::snapshots::Snapshots;
use crate::applier::{self, ApplyJob};
use crate::disk::{self, DiskJob};
use crate::error::guard;
use crate::identity::Identity;
use crate::librarian::{self, SnapshotJob};
use crate::mailbox::{Completion, Limits, Mailbox, Stop};
use crate::recorder::{self, Told};
use crate::request::{Client, Reply};
use crate::{Beginning, NodeError, Notifier, Peers, Settings, StateMachine, Storage, StoreError};

/// Requests of one turn are proposed together; more would hold up peers and timers.
const REQUESTS_PER_TURN: usize = 1024;
const MESSAGES_PER_TURN: usize = 256;
/// Messages that wait beyond this are dropped: by the time it is their turn they are stale.
const MESSAGES_WAITING: usize = 8192;
const MESSAGE_BYTES_WAITING: usize = 64 << 20;

/// What an adapter gives a node to reach the world. None of the functions may block. `send` and
/// `observe` are called on the thread that is in [`Host::new`] or [`Host::turn`].
pub struct Wiring {
    /// Wakes the adapter's loop: there is something to do for [`Host::turn`]. Called on any thread:
    /// those of the node, of its clients and of its links.
    pub notify: Notifier,
    /// Passes a message on to the peer that it names, or drops it.
    pub send: Box<dyn FnMut(Message) + Send>,
    /// Is told of the role, the term and the members that the node starts with, and of changes.
    pub observe: Box<dyn FnMut(&Notice) + Send>,
}

/// A node, to be driven by one loop of any runtime: call [`turn`](Host::turn) when the notifier of
/// the [`Wiring`] was called or the deadline of the last turn has come, and not from two places at
/// once.
pub struct Host {
    raft: Raft,
    mailbox: Mailbox,
    peers: Peers,
    wiring: Wiring,
    disk: Sender<DiskJob>,
    applier: Sender<ApplyJob>,
    librarian: Sender<SnapshotJob>,
    threads: Threads,
    /// What has happened and the core does not know yet.
    events: Vec<Event>,
    outputs: Vec<Output>,
    told: Told,
    next_request: u64,
    waiting: BTreeMap<RequestId, Waiting>,
    /// Committed proposals of clients of this node whose entries are not with the state machine.
    committed: BTreeMap<LogIndex, Reply>,
    handed_out: LogIndex,
    snapshots: Snapshots,
    election_timeout: std::time::Duration,
    /// When to stop, even if handing over takes longer.
    stopping: Option<Instant>,
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
    /// The time at the node's clock, to compare the times in `raft` with.
    pub now: Instant,
    /// Messages that found the mailbox full.
    pub dropped_messages: u64,
    /// Why the last snapshot could not be written; `None` if it could. The node tries again.
    pub snapshot_failure: Option<String>,
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

impl Host {
    /// Reads back what the storage holds, makes sure that it is this node's, starts the threads,
    /// and returns the node and the front door for its clients. `now` is the time at the adapter's
    /// [`Clock`](crate::Clock).
    ///
    /// A storage that was never used is given the node's name, and the members that the settings
    /// found the cluster with; nothing is written before the settings are known to make sense.
    ///
    /// This blocks: it reads all of the newest snapshot to check it.
    ///
    /// # Errors
    /// The settings make no sense, the storage is damaged, contradicts itself or is not this
    /// node's, the storage or the state machine panics, or the system gives no threads.
    pub fn new(
        settings: &Settings,
        storage: Storage,
        machine: impl StateMachine,
        mut wiring: Wiring,
        now: Instant,
    ) -> Result<(Self, Client), NodeError> {
        let config = settings.config()?;
        let (id, requests) = (config.id(), config.pending_requests_limit());
        let Storage { mut log, snapshots: store } = storage;
        let applied = guard(|| Ok(machine.applied()), NodeError::StateMachinePanicked)?;
        let panicked = |text| StoreError::Other(format!("the storage panicked: {text}"));
        let (stored, newest, name) =
            guard(|| Ok((log.restore()?, store.newest()?, log.metadata()?)), panicked)?;
        let (identity, news) = Identity::establish(settings, name, &stored, newest.as_ref())?;
        let founded = !identity.founders.is_empty();
        let founding = founded.then(|| Snapshot::initial(identity.founders.clone()));
        let snapshot = newest.or(founding);
        let covered = snapshot.as_ref().map(|it| it.membership.clone());
        let restored = Restored { log: stored, snapshot, applied };
        let beginning = Beginning { config, restored, at: now };
        let record = settings.recorder().map(|record| (record, beginning.clone()));
        let raft = Raft::new(beginning.config, beginning.restored, now)?;
        // Only now is it certain that the settings make sense.
        if news {
            guard(|| log.set_metadata(&identity.encode()), panicked)?;
        }
        let Status { role, term, membership, snapshot, .. } = raft.status();
        let uncovered = applied.since(snapshot);
        let (address, route) = (settings.advertised().to_owned(), settings.dial_route());
        let peers = Peers::new(identity, membership.clone(), address, route);
        // What the newest snapshot covers is not described again.
        let described = raft.describe_snapshot(applied).map(|(_, membership)| membership);
        described.or(covered).into_iter().for_each(|committed| peers.commit(committed));
        (wiring.observe)(&Notice::Leadership { role, term, leader: None });
        (wiring.observe)(&Notice::Membership(membership));
        let limits = Limits { messages: MESSAGES_WAITING, message_bytes: MESSAGE_BYTES_WAITING };
        let mailbox = Mailbox::new(wiring.notify.clone(), limits);
        peers.on_change(wiring.notify.clone());
        let client = Client::new(mailbox.clone(), requests);
        let name = |part: &str| format!("raft-{id}-{part}");
        let recording = record.map(|(record, it)| recorder::spawn(name("record"), record, &it));
        let (told, record_thread) = recording.transpose()?.unzip();
        let (disk, disk_thread) = disk::spawn(name("disk"), log, mailbox.clone())?;
        let (applier, apply_thread) =
            applier::spawn(name("apply"), machine, store.clone(), mailbox.clone())?;
        let (librarian, snapshot_thread) =
            librarian::spawn(name("snapshots"), store.clone(), mailbox.clone())?;
        let threads = [disk_thread, apply_thread, snapshot_thread].into_iter().chain(record_thread);
        let host = Self {
            raft,
            mailbox,
            peers,
            wiring,
            disk,
            applier,
            librarian,
            threads: Threads(threads.collect()),
            told: told.unwrap_or_default(),
            events: Vec::new(),
            outputs: Vec::new(),
            next_request: 0,
            waiting: BTreeMap::new(),
            committed: BTreeMap::new(),
            handed_out: applied,
            snapshots: Snapshots::new(
                store,
                settings.snapshot_policy(),
                uncovered,
                name("snapshot"),
            ),
            election_timeout: settings.timeout(),
            stopping: None,
        };
        Ok((host, client))
    }

    /// What the links to the peers need to know.
    #[must_use]
    pub const fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Takes in what has arrived, and carries out what follows from it. Never blocks. `clock` tells
    /// the time; it is asked once, after everything was taken in: an answer to a request must not
    /// rest on a time before the request.
    pub fn turn(&mut self, clock: impl FnOnce() -> Instant) -> Turn {
        let batch = self.mailbox.take(MESSAGES_PER_TURN, REQUESTS_PER_TURN);
        let now = clock();
        if let Some(error) = batch.failure {
            return Turn::Stopped(Err(error));
        }
        if self.stops(batch.stop, now) {
            return Turn::Stopped(Ok(()));
        }
        for done in batch.completions {
            match done {
                Completion::Event(event) => self.events.push(event),
                Completion::SnapshotWritten(snapshot) => self.snapshot_written(snapshot, now),
                Completion::Frozen { index, state } => self.write_snapshot(index, state, now),
                Completion::SnapshotFailed(why) => self.snapshot_failed(why),
            }
        }
        self.events.extend(batch.messages.into_iter().map(Event::Receive));
        if batch.state_lost {
            self.lose_state();
        }
        if batch.forget_leader {
            self.events.push(Event::ForgetLeader);
        }
        self.take_requests(batch.requests, now);
        self.step(now);
        match self.carry_out() {
            Ok(()) => {
                let deadline = self.raft.deadline().into_iter().chain(self.stopping).min();
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

    /// Whether this turn is the last. A leader that is asked to stop hands over first.
    fn stops(&mut self, stop: Option<Stop>, now: Instant) -> bool {
        let leads = self.raft.status().role == RoleKind::Leader;
        match stop {
            None => false,
            Some(Stop::AtOnce) => true,
            Some(Stop::Gracefully) if self.raft.membership().voters().len() < 2 => true,
            Some(Stop::Gracefully) => match self.stopping {
                Some(latest) => !leads || latest <= now,
                None => {
                    self.stopping = Some(now.plus(self.election_timeout));
                    if leads {
                        let request = self.wait(Waiting::Nobody);
                        self.events.push(Event::TransferLeadership { request, to: None });
                    }
                    !leads
                }
            },
        }
    }

    /// Gives the core everything that has happened, in one step for all of it.
    fn step(&mut self, now: Instant) {
        let events = self.told.events(&self.events);
        // A turn may take several steps.
        let before = self.outputs.len();
        self.raft.step_all(now, self.events.drain(..), &mut self.outputs);
        self.told.step(now, events, self.outputs.get(before..).unwrap_or_default());
    }

    fn wait(&mut self, waiting: Waiting) -> RequestId {
        self.next_request += 1;
        let request = RequestId::new(self.next_request);
        self.waiting.insert(request, waiting);
        request
    }

    /// Ends the node: everybody who waits is answered, and the threads end with the write or the
    /// command that they are at.
    #[must_use = "the threads still run; join them where blocking is allowed"]
    pub fn close(mut self) -> Threads {
        let mut threads = mem::take(&mut self.threads);
        threads.0.extend(self.snapshots.take_thread());
        threads
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Dropping what waits answers it.
        drop(self.mailbox.close());
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("status", &self.raft.status()).finish_non_exhaustive()
    }
}

/// Shared by the parts of a node.
type SharedStore = Arc<dyn crate::SnapshotStore>;
