//! The follower's side of replication (paper, section 5.3).

use crate::entry::{Entries, LogPosition};
use crate::ids::{LogIndex, NodeId};
use crate::message::{Append, AppendReply, AppendResult, Body};
use crate::outbox::Outbox;
use crate::raft::Raft;
use crate::role::Role;

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
        if !self.log.agrees_at(append.prev) {
            return self.reject_append(from, &append, out);
        }
        match self.take_in(&append, out) {
            Ok(appended) => self.accept_append(from, &append, appended, out),
            Err(()) => return,
        }
        // Only what this message has shown to match may commit: a longer tail of this log may be
        // another leader's.
        self.set_commit(append.commit.min(append.last()), out);
    }

    /// Appends what the log does not have, and cuts what contradicts it, from the first
    /// contradiction on: a late message must not cut entries that were acknowledged since. Says
    /// whether the log changed, or `Err` if the message is to be ignored.
    fn take_in(&mut self, append: &Append, out: &mut Outbox<'_>) -> Result<bool, ()> {
        let new = append.entries.iter().find(|entry| !self.log.agrees_at(entry.position()));
        let Some(LogPosition { index: first, .. }) = new.map(crate::Entry::position) else {
            return Ok(false);
        };
        if first <= self.commit {
            // The sender contradicts a committed entry. Nothing it says can be trusted.
            self.dropped.malformed += 1;
            return Err(());
        }
        let entries: Entries = append.entries.between(first, LogIndex::MAX);
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

    /// Acknowledges new entries when they are durable, and anything else at once, with what is
    /// durable by now.
    fn accept_append(&mut self, to: NodeId, append: &Append, appended: bool, out: &mut Outbox<'_>) {
        let last = append.last();
        let (until, durable) = if appended {
            (self.log.upcoming_ticket(), last)
        } else {
            (self.hard_state_ticket(), last.min(self.log.durable()))
        };
        let result = AppendResult::Accepted { last, durable };
        let needs_snapshot = self.needs_snapshot();
        let reply = AppendReply { sequence: append.sequence, result, needs_snapshot };
        self.send_after(until, to, Body::AppendReply(reply), out);
    }

    pub(crate) fn reject_append(&mut self, to: NodeId, append: &Append, out: &mut Outbox<'_>) {
        let prev = append.prev;
        let hint = self.log.last_at_most(LogPosition { index: prev.index.prev(), term: prev.term });
        let result = AppendResult::Rejected { prev: prev.index, hint };
        let needs_snapshot = self.needs_snapshot();
        let reply = AppendReply { sequence: append.sequence, result, needs_snapshot };
        self.send(to, Body::AppendReply(reply), out);
    }
}
