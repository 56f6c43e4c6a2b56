//! What happens when time passes.

use core::time::Duration;

use crate::outbox::Outbox;
use crate::output::Outcome;
use crate::raft::Raft;
use crate::role::{Leader, Role};
use crate::time::Instant;
use crate::transfer::Transfer;

/// When a follower or candidate loses patience. The span is drawn anew for each term and each
/// campaign (paper, section 5.2); the start survives a change of term, so that a node that keeps
/// hearing hopeless candidates gets its own turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ElectionTimer {
    started: Instant,
    span: Duration,
}

impl ElectionTimer {
    pub(crate) const fn new(started: Instant, span: Duration) -> Self {
        Self { started, span }
    }

    pub(crate) const fn restart(&mut self, now: Instant) {
        self.started = now;
    }

    pub(crate) const fn set_span(&mut self, span: Duration) {
        self.span = span;
    }

    fn deadline(&self) -> Instant {
        self.started.plus(self.span)
    }
}

impl Raft {
    /// When the host must step with [`Event::Wake`](crate::Event::Wake) if nothing else comes
    /// first; `None` if nothing will ever happen by itself. Being early is harmless, being late
    /// costs availability and never safety.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let role = match &self.role {
            Role::Leader(leader) => self.leader_deadline(leader),
            Role::Follower(Some(following)) => {
                let waits = [
                    following.reads.repeat(),
                    following.forwards.give_up(),
                    following.controls.repeat(),
                ];
                waits.into_iter().flatten().chain([self.election.deadline()]).min()
            }
            Role::Follower(None) if !self.may_campaign() => None,
            _ => Some(self.election.deadline()),
        };
        let owed = self.applier.is_owed().then_some(self.now);
        let answers = [self.awaiting.give_up(), self.handovers.give_up()];
        role.into_iter().chain(owed).chain(answers.into_iter().flatten()).min()
    }

    fn leader_deadline(&self, leader: &Leader) -> Option<Instant> {
        let alone = leader.peers.is_empty();
        let heartbeat = (!alone).then_some(leader.next_heartbeat);
        let check = (!alone && self.config.check_quorum).then_some(leader.next_quorum_check);
        let disk = self.log.waits_since().map(|since| since.plus(self.config.disk_timeout));
        let transfer = leader.transfer.as_ref().map(Transfer::give_up);
        // A step sends each peer one message. Who is far behind gets the next at once.
        let more = self.has_more_to_send().then_some(self.now);
        [heartbeat, check, disk, transfer, more].into_iter().flatten().min()
    }

    pub(crate) fn fire_timers(&mut self, out: &mut Outbox<'_>) {
        self.give_up_waiting(out);
        if let Role::Leader(leader) = &mut self.role {
            if leader.next_heartbeat <= self.now {
                // The beat keeps its rhythm when the host is a little late, and starts anew when
                // it was late by more than a beat.
                let next = leader.next_heartbeat.plus(self.config.heartbeat_interval);
                leader.next_heartbeat = if next > self.now {
                    next
                } else {
                    self.now.plus(self.config.heartbeat_interval)
                };
                leader.lease.begin_round(leader.sequence, self.now);
                leader.speak_to_all();
                if let Some(transfer) = &mut leader.transfer {
                    transfer.tell_again();
                }
                self.part_with_removed();
                self.defer_to_preferred(out);
            }
            self.check_quorum(out);
            self.check_disk(out);
        } else if self.election.deadline() <= self.now {
            self.campaign(out);
        } else {
            self.repeat_read_question(out);
            self.repeat_control(out);
        }
    }

    fn give_up_waiting(&mut self, out: &mut Outbox<'_>) {
        while let Some(request) = self.awaiting.take_expired(self.now) {
            out.done(request, Outcome::Unknown);
        }
        while let Some(request) = self.handovers.take_expired(self.now) {
            out.done(request, Outcome::Unknown);
        }
        if let Role::Follower(Some(following)) = &mut self.role {
            while let Some(requests) = following.forwards.take_expired(self.now) {
                for request in requests {
                    out.done(request, Outcome::Unknown);
                }
            }
        }
    }

    /// A leader that hears of no majority steps down: somebody else may lead by now, and clients
    /// must not wait for it in vain (dissertation, section 6.2).
    fn check_quorum(&mut self, out: &mut Outbox<'_>) {
        let Role::Leader(leader) = &self.role else { return };
        if !self.config.check_quorum || self.now < leader.next_quorum_check {
            return;
        }
        let expires = self.last_quorum_contact().plus(self.config.election_timeout);
        if expires <= self.now {
            return self.follow(self.hard_state.term, None, out);
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.next_quorum_check = expires;
        }
    }

    /// A leader whose own disk does not answer steps down: it can apply nothing, and perhaps the
    /// others can.
    fn check_disk(&mut self, out: &mut Outbox<'_>) {
        if matches!(self.role, Role::Leader(_)) && self.disk_hangs() {
            self.follow(self.hard_state.term, None, out);
        }
    }

    /// Whether a write has been waiting for this node's disk for too long.
    pub(crate) fn disk_hangs(&self) -> bool {
        let since = self.log.waits_since();
        since.is_some_and(|since| since.plus(self.config.disk_timeout) <= self.now)
    }

    /// When a majority, this node included, was last in touch with this leader.
    pub(crate) fn last_quorum_contact(&self) -> Instant {
        let Role::Leader(leader) = &self.role else { return Instant::ORIGIN };
        let heard = |id| match leader.peers.iter().find(|peer| peer.id == id) {
            Some(peer) => peer.heard,
            None => self.now,
        };
        self.membership.reached_by_majority(heard).unwrap_or(self.now)
    }
}
