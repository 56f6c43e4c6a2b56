//! One simulated node: the core, its disk, its state machine, its clock.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::ToString;
use alloc::vec::Vec;

use bytes::Bytes;
use raft_node::core::{
    Config, ConfigError, Entries, Event, Instant, LogIndex, Membership, Payload, Raft, RequestId,
    Restored, Snapshot,
};
use raft_node::{RequestError, StateMachine, StoreError};

use crate::cluster::CallId;
use crate::sim::checker::ReadBegan;
use crate::sim::disk::Disk;
use crate::sim::random::within;
use crate::sim::snapshots::Snapshots;

pub(crate) struct SimNode {
    pub(crate) raft: Option<Raft>,
    /// Counts starts and crashes, so that what was planned for an earlier life is forgotten.
    pub(crate) life: u64,
    pub(crate) disk: Disk,
    pub(crate) disk_hangs_until: u64,
    pub(crate) snapshots: Snapshots,
    pub(crate) machine: Option<Box<dyn StateMachine>>,
    /// The first one is under way.
    pub(crate) jobs: VecDeque<ApplyJob>,
    /// Counts the losses of the state, so that what the state machine was at is forgotten.
    pub(crate) state: u64,
    /// The host has said that its state is lost, and was not told since where to get another one.
    pub(crate) lost: bool,
    pub(crate) applied: LogIndex,
    /// The last entry that was handed to the state machine.
    pub(crate) handed_out: LogIndex,
    pub(crate) waiting: BTreeMap<RequestId, Waiting>,
    pub(crate) committed: BTreeMap<LogIndex, CallId>,
    pub(crate) clock: SkewedClock,
    /// What waits to be given to the core.
    pub(crate) gathered: Vec<Event>,
    pub(crate) wake_at: Option<u64>,
    pub(crate) paused_until: u64,
    requests: u64,
}

/// Something that the state machine is to do.
#[derive(Clone, Debug)]
pub(crate) enum ApplyJob {
    Apply {
        entries: Entries,
        /// Who waits for the answers.
        replies: BTreeMap<LogIndex, CallId>,
    },
    Restore(Snapshot),
    Freeze,
}

/// A call that the core has not answered.
#[derive(Clone, Debug)]
pub(crate) enum Waiting {
    Proposal(CallId),
    Read(CallId, Bytes, ReadBegan),
    Change(CallId, Membership),
    Transfer(CallId),
}

impl Waiting {
    /// The call, and what its client is told when the node dies.
    fn orphan(self) -> (CallId, RequestError) {
        match self {
            Self::Proposal(call) | Self::Change(call, _) | Self::Transfer(call) => {
                (call, RequestError::Unknown)
            }
            Self::Read(call, ..) => (call, RequestError::Stopped),
        }
    }
}

/// A clock that runs at its own pace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SkewedClock {
    /// Local time passes at so many millionths of the true pace.
    pace: u64,
    /// What it showed at the beginning of time.
    origin: u64,
    /// How far it was set since then.
    offset: u64,
}

const MILLION: u64 = 1_000_000;

impl SkewedClock {
    pub(crate) fn local(self, global: u64) -> Instant {
        let scaled = u128::from(global) * u128::from(self.pace) / u128::from(MILLION);
        Instant::from_nanos(
            u64::try_from(scaled).unwrap_or(u64::MAX).saturating_add(self.origin + self.offset),
        )
    }

    /// When the clock shows `local`, or a little later.
    pub(crate) fn global(self, local: Instant) -> u64 {
        let since = u128::from(local.as_nanos().saturating_sub(self.origin + self.offset));
        let scaled = since * u128::from(MILLION) / u128::from(self.pace) + 1;
        u64::try_from(scaled).unwrap_or(u64::MAX / 2).min(u64::MAX / 2)
    }

    /// A clock that begins anew, with the node that has it.
    pub(crate) const fn begin(&mut self, origin: u64) {
        (self.origin, self.offset) = (origin, 0);
    }

    /// The clock is set forward or back.
    pub(crate) const fn set_offset(&mut self, offset: u64) {
        self.offset = offset;
    }
}

impl SimNode {
    pub(crate) fn new(rng: &mut fastrand::Rng, skew: u64) -> Self {
        let pace = within(rng, &(MILLION - skew..MILLION + skew + 1));
        Self {
            raft: None,
            life: 0,
            disk: Disk::default(),
            disk_hangs_until: 0,
            snapshots: Snapshots::default(),
            machine: None,
            jobs: VecDeque::new(),
            state: 0,
            lost: false,
            applied: LogIndex::ZERO,
            handed_out: LogIndex::ZERO,
            waiting: BTreeMap::new(),
            committed: BTreeMap::new(),
            clock: SkewedClock { pace, origin: 0, offset: 0 },
            gathered: Vec::new(),
            wake_at: None,
            paused_until: 0,
            requests: 0,
        }
    }

