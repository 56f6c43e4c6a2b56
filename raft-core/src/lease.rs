//! Leases: reads without a round of messages (dissertation, section 6.4.1).
//!
//! Followers that have heard a leader grant no vote for an election timeout. So a leader that a
//! majority has answered knows that nobody else can be elected for that time from the *sending* of
//! what they answered, less what the clocks may drift apart. Two things void a lease, because they
//! let followers vote earlier: a transfer of leadership, and a restart of a follower; so followers
//! do not vote for an election timeout after their start either.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::ids::NodeId;
use crate::raft::Raft;
use crate::role::Role;
use crate::time::Instant;

/// More rounds than this within one election timeout are not told apart.
const ROUNDS: usize = 64;

/// What a leader needs to know whether its lease holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    /// Heartbeats: messages with a greater number were sent at this time or later.
    rounds: VecDeque<(u64, Instant)>,
    void: bool,
}

impl Lease {
    /// What follows the message with this number is sent from now on.
    pub(crate) fn begin_round(&mut self, newest: u64, now: Instant) {
        if self.rounds.len() == ROUNDS {
            self.rounds.pop_front();
        }
        self.rounds.push_back((newest, now));
    }

    /// There is no lease in this term any more.
    pub(crate) fn void(&mut self) {
        self.void = true;
    }

    /// Nobody knows how much time has passed: only what is sent from now on counts.
    pub(crate) fn distrust(&mut self) {
        self.rounds.clear();
    }

    /// The beginning of the newest round that was answered.
    fn answered(&self, number: u64) -> Option<Instant> {
        let answered = self.rounds.iter().rev().find(|(newest, _)| number > *newest);
        answered.filter(|_| !self.void).map(|(_, at)| *at)
    }
}

impl Raft {
    /// Whether this node leads for sure, at the time of this step.
    pub(crate) fn holds_lease(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let Some(length) = self.lease_length() else { return false };
        let Some(number) = self.membership.reached_by_majority(|id| self.answered_by(id)) else {
            return false;
        };
        let alone = number == u64::MAX;
        alone || leader.lease.answered(number).is_some_and(|at| self.now < at.plus(length))
    }

    /// The host's clock has run backward.
    pub(crate) fn distrust_lease(&mut self) {
        if let Role::Leader(leader) = &mut self.role {
            leader.lease.distrust();
        }
    }

    /// The number of the newest message that a member has answered.
    pub(crate) fn answered_by(&self, id: NodeId) -> u64 {
        let Role::Leader(leader) = &self.role else { return 0 };
        match leader.peers.iter().find(|peer| peer.id == id) {
            Some(peer) => peer.answered,
            // The leader itself always agrees.
            None => u64::MAX,
        }
    }

    /// The election timeout as the fastest clock measures it; `None` without leases.
    fn lease_length(&self) -> Option<Duration> {
        const MILLION: u32 = 1_000_000;
        let drift = self.config.read_leases?;
        Some(self.config.election_timeout / MILLION * MILLION.saturating_sub(drift))
    }

    /// Whether some leader may rely on this node not to vote: one that it has heard, in whatever
    /// term, or one of its life before a restart.
    pub(crate) fn owes_lease(&self) -> bool {
        self.config.read_leases.is_some()
            && self.now < self.heard_leader.plus(self.config.election_timeout)
    }
}
