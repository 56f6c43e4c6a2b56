//! One simulated node: the core, its disk, its state machine, its clock.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use raft_node::core::{
    Config, ConfigError, Entries, Entry, Instant, LogIndex, Payload, Raft, RequestId, Restored,
};
use raft_node::{RequestError, StateMachine};

use crate::cluster::CallId;
use crate::machine::Machine;
use crate::sim::disk::Disk;
use crate::sim::random::within;

pub(crate) struct SimNode {
    pub(crate) raft: Option<Raft>,
    /// Counts starts and crashes, so that what was planned for an earlier life is forgotten.
    pub(crate) life: u64,
    pub(crate) disk: Disk,
    pub(crate) disk_hangs_until: u64,
    pub(crate) machine: Option<Machine>,
    pub(crate) applying: VecDeque<Entries>,
    pub(crate) applied: LogIndex,
    pub(crate) waiting: BTreeMap<RequestId, Waiting>,
    pub(crate) committed: BTreeMap<LogIndex, CallId>,
    pub(crate) clock: SkewedClock,
    pub(crate) wake_at: Option<u64>,
    pub(crate) paused_until: u64,
    requests: u64,
}

/// A call that the core has not answered.
#[derive(Clone, Debug)]
pub(crate) enum Waiting {
    Proposal(CallId),
    /// With the last entry that anybody knew to be committed when it began.
    Read(CallId, Bytes, LogIndex),
}

/// A clock that runs at its own pace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SkewedClock {
    /// Local time passes at so many millionths of the true pace.
    pace: u64,
    offset: u64,
}

const MILLION: u64 = 1_000_000;

impl SkewedClock {
    pub(crate) fn local(self, global: u64) -> Instant {
        let scaled = u128::from(global) * u128::from(self.pace) / u128::from(MILLION);
        Instant::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX).saturating_add(self.offset))
    }

    /// When the clock shows `local`, or a little later.
    pub(crate) fn global(self, local: Instant) -> u64 {
        let since = u128::from(local.as_nanos().saturating_sub(self.offset));
        let scaled = since * u128::from(MILLION) / u128::from(self.pace) + 1;
        u64::try_from(scaled).unwrap_or(u64::MAX / 2).min(u64::MAX / 2)
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
            machine: None,
            applying: VecDeque::new(),
            applied: LogIndex::ZERO,
            waiting: BTreeMap::new(),
            committed: BTreeMap::new(),
            clock: SkewedClock { pace, offset: 0 },
            wake_at: None,
            paused_until: 0,
            requests: 0,
        }
    }

    pub(crate) fn start(
        &mut self,
        config: Config,
        now: u64,
        machine: Machine,
    ) -> Result<(), ConfigError> {
        let restored = Restored { log: self.disk.restore(), applied: LogIndex::ZERO };
        self.raft = Some(Raft::new(config, restored, self.clock.local(now))?);
        self.machine = Some(machine);
        self.life += 1;
        Ok(())
    }

    /// Loses everything but the disk; returns what the clients are told who waited.
    pub(crate) fn crash(&mut self, survivors: usize) -> Vec<(CallId, RequestError)> {
        self.life += 1;
        self.raft = None;
        self.machine = None;
        self.disk.crash(survivors);
        self.disk_hangs_until = 0;
        self.applying.clear();
        self.applied = LogIndex::ZERO;
        self.wake_at = None;
        self.paused_until = 0;
        let waiting =
            std::mem::take(&mut self.waiting).into_values().map(|waiting| match waiting {
                Waiting::Proposal(call) => (call, RequestError::Unknown),
                Waiting::Read(call, ..) => (call, RequestError::Stopped),
            });
        let committed = std::mem::take(&mut self.committed).into_values();
        waiting.chain(committed.map(|call| (call, RequestError::Unknown))).collect()
    }

    pub(crate) fn wait(&mut self, waiting: Waiting) -> RequestId {
        self.requests += 1;
        let request = RequestId::new(self.requests);
        self.waiting.insert(request, waiting);
        request
    }

    /// The last entry that was handed to the state machine.
    pub(crate) fn handed_out(&self) -> LogIndex {
        let newest = self.applying.back().and_then(|entries| entries.last());
        newest.map_or(self.applied, |entry| entry.index)
    }

    pub(crate) fn apply(machine: &mut Machine, entry: &Entry) -> Bytes {
        match &entry.payload {
            Payload::Command(command) => machine.apply(entry.index, command.clone()),
            Payload::Noop => Bytes::new(),
        }
    }

    pub(crate) fn query(&self, query: Bytes) -> Bytes {
        self.machine.as_ref().map(|machine| machine.query(query)).unwrap_or_default()
    }
}
