//! Elections: pre-vote, vote, and the change from one role to another (paper, section 5.2;
//! dissertation, sections 4.2.3 and 9.6).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::append::OwedAcks;
use crate::change::Change;
use crate::control::{Asked, Controls, Origin};
use crate::entry::{LogPosition, Payload};
use crate::forward::{Forwards, SeenBatches};
use crate::ids::{NodeId, Term};
use crate::lease::Lease;
use crate::message::{Body, Control};
use crate::outbox::Outbox;
use crate::output::{Outcome, Refusal};
use crate::raft::Raft;
use crate::reads::{FollowerReads, LeaderReads};
use crate::role::{Candidate, Following, Leader, PreCandidate, Role, Voters};
use crate::transfer::Transfer;

impl Raft {
    /// Becomes a follower in `term`, of `leader` if it is known.
    pub(crate) fn follow(&mut self, term: Term, leader: Option<NodeId>, out: &mut Outbox<'_>) {
        let left_office = matches!(self.role, Role::Leader(_));
        let was_follower = matches!(self.role, Role::Follower(_));
        self.retire(out);
        let new_term = term > self.hard_state.term;
        if new_term {
            self.set_hard_state(term, None);
        }
        self.role = Role::Follower(leader.map(|leader| Following {
            leader,
            heard: self.now,
            reads: FollowerReads::default(),
            forwards: Forwards::default(),
            controls: Controls::default(),
            acks: OwedAcks::default(),
        }));
        self.finish_handovers(out);
        if new_term || !was_follower {
            self.draw_election_span();
        }
        if left_office || leader.is_some() {
            self.election.restart(self.now);
        }
    }

    fn draw_election_span(&mut self) {
        self.election.set_span(self.random.once_to_twice(self.config.election_timeout));
    }

