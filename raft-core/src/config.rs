//! What a node is told when it is made.

use core::time::Duration;

use thiserror::Error;

use crate::ids::{LogIndex, NodeId, Term};

/// The settings of a node. [`Config::new`] gives values that suit servers in one data centre;
/// change some with the methods, which can be chained. [`Raft::new`](crate::Raft::new) checks
/// them all.
///
/// ```
/// use core::time::Duration;
/// use raft_core::{Config, NodeId};
///
/// let seed = 0x5eed; // random, and another one at each start
/// let config = Config::new(NodeId::new(1), seed)
///     .election_timeout(Duration::from_millis(500))
///     .heartbeat_interval(Duration::from_millis(50));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Config {
    pub(crate) id: NodeId,
    pub(crate) seed: u64,
    pub(crate) election_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) outcome_timeout: Duration,
    pub(crate) pre_vote: bool,
    pub(crate) check_quorum: bool,
    pub(crate) read_leases: Option<u32>,
    pub(crate) disk_timeout: Duration,
    pub(crate) compaction_margin: u64,
    pub(crate) max_snapshot_chunk_bytes: usize,
    pub(crate) max_in_flight_snapshot_bytes: usize,
    pub(crate) max_append_bytes: usize,
    pub(crate) max_append_entries: usize,
    pub(crate) max_in_flight_messages: usize,
    pub(crate) max_in_flight_bytes: usize,
    pub(crate) max_command_bytes: usize,
    pub(crate) max_uncommitted_bytes: usize,
    pub(crate) max_unpersisted_bytes: usize,
    pub(crate) max_cached_bytes: usize,
    pub(crate) max_applying_bytes: usize,
    pub(crate) max_pending_requests: usize,
    pub(crate) max_held_messages: usize,
}

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $kind:ty),* $(,)?) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: $kind) -> Self {
            self.$name = $name;
            self
        }
    )*};
}

impl Config {
    /// The settings of node `id`.
    ///
    /// `seed` is the node's only source of randomness: election timeouts come from it, and the
    /// numbers by which the node tells answers to its questions from answers to those of its life
    /// before a crash. **It must be a fresh random number at every start**; a node that starts
    /// twice with the same seed might serve a stale read.
    #[must_use]
    pub fn new(id: NodeId, seed: u64) -> Self {
        const MIB: usize = 1 << 20;
        Self {
            id,
            seed,
            election_timeout: Duration::from_millis(1000),
            heartbeat_interval: Duration::from_millis(100),
            outcome_timeout: Duration::from_millis(1000),
            pre_vote: true,
            check_quorum: true,
            read_leases: None,
            disk_timeout: Duration::from_secs(5),
            compaction_margin: 4096,
            max_snapshot_chunk_bytes: MIB / 4,
            max_in_flight_snapshot_bytes: 4 * MIB,
            max_append_bytes: MIB,
            max_append_entries: 8192,
            max_in_flight_messages: 128,
            max_in_flight_bytes: 8 * MIB,
            max_command_bytes: MIB,
            max_uncommitted_bytes: 64 * MIB,
            max_unpersisted_bytes: 64 * MIB,
            max_cached_bytes: 16 * MIB,
            max_applying_bytes: 8 * MIB,
            max_pending_requests: 65_536,
            max_held_messages: 1024,
        }
    }

    /// Lets the leader answer reads without asking the others, for as long as it can be sure that
    /// nobody else leads (dissertation, section 6.4.1). Off by default, because it trusts clocks:
    /// `max_drift_ppm` says by how many millionths the clock of one node may run faster than that
    /// of another. A clock that stands still while time passes, as that of a virtual machine that
    /// is suspended, breaks the trust, and reads may then return old data.
    ///
    /// All nodes need the same setting and the same election timeout. A node that restarts takes no
    /// part in elections for one election timeout. Needs [`check_quorum`](Config::check_quorum).
    #[must_use]
    pub const fn read_leases(mut self, max_drift_ppm: u32) -> Self {
        self.read_leases = Some(max_drift_ppm);
        self
    }

