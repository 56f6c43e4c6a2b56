//! Proposals: at the leader, at a follower, and on their way from one to the other.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::entry::{Entries, Payload};
use crate::event::Proposal;
use crate::ids::{LogIndex, NodeId, RequestId};
use crate::message::{BatchId, Body};
use crate::outbox::Outbox;
use crate::output::Refusal;
use crate::raft::Raft;
use crate::role::{Pending, Role};

/// What an entry counts besides its command, see [`crate::Entry::size`].
const ENTRY_BYTES: usize = core::mem::size_of::<crate::Entry>();

impl Raft {
    /// How many requests wait on this node.
    pub(crate) fn pending_requests(&self) -> usize {
        let role = match &self.role {
            Role::Leader(leader) => leader.pending.len() + leader.reads.len(),
            Role::Follower(Some(following)) => {
                following.forwards.requests() + following.reads.len() + following.controls.len()
            }
            _ => 0,
        };
        role + self.awaiting.len() + self.confirmed_reads.len() + self.handovers.len()
    }

    pub(crate) fn on_propose(&mut self, proposals: Vec<Proposal>, out: &mut Outbox<'_>) {
        match &self.role {
            Role::Leader(_) => self.append_proposals(proposals, out),
            Role::Follower(Some(following)) => {
                let leader = following.leader;
                self.forward_proposals(leader, proposals, out);
            }
            _ => {
                for proposal in proposals {
                    self.refuse(proposal.request, Refusal::NoLeader, out);
                }
            }
        }
    }

    fn append_proposals(&mut self, proposals: Vec<Proposal>, out: &mut Outbox<'_>) {
        let mut room = self.config.max_pending_requests.saturating_sub(self.pending_requests());
        let unpersisted = self.log.unpersisted_bytes();
        let mut index = self.log.last().next();
        let mut new_bytes = 0;
        let payload = |Proposal { request, command }| {
            let refusal = self.refusal_of_command(&command, room);
            let Role::Leader(leader) = &mut self.role else { return None };
            let bytes = ENTRY_BYTES + command.len();
            let transferring = leader.transfer.is_some().then_some(Refusal::Transferring);
            let full = over(leader.uncommitted_bytes, bytes, self.config.max_uncommitted_bytes)
                || over(unpersisted + new_bytes, bytes, self.config.max_unpersisted_bytes);
            let refusal = refusal.or(transferring).or(full.then_some(Refusal::Overloaded));
            if let Some(reason) = refusal {
                self.refuse(request, reason, out);
                return None;
            }
            room -= 1;
            new_bytes += bytes;
            leader.uncommitted_bytes += bytes;
            leader.pending.push_back(Pending { index, bytes, request: Some(request) });
            index = index.next();
            Some(Payload::Command(command))
        };
        let payloads = proposals.into_iter().filter_map(payload).collect();
        self.append_payloads(payloads);
    }

    pub(crate) fn append_payloads(&mut self, payloads: Vec<Payload>) {
        let first = self.log.last().next();
        self.log.append(Entries::of_term(self.hard_state.term, first, payloads));
    }

    fn refusal_of_command(&self, command: &Bytes, room: usize) -> Option<Refusal> {
        let (size, limit) = (command.len(), self.config.max_command_bytes);
        if size > limit {
            return Some(Refusal::TooLarge { size, limit });
        }
        (room == 0).then_some(Refusal::Overloaded)
    }

    /// Sends proposals to the leader, in messages of a bounded size. They go there in one hop: a
    /// node that does not lead never passes them on.
    fn forward_proposals(
        &mut self,
        leader: NodeId,
        proposals: Vec<Proposal>,
        out: &mut Outbox<'_>,
    ) {
        let mut room = self.config.max_pending_requests.saturating_sub(self.pending_requests());
        let (mut commands, mut requests, mut bytes) = (Vec::new(), Vec::new(), 0);
        for Proposal { request, command } in proposals {
            if let Some(reason) = self.refusal_of_command(&command, room) {
                self.refuse(request, reason, out);
                continue;
            }
            room -= 1;
            let size = ENTRY_BYTES + command.len();
            let full = commands.len() >= self.config.max_append_entries
                || over(bytes, size, self.config.max_append_bytes);
            if full {
                let batch = core::mem::take(&mut commands);
                self.forward_batch(leader, batch, core::mem::take(&mut requests), out);
                bytes = 0;
            }
            bytes += size;
            commands.push(command);
            requests.push(request);
        }
        if !commands.is_empty() {
            self.forward_batch(leader, commands, requests, out);
        }
    }

