//! What has happened in one of the model's worlds, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use raft_core::{Entry, LogIndex, Membership, NodeId, Outcome, Payload, RequestId, RoleKind, Term};

use crate::model::node::{Effects, Node};

/// What no node knows as a whole. It decides nothing, it only judges.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct History {
    leaders: BTreeMap<Term, NodeId>,
    /// By index, from 1 on; with a term by which it was committed.
    committed: Vec<(Entry, Term)>,
    open: BTreeMap<RequestId, Request>,
    /// Requests that were said not to be applied, ever.
    denied: BTreeSet<RequestId>,
    /// Where requests were said to be.
    promised: BTreeMap<LogIndex, (Term, RequestId)>,
    /// The last entry that some client knows to be committed.
    known: LogIndex,
    requests: u64,
    flaw: Option<&'static str>,
}

#[derive(Clone, Debug, Hash)]
enum Request {
    Command,
    /// With what its client knew when it began.
    Read(LogIndex),
    Change,
}

impl History {
    pub(crate) const fn flaw(&self) -> Option<&'static str> {
        self.flaw
    }

    fn demand(&mut self, holds: bool, law: &'static str) {
        if !holds {
            self.flaw.get_or_insert(law);
        }
    }

    fn ask(&mut self, request: Request) -> RequestId {
        self.requests += 1;
        let id = RequestId::new(self.requests);
        self.open.insert(id, request);
        id
    }

    pub(crate) fn ask_command(&mut self) -> RequestId {
        self.ask(Request::Command)
    }

    pub(crate) fn ask_read(&mut self) -> RequestId {
        self.ask(Request::Read(self.known))
    }

    pub(crate) fn ask_change(&mut self) -> RequestId {
        self.ask(Request::Change)
    }

    /// Whoever waited at a node that crashed gets no answer any more; nobody else may get one
    /// later. A model of clients would add nothing.
    pub(crate) fn judge(&mut self, nodes: &[&Node], at: usize, effects: &Effects) {
        self.judge_cut(effects);
        self.judge_leader(nodes, at);
        if effects.wrote {
            self.judge_logs(nodes, at);
            self.judge_change(nodes[at]);
        }
        for entry in &effects.applied {
            self.judge_applied(nodes, at, entry);
        }
        if let Some((index, members)) = &effects.counted {
            self.judge_counted(nodes, at, *index, members);
        }
        for (request, outcome) in &effects.done {
            self.judge_answer(*request, *outcome);
        }
    }

    fn judge_cut(&mut self, effects: &Effects) {
        let kept = effects.cut.iter().all(|entry| self.committed_at(entry.index) != Some(entry));
        self.demand(kept, "a committed entry is never cut");
    }

    fn committed_at(&self, index: LogIndex) -> Option<&Entry> {
        let place = usize::try_from(index.get()).ok()?.checked_sub(1)?;
        self.committed.get(place).map(|(entry, _)| entry)
    }

    /// Election safety and leader completeness (paper, figure 3).
    fn judge_leader(&mut self, nodes: &[&Node], at: usize) {
        let (RoleKind::Leader, term) = nodes[at].role() else { return };
        let id = NodeId::new(at as u64 + 1);
        if let Some(known) = self.leaders.get(&term) {
            let same = *known == id;
            return self.demand(same, "election safety: one leader in a term");
        }
        self.leaders.insert(term, id);
        let log = nodes[at].log();
        // The leader of an old term may win late, without what newer terms have committed.
        let earlier = self.committed.iter().filter(|(_, by)| *by < term);
        let complete = earlier.map(|(entry, _)| entry).all(|entry| log.contains(entry));
        self.demand(complete, "leader completeness: a new leader has all that is committed");
    }

    /// Log matching (paper, figure 3).
    fn judge_logs(&mut self, nodes: &[&Node], at: usize) {
        let log = nodes[at].log();
        let matches = nodes.iter().all(|other| {
            let other = other.log();
            let agree = log.iter().zip(other).rposition(|(one, two)| one.term == two.term);
            agree.is_none_or(|last| log[..=last] == other[..=last])
        });
        self.demand(matches, "log matching: same term at an index, same log up to it");
    }

    /// A leader that has committed nothing in its term does not know the configuration for certain,
    /// and starts no change (dissertation, section 4.1, as corrected in 2015).
    fn judge_change(&mut self, node: &Node) {
        let (RoleKind::Leader, term) = node.role() else { return };
        let own = |entry: &&Entry| entry.term == term;
        let changes = |entry: &Entry| matches!(entry.payload, Payload::Membership(_));
        let changed = node.log().iter().filter(own).any(changes);
        let committed = node.log().iter().filter(own).any(|entry| entry.index <= node.commit());
        self.demand(committed || !changed, "a leader commits an entry of its term before a change");
    }

    /// What a leader may conclude from who holds an entry. What an earlier leader has left is not
    /// committed by counting (paper, section 5.4.2): the loss that this prevents takes four terms,
    /// more than can be explored. In a joint configuration both halves count (dissertation, section
    /// 4.3).
    fn judge_counted(&mut self, nodes: &[&Node], at: usize, index: LogIndex, members: &Membership) {
        let (_, term) = nodes[at].role();
        let entry = nodes[at].log().iter().find(|entry| entry.index == index);
        let Some(entry) = entry.filter(|entry| entry.term == term) else {
            return self.demand(false, "a leader counts copies of entries of its own term only");
        };
        let safe = is_majority(members, &holders(nodes, entry));
        self.demand(safe, "a leader counts a majority of each half of its configuration");
    }

    /// State machine safety (paper, figure 3); and what is applied is durable on a majority.
    fn judge_applied(&mut self, nodes: &[&Node], at: usize, entry: &Entry) {
        if let Some(known) = self.committed_at(entry.index) {
            let same = known == entry;
            return self.demand(same, "state machine safety: one entry at an index");
        }
        let next = entry.index.get() == self.committed.len() as u64 + 1;
        self.demand(next, "entries are applied in order");
        let holders = holders(nodes, entry);
        // Whoever committed it knew some configuration that somebody still knows.
        let safe = nodes.iter().any(|node| is_majority(node.members(), &holders));
        self.demand(safe, "what is committed is durable on a majority");
        if let Payload::Command(command) = &entry.payload {
            let request = request_of(command);
            let denied = self.denied.contains(&request);
            self.demand(!denied, "what was refused or lost is never applied");
        }
        let promised = self.promised.get(&entry.index).copied();
        let (_, term) = nodes[at].role();
        self.committed.push((entry.clone(), term));
        self.judge_promise(entry.index, promised);
    }

    fn judge_promise(&mut self, index: LogIndex, promised: Option<(Term, RequestId)>) {
        let (Some((term, request)), Some(entry)) = (promised, self.committed_at(index)) else {
            return;
        };
        let kept = entry.term == term
            && match &entry.payload {
                Payload::Command(command) => request_of(command) == request,
                Payload::Noop | Payload::Membership(_) => true,
            };
        self.demand(kept, "a request is answered with its own place");
    }

    fn judge_answer(&mut self, request: RequestId, outcome: Outcome) {
        let Some(asked) = self.open.remove(&request) else {
            return self.demand(false, "one answer for each request");
        };
        match (asked, outcome) {
            (Request::Read(known), Outcome::Readable { index }) => {
                self.demand(index >= known, "a read sees all that was known when it began");
                self.known = self.known.max(index);
            }
            (Request::Command | Request::Change, Outcome::Committed { term, index }) => {
                self.known = self.known.max(index);
                self.promised.insert(index, (term, request));
                self.judge_promise(index, Some((term, request)));
            }
            (Request::Command, Outcome::Refused { .. } | Outcome::Lost) => {
                self.denied.insert(request);
                let applied = self.committed.iter().any(|(entry, _)| match &entry.payload {
                    Payload::Command(command) => request_of(command) == request,
                    Payload::Noop | Payload::Membership(_) => false,
                });
                self.demand(!applied, "what was refused or lost is never applied");
            }
            (_, Outcome::Refused { .. } | Outcome::Unknown) => {}
            _ => self.demand(false, "an answer fits its request"),
        }
    }
}

/// The nodes on whose disks this very entry is.
fn holders(nodes: &[&Node], entry: &Entry) -> BTreeSet<NodeId> {
    let holders = nodes.iter().enumerate().filter(|(_, node)| node.has_durable(entry));
    holders.map(|(place, _)| NodeId::new(place as u64 + 1)).collect()
}

fn is_majority(members: &Membership, nodes: &BTreeSet<NodeId>) -> bool {
    let majority = |voters: &[NodeId]| {
        voters.iter().filter(|voter| nodes.contains(voter)).count() > voters.len() / 2
    };
    majority(members.voters()) && (!members.is_joint() || majority(members.outgoing()))
}

/// A command is the name of its request.
pub(crate) fn command_of(request: RequestId) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&request.get().to_le_bytes())
}

fn request_of(command: &[u8]) -> RequestId {
    RequestId::new(command.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}
