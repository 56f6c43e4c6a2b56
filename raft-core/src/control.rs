//! Requests about the cluster itself: made at any node, dealt with by the leader.
//!
//! A follower passes them on one at a time and repeats each until it is answered, since a change of
//! membership can take long. The leader knows a repeated request by its name and answers it again.

use alloc::collections::VecDeque;

use crate::ids::{NodeId, RequestId};
use crate::membership::Membership;
use crate::message::{BatchId, Body, Control, ControlResult};
use crate::outbox::Outbox;
use crate::output::{Outcome, Refusal};
use crate::raft::Raft;
use crate::role::Role;
use crate::time::Instant;

/// Who waits for the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    Local(RequestId),
    Remote(NodeId, BatchId),
}

/// The requests that wait at a follower.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Controls {
    /// The first one is with the leader.
    waiting: VecDeque<(RequestId, Control)>,
    asked: Option<(u64, Instant)>,
}

impl Controls {
    /// More than this many are refused.
    const LIMIT: usize = 16;

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When to repeat the one that is with the leader.
    pub(crate) fn repeat(&self) -> Option<Instant> {
        self.asked.map(|(_, at)| at)
    }

    /// The one that is with the leader, and those that were never sent.
    pub(crate) fn into_parts(
        mut self,
    ) -> (Option<(RequestId, Control)>, impl Iterator<Item = RequestId>) {
        let asked = self.asked.and_then(|_| self.waiting.pop_front());
        (asked, self.waiting.into_iter().map(|(request, _)| request))
    }
}

/// The newest request of each follower that a leader knows, with its answer once there is one: a
/// request that comes again is not carried out again, be it from a life before a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Asked(VecDeque<(NodeId, BatchId, Option<ControlResult>)>);

impl Asked {
    /// More restarts of peers than this within one term are not told apart any more.
    const LIMIT: usize = 256;

    /// Takes note of a request. Says whether it is to be carried out, or else how it ended, if it
    /// has ended and somebody may still wait for it.
    fn note(&mut self, from: NodeId, batch: BatchId) -> Result<(), Option<ControlResult>> {
        let known =
            |it: &&mut (NodeId, BatchId, _)| it.0 == from && it.1.incarnation == batch.incarnation;
        match self.0.iter_mut().find(known) {
            Some((_, newest, result)) if *newest == batch => return Err(*result),
            Some((_, newest, _)) if newest.sequence > batch.sequence => return Err(None),
            Some(known) => *known = (from, batch, None),
            None => {
                if self.0.len() == Self::LIMIT {
                    self.0.pop_front();
                }
                self.0.push_back((from, batch, None));
            }
        }
        Ok(())
    }

    fn answer(&mut self, from: NodeId, batch: BatchId, result: ControlResult) {
        let known = |it: &&mut (NodeId, BatchId, _)| (it.0, it.1) == (from, batch);
        if let Some((_, _, known)) = self.0.iter_mut().find(known) {
            *known = Some(result);
        }
    }
}

impl Raft {
    pub(crate) fn on_control(
        &mut self,
        request: RequestId,
        control: Control,
        out: &mut Outbox<'_>,
    ) {
        let full = self.pending_requests() >= self.config.max_pending_requests;
        let flaw = self.flaw_of(&control);
        let (own, term) = (self.leader(), self.hard_state.term);
        if let Some(flaw) = flaw {
            return self.refuse(request, flaw, out);
        }
        match &mut self.role {
            _ if full => self.refuse(request, Refusal::Overloaded, out),
            Role::Leader(_) | Role::Follower(Some(_))
                if own.is_some() && control == (Control::TransferLeadership { to: own }) =>
            {
                let leader = own.unwrap_or(self.config.id);
                out.done(request, Outcome::Transferred { leader, term });
            }
            Role::Leader(_) => self.carry_out(Origin::Local(request), control, out),
            Role::Follower(Some(following)) => {
                let controls = &mut following.controls;
                if controls.len() >= Controls::LIMIT {
                    return self.refuse(request, Refusal::Overloaded, out);
                }
                controls.waiting.push_back((request, control));
                if controls.asked.is_none() {
                    self.ask_control(out);
                }
            }
            _ => self.refuse(request, Refusal::NoLeader, out),
        }
    }

