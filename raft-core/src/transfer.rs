//! Transfer of leadership (dissertation, section 3.10).

use alloc::vec::Vec;

use crate::control::Origin;
use crate::ids::{NodeId, RequestId, Term};
use crate::message::{Body, ControlResult};
use crate::outbox::Outbox;
use crate::output::{Outcome, Refusal};
use crate::progress::{Progress, State};
use crate::raft::Raft;
use crate::role::{Leader, Role};
use crate::time::Instant;

/// How many election timeouts pass before a leader tries again to hand over to a preferred node.
const SECOND_THOUGHTS: u32 = 10;

/// A leader that is handing over. It accepts no proposals, so that the other can catch up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transfer {
    /// Who asked for it; nobody if the leader wants it itself.
    origin: Option<Origin>,
    target: NodeId,
    give_up: Instant,
    /// The target was told. It is told again with the next heartbeat.
    told: bool,
}

/// Requests for a transfer that wait for the next leader to be known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Handovers(Vec<Handover>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Handover {
    request: RequestId,
    /// The leader that was asked, and when it led.
    from: NodeId,
    term: Term,
    give_up: Instant,
}

impl Handovers {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn push(&mut self, request: RequestId, from: (NodeId, Term), give_up: Instant) {
        let (from, term) = from;
        self.0.push(Handover { request, from, term, give_up });
    }

    pub(crate) fn give_up(&self) -> Option<Instant> {
        self.0.iter().map(|it| it.give_up).min()
    }

    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<RequestId> {
        let place = self.0.iter().position(|it| it.give_up <= now)?;
        Some(self.0.remove(place).request)
    }
}

impl Transfer {
    pub(crate) fn into_origin(self) -> Option<Origin> {
        self.origin
    }

    pub(crate) const fn give_up(&self) -> Instant {
        self.give_up
    }

    pub(crate) const fn tell_again(&mut self) {
        self.told = false;
    }
}

impl Raft {
    /// Begins to hand over. An earlier transfer is given up for this one.
    pub(crate) fn begin_transfer(
        &mut self,
        origin: Option<Origin>,
        to: Option<NodeId>,
        out: &mut Outbox<'_>,
    ) {
        let Role::Leader(leader) = &self.role else { return };
        let may_lead = |peer: &&Progress| self.membership.voters().contains(&peer.id);
        let mut voters = leader.peers.iter().filter(may_lead);
        let target = match to {
            Some(to) => voters.find(|peer| peer.id == to),
            None => voters.max_by_key(|peer| {
                let heard = peer.heard.plus(self.config.election_timeout) > self.now;
                let priority = self.membership.priority(peer.id);
                (heard, !peer.without_state, priority, peer.matched, peer.heard)
            }),
        };
        let Some(target) = target.map(|peer| peer.id) else {
            let refused = ControlResult::Refused(Refusal::NoSuchVoter);
            return self.answer_control(origin, refused, out);
        };
        self.abort_transfer(out);
        let give_up = self.now.plus(self.config.election_timeout);
        if let Role::Leader(leader) = &mut self.role {
            leader.transfer = Some(Transfer { origin, target, give_up, told: false });
        }
    }

    pub(crate) fn abort_transfer(&mut self, out: &mut Outbox<'_>) {
        let patience = if self.applier.is_lost() { 1 } else { SECOND_THOUGHTS };
        let second_thoughts = self.config.election_timeout.saturating_mul(patience);
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(transfer) = leader.transfer.take() {
            leader.next_preference = self.now.plus(second_thoughts);
            let failed = ControlResult::Refused(Refusal::TransferFailed);
            self.answer_control(transfer.origin, failed, out);
        }
    }

    /// Tells the target to stand for election once it has the whole log, or gives up.
    pub(crate) fn advance_transfer(&mut self, out: &mut Outbox<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let target = transfer.target;
        let still_votes = self.membership.voters().contains(&target);
        if transfer.give_up <= self.now || !still_votes {
            self.abort_transfer(out);
            return self.leave_office_if_removed(out);
        }
        let last = self.log.last();
        let ready = leader.peers.iter().any(|peer| peer.id == target && peer.matched == last);
        if ready && !transfer.told {
            transfer.told = true;
            // It may be elected at any time from now on, even if this leader gives up on it.
            leader.lease.void();
            self.send(target, Body::TimeoutNow, out);
        }
    }

    /// A leader that is no voter any more and could not hand over.
    fn leave_office_if_removed(&mut self, out: &mut Outbox<'_>) {
        if !self.membership.is_voter(self.config.id) {
            self.follow(self.hard_state.term, None, out);
        }
    }

    /// Hands over to a voter of a higher priority, once that has everything that is committed; or
    /// to anybody, if this node has lost its state.
    pub(crate) fn defer_to_preferred(&mut self, out: &mut Outbox<'_>) {
        let Role::Leader(leader) = &self.role else { return };
        if self.now < leader.next_preference || !self.is_at_rest(leader) {
            return;
        }
        if self.applier.is_lost() {
            return self.begin_transfer(None, None, out);
        }
        let own = self.membership.priority(self.config.id);
        let is_better = |peer: &&Progress| {
            self.membership.voters().contains(&peer.id)
                && self.membership.priority(peer.id) > own
                && matches!(peer.state, State::Replicate)
                && !peer.without_state
                && peer.matched >= self.commit
                && peer.heard.plus(self.config.election_timeout) > self.now
        };
        let better = leader.peers.iter().filter(is_better);
        let best = better.max_by_key(|peer| self.membership.priority(peer.id));
        if let Some(best) = best.map(|peer| peer.id) {
            self.begin_transfer(None, Some(best), out);
        }
    }

    fn is_at_rest(&self, leader: &Leader) -> bool {
        leader.transfer.is_none()
            && leader.change.is_none()
            && !self.membership.is_joint()
            && self.commit >= leader.term_start
    }

    /// The leader wants this node to take over. It is the leader's own wish, so nobody is asked
    /// before, and whoever hears that leader votes all the same.
    pub(crate) fn on_timeout_now(&mut self, from: NodeId, out: &mut Outbox<'_>) {
        let follows = matches!(&self.role, Role::Follower(Some(it)) if it.leader == from);
        if follows && self.may_campaign() {
            self.retire(out);
            self.stand_for_election(true, out);
        } else {
            self.dropped.stale += 1;
        }
    }

    /// Answers the requests for a transfer that wait for the next leader. One that leads on in its term
    /// may still be about to hand over.
    pub(crate) fn finish_handovers(&mut self, out: &mut Outbox<'_>) {
        let Some(leader) = self.leader() else { return };
        let term = self.hard_state.term;
        for handover in core::mem::take(&mut self.handovers).0 {
            if (handover.from, handover.term) == (leader, term) {
                self.handovers.0.push(handover);
            } else if handover.from == leader {
                self.refuse(handover.request, Refusal::TransferFailed, out);
            } else {
                out.done(handover.request, Outcome::Transferred { leader, term });
            }
        }
    }
}