    fn forward_batch(
        &mut self,
        leader: NodeId,
        commands: Vec<Bytes>,
        requests: Vec<RequestId>,
        out: &mut Outbox<'_>,
    ) {
        self.batch_sequence += 1;
        let batch = BatchId { incarnation: self.incarnation, sequence: self.batch_sequence };
        let give_up = self.now.plus(self.config.outcome_timeout);
        if let Role::Follower(Some(following)) = &mut self.role {
            following.forwards.insert(batch.sequence, requests, give_up);
        }
        self.send(leader, Body::Propose { batch, commands }, out);
    }

    /// A follower's batch reaches the leader, which takes all of it or nothing.
    ///
    /// A node that does not lead says nothing: it may have led this term and have appended the
    /// batch, and then a refusal to a repeated message would be a lie.
    pub(crate) fn on_forwarded(
        &mut self,
        from: NodeId,
        batch: BatchId,
        commands: Vec<Bytes>,
        out: &mut Outbox<'_>,
    ) {
        let unpersisted = self.log.unpersisted_bytes();
        let first = self.log.last().next();
        let crowd = self.pending_requests().saturating_add(commands.len());
        let Role::Leader(leader) = &mut self.role else {
            self.dropped.not_leader += 1;
            return;
        };
        if leader.peer(from).is_none() || !leader.seen.is_new(from, batch) {
            self.dropped.stale += 1;
            return;
        }
        let bytes: usize = commands.iter().map(|command| ENTRY_BYTES + command.len()).sum();
        let limit = self.config.max_command_bytes;
        let too_large = commands.iter().map(Bytes::len).find(|size| *size > limit);
        let full = commands.is_empty()
            || crowd > self.config.max_pending_requests
            || over(leader.uncommitted_bytes, bytes, self.config.max_uncommitted_bytes)
            || over(unpersisted, bytes, self.config.max_unpersisted_bytes);
        let refusal = match too_large {
            Some(size) => Some(Refusal::TooLarge { size, limit }),
            None if leader.transfer.is_some() => Some(Refusal::Transferring),
            None => full.then_some(Refusal::Overloaded),
        };
        if let Some(refusal) = refusal {
            return self.send(from, Body::ProposeReply { batch, result: Err(refusal) }, out);
        }
        leader.uncommitted_bytes += bytes;
        let mut index = first;
        for command in &commands {
            let bytes = ENTRY_BYTES + command.len();
            leader.pending.push_back(Pending { index, bytes, request: None });
            index = index.next();
        }
        if let Some(peer) = leader.peer(from) {
            peer.commit_wanted = index.prev();
        }
        self.append_payloads(commands.into_iter().map(Payload::Command).collect());
        self.send(from, Body::ProposeReply { batch, result: Ok(first) }, out);
    }

    pub(crate) fn on_propose_reply(
        &mut self,
        from: NodeId,
        batch: BatchId,
        result: Result<LogIndex, Refusal>,
        out: &mut Outbox<'_>,
    ) {
        let Role::Follower(Some(following)) = &mut self.role else { return };
        if following.leader != from || batch.incarnation != self.incarnation {
            return;
        }
        let Some(requests) = following.forwards.take(batch.sequence) else { return };
        let term = self.hard_state.term;
        let mut index = match result {
            Ok(first) => first,
            Err(refusal) => {
                for request in requests {
                    self.refuse(request, refusal, out);
                }
                return;
            }
        };
        for request in requests {
            if index <= self.commit {
                out.done(request, self.decided(index, term));
            } else {
                self.awaiting.insert(index, term, request);
            }
            index = index.next();
        }
    }
}

/// Whether `new` bytes are too many on top of `present`: a single item may exceed the limit, or it
/// could never go.
fn over(present: usize, new: usize, limit: usize) -> bool {
    present > 0 && present.saturating_add(new) > limit
}
