//! What a node says and writes must be backed by its disk.

use alloc::format;
use alloc::vec::Vec;

use raft_node::core::{
    Append, AppendResult, Body, Entry, LogPosition, Message, NodeId, Payload, RoleKind, Write,
};

use crate::sim::checker::Checker;
use crate::sim::checker::disks::Log;
use crate::sim::node::SimNode;
use crate::sim::world::{id_of, number};

impl Checker {
    /// I9: what a message promises is on the sender's disk. I17: it goes to a member. And each peer
    /// gets at most one message with entries in a step.
    pub(super) fn check_message(
        &mut self,
        nodes: &[SimNode],
        node: usize,
        message: &Message,
        appends: &mut Vec<NodeId>,
    ) {
        let name = id_of(node);
        if matches!(message.body, Body::Append(_)) {
            let twice = appends.contains(&message.to);
            self.demand(!twice, || format!("two appends to {} in one step", message.to));
            appends.push(message.to);
        }
        let numbered = match &message.body {
            Body::Append(append) => Some(append.sequence),
            Body::SnapshotChunk(chunk) => Some(chunk.sequence),
            _ => None,
        };
        if let Some(sequence) = numbered {
            let sent = &mut self.known[node].sent;
            *sent = (*sent).max((message.term, sequence));
        }
        let hard_state = nodes[node].disk.durable().hard_state;
        self.demand(message.from == id_of(node) && number(message.to) < nodes.len(), || {
            format!("I17: {name:?} sends from {} to {}", message.from, message.to)
        });
        self.demand(message.term <= hard_state.term, || {
            format!(
                "I9: {name:?} speaks of term {}, its disk says {}",
                message.term, hard_state.term
            )
        });
        let log = || Log::durable(&nodes[node]);
        // A step that writes at once may have voted in a newer term since it said this, and have cut
        // what was on the disk then.
        let vote = self.votes.get(&(node, message.term)).copied();
        let reached = self.known[node].reached;
        let holds = match &message.body {
            Body::Vote { last, .. } => {
                let log_is = |it: LogPosition| self.term_in(&log(), it.index) == Some(it.term);
                let campaigns = self.known[node].campaigns;
                campaigns && vote == Some(message.from) && log_is(*last)
            }
            Body::VoteReply { granted: true } => vote == Some(message.to),
            Body::AppendReply(reply) => match reply.result {
                AppendResult::Accepted { durable, .. } => durable <= log().last().max(reached),
                AppendResult::Rejected { .. } => true,
            },
            // Who sends a snapshot has it.
            Body::SnapshotChunk(chunk) if !chunk.data.is_empty() => {
                let newest = nodes[node].snapshots.newest();
                newest.is_some_and(|newest| newest.position.index >= chunk.snapshot.position.index)
            }
            _ => true,
        };
        self.demand(holds, || {
            format!("I9: {name:?} promises what is not on its disk: {message:?}")
        });
        match &message.body {
            Body::SnapshotChunk(chunk) => self.check_snapshot(node, &chunk.snapshot),
            Body::Append(append) => self.check_entries(nodes, node, append),
            _ => {}
        }
    }

    /// I11: a leader sends what is in its log, or is written to it in this step.
    fn check_entries(&mut self, nodes: &[SimNode], node: usize, append: &Append) {
        let log = nodes[node].disk.current();
        let is_other =
            |entry: &&Entry| log.term_at(entry.index).is_some_and(|term| term != entry.term);
        let other = append.entries.iter().find(is_other);
        self.demand(other.is_none(), || {
            format!("I11: leader {:?} sends what is not in its log: {other:?}", id_of(node))
        });
    }

    /// I6: committed entries stay. I8: what is compacted is in a durable snapshot. I11: a leader
    /// cuts nothing of its own log.
    pub(crate) fn check_write(&mut self, nodes: &[SimNode], node: usize, write: &Write) {
        let name = id_of(node);
        let reached = Log::durable(&nodes[node]).last();
        self.known[node].reached = self.known[node].reached.max(reached);
        let is_membership = |payload: &Payload| matches!(payload, Payload::Membership(_));
        self.known[node].writes_membership |=
            write.entries.iter().any(|entry| is_membership(&entry.payload));
        if let Some(position) = write.begin_after {
            let covered = nodes[node].snapshots.newest().map(|it| it.position.index);
            self.demand(covered >= Some(position.index), || {
                format!("I8: {name:?} compacts to {position:?} with a snapshot of {covered:?}")
            });
            let known = self.committed_term(position.index);
            self.demand(known == Some(position.term), || {
                format!("I8: {name:?} compacts to {position:?}, committed is {known:?}")
            });
        }
        let Some(from) = write.truncate_from else { return };
        let leads =
            nodes[node].raft.as_ref().is_some_and(|raft| raft.status().role == RoleKind::Leader);
        self.demand(!leads, || format!("I11: leader {name:?} truncates its log at {from}"));
        let current = nodes[node].disk.current();
        let kept = usize::try_from(from.prev().get()).unwrap_or(usize::MAX);
        let cut = self.committed.get(kept..).unwrap_or_default();
        // A leader of an old term may be heard late, by a node that has no part in what was
        // committed since.
        let by = write.entries.first().map(|entry| entry.term);
        let lost = cut
            .iter()
            .filter(|committed| by.is_none_or(|by| committed.in_term <= by))
            .map(|committed| (committed.entry.index, committed.entry.term))
            .find(|(index, term)| current.entry(*index).map(|it| it.term) == Some(*term));
        self.demand(lost.is_none(), || format!("I6: {name:?} cuts a committed entry: {lost:?}"));
    }
}
