//! A node's store of snapshots, and when the node takes its own.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use raft_node::core::{Event, LogPosition, Membership, Snapshot, SnapshotPiece};
use raft_node::{FrozenState, MemorySnapshots, SnapshotStore, StoreError, io};

use crate::cluster::CallId;

/// What a snapshot says of the log.
pub(crate) type Described = (LogPosition, Arc<Membership>);

/// Something that the store was asked for.
#[derive(Clone, Debug)]
pub(crate) enum SnapshotJob {
    Read { snapshot: Snapshot, offset: u64, max_bytes: usize },
    Write(SnapshotPiece),
    Drop(Snapshot),
}

/// Complete snapshots outlive a crash, everything else does not.
#[derive(Default)]
pub(crate) struct Snapshots {
    store: MemorySnapshots,
    complete: Vec<Snapshot>,
    /// The first one is under way.
    jobs: VecDeque<SnapshotJob>,
    /// The node's own, while it is being written.
    own: Option<(Described, FrozenState)>,
    /// How many snapshots of a leader have begun to arrive.
    pub(crate) begun: u64,
    /// How many the node has taken itself.
    pub(crate) taken: u64,
    pub(crate) policy: Policy,
}

/// When to take a snapshot, as a real node decides it.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    pub(crate) every: Option<u64>,
    /// Entries since the last one was begun.
    pub(crate) entries: u64,
    pub(crate) wanted: bool,
    pub(crate) under_way: bool,
    /// Who waits for the next one, and for the one that is under way.
    pub(crate) asked: Vec<CallId>,
    awaited: Vec<CallId>,
}

impl Policy {
    /// Whether the state machine is to freeze its state now.
    pub(crate) fn begin_if_due(&mut self) -> bool {
        let due = self.every.is_some_and(|every| self.entries >= every);
        let begin = !self.under_way && (due || self.wanted);
        if begin {
            self.under_way = true;
            self.wanted = false;
            self.entries = 0;
            self.awaited.append(&mut self.asked);
        }
        begin
    }

    /// The one that was under way is over. Returns who has waited for it.
    pub(crate) fn end(&mut self) -> Vec<CallId> {
        self.under_way = false;
        core::mem::take(&mut self.awaited)
    }
}

impl Snapshots {
    /// Where the newest complete snapshot is.
    pub(crate) fn newest(&self) -> Option<&Snapshot> {
        self.complete.iter().max_by_key(|it| (it.position.index, it.position.term))
    }

    /// Queues a job; true if it is the only one and has to be begun.
    pub(crate) fn push(&mut self, job: SnapshotJob) -> bool {
        if matches!(&job, SnapshotJob::Write(piece) if piece.offset == 0) {
            self.begun += 1;
        }
        self.jobs.push_back(job);
        self.jobs.len() == 1
    }

    /// The first job is done. Returns what the core is told.
    pub(crate) fn finish(&mut self) -> Result<Option<Event>, StoreError> {
        let Some(job) = self.jobs.pop_front() else { return Ok(None) };
        Ok(match job {
            SnapshotJob::Read { snapshot, offset, max_bytes } => {
                let data = self.store.read(&snapshot, offset, max_bytes)?;
                Some(Event::SnapshotRead { snapshot, offset, data })
            }
            SnapshotJob::Write(SnapshotPiece { snapshot, attempt, offset, data }) => {
                self.store.receive(&snapshot, offset, &data)?;
                let through = offset + data.len() as u64;
                if through == snapshot.size {
                    self.add(&snapshot);
                }
                Some(Event::SnapshotWritten { snapshot, attempt, through })
            }
            SnapshotJob::Drop(snapshot) => {
                self.store.remove(&snapshot)?;
                self.complete.retain(|here| *here != snapshot);
                None
            }
        })
    }

    pub(crate) fn has_jobs(&self) -> bool {
        !self.jobs.is_empty()
    }

    fn add(&mut self, snapshot: &Snapshot) {
        self.complete.retain(|here| here != snapshot);
        self.complete.push(snapshot.clone());
    }

    /// The node's own snapshot is frozen and being written from now on.
    pub(crate) fn begin_own(&mut self, described: Described, state: FrozenState) {
        self.own = Some((described, state));
    }

    /// The node's own snapshot is written and durable.
    pub(crate) fn finish_own(&mut self) -> Result<Option<Snapshot>, StoreError> {
        let Some(((position, membership), state)) = self.own.take() else { return Ok(None) };
        let mut writer = self.store.create()?;
        state(&mut writer).map_err(|error| StoreError::Other(error.to_string()))?;
        let snapshot = writer.complete(position, membership)?;
        self.add(&snapshot);
        self.taken += 1;
        Ok(Some(snapshot))
    }

    /// The content of a complete snapshot.
    pub(crate) fn open(&self, snapshot: &Snapshot) -> Result<Box<dyn io::Read + Send>, StoreError> {
        self.store.open(snapshot)
    }

    /// The power goes. Of the job that was under way, and of the node's own snapshot, the host may
    /// not have got word although it is done.
    pub(crate) fn crash(&mut self, job_done: bool, own_done: bool) -> Result<(), StoreError> {
        if job_done {
            self.finish()?;
        }
        if own_done {
            self.finish_own()?;
        }
        self.jobs.clear();
        self.own = None;
        let newest = self.store.newest()?;
        self.complete = newest.into_iter().collect();
        self.policy = Policy { every: self.policy.every, ..Policy::default() };
        Ok(())
    }

    /// Who waits for a snapshot.
    pub(crate) fn take_waiting(&mut self) -> Vec<CallId> {
        let Policy { asked, awaited, .. } = &mut self.policy;
        asked.drain(..).chain(awaited.drain(..)).collect()
    }
}
