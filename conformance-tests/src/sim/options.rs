//! What a simulated world is made of.

use core::ops::Range;

use raft_node::core::Config;
use raft_node::session::SessionLimits;

use crate::sim::network::MS;

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// How many voters found the cluster. They are the first nodes.
    pub voters: usize,
    /// How many learners found it besides.
    pub learners: usize,
    /// How many nodes there are besides, with empty disks, to be added.
    pub joiners: usize,
    /// Settings of every node, besides its place in the cluster and its seed.
    pub tune: fn(Config, u64) -> Config,
    /// Passed to `tune`.
    pub tuning: u64,
    /// Whether nodes ask before they campaign.
    pub pre_vote: bool,
    /// Whether leaders that hear of no majority step down, and nodes that hear a leader ignore
    /// candidates.
    pub check_quorum: bool,
    /// If set, the leader serves reads by its lease, and trusts clocks to drift apart by no more
    /// than so many millionths.
    pub leases: Option<u32>,
    /// If set, a node takes a snapshot after so many entries.
    pub snapshot_every: Option<u64>,
    /// How many entries before a snapshot stay in the log.
    pub compaction_margin: u64,
    /// If set, commands are envelopes of client sessions.
    pub sessions: Option<SessionLimits>,
    /// How long a disk takes to sync, in nanoseconds.
    pub disk_delay: Range<u64>,
    /// How much longer a disk takes to read entries back, in nanoseconds. What is written meanwhile
    /// does not wait for that.
    pub load_delay: Range<u64>,
    /// How long a state machine takes for a run of entries, in nanoseconds.
    pub apply_delay: Range<u64>,
    /// How long a snapshot of the state machine takes to be written, in nanoseconds.
    pub snapshot_delay: Range<u64>,
    /// Of 1,000 snapshots so many can't be written.
    pub snapshot_failures: u64,
    /// Clocks run fast or slow by up to so many millionths.
    pub clock_skew: u64,
    /// Clocks show up to so many nanoseconds when a node starts.
    pub clock_origins: u64,
    /// Whether a cut also takes the messages that are under way on the link.
    pub cuts_take_all: bool,
    /// Of 1,000 events so many wait at their node for the next ones, and are given to the core
    /// together with them.
    pub gather: u64,
    /// The disks of the first so many nodes have completed a write when they have got it, and the
    /// host tells the core so within the step.
    pub at_once: usize,
    /// Whether messages are encoded and decoded on their way, which also counts bytes.
    pub wire: bool,
    /// Whether a readable trace is kept.
    pub record: bool,
}

impl Options {
    /// A calm world with so many voters.
    #[must_use]
    pub fn calm(seed: u64, voters: usize) -> Self {
        Self {
            seed,
            voters,
            learners: 0,
            joiners: 0,
            tune: |config, _| config,
            tuning: 0,
            pre_vote: true,
            check_quorum: true,
            leases: None,
            snapshot_every: None,
            compaction_margin: 0,
            sessions: None,
            disk_delay: MS / 10..2 * MS,
            load_delay: 0..0,
            apply_delay: MS / 100..MS / 5,
            snapshot_delay: MS / 10..5 * MS,
            snapshot_failures: 0,
            clock_skew: 0,
            clock_origins: 0,
            cuts_take_all: true,
            gather: 0,
            at_once: 0,
            wire: true,
            record: false,
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub const fn nodes(&self) -> usize {
        self.voters + self.learners + self.joiners
    }
}