    /// Starts from what the disk has kept. `founders` is nobody on a node that is to be added.
    pub(crate) fn start(
        &mut self,
        config: Config,
        founders: &Membership,
        now: u64,
        machine: Box<dyn StateMachine>,
    ) -> Result<(), ConfigError> {
        let founding = (!founders.is_empty()).then(|| Snapshot::initial(founders.clone()));
        let snapshot = self.snapshots.newest().cloned().or(founding);
        let restored = Restored { log: self.disk.restore(), snapshot, applied: machine.applied() };
        self.raft = Some(Raft::new(config, restored, self.clock.local(now))?);
        self.machine = Some(machine);
        self.life += 1;
        Ok(())
    }

    /// Loses everything but what is durable; returns what the clients are told who waited.
    pub(crate) fn crash(
        &mut self,
        survivors: usize,
        [job_done, own_done]: [bool; 2],
    ) -> Result<Vec<(CallId, RequestError)>, StoreError> {
        self.life += 1;
        self.raft = None;
        self.machine = None;
        let mut orphans = self.take_replies();
        orphans.extend(core::mem::take(&mut self.waiting).into_values().map(Waiting::orphan));
        let snapshots = self.snapshots.take_waiting().into_iter();
        orphans.extend(snapshots.map(|call| (call, RequestError::Stopped)));
        self.disk.crash(survivors);
        self.snapshots.crash(job_done, own_done)?;
        self.disk_hangs_until = 0;
        self.lost = false;
        self.applied = LogIndex::ZERO;
        self.handed_out = LogIndex::ZERO;
        self.gathered.clear();
        self.wake_at = None;
        self.paused_until = 0;
        Ok(orphans)
    }

    /// The state machine forgets what it is to do. Returns what the clients are told who waited for
    /// its answers.
    fn take_replies(&mut self) -> Vec<(CallId, RequestError)> {
        let mut calls: Vec<CallId> = core::mem::take(&mut self.committed).into_values().collect();
        for job in self.jobs.drain(..) {
            if let ApplyJob::Apply { replies, .. } = job {
                calls.extend(replies.into_values());
            }
        }
        calls.into_iter().map(|call| (call, RequestError::Unknown)).collect()
    }

    /// The state is lost, and with it what the state machine was to do. Returns what clients are
    /// told.
    pub(crate) fn lose_state(
        &mut self,
        machine: Box<dyn StateMachine>,
    ) -> Vec<(CallId, RequestError)> {
        self.machine = Some(machine);
        self.state += 1;
        self.lost = true;
        self.applied = LogIndex::ZERO;
        let freezing = self.jobs.iter().any(|job| matches!(job, ApplyJob::Freeze));
        let mut orphans = self.take_replies();
        let waited = self.snapshots.take_waiting().into_iter();
        orphans.extend(waited.map(|call| (call, RequestError::Unknown)));
        if freezing {
            self.snapshots.policy.under_way = false;
        }
        orphans
    }

    pub(crate) fn wait(&mut self, waiting: Waiting) -> RequestId {
        self.requests += 1;
        let request = RequestId::new(self.requests);
        self.waiting.insert(request, waiting);
        request
    }

    /// Applies entries; returns the answers for those who wait.
    pub(crate) fn apply(
        &mut self,
        entries: &Entries,
        mut replies: BTreeMap<LogIndex, CallId>,
    ) -> Vec<(CallId, Bytes)> {
        let mut answers = Vec::new();
        let Some(machine) = &mut self.machine else { return answers };
        for entry in entries.iter() {
            let answer = match &entry.payload {
                Payload::Command(command) => machine.apply(entry.index, command.clone()),
                Payload::Noop | Payload::Membership(_) => Bytes::new(),
            };
            if let Some(call) = replies.remove(&entry.index) {
                answers.push((call, answer));
            }
            self.applied = entry.index;
        }
        answers
    }

    /// Replaces the state by that of a snapshot.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let mut content = self.snapshots.open(snapshot)?;
        if let Some(machine) = &mut self.machine {
            let restored = machine.restore(snapshot.position.index, &mut content);
            restored.map_err(|error| StoreError::Other(error.to_string()))?;
        }
        self.applied = snapshot.position.index;
        Ok(())
    }

    pub(crate) fn query(&self, query: Bytes) -> Bytes {
        self.machine.as_ref().map(|machine| machine.query(query)).unwrap_or_default()
    }
}