    /// Leaves the current role and sees to the requests that depended on it.
    pub(crate) fn retire(&mut self, out: &mut Outbox<'_>) {
        let give_up = self.now.plus(self.config.outcome_timeout);
        match core::mem::replace(&mut self.role, Role::Follower(None)) {
            Role::Follower(Some(following)) => {
                for request in following.forwards.into_requests() {
                    out.done(request, Outcome::Unknown);
                }
                for request in following.reads.into_requests() {
                    self.refuse(request, Refusal::NoLeader, out);
                }
                let (asked, unsent) = following.controls.into_parts();
                if let Some((request, control)) = asked {
                    let is_transfer = matches!(control, Control::TransferLeadership { .. });
                    let origin = Some(Origin::Local(request));
                    self.leave_control(following.leader, origin, is_transfer, out);
                }
                for request in unsent {
                    self.refuse(request, Refusal::NoLeader, out);
                }
                // The answer to a question to this leader must not pass for that to a later one.
                self.read_sequence += 1;
            }
            Role::Leader(leader) => {
                for pending in leader.pending {
                    if let Some(request) = pending.request {
                        self.awaiting.insert(pending.index, self.hard_state.term, request);
                    }
                }
                for request in leader.reads.into_requests() {
                    self.refuse(request, Refusal::NoLeader, out);
                }
                let id = self.config.id;
                let change = leader.change.map(Change::into_origin);
                self.leave_control(id, change, false, out);
                let transfer = leader.transfer.and_then(Transfer::into_origin);
                self.leave_control(id, transfer, true, out);
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {
                // The campaign is over, and the log that its questions speak of may be cut now.
                let is_question =
                    |body: &Body| matches!(body, Body::PreVote { .. } | Body::Vote { .. });
                self.held.retain(|held| !is_question(&held.message.body));
                return;
            }
            Role::Follower(None) => return,
        }
        self.awaiting.limit(give_up);
        self.refuse_unreachable_reads(out);
    }

    /// Whether this node takes part in elections as a candidate.
    pub(crate) fn may_campaign(&self) -> bool {
        self.counts_as_voter() && !self.disk_hangs() && self.hard_state.term.next().is_some()
    }

    /// A voter, or one until a change that may not be committed: it may have the only log with
    /// which that change can be finished.
    fn counts_as_voter(&self) -> bool {
        let id = self.config.id;
        let (index, membership) = self.log.membership();
        let before = self.log.membership_at(index.prev()).filter(|_| index > self.commit);
        membership.is_voter(id) || before.is_some_and(|(_, members)| members.is_voter(id))
    }

    /// The leader is silent: try to become the leader, or at least stop believing in it.
    pub(crate) fn campaign(&mut self, out: &mut Outbox<'_>) {
        self.election.restart(self.now);
        self.draw_election_span();
        if let Role::Candidate(candidate) = &self.role
            && candidate.own_vote > self.log.durable_ticket()
        {
            // The disk is slower than the timeout. Another term would only be one more write.
            return;
        }
        self.retire(out);
        if !self.may_campaign() {
            return;
        }
        let id = self.config.id;
        let alone = self.membership.is_majority(|voter| voter == id);
        if !self.config.pre_vote || alone {
            return self.stand_for_election(false, out);
        }
        let mut granted = Voters::default();
        granted.insert(id);
        self.role = Role::PreCandidate(PreCandidate { granted });
        let last = self.log.last_position();
        self.ask_voters(&Body::PreVote { last }, out);
    }

    fn ask_voters(&mut self, body: &Body, out: &mut Outbox<'_>) {
        let voters: Vec<NodeId> = self.membership.voting_peers_of(self.config.id).collect();
        for voter in voters {
            self.send(voter, body.clone(), out);
        }
    }

    /// Enters the next term as a candidate. Nothing of it leaves the node before term and vote are
    /// durable; the log is durable with them, because writes are durable in order.
    pub(crate) fn stand_for_election(&mut self, transfer: bool, out: &mut Outbox<'_>) {
        let Some(term) = self.hard_state.term.next() else { return };
        self.election.restart(self.now);
        self.draw_election_span();
        self.set_hard_state(term, Some(self.config.id));
        let own_vote = self.hard_state_ticket();
        self.role = Role::Candidate(Candidate { granted: Voters::default(), own_vote });
        let last = self.log.last_position();
        self.ask_voters(&Body::Vote { last, transfer }, out);
    }

    /// Whether this node has heard from a leader within an election timeout, or is one.
    pub(crate) fn hears_leader_other_than(&self, candidate: NodeId) -> bool {
        self.owes_lease()
            || self.config.check_quorum
                && match &self.role {
                    Role::Leader(_) => true,
                    Role::Follower(Some(following)) => {
                        following.leader != candidate
                            && self.now < following.heard.plus(self.config.election_timeout)
                    }
                    _ => false,
                }
    }

    /// A pre-vote changes nothing here, and its answer promises nothing.
    pub(crate) fn on_pre_vote(&mut self, from: NodeId, last: LogPosition, out: &mut Outbox<'_>) {
        let granted = !self.hears_leader_other_than(from)
            && !matches!(self.role, Role::Leader(_))
            && last.at_least_as_up_to_date_as(self.log.last_position());
        self.send(from, Body::PreVoteReply { granted }, out);
    }

    pub(crate) fn on_pre_vote_reply(&mut self, from: NodeId, granted: bool, out: &mut Outbox<'_>) {
        let Role::PreCandidate(candidate) = &mut self.role else { return };
        if granted && self.membership.is_voter(from) {
            candidate.granted.insert(from);
            if self.membership.is_majority(|voter| candidate.granted.contains(voter)) {
                self.stand_for_election(false, out);
            }
        }
    }

    /// Votes once a term, for a candidate whose log holds everything that can be committed (paper,
    /// section 5.4.1). The same candidate may ask again. Candidates that this node does not know as
    /// voters count too: their configuration may be newer.
    pub(crate) fn on_vote(
        &mut self,
        from: NodeId,
        last: LogPosition,
        transfer: bool,
        out: &mut Outbox<'_>,
    ) {
        let free = self.hard_state.vote.is_none()
            && self.leader().is_none()
            && (transfer || !self.owes_lease());
        let granted = (free || self.hard_state.vote == Some(from))
            && last.at_least_as_up_to_date_as(self.log.last_position());
        if granted {
            if free {
                self.set_hard_state(self.hard_state.term, Some(from));
            }
            if matches!(self.role, Role::PreCandidate(_)) {
                // Having voted, it does not stand against the one it voted for.
                self.role = Role::Follower(None);
            }
            self.election.restart(self.now);
        }
        self.send(from, Body::VoteReply { granted }, out);
    }

    pub(crate) fn on_vote_reply(&mut self, from: NodeId, granted: bool, out: &mut Outbox<'_>) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        if granted && self.membership.is_voter(from) {
            candidate.granted.insert(from);
            self.lead_if_elected(out);
        }
    }

    /// A candidate's own vote counts when it can no longer be forgotten.
    pub(crate) fn count_own_vote(&mut self, out: &mut Outbox<'_>) {
        let Role::Candidate(candidate) = &mut self.role else { return };
        if candidate.own_vote <= self.log.durable_ticket() {
            candidate.granted.insert(self.config.id);
            self.lead_if_elected(out);
        }
    }

    fn lead_if_elected(&mut self, out: &mut Outbox<'_>) {
        let Role::Candidate(candidate) = &self.role else { return };
        // The term must be durable, whatever others say: its messages could be forged.
        if candidate.own_vote <= self.log.durable_ticket()
            && self.membership.is_majority(|voter| candidate.granted.contains(voter))
        {
            self.lead(out);
        }
    }

    fn lead(&mut self, out: &mut Outbox<'_>) {
        self.abandon_receiving(out);
        let last = self.log.last();
        let mut lease = Lease::default();
        lease.begin_round(0, self.now);
        self.role = Role::Leader(Box::new(Leader {
            term_start: last.next(),
            peers: self.peers_to_lead(last),
            pending: VecDeque::new(),
            uncommitted_bytes: 0,
            next_heartbeat: self.now.plus(self.config.heartbeat_interval),
            next_quorum_check: self.now.plus(self.config.election_timeout),
            sequence: 0,
            reads: LeaderReads::default(),
            seen: SeenBatches::default(),
            asked: Asked::default(),
            change: None,
            transfer: None,
            next_preference: self.now.plus(self.config.election_timeout),
            lease,
        }));
        self.finish_handovers(out);
        self.append_payloads(alloc::vec![Payload::Noop]);
    }
}
