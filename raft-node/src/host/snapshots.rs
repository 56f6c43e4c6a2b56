//! When the node takes a snapshot of its own state machine, and how.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use raft_core::{Entries, Event, Instant, LogIndex, Snapshot};

use super::{Host, SharedStore};
use crate::applier::ApplyJob;
use crate::librarian;
use crate::request::Reply;
use crate::state_machine::FrozenState;
use crate::{NoSnapshot, NodeError, RequestError, SnapshotPolicy};

/// The node's own snapshots: one at a time.
pub(super) struct Snapshots {
    store: SharedStore,
    policy: SnapshotPolicy,
    thread_name: String,
    /// What was applied since the last one was begun.
    since: Applied,
    /// What of that the one that is under way holds.
    begun: Applied,
    /// Somebody wants one in any case.
    wanted: bool,
    under_way: bool,
    thread: Option<JoinHandle<()>>,
    /// Who waits for the next one, and for the one that is under way.
    asked: Vec<Reply<()>>,
    awaited: Vec<Reply<()>>,
    failure: Option<String>,
    /// Set if the one that is under way may hold a damaged state.
    tainted: Arc<AtomicBool>,
    /// The state is damaged, and not restored yet.
    lost: bool,
}

/// What a [`SnapshotPolicy`] counts.
#[derive(Clone, Copy, Default)]
struct Applied {
    entries: u64,
    bytes: u64,
}

/// Why a snapshot is thrown away.
const TAINTED: &str = "the state was lost while it was written";

impl Snapshots {
    /// `uncovered` entries have been applied behind the newest snapshot.
    pub(super) fn new(
        store: SharedStore,
        policy: SnapshotPolicy,
        uncovered: u64,
        thread_name: String,
    ) -> Self {
        Self {
            store,
            policy,
            thread_name,
            since: Applied { entries: uncovered, bytes: 0 },
            begun: Applied::default(),
            wanted: false,
            under_way: false,
            thread: None,
            asked: Vec::new(),
            awaited: Vec::new(),
            failure: None,
            tainted: Arc::default(),
            lost: false,
        }
    }

    pub(super) fn note_applied(&mut self, entries: &Entries) {
        self.since.entries += entries.len() as u64;
        self.since.bytes += entries.size() as u64;
    }

    /// The state comes from a snapshot, so another one is not worth much yet.
    pub(super) fn note_restored(&mut self) {
        self.since = Applied::default();
        self.begun = Applied::default();
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
        let SnapshotPolicy { entries, bytes } = self.policy;
        let due =
            entries > 0 && self.since.entries >= entries || bytes > 0 && self.since.bytes >= bytes;
        !self.under_way && !self.lost && (due || self.wanted)
    }

    /// The one that was under way came to nothing, so what it held is still to be written. It is
    /// tried again after a tenth of what the policy says, and not at once: a full disk stays full
    /// for a while.
    fn count_again(&mut self) {
        let again = |since: u64, begun: u64, limit: u64| {
            let pause = (limit / 10).max(1);
            (since + begun).min(limit.saturating_sub(pause))
        };
        let begun = mem::take(&mut self.begun);
        let SnapshotPolicy { entries, bytes } = self.policy;
        self.since.entries = again(self.since.entries, begun.entries, entries);
        self.since.bytes = again(self.since.bytes, begun.bytes, bytes);
    }

    fn is_tainted(&self) -> bool {
        self.tainted.load(Ordering::Acquire)
    }

    fn answer(&mut self, result: Result<(), NoSnapshot>) {
        for reply in self.awaited.drain(..) {
            reply.answer(result.map_err(RequestError::NoSnapshot));
        }
    }
}

impl Host {
    /// Somebody wants a snapshot, whatever the policy says. One that has begun may be older than
    /// the request, so another one follows it.
    pub(super) fn ask_for_snapshot(&mut self, reply: Option<Reply<()>>) {
        if let Some(reply) = reply {
            if self.snapshots.lost {
                return reply.answer(Err(RequestError::NoSnapshot(NoSnapshot::StateLost)));
            }
            self.snapshots.asked.push(reply);
        }
        self.snapshots.wanted = true;
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
        snapshots.begun = mem::take(&mut snapshots.since);
        // A thread of an earlier one keeps the mark that it was given.
        snapshots.tainted = Arc::default();
        snapshots.awaited.append(&mut snapshots.asked);
        self.to_applier(ApplyJob::Freeze)
    }

    /// The state is frozen: write it out on a thread of its own.
    pub(super) fn write_snapshot(&mut self, index: LogIndex, state: FrozenState, now: Instant) {
        // The core may not know yet that so much is applied.
        self.step(now);
        if self.snapshots.is_tainted() {
            return self.snapshot_failed(TAINTED.into());
        }
        let Some(described) = self.raft.describe_snapshot(index) else {
            self.snapshots.under_way = false;
            return self.snapshots.answer(if index == LogIndex::ZERO {
                Err(NoSnapshot::NothingApplied)
            } else if self.raft.status().snapshot < index {
                Err(NoSnapshot::MembersUnknown)
            } else {
                // There is one up to here already, or one of the leader's has overtaken it.
                Ok(())
            });
        };
        let Snapshots { store, thread_name, tainted, .. } = &self.snapshots;
        let (name, store, tainted) = (thread_name.clone(), store.clone(), tainted.clone());
        match librarian::write(name, store, described, state, tainted, self.mailbox.clone()) {
            Ok(thread) => self.snapshots.thread = Some(thread),
            Err(error) => self.snapshot_failed(error.to_string()),
        }
    }

    pub(super) fn snapshot_failed(&mut self, why: String) {
        self.snapshots.under_way = false;
        if !self.snapshots.is_tainted() {
            self.snapshots.count_again();
        }
        self.snapshots.failure = Some(why);
        self.snapshots.answer(Err(NoSnapshot::Failed));
    }

    /// The node's own snapshot is on the disk.
    pub(super) fn snapshot_written(&mut self, snapshot: Snapshot, now: Instant) {
        if self.snapshots.is_tainted() {
            // One that the leader sent may just have been installed.
            self.step(now);
            if snapshot.position.index > self.raft.status().snapshot {
                // A thread that is gone has said why, and the node is about to stop.
                let _ = self.drop_own(snapshot);
            } else {
                // The core drops it, unless it is the very one that the leader sent.
                self.events.push(Event::SnapshotTaken(snapshot));
            }
            return self.snapshot_failed(TAINTED.into());
        }
        self.snapshots.under_way = false;
        self.snapshots.failure = None;
        self.events.push(Event::SnapshotTaken(snapshot));
        self.snapshots.answer(Ok(()));
    }

    /// The state is damaged, perhaps since before the snapshot that is under way. Whoever waits for
    /// one might wait long.
    pub(super) fn lose_state(&mut self) {
        let snapshots = &mut self.snapshots;
        snapshots.tainted.store(snapshots.under_way, Ordering::Release);
        snapshots.lost = true;
        snapshots.awaited.append(&mut snapshots.asked);
        snapshots.answer(Err(NoSnapshot::StateLost));
        for reply in mem::take(&mut self.committed).into_values() {
            // Whether it was applied to the damaged state, nobody knows.
            reply.answer(Err(RequestError::Unknown));
        }
        self.events.push(Event::StateLost);
    }
}
