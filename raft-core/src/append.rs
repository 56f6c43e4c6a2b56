//! The follower's side of replication (paper, section 5.3).

use alloc::collections::VecDeque;

use crate::entry::{Entries, Entry, LogPosition};
use crate::ids::{LogIndex, NodeId, Ticket};
use crate::message::{Append, AppendReply, AppendResult, Body};
use crate::outbox::Outbox;
use crate::raft::Raft;
use crate::role::Role;

/// The acknowledgements of a follower that wait for its disk, in the order of their tickets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OwedAcks(VecDeque<OwedAck>);

/// So many may wait, whatever the limit.
const FEWEST: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OwedAck {
    until: Ticket,
    sequence: u64,
    last: LogIndex,
}

impl OwedAcks {
    /// Each stands for all before it. So where there is no room for one more, it takes the place
    /// of the newest, which is not the oldest: that one goes out when its write is durable.
    fn owe(&mut self, mut owed: OwedAck, limit: usize) {
        let full = self.0.len() >= limit.max(FEWEST);
        if let Some(newest) = self.0.back_mut()
            && (full || newest.until == owed.until)
        {
            owed.sequence = owed.sequence.max(newest.sequence);
            *newest = owed;
        } else {
            self.0.push_back(owed);
        }
    }

    /// What is due by now, as one.
    fn take(&mut self, durable: Ticket) -> Option<OwedAck> {
        let mut due: Option<OwedAck> = None;
        while let Some(next) = self.0.front()
            && next.until <= durable
            && let Some(mut next) = self.0.pop_front()
        {
            next.sequence = due.map_or(next.sequence, |before| before.sequence.max(next.sequence));
            due = Some(next);
        }
        due
    }

    /// Each waits for something that is not durable, and there are not too many of them.
    pub(crate) fn check(&self, durable: Ticket, limit: usize) -> Result<(), &'static str> {
        let waits = self.0.front().is_none_or(|owed| owed.until > durable);
        let ascends = self.0.iter().is_sorted_by(|one, two| one.until < two.until);
        if waits && ascends && self.0.len() <= limit.max(FEWEST) {
            Ok(())
        } else {
            Err("acknowledgements wait for their writes, one for each, within their limit")
        }
    }
}

impl Raft {
    /// Follows whoever leads this term, member or not: the configuration here may be old. Says
    /// whether the message is to be looked at.
    pub(crate) fn hear_leader(&mut self, from: NodeId, out: &mut Outbox<'_>) -> bool {
        match &mut self.role {
            Role::Follower(Some(following)) if following.leader == from => {
                following.heard = self.now;
                self.election.restart(self.now);
            }
            // Two leaders in one term: somebody breaks the protocol, and it is not worth a crash.
            Role::Leader(_) | Role::Follower(Some(_)) => {
                self.dropped.malformed += 1;
                return false;
            }
            _ => self.follow(self.hard_state.term, Some(from), out),
        }
        self.heard_leader = self.now;
        true
    }

    pub(crate) fn on_append(&mut self, from: NodeId, append: Append, out: &mut Outbox<'_>) {
        if !self.hear_leader(from, out) {
            return;
        }
        let (last, sequence) = (append.last(), append.sequence);
        let Append { prev, entries, commit, .. } = append;
        if !self.log.agrees_at(prev) {
            return self.reject_append(from, prev, sequence, out);
        }
        match self.take_in(prev.index, entries, out) {
            // New entries are acknowledged when they are durable, and anything else at once.
            Ok(true) => self.owe_ack(sequence, last),
            Ok(false) => self.acknowledge(from, sequence, last, out),
            Err(()) => return,
        }
        // Only what this message has shown to match may commit: a longer tail of this log may be
        // another leader's.
        self.set_commit(commit.min(last), out);
    }

    /// Appends what the log does not have, and cuts what contradicts it, from the first
    /// contradiction on: a late message must not cut entries that were acknowledged since. Says
    /// whether the log changed, or `Err` if the message is to be ignored.
    fn take_in(
        &mut self,
        prev: LogIndex,
        entries: Entries,
        out: &mut Outbox<'_>,
    ) -> Result<bool, ()> {
        let new = |entry: &Entry| !self.log.agrees_at(entry.position());
        let Some(known) = entries.iter().position(new) else { return Ok(false) };
        let entries = entries.after(known);
        let first = prev.plus(known as u64 + 1);
        if first <= self.commit {
            // The sender contradicts a committed entry. Nothing it says can be trusted.
            self.dropped.malformed += 1;
            return Err(());
        }
        let waiting = self.log.unpersisted_bytes();
        if waiting > 0 && waiting.saturating_add(entries.size()) > self.config.max_unpersisted_bytes
        {
            self.dropped.over_limit += 1;
            return Err(());
        }
        self.log.truncate(first);
        self.log.append(entries);
        self.adopt_membership(out);
        Ok(true)
    }

    /// The log holds everything up to `last`, which will be durable with the write of this step.
    fn owe_ack(&mut self, sequence: u64, last: LogIndex) {
        let owed = OwedAck { until: self.log.upcoming_ticket(), sequence, last };
        if let Role::Follower(Some(following)) = &mut self.role {
            following.acks.owe(owed, self.config.max_held_messages);
        }
    }

    /// Acknowledges what this write and those before it have made durable.
    pub(crate) fn acknowledge_durable(&mut self, ticket: Ticket, out: &mut Outbox<'_>) {
        if let Role::Follower(Some(following)) = &mut self.role
            && let Some(OwedAck { sequence, last, .. }) = following.acks.take(ticket)
        {
            let leader = following.leader;
            self.acknowledge(leader, sequence, last, out);
        }
    }

    /// How many acknowledgements wait for this node's disk.
    pub(crate) fn acks_owed(&self) -> usize {
        let Role::Follower(Some(following)) = &self.role else { return 0 };
        following.acks.0.len()
    }

    /// Says that the logs are the same up to `last`, and how far that is durable by now.
    pub(crate) fn acknowledge(
        &mut self,
        to: NodeId,
        sequence: u64,
        last: LogIndex,
        out: &mut Outbox<'_>,
    ) {
        let durable = last.min(self.log.durable());
        let result = AppendResult::Accepted { last, durable };
        let reply = AppendReply { sequence, result, needs_snapshot: self.needs_snapshot() };
        self.send(to, Body::AppendReply(reply), out);
    }

    pub(crate) fn reject_append(
        &mut self,
        to: NodeId,
        prev: LogPosition,
        sequence: u64,
        out: &mut Outbox<'_>,
    ) {
        let hint = self.log.last_at_most(LogPosition { index: prev.index.prev(), term: prev.term });
        let result = AppendResult::Rejected { prev: prev.index, hint };
        let reply = AppendReply { sequence, result, needs_snapshot: self.needs_snapshot() };
        self.send(to, Body::AppendReply(reply), out);
    }
}