    settings! {
        /// How long a follower waits for its leader before it campaigns: a time drawn anew for
        /// each term between this and twice this (paper, section 5.2). A leader that hears of no
        /// majority for that long steps down. Default 1 s; make it at least ten times the round
        /// trip plus the time of a disk sync.
        election_timeout: Duration,
        /// How often the leader speaks when there is nothing to say. At most half of the election
        /// timeout; a tenth is usual. Default 100 ms.
        heartbeat_interval: Duration,
        /// How long a proposal may wait for an answer that may never come, because its leader was
        /// deposed or the message to or from the leader was lost, before its outcome is
        /// [`Unknown`](crate::Outcome::Unknown). Default 1 s.
        outcome_timeout: Duration,
        /// Whether a candidate asks first whether it could win, so that a node that comes back
        /// from a partition does not depose a healthy leader (dissertation, section 9.6). Default
        /// true; turn it off only to talk to nodes that do not know it.
        pre_vote: bool,
        /// Whether a leader steps down when it hears of no majority for an election timeout, and
        /// nodes that hear a leader ignore candidates (dissertation, sections 6.2 and 4.2.3).
        /// Default true. Without it a leader that is cut off believes in itself for ever, and its
        /// clients wait as long.
        check_quorum: bool,
        /// How long a leader waits for its own disk before it steps down, and a node whose disk
        /// does not answer does not campaign either. Default 5 s; make it longer than the longest
        /// pause of a healthy disk.
        disk_timeout: Duration,
        /// How many entries before the newest snapshot stay in the log, so that followers which are
        /// a little behind don't need the snapshot. Default 4,096.
        compaction_margin: u64,
        /// The size of one piece of a snapshot on its way to a follower, in bytes. Default 256 KiB.
        max_snapshot_chunk_bytes: usize,
        /// How many bytes of a snapshot may be on their way to one follower, up to its disk.
        /// Default 4 MiB.
        max_in_flight_snapshot_bytes: usize,
        /// The size of the entries in one `Append`, in bytes; a single larger entry still goes.
        /// Default 1 MiB. A link must carry frames of this size plus the largest command.
        max_append_bytes: usize,
        /// The number of entries in one `Append`. Default 8,192.
        max_append_entries: usize,
        /// How many `Append`s with entries may be under way to one follower. Default 128.
        max_in_flight_messages: usize,
        /// How many bytes of entries may be under way to one follower. Default 8 MiB.
        max_in_flight_bytes: usize,
        /// The largest command, in bytes. Default 1 MiB.
        max_command_bytes: usize,
        /// How many bytes of commands a leader accepts before the first of them commits. Default
        /// 64 MiB.
        max_uncommitted_bytes: usize,
        /// How many bytes of entries may wait for this node's disk. A leader refuses proposals
        /// beyond it, a follower drops entries, which come again. Default 64 MiB.
        max_unpersisted_bytes: usize,
        /// How many bytes of durable entries are kept in memory for followers and for the state
        /// machine. Older ones are loaded when somebody needs them. Default 16 MiB.
        max_cached_bytes: usize,
        /// How many bytes of committed entries may be with the state machine at a time. Default
        /// 8 MiB.
        max_applying_bytes: usize,
        /// How many requests may wait for their answer on this node. Default 65,536.
        max_pending_requests: usize,
        /// How many messages may wait for this node's disk, besides one for each peer. Those beyond
        /// it are dropped, as if the network had lost them. Acknowledgements of entries are apart:
        /// as many of them may wait, two at least, and beyond that the newest takes the place of
        /// the one before it. Default 1,024.
        max_held_messages: usize,
    }

    /// The id of the node that these settings are for.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// How many requests may wait on this node, see
    /// [`max_pending_requests`](Config::max_pending_requests).
    #[must_use]
    pub const fn pending_requests_limit(&self) -> usize {
        self.max_pending_requests
    }

