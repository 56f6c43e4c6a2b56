//! When the node takes a snapshot of its own state machine, and how.

use std::mem;
use std::thread::JoinHandle;

use bytes::Bytes;
use raft_core::{Entries, Event, Instant, LogIndex, Refusal, Snapshot};

use super::{Node, SharedStore};
use crate::applier::ApplyJob;
use crate::librarian;
use crate::request::{Reply, RequestError};
use crate::state_machine::FrozenState;
use crate::{NodeError, SnapshotPolicy};

/// The node's own snapshots: one at a time.
pub(super) struct Snapshots {
    store: SharedStore,
    policy: SnapshotPolicy,
    thread_name: String,
    /// What was applied since the last one was begun.
    entries: u64,
    bytes: u64,
    /// Somebody wants one in any case.
    wanted: bool,
    under_way: bool,
    thread: Option<JoinHandle<()>>,
    /// Who waits for the next one, and for the one that is under way.
    asked: Vec<Reply>,
    awaited: Vec<Reply>,
    failure: Option<String>,
    /// The one that is under way may hold a damaged state.
    tainted: bool,
    /// The state is damaged, and not restored yet.
    lost: bool,
}

/// Why a snapshot is thrown away.
const TAINTED: &str = "the state was lost while it was written";

impl Snapshots {
    pub(super) const fn new(
        store: SharedStore,
        policy: SnapshotPolicy,
        thread_name: String,
    ) -> Self {
        Self {
            store,
            policy,
            thread_name,
            entries: 0,
            bytes: 0,
            wanted: false,
            under_way: false,
            thread: None,
            asked: Vec::new(),
            awaited: Vec::new(),
            failure: None,
            tainted: false,
            lost: false,
        }
    }

    pub(super) fn note_applied(&mut self, entries: &Entries) {
        self.entries += entries.len() as u64;
        self.bytes += entries.size() as u64;
    }

    /// The state comes from a snapshot, so another one is not worth much yet.
    pub(super) const fn note_restored(&mut self) {
        self.entries = 0;
        self.bytes = 0;
        self.lost = false;
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.lost
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    pub(super) const fn take_thread(&mut self) -> Option<JoinHandle<()>> {
        self.thread.take()
    }

    const fn is_due(&self) -> bool {
        let due = self.entries >= self.policy.entries || self.bytes >= self.policy.bytes;
        !self.under_way && !self.lost && (due || self.wanted)
    }

    fn answer(&mut self, result: Result<(), RequestError>) {
        for reply in self.awaited.drain(..) {
            reply.answer(result.map(|()| Bytes::new()));
        }
    }
}

impl Node {
    /// Somebody wants a snapshot, whatever the policy says. One that has begun may be older than
    /// the request, so another one follows it.
    pub(super) fn ask_for_snapshot(&mut self, reply: Option<Reply>) {
        self.snapshots.wanted = true;
        self.snapshots.asked.extend(reply);
    }

    /// Has the state machine freeze its state, if it is time for a snapshot. Thresholds that are
    /// passed while one is being written count towards the next.
    pub(super) fn freeze_if_due(&mut self) -> Result<(), NodeError> {
        let snapshots = &mut self.snapshots;
        if !snapshots.is_due() {
            return Ok(());
        }
        snapshots.under_way = true;
        snapshots.wanted = false;
        snapshots.entries = 0;
        snapshots.bytes = 0;
        snapshots.awaited.append(&mut snapshots.asked);
        self.to_applier(ApplyJob::Freeze)
    }

    /// The state is frozen: write it out on a thread of its own.
    pub(super) fn write_snapshot(&mut self, index: LogIndex, state: FrozenState) {
        if self.snapshots.tainted {
            return self.snapshot_failed(TAINTED.into());
        }
        let Some(described) = self.raft.describe_snapshot(index) else {
            // There is one up to here already, or one of the leader's has overtaken it.
            self.snapshots.under_way = false;
            return self.snapshots.answer(Ok(()));
        };
        let Snapshots { store, thread_name, .. } = &self.snapshots;
        let (name, store) = (thread_name.clone(), store.clone());
        match librarian::write(name, store, described, state, self.mailbox.clone()) {
            Ok(thread) => self.snapshots.thread = Some(thread),
            Err(error) => self.snapshot_failed(error.to_string()),
        }
    }

    pub(super) fn snapshot_failed(&mut self, why: String) {
        self.snapshots.under_way = false;
        self.snapshots.tainted = false;
        self.snapshots.failure = Some(why);
        let refused = RequestError::Refused { reason: Refusal::Overloaded, leader: None };
        self.snapshots.answer(Err(refused));
    }

    /// The node's own snapshot is on the disk.
    pub(super) fn snapshot_written(&mut self, snapshot: Snapshot, now: Instant) {
        if self.snapshots.tainted {
            if snapshot.position.index > self.raft.status().snapshot {
                // A thread that is gone has said why, and the node is about to stop.
                let _ = self.drop_own(snapshot);
            }
            return self.snapshot_failed(TAINTED.into());
        }
        self.snapshots.under_way = false;
        self.snapshots.failure = None;
        self.step(Event::SnapshotTaken(snapshot), now);
        self.snapshots.answer(Ok(()));
    }

    /// The state is damaged, perhaps since before the snapshot that is under way.
    pub(super) fn lose_state(&mut self, now: Instant) {
        self.snapshots.tainted = self.snapshots.under_way;
        self.snapshots.lost = true;
        for reply in mem::take(&mut self.committed).into_values() {
            // Whether it was applied to the damaged state, nobody knows.
            reply.answer(Err(RequestError::Unknown));
        }
        self.step(Event::StateLost, now);
    }
}
