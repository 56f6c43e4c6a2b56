//! The invariants that only somebody who sees all nodes and all disks can check. The numbers are
//! those of the project's list of invariants.

use std::collections::BTreeMap;

use raft_node::core::{
    AppendResult, Body, Entry, LogIndex, LogPosition, Message, NodeId, Output, RoleKind, Status,
    Term, Write,
};

use crate::sim::node::SimNode;
use crate::sim::world::{id_of, number};

/// What has ever been true, and what must stay so.
pub(crate) struct Checker {
    voters: usize,
    leaders: BTreeMap<Term, usize>,
    votes: BTreeMap<(usize, Term), NodeId>,
    committed: Vec<Committed>,
    known: Vec<Known>,
    violation: Option<String>,
}

/// An entry that is committed, since a term.
struct Committed {
    entry: Entry,
    in_term: Term,
}

/// What a node was seen to be.
#[derive(Clone, Debug, Default)]
struct Known {
    durable_term: Term,
    commit: LogIndex,
    applied: LogIndex,
    leads: Option<Term>,
    /// As a leader, of each peer.
    matched: BTreeMap<NodeId, LogIndex>,
}

impl Checker {
    pub(crate) fn new(voters: usize, nodes: usize) -> Self {
        Self {
            voters,
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            committed: Vec::new(),
            known: vec![Known::default(); nodes],
            violation: None,
        }
    }