    /// The size in bytes that no encoded message of this node exceeds. A link between nodes with
    /// the same settings must carry frames of this size.
    #[must_use]
    pub const fn max_message_bytes(&self) -> usize {
        let content = if self.max_append_bytes > self.max_snapshot_chunk_bytes {
            self.max_append_bytes
        } else {
            self.max_snapshot_chunk_bytes
        };
        // The last entry may overshoot the limit, and a configuration may come with a snapshot;
        // both are bounded like a command. And there is room for everything else.
        content.saturating_add(self.max_command_bytes).saturating_add(1024)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let spans = [self.election_timeout, self.heartbeat_interval, self.disk_timeout];
        if spans.iter().any(Duration::is_zero) {
            return Err(ConfigError::ZeroTimeout);
        }
        if self.heartbeat_interval > self.election_timeout / 2 {
            return Err(ConfigError::HeartbeatTooSlow {
                heartbeat: self.heartbeat_interval,
                election: self.election_timeout,
            });
        }
        if self.read_leases.is_some() && !self.check_quorum {
            return Err(ConfigError::LeaseWithoutQuorum);
        }
        let limits = [
            ("max_append_bytes", self.max_append_bytes),
            ("max_snapshot_chunk_bytes", self.max_snapshot_chunk_bytes),
            ("max_in_flight_snapshot_bytes", self.max_in_flight_snapshot_bytes),
            ("max_append_entries", self.max_append_entries),
            ("max_in_flight_messages", self.max_in_flight_messages),
            ("max_in_flight_bytes", self.max_in_flight_bytes),
            ("max_command_bytes", self.max_command_bytes),
            ("max_uncommitted_bytes", self.max_uncommitted_bytes),
            ("max_unpersisted_bytes", self.max_unpersisted_bytes),
            ("max_applying_bytes", self.max_applying_bytes),
            ("max_pending_requests", self.max_pending_requests),
            ("max_held_messages", self.max_held_messages),
        ];
        if let Some((limit, _)) = limits.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::ZeroLimit { limit });
        }
        Ok(())
    }
}

/// Why a node could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The election timeout, the heartbeat interval or the disk timeout is zero.
    #[error("election timeout, heartbeat interval and disk timeout must be longer than zero")]
    ZeroTimeout,
    /// Leases rest on followers that ignore candidates while they hear a leader. Turn check-quorum
    /// on, or leases off.
    #[error("read leases need check-quorum")]
    LeaseWithoutQuorum,
    /// Followers would campaign against a healthy leader. Make the heartbeat interval at most half
    /// of the election timeout.
    #[error("heartbeat interval {heartbeat:?} is more than half of election timeout {election:?}")]
    HeartbeatTooSlow {
        /// The heartbeat interval.
        heartbeat: Duration,
        /// The election timeout.
        election: Duration,
    },
    /// With this limit at zero nothing could ever happen.
    #[error("{limit} must not be zero")]
    ZeroLimit {
        /// The name of the setting.
        limit: &'static str,
    },
    /// The stored log contradicts itself, so the store is damaged or is not this node's. Don't run
    /// the node on it: it could break promises that it made before.
    #[error("the stored log is inconsistent: {0}")]
    Inconsistent(Inconsistency),
}

/// What is wrong with a stored log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Inconsistency {
    /// The terms or the configurations of the log don't ascend from its first index to its last.
    #[error("the terms or configurations of the log don't ascend up to index {last}")]
    Terms {
        /// The last index.
        last: LogIndex,
    },
    /// The log holds entries of a term that the hard state has not reached: the hard state was
    /// lost or is older than the log.
    #[error("the log has entries of term {log}, but the hard state is at term {hard_state}")]
    TermAhead {
        /// The last term of the log.
        log: Term,
        /// The term of the hard state.
        hard_state: Term,
    },
    /// The log begins behind a position that no snapshot covers: the snapshot was lost.
    #[error("the log begins behind index {begin_after}, and there is no snapshot up to there")]
    SnapshotMissing {
        /// Where the log begins.
        begin_after: LogIndex,
    },
    /// The state machine has applied more than the log holds: entries were lost.
    #[error("the state machine has applied index {applied}, but the log ends at {last}")]
    AppliedBeyondLog {
        /// What the state machine has applied.
        applied: LogIndex,
        /// The last index of the log.
        last: LogIndex,
    },
}
