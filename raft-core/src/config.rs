//! What a node is told when it is made.

use alloc::vec::Vec;
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
/// let members = [1, 2, 3].map(NodeId::new);
/// let seed = 0x5eed; // random, and another one at each start
/// let config = Config::new(NodeId::new(1), members, seed)
///     .election_timeout(Duration::from_millis(500))
///     .heartbeat_interval(Duration::from_millis(50));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    pub(crate) id: NodeId,
    pub(crate) voters: Vec<NodeId>,
    pub(crate) learners: Vec<NodeId>,
    pub(crate) seed: u64,
    pub(crate) election_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) outcome_timeout: Duration,
    pub(crate) pre_vote: bool,
    pub(crate) check_quorum: bool,
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
    /// The settings of node `id` in a cluster whose voters are `voters`.
    ///
    /// `seed` is the node's only source of randomness: election timeouts come from it, and the
    /// numbers by which the node tells answers to its questions from answers to those of its life
    /// before a crash. **It must be a fresh random number at every start**; a node that starts
    /// twice with the same seed might serve a stale read.
    #[must_use]
    pub fn new(id: NodeId, voters: impl IntoIterator<Item = NodeId>, seed: u64) -> Self {
        const MIB: usize = 1 << 20;
        Self {
            id,
            voters: voters.into_iter().collect(),
            learners: Vec::new(),
            seed,
            election_timeout: Duration::from_millis(1000),
            heartbeat_interval: Duration::from_millis(100),
            outcome_timeout: Duration::from_millis(1000),
            pre_vote: true,
            check_quorum: true,
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

    /// Members that receive the log but are not counted in elections and commits (dissertation,
    /// section 4.2.1). None by default.
    #[must_use]
    pub fn learners(mut self, learners: impl IntoIterator<Item = NodeId>) -> Self {
        self.learners = learners.into_iter().collect();
        self
    }

    settings! {
        /// How long a follower waits for its leader before it campaigns: a time drawn anew for
        /// each term between this and twice this (paper, section 5.2). A leader that hears of no
        /// majority for as long steps down. Default 1 s; make it at least ten times the round trip
        /// plus the time of a disk sync.
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
        /// How many messages may wait for this node's disk. Those beyond it are dropped, as if the
        /// network had lost them. At least the number of peers. Default 1,024.
        max_held_messages: usize,
    }

    /// The id of the node that these settings are for.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// The voters, in the order given.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
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
        // The entries, of which the last may overshoot the limit, and room for everything else.
        self.max_append_bytes.saturating_add(self.max_command_bytes).saturating_add(1024)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_members()?;
        if self.election_timeout.is_zero() || self.heartbeat_interval.is_zero() {
            return Err(ConfigError::ZeroTimeout);
        }
        if self.heartbeat_interval > self.election_timeout / 2 {
            return Err(ConfigError::HeartbeatTooSlow {
                heartbeat: self.heartbeat_interval,
                election: self.election_timeout,
            });
        }
        let limits = [
            ("max_append_bytes", self.max_append_bytes),
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
        let peers = self.voters.len() + self.learners.len() - 1;
        if self.max_held_messages < peers {
            return Err(ConfigError::HeldTooFew { held: self.max_held_messages, peers });
        }
        Ok(())
    }

    fn check_members(&self) -> Result<(), ConfigError> {
        if self.voters.is_empty() {
            return Err(ConfigError::NoVoters);
        }
        let mut members: Vec<NodeId> = self.voters.iter().chain(&self.learners).copied().collect();
        members.sort_unstable();
        if let Some(pair) = members.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ConfigError::DuplicateMember { id: pair[0] });
        }
        if members.binary_search(&self.id).is_err() {
            return Err(ConfigError::NotAMember { id: self.id });
        }
        Ok(())
    }
}

/// Why a node could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A cluster without voters can decide nothing. Name at least one.
    #[error("the cluster has no voters")]
    NoVoters,
    /// The same id twice, or one id as voter and as learner. Name each member once.
    #[error("member {id} is named twice")]
    DuplicateMember {
        /// The id.
        id: NodeId,
    },
    /// The node itself is neither voter nor learner. Name it, or correct its id.
    #[error("this node, {id}, is not a member of the cluster")]
    NotAMember {
        /// The node's id.
        id: NodeId,
    },
    /// The election timeout or the heartbeat interval is zero.
    #[error("the election timeout and the heartbeat interval must be longer than zero")]
    ZeroTimeout,
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
    /// A candidate's requests for votes wait for its disk, one for each peer, and they don't fit.
    /// Make `max_held_messages` at least the number of peers.
    #[error("max_held_messages is {held}, which is less than the number of peers, {peers}")]
    HeldTooFew {
        /// The setting.
        held: usize,
        /// The number of other members.
        peers: usize,
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
    /// The list of terms does not ascend from index 1 to the last index.
    #[error("the terms of the log don't ascend from index 1 to index {last}")]
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
    /// The state machine has applied more than the log holds: entries were lost.
    #[error("the state machine has applied index {applied}, but the log ends at {last}")]
    AppliedBeyondLog {
        /// What the state machine has applied.
        applied: LogIndex,
        /// The last index of the log.
        last: LogIndex,
    },
}