    pub(crate) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    fn demand(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.fail(otherwise());
        }
    }

    /// A node has started: what it knew in memory is gone.
    pub(crate) fn started(&mut self, node: usize) {
        let durable_term = self.known[node].durable_term;
        self.known[node] = Known { durable_term, ..Known::default() };
    }

    /// A node's disk holds something new for good (I7, I10).
    pub(crate) fn disk_changed(&mut self, nodes: &[SimNode], node: usize) {
        let hard_state = nodes[node].disk.durable().hard_state;
        let before = self.known[node].durable_term;
        self.demand(hard_state.term >= before, || {
            format!("I7: the durable term of node {node} fell from {before} to {}", hard_state.term)
        });
        self.known[node].durable_term = hard_state.term;
        if let Some(vote) = hard_state.vote {
            let first = *self.votes.entry((node, hard_state.term)).or_insert(vote);
            self.demand(first == vote, || {
                format!("I10: node {node} voted for {first} and {vote} in term {}", hard_state.term)
            });
        }
    }

    /// The last entry that anybody knows to be committed.
    pub(crate) fn newest_commit(&self) -> LogIndex {
        self.committed.last().map_or(LogIndex::ZERO, |known| known.entry.index)
    }

    /// I15, before any client compares values: a read sees everything that was committed when it
    /// began, wherever it was.
    pub(crate) fn check_read(&mut self, node: usize, began: LogIndex, index: LogIndex) {
        self.demand(began <= index, || {
            format!("I15: node {node} reads at {index}, but {began} was committed when it began")
        });
    }

    /// A step has produced these outputs; none is carried out yet.
    pub(crate) fn before_outputs(&mut self, nodes: &[SimNode], node: usize, outputs: &[Output]) {
        let mut writes = 0;
        let mut appends: Vec<NodeId> = Vec::new();
        for output in outputs {
            match output {
                Output::Send(message) => {
                    self.check_message(nodes, node, message);
                    if matches!(message.body, Body::Append(_)) {
                        let twice = appends.contains(&message.to);
                        self.demand(!twice, || {
                            format!("two appends to {} in one step", message.to)
                        });
                        appends.push(message.to);
                    }
                }
                Output::Persist(write) => {
                    writes += 1;
                    self.check_write(nodes, node, write);
                }
                Output::Apply(entries) => {
                    let durable = nodes[node].disk.durable();
                    let gone =
                        entries.iter().find(|entry| durable.entry(entry.index) != Some(*entry));
                    self.demand(gone.is_none(), || {
                        format!("I8: node {node} applies what is not on its disk: {gone:?}")
                    });
                }
                _ => {}
            }
        }
        self.demand(writes <= 1, || format!("node {node} wrote {writes} times in one step"));
    }

    /// I9: what a message promises is on the sender's disk. I17: it goes to a member.
    fn check_message(&mut self, nodes: &[SimNode], node: usize, message: &Message) {
        let durable = nodes[node].disk.durable();
        let hard_state = durable.hard_state;
        self.demand(message.from == id_of(node) && number(message.to) < nodes.len(), || {
            format!("I17: node {node} sends from {} to {}", message.from, message.to)
        });
        self.demand(message.term <= hard_state.term, || {
            format!(
                "I9: node {node} speaks of term {}, its disk says {}",
                message.term, hard_state.term
            )
        });
        let holds = match &message.body {
            Body::Vote { last } => {
                let log_is = |last: LogPosition| durable.term_at(last.index) == Some(last.term);
                hard_state.vote == Some(message.from)
                    && (*last == LogPosition::default() || log_is(*last))
            }
            Body::VoteReply { granted: true } => hard_state.vote == Some(message.to),
            Body::AppendReply(reply) => match reply.result {
                AppendResult::Accepted { durable: promised, .. } => promised <= durable.last(),
                AppendResult::Rejected { .. } => true,
            },
            _ => true,
        };
        self.demand(holds, || {
            format!("I9: node {node} promises what is not on its disk: {message:?}")
        });
    }

    /// I6: committed entries stay. I11: a leader cuts nothing of its own log.
    fn check_write(&mut self, nodes: &[SimNode], node: usize, write: &Write) {
        let Some(from) = write.truncate_from else { return };
        let leads =
            nodes[node].raft.as_ref().is_some_and(|raft| raft.status().role == RoleKind::Leader);
        self.demand(!leads, || format!("I11: leader {node} truncates its log at {from}"));
        let current = nodes[node].disk.current();
        let kept = usize::try_from(from.prev().get()).unwrap_or(usize::MAX);
        let cut = self.committed.get(kept..).unwrap_or_default();
        let lost = cut
            .iter()
            .map(|committed| (committed.entry.index, committed.entry.term))
            .find(|(index, term)| current.term_at(*index) == Some(*term));
        self.demand(lost.is_none(), || format!("I6: node {node} cuts a committed entry: {lost:?}"));
    }

    /// The outputs of a step are on their way.
    pub(crate) fn after_outputs(&mut self, nodes: &[SimNode], node: usize) {
        let Some(raft) = &nodes[node].raft else { return };
        if let Err(broken) = raft.check_invariants() {
            self.fail(format!("node {node}: {broken}"));
        }
        let status = raft.status();
        self.check_progress(node, &status);
        self.check_leader(nodes, node, &status);
        self.check_counting(nodes, node, &status);
        while self.known[node].commit < status.commit {
            let index = self.known[node].commit.next();
            self.known[node].commit = index;
            self.check_commit(nodes, node, index, status.term);
        }
    }

    /// A leader counts copies of entries of its own term only (paper, section 5.4.2): those of
    /// earlier terms may still be overwritten although a majority has them.
    fn check_counting(&mut self, nodes: &[SimNode], node: usize, status: &Status) {
        if status.role == RoleKind::Leader && status.commit > self.known[node].commit {
            let term = nodes[node].disk.current().term_at(status.commit);
            self.demand(term == Some(status.term), || {
                let Status { term: leads, commit, .. } = status;
                format!("I5: leader {node} of term {leads} counts copies of {commit} of {term:?}")
            });
        }
    }

    /// I7 and I8: nothing falls within one life, and everything is in its order.
    fn check_progress(&mut self, node: usize, status: &Status) {
        let Known { commit, applied, .. } = self.known[node];
        self.demand(status.commit >= commit && status.applied >= applied, || {
            format!("I7: commit or applied of node {node} fell: {status:?}")
        });
        self.demand(status.applied <= status.commit && status.commit <= status.last, || {
            format!("I8: applied <= commit <= last does not hold: {status:?}")
        });
        self.known[node].applied = status.applied;
    }

    /// I1, I3 and I13.
    fn check_leader(&mut self, nodes: &[SimNode], node: usize, status: &Status) {
        if status.role != RoleKind::Leader {
            self.known[node].leads = None;
            return;
        }
        let first = *self.leaders.entry(status.term).or_insert(node);
        self.demand(first == node, || {
            format!("I1: nodes {first} and {node} both led in term {}", status.term)
        });
        let current = nodes[node].disk.current();
        if self.known[node].leads != Some(status.term) {
            self.known[node].leads = Some(status.term);
            self.known[node].matched.clear();
            // A candidate of an old term may win late, without what was committed since.
            let earlier = self.committed.iter().filter(|known| known.in_term <= status.term);
            let mut places = earlier.map(|known| (known.entry.index, known.entry.term));
            let missing = places.find(|(index, term)| current.term_at(*index) != Some(*term));
            self.demand(missing.is_none(), || {
                format!("I3: leader {node} of term {} lacks committed {missing:?}", status.term)
            });
        }
        for peer in &status.peers {
            let before = self.known[node].matched.insert(peer.id, peer.matched);
            self.demand(before.is_none_or(|before| before <= peer.matched), || {
                format!("I13: the match of {peer:?} at leader {node} fell from {before:?}")
            });
            let durable = nodes[number(peer.id)].disk.durable();
            // A leader that was deposed without knowing it may be wrong about the others.
            let deposed = durable.hard_state.term > status.term;
            let holds = peer.matched < peer.next
                && (deposed || durable.term_at(peer.matched) == current.term_at(peer.matched));
            self.demand(holds, || {
                format!("I13: leader {node} believes that {peer:?} has what its disk lacks")
            });
        }
    }

    /// I2, I4 and I5, for one entry that this node now knows to be committed.
    fn check_commit(&mut self, nodes: &[SimNode], node: usize, index: LogIndex, in_term: Term) {
        let Some(entry) = nodes[node].disk.current().entry(index) else {
            return self.fail(format!("I8: node {node} commits {index}, which it does not have"));
        };
        let position = self.committed.len() as u64 + 1;
        if index.get() == position {
            let holds = |node: &SimNode| node.disk.durable().term_at(index) == Some(entry.term);
            let holders = nodes[..self.voters].iter().filter(|node| holds(node)).count();
            self.demand(holders > self.voters / 2, || {
                format!("I5: {entry:?} is committed with {holders} durable copies")
            });
            self.committed.push(Committed { entry: entry.clone(), in_term });
            return;
        }
        let place = usize::try_from(index.prev().get()).unwrap_or(usize::MAX);
        let known = self.committed.get(place).map(|known| known.entry.clone());
        let same = known.as_ref() == Some(entry);
        self.demand(same, || format!("I4: node {node} commits {entry:?}, others {known:?}"));
    }
}
