//! One node with a fake disk and a fake state machine.

use core::convert::Infallible;
use std::collections::VecDeque;

use raft_core::{
    Config, Entries, Entry, Event, Instant, LogIndex, Membership, NodeId, Notice, Output, Raft,
    Restored, Snapshot, SnapshotPiece, Ticket, Write,
};

use super::build::unpack;
use super::disk::Disk;

/// What a node is made with.
pub(crate) struct Settings {
    /// Its settings, from the seed of one of its lives.
    config: Box<dyn Fn(u64) -> Config>,
    /// The members that its cluster was founded with; nobody on a node that is to be added.
    founders: Membership,
}

impl Settings {
    pub(crate) fn new(founders: Membership, config: impl Fn(u64) -> Config + 'static) -> Self {
        Self { config: Box::new(config), founders }
    }
}

/// What waits for the state machine.
#[derive(Clone, Debug)]
pub(crate) enum Apply {
    Run(Entries),
    Restore(Snapshot),
}

impl Apply {
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Run(entries) => entries.size(),
            Self::Restore(_) => 0,
        }
    }
}

/// What waits for the store of snapshots.
#[derive(Clone, Debug)]
pub(crate) enum SnapshotJob {
    Read { snapshot: Snapshot, offset: u64, max_bytes: usize },
    Write(SnapshotPiece),
}

/// A node and its surroundings.
pub(crate) struct Host {
    pub(crate) id: NodeId,
    settings: Settings,
    /// `None` while it is down.
    pub(crate) raft: Option<Raft>,
    pub(crate) clock: Instant,
    /// When a leader's `Append` or `SnapshotChunk` was last delivered to it.
    pub(crate) heard: Instant,
    pub(crate) disk: Disk,
    /// Writes that are not durable, oldest first.
    pub(crate) writes: VecDeque<Write>,
    pub(crate) applies: VecDeque<Apply>,
    /// The last entry that was given to the state machine.
    pub(crate) handed_out: u64,
    pub(crate) snapshot_jobs: VecDeque<SnapshotJob>,
    pub(crate) loads: VecDeque<(LogIndex, LogIndex, usize)>,
    /// All that the state machine has got since it was last empty.
    pub(crate) machine: Vec<Entry>,
    /// Whether the state machine survives a crash.
    pub(crate) keeps_machine: bool,
    pub(crate) slow_disk: bool,
    /// A disk that is not slow has completed a write when it has got it.
    pub(crate) writes_at_once: bool,
    pub(crate) slow_machine: bool,
    pub(crate) slow_loads: bool,
    pub(crate) slow_snapshots: bool,
    /// Snapshots that were begun to be received.
    pub(crate) snapshots_begun: usize,
    pub(crate) notices: Vec<Notice>,
    pub(crate) loads_asked: usize,
    pub(crate) lives: u64,
    /// Unset by scripts that lose the state.
    pub(crate) has_state: bool,
}