    /// Why no leader can ever do what is asked. Such a request is not passed on either: no link
    /// would carry it.
    fn flaw_of(&self, control: &Control) -> Option<Refusal> {
        let Control::ChangeMembership { target, only_if } = control else { return None };
        let (size, limit) = (control.size(), self.config.max_command_bytes);
        if target.voters().is_empty() || target.is_joint() {
            return Some(Refusal::NoVoters);
        }
        if only_if.as_ref().is_some_and(|members| !members.is_sound()) {
            // No cluster ever has such members, and they can't be encoded.
            return Some(Refusal::MembershipChanged);
        }
        (size > limit).then_some(Refusal::TooLarge { size, limit })
    }

    fn carry_out(&mut self, origin: Origin, control: Control, out: &mut Outbox<'_>) {
        match control {
            Control::ChangeMembership { target, only_if } => {
                self.begin_change(origin, target, only_if.as_deref(), out);
            }
            Control::TransferLeadership { to } => self.begin_transfer(Some(origin), to, out),
        }
    }

    /// Sends the first of the requests that wait under a new name.
    fn ask_control(&mut self, out: &mut Outbox<'_>) {
        self.batch_sequence += 1;
        let sequence = self.batch_sequence;
        self.send_control(sequence, out);
    }

    fn send_control(&mut self, sequence: u64, out: &mut Outbox<'_>) {
        let repeat = self.now.plus(self.config.election_timeout / 2);
        let batch = BatchId { incarnation: self.incarnation, sequence };
        let Role::Follower(Some(following)) = &mut self.role else { return };
        let Some((_, control)) = following.controls.waiting.front() else { return };
        let control = control.clone();
        following.controls.asked = Some((sequence, repeat));
        let leader = following.leader;
        self.send(leader, Body::Control { batch, control }, out);
    }

    pub(crate) fn repeat_control(&mut self, out: &mut Outbox<'_>) {
        let Role::Follower(Some(following)) = &self.role else { return };
        if let Some((sequence, repeat)) = following.controls.asked
            && repeat <= self.now
        {
            self.send_control(sequence, out);
        }
    }

    /// A follower's request reaches the leader, perhaps not for the first time.
    pub(crate) fn on_remote_control(
        &mut self,
        from: NodeId,
        batch: BatchId,
        control: Control,
        out: &mut Outbox<'_>,
    ) {
        let Role::Leader(leader) = &mut self.role else {
            self.dropped.not_leader += 1;
            return;
        };
        if leader.peer(from).is_none() {
            return;
        }
        match leader.asked.note(from, batch) {
            Ok(()) => match self.flaw_of(&control) {
                None => self.carry_out(Origin::Remote(from, batch), control, out),
                Some(flaw) => {
                    let origin = Some(Origin::Remote(from, batch));
                    self.answer_control(origin, ControlResult::Refused(flaw), out);
                }
            },
            Err(None) => {}
            Err(Some(result)) => self.send(from, Body::ControlReply { batch, result }, out),
        }
    }

    /// Answers a request that this leader has dealt with.
    pub(crate) fn answer_control(
        &mut self,
        origin: Option<Origin>,
        result: ControlResult,
        out: &mut Outbox<'_>,
    ) {
        match origin {
            None => {}
            Some(Origin::Local(request)) => out.done(request, result.outcome(self.leader())),
            Some(Origin::Remote(from, batch)) => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.asked.answer(from, batch, result);
                }
                self.send(from, Body::ControlReply { batch, result }, out);
            }
        }
    }

    pub(crate) fn on_control_reply(
        &mut self,
        from: NodeId,
        batch: BatchId,
        result: ControlResult,
        out: &mut Outbox<'_>,
    ) {
        let Role::Follower(Some(following)) = &mut self.role else { return };
        let asked =
            following.controls.asked.is_some_and(|(sequence, _)| sequence == batch.sequence);
        if following.leader != from || batch.incarnation != self.incarnation || !asked {
            return;
        }
        following.controls.asked = None;
        if let Some((request, _)) = following.controls.waiting.pop_front() {
            out.done(request, result.outcome(Some(from)));
        }
        self.ask_control(out);
    }

    /// The requests about the cluster that a role leaves behind.
    pub(crate) fn leave_control(
        &mut self,
        leader: NodeId,
        origin: Option<Origin>,
        is_transfer: bool,
        out: &mut Outbox<'_>,
    ) {
        let Some(Origin::Local(request)) = origin else { return };
        if is_transfer {
            let give_up = self.now.plus(self.config.outcome_timeout);
            self.handovers.push(request, (leader, self.hard_state.term), give_up);
        } else {
            out.done(request, Outcome::Unknown);
        }
    }

    /// The members as this node knows them. They may be of an entry that is not committed and will
    /// be replaced; a [`Notice::Membership`](crate::Notice::Membership) tells of every change.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }
}
