//! Linearizable reads without a log write: ReadIndex (dissertation, section 6.4).
//!
//! A read may be served once this node has applied everything that was committed when the read
//! began. The leader knows that index, provided that it still leads; a majority that answers a
//! message sent after the read began proves it. Such a confirmation round serves all reads that
//! waited when it began, and only one is under way at a time.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::ids::{LogIndex, NodeId, RequestId};
use crate::message::Body;
use crate::outbox::Outbox;
use crate::output::{Outcome, Refusal};
use crate::raft::Raft;
use crate::role::{Leader, Role};
use crate::time::Instant;

/// The reads that wait at a leader for the confirmation that it leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LeaderReads {
    own: VecDeque<OwnRead>,
    /// One question of each follower at most, since it stands for all its earlier ones; in the order
    /// of the followers.
    remote: Vec<RemoteRead>,
    /// The round that is under way consists of the messages after this one.
    round: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OwnRead {
    /// The newest message that had been sent when the read began: answers to later ones count.
    after: u64,
    index: LogIndex,
    request: RequestId,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RemoteRead {
    from: NodeId,
    after: u64,
    index: LogIndex,
    sequence: u64,
}

impl LeaderReads {
    pub(crate) fn len(&self) -> usize {
        self.own.len()
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.remote.is_empty()
    }

    pub(crate) fn into_requests(self) -> impl Iterator<Item = RequestId> {
        self.own.into_iter().map(|read| read.request)
    }
}

/// The reads that wait at a follower for the leader to name an index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FollowerReads {
    waiting: VecDeque<(u64, RequestId)>,
    asked: Option<Question>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Question {
    sequence: u64,
    repeat: Instant,
}

impl FollowerReads {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When to repeat the question that is out.
    pub(crate) fn repeat(&self) -> Option<Instant> {
        self.asked.map(|question| question.repeat)
    }

    pub(crate) fn into_requests(self) -> impl Iterator<Item = RequestId> {
        self.waiting.into_iter().map(|(_, request)| request)
    }
}

/// The reads whose index is known and not yet applied here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ConfirmedReads(BTreeSet<(LogIndex, RequestId)>);

impl ConfirmedReads {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Raft {
    pub(crate) fn on_read(&mut self, request: RequestId, out: &mut Outbox<'_>) {
        if self.pending_requests() >= self.config.max_pending_requests {
            return self.refuse(request, Refusal::Overloaded, out);
        }
        if self.applier.is_lost() {
            return self.refuse(request, Refusal::NoLeader, out);
        }
        let leased = self.may_read_by_lease();
        match &mut self.role {
            Role::Leader(_) if leased => {
                self.confirmed_reads.0.insert((self.commit, request));
                self.release_reads(out);
            }
            Role::Leader(leader) => {
                let after = leader.sequence;
                let index = self.commit.max(leader.term_start);
                leader.reads.own.push_back(OwnRead { after, index, request });
            }
            Role::Follower(Some(following)) => {
                let asked = following.reads.asked.is_some();
                // A question that is out was sent before this read began: this read is for the
                // next one.
                let sequence = self.read_sequence + u64::from(asked);
                following.reads.waiting.push_back((sequence, request));
                if !asked {
                    self.ask_for_index(out);
                }
            }
            _ => self.refuse(request, Refusal::NoLeader, out),
        }
    }

    /// Whether the lease makes a round of messages unnecessary.
    fn may_read_by_lease(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if self.commit >= leader.term_start)
            && self.holds_lease()
    }

    /// Sends the question for all the reads that wait at this follower.
    fn ask_for_index(&mut self, out: &mut Outbox<'_>) {
        let repeat = self.now.plus(self.config.heartbeat_interval);
        let sequence = self.read_sequence;
        let Role::Follower(Some(following)) = &mut self.role else { return };
        following.reads.asked = Some(Question { sequence, repeat });
        let leader = following.leader;
        self.send(leader, Body::ReadIndex { sequence }, out);
    }

    pub(crate) fn repeat_read_question(&mut self, out: &mut Outbox<'_>) {
        let Role::Follower(Some(following)) = &self.role else { return };
        if following.reads.repeat().is_some_and(|at| at <= self.now) {
            self.ask_for_index(out);
        }
    }

    pub(crate) fn on_read_index(&mut self, from: NodeId, sequence: u64, out: &mut Outbox<'_>) {
        let commit = self.commit;
        let leased = self.may_read_by_lease();
        let Role::Leader(leader) = &mut self.role else {
            // A leader of this term that has stepped down: the follower asks the next one.
            self.dropped.not_leader += 1;
            return;
        };
        let remote = &mut leader.reads.remote;
        let place = remote.binary_search_by_key(&from, |read| read.from);
        let known = place.is_ok_and(|at| remote[at].sequence == sequence);
        if known || leader.peer(from).is_none() {
            return;
        }
        if leased {
            if let Some(peer) = leader.peer(from) {
                peer.commit_wanted = peer.commit_wanted.max(commit);
            }
            return self.send(from, Body::ReadIndexReply { sequence, index: commit }, out);
        }
        let index = commit.max(leader.term_start);
        let read = RemoteRead { from, after: leader.sequence, index, sequence };
        match place {
            Ok(earlier) => leader.reads.remote[earlier] = read,
            Err(place) => leader.reads.remote.insert(place, read),
        }
    }

    pub(crate) fn on_read_index_reply(
        &mut self,
        from: NodeId,
        sequence: u64,
        index: LogIndex,
        out: &mut Outbox<'_>,
    ) {
        let Role::Follower(Some(following)) = &mut self.role else { return };
        let answers = following.reads.asked.is_some_and(|question| question.sequence == sequence);
        if following.leader != from || !answers {
            return;
        }
        following.reads.asked = None;
        while let Some((of, request)) = following.reads.waiting.front()
            && *of <= sequence
        {
            self.confirmed_reads.0.insert((index, *request));
            following.reads.waiting.pop_front();
        }
        let more = !following.reads.waiting.is_empty();
        self.read_sequence += 1;
        if more {
            self.ask_for_index(out);
        }
        self.release_reads(out);
    }

    /// Confirms the reads that a majority has vouched for, and begins a round for those that still
    /// wait, unless one is under way.
    pub(crate) fn advance_reads(&mut self, out: &mut Outbox<'_>) {
        let Role::Leader(leader) = &self.role else { return };
        if leader.reads.is_empty() {
            return;
        }
        let answered = self.membership.reached_by_majority(|id| self.answered_by(id)).unwrap_or(0);
        self.confirm_reads(answered, out);
        self.release_reads(out);
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.reads.round.is_some_and(|round| answered > round) {
            leader.reads.round = None;
        }
        if !leader.reads.is_empty() && leader.reads.round.is_none() {
            leader.reads.round = Some(leader.sequence);
            leader.speak_to_all();
        }
    }

    fn confirm_reads(&mut self, answered: u64, out: &mut Outbox<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        while let Some(read) = leader.reads.own.front()
            && read.after < answered
        {
            self.confirmed_reads.0.insert((read.index, read.request));
            leader.reads.own.pop_front();
        }
        let is_confirmed = |read: &mut RemoteRead| read.after < answered;
        let confirmed: Vec<RemoteRead> = leader.reads.remote.extract_if(.., is_confirmed).collect();
        for RemoteRead { from, sequence, index, .. } in confirmed {
            if let Role::Leader(leader) = &mut self.role
                && let Some(peer) = leader.peer(from)
            {
                peer.commit_wanted = peer.commit_wanted.max(index);
            }
            self.send(from, Body::ReadIndexReply { sequence, index }, out);
        }
    }

    /// Answers the confirmed reads whose index is applied.
    pub(crate) fn release_reads(&mut self, out: &mut Outbox<'_>) {
        if self.applier.is_lost() {
            return self.refuse_confirmed_reads(out);
        }
        while let Some((index, request)) = self.confirmed_reads.0.first().copied()
            && index <= self.applier.applied()
        {
            self.confirmed_reads.0.pop_first();
            out.done(request, Outcome::Readable { index });
        }
    }

    /// Refuses the confirmed reads: the state from which they were to be served is lost, and nobody
    /// knows when there will be another, on a node that was removed perhaps never.
    pub(crate) fn refuse_confirmed_reads(&mut self, out: &mut Outbox<'_>) {
        while let Some((_, request)) = self.confirmed_reads.0.pop_first() {
            self.refuse(request, Refusal::NoLeader, out);
        }
    }

    /// Refuses the confirmed reads whose index is beyond what this node knows to be committed: the
    /// leader that would have told is gone.
    pub(crate) fn refuse_unreachable_reads(&mut self, out: &mut Outbox<'_>) {
        while let Some((index, request)) = self.confirmed_reads.0.last().copied()
            && index > self.commit
        {
            self.confirmed_reads.0.pop_last();
            self.refuse(request, Refusal::NoLeader, out);
        }
    }
}

impl Leader {
    /// Every peer is sent a message in this step, if only a heartbeat.
    pub(crate) fn speak_to_all(&mut self) {
        for peer in &mut self.peers {
            peer.heartbeat = true;
        }
    }
}