impl Host {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut host = Self {
            id: (settings.config)(0).id(),
            settings,
            raft: None,
            clock: Instant::ORIGIN,
            heard: Instant::ORIGIN,
            disk: Disk::default(),
            writes: VecDeque::new(),
            applies: VecDeque::new(),
            handed_out: 0,
            snapshot_jobs: VecDeque::new(),
            loads: VecDeque::new(),
            machine: Vec::new(),
            keeps_machine: false,
            slow_disk: false,
            writes_at_once: false,
            slow_machine: false,
            slow_loads: false,
            slow_snapshots: false,
            snapshots_begun: 0,
            notices: Vec::new(),
            loads_asked: 0,
            lives: 0,
            has_state: true,
        };
        host.start();
        host
    }

    /// Starts the node from its disk, with fresh randomness.
    pub(crate) fn start(&mut self) {
        self.lives += 1;
        self.has_state = true;
        let applied = self.machine.last().map_or(LogIndex::ZERO, |entry| entry.index);
        let founders = &self.settings.founders;
        let founded = (!founders.is_empty()).then(|| Snapshot::initial(founders.clone()));
        let snapshot = self.disk.newest_snapshot().or(founded);
        self.handed_out = applied.get();
        let restored = Restored { log: self.disk.stored_log(), snapshot, applied };
        let config = (self.settings.config)(self.id.get() * 1000 + self.lives);
        self.raft = Some(Raft::new(config, restored, self.clock).expect("the disk is sound"));
    }

    /// Loses everything that is not durable.
    pub(crate) fn crash(&mut self) {
        self.raft = None;
        self.writes.clear();
        self.applies.clear();
        self.loads.clear();
        self.snapshot_jobs.clear();
        self.disk.forget_partial_snapshot();
        if !self.keeps_machine {
            self.machine.clear();
        }
    }

    /// Steps the node; the outputs are for the caller.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Output> {
        let Some(raft) = &mut self.raft else {
            return Vec::new();
        };
        let outputs = if self.writes_at_once && !self.slow_disk {
            let mut outputs = Vec::new();
            let write = |write: &Write| {
                self.disk.write(write);
                Ok::<(), Infallible>(())
            };
            let Ok(()) = raft.step_durably(self.clock, [event], write, &mut outputs);
            outputs
        } else {
            raft.step(event.at(self.clock))
        };
        assert_eq!(raft.check_invariants(), Ok(()));
        outputs
    }

    /// Makes the oldest `count` writes durable, and returns the newest of their tickets.
    pub(crate) fn write_out(&mut self, count: usize) -> Option<Ticket> {
        let mut ticket = None;
        for write in self.writes.drain(..count.min(self.writes.len())) {
            self.disk.write(&write);
            ticket = Some(write.ticket);
        }
        ticket
    }

    /// Applies the oldest run that waits.
    pub(crate) fn apply_run(&mut self) -> Option<LogIndex> {
        match self.applies.pop_front()? {
            Apply::Run(run) => {
                self.machine.extend(run.iter().cloned());
                run.last().map(|entry| entry.index)
            }
            Apply::Restore(snapshot) => {
                let bytes = self.disk.snapshot(&snapshot).expect("a snapshot to restore from");
                self.machine = unpack(&bytes);
                self.has_state = true;
                Some(snapshot.position.index)
            }
        }
    }

    /// Does the oldest thing that the store of snapshots was asked for.
    pub(crate) fn snapshot_job(&mut self) -> Option<Event> {
        Some(match self.snapshot_jobs.pop_front()? {
            SnapshotJob::Read { snapshot, offset, max_bytes } => {
                let data = self.disk.read_snapshot(&snapshot, offset, max_bytes);
                Event::SnapshotRead { snapshot, offset, data }
            }
            SnapshotJob::Write(SnapshotPiece { snapshot, attempt, offset, data }) => {
                let through = self.disk.write_snapshot(&snapshot, offset, &data);
                Event::SnapshotWritten { snapshot, attempt, through }
            }
        })
    }

    /// Gives up a snapshot, and the writing of it that waits.
    pub(crate) fn drop_snapshot(&mut self, dropped: &Snapshot) {
        let is_write = |job: &SnapshotJob| matches!(job, SnapshotJob::Write(piece) if piece.snapshot == *dropped);
        self.snapshot_jobs.retain(|job| !is_write(job));
        self.disk.drop_snapshot(dropped);
    }

    /// Makes a snapshot of the state machine as it is, unless there is nothing new in it.
    pub(crate) fn take_snapshot(&mut self) -> Option<Event> {
        let last = self.machine.last()?.index;
        let (position, membership) = self.raft.as_ref()?.describe_snapshot(last)?;
        let snapshot = self.disk.keep_snapshot(position, membership, &self.machine);
        Some(Event::SnapshotTaken(snapshot))
    }

    /// The answer to the oldest load that waits.
    pub(crate) fn load_run(&mut self) -> Option<Event> {
        let question = self.loads.pop_front()?;
        Some(Event::Loaded { from: question.0, entries: self.disk.load(question) })
    }

    /// What the surroundings, where they are not slow, have to tell the node next.
    pub(crate) fn next_completion(&mut self) -> Option<Event> {
        if !self.slow_disk
            && let Some(ticket) = self.write_out(usize::MAX)
        {
            return Some(Event::Persisted(ticket));
        }
        if !self.slow_machine
            && let Some(index) = self.apply_run()
        {
            return Some(Event::Applied(index));
        }
        if !self.slow_snapshots
            && let Some(event) = self.snapshot_job()
        {
            return Some(event);
        }
        if self.slow_loads { None } else { self.load_run() }
    }

    pub(crate) fn term_on_disk(&self) -> raft_core::Term {
        self.disk.hard_state.term
    }
}
