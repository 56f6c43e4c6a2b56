//! What a node hears, and what must come of it.

use alloc::format;
use alloc::sync::Arc;

use raft_node::core::{
    Body, Event, Instant, LogIndex, LogPosition, Membership, Message, NodeId, Raft, RoleKind,
    Status, Term,
};

use crate::sim::checker::quorum::is_quorum;
use crate::sim::checker::{Checker, Known};
use crate::sim::node::SimNode;
use crate::sim::world::{id_of, number};

/// A message of a leader: the term, and its number in that term.
pub(super) type Numbered = (Term, u64);

/// A node whose disk has at least so many writes to do may put off a newer term, which is one more.
const BACKLOG: usize = 512;

/// What a step begins with.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// The newest term of a message that nobody may disregard.
    term: Term,
    /// If all that happens is a question before an election: what that must not change.
    stance: Option<Stance>,
    /// If all that happens is that somebody asks for a vote: who, and where both logs end.
    candidate: Option<(NodeId, [LogPosition; 2])>,
}

#[derive(Clone, Copy, Debug)]
struct Stance {
    role: RoleKind,
    term: Term,
    vote: Option<NodeId>,
    leader: Option<NodeId>,
    deadline: Option<Instant>,
}

impl Stance {
    fn of(raft: &Raft, status: &Status) -> Self {
        let Status { role, term, vote, leader, .. } = *status;
        Self { role, term, vote, leader, deadline: raft.deadline() }
    }

    /// Whether being asked may lead from `before` to this. Time passes too: a disk may be found to
    /// hang, and then there is no deadline any more.
    fn follows(self, before: Self) -> bool {
        let of = |it: Self| (it.role, it.term, it.vote, it.leader);
        let later = before.deadline.is_some() && self.deadline > before.deadline;
        of(self) == of(before) && !later
    }
}

/// How things were when a read began.
#[derive(Clone, Debug)]
pub(crate) struct ReadBegan {
    /// The last entry that anybody knew to be committed.
    commit: LogIndex,
    /// If its node leads and no lease serves the read: the newest message that had been sent, and
    /// the members whose answers to later ones confirm the read.
    confirmed_after: Option<(Numbered, Arc<Membership>)>,
    /// If its node leads: its term, and the newest in which anybody has led.
    leads: Option<(Term, Term)>,
}

impl Checker {
    /// A node is about to be given what was gathered for it, at this time of its clock.
    pub(crate) fn before_step(&mut self, nodes: &[SimNode], node: usize, now: Instant) {
        let SimNode { raft: Some(raft), gathered, disk, .. } = &nodes[node] else { return };
        let known = &mut self.known[node];
        known.now = known.now.max(now);
        let mut heard = Heard::default();
        for event in gathered {
            let Event::Receive(message) = event else { continue };
            if let Some(sequence) = answered_message(message) {
                let peer = &mut known.peers[number(message.from)];
                peer.answered = peer.answered.max((message.term, sequence));
                peer.answered_at = peer.answered_at.max((message.term, known.now));
            }
            let disregarded = matches!(message.body, Body::PreVote { .. } | Body::Vote { .. });
            if !disregarded && disk.pending() < BACKLOG {
                heard.term = heard.term.max(message.term);
            }
        }
        if let [Event::Receive(Message { term, body: Body::PreVote { .. }, .. })] = &gathered[..] {
            let stance = Stance::of(raft, &raft.status());
            let in_time = stance.deadline.is_none_or(|deadline| deadline > known.now);
            heard.stance = (*term <= stance.term && in_time).then_some(stance);
        }
        if let [Event::Receive(Message { from, body: Body::Vote { last, .. }, .. })] = &gathered[..]
        {
            let (log, index) = (disk.current(), disk.current().last());
            let term = log.term_at(index).unwrap_or_default();
            heard.candidate = Some((*from, [*last, LogPosition { term, index }]));
        }
        known.heard = heard;
    }

    /// I7: who hears of a newer term enters it (paper, section 5.1). I10: who is asked before an
    /// election promises nothing and waits no longer for its leader than before.
    pub(super) fn check_heard(&mut self, raft: &Raft, node: usize, status: &Status) {
        let name = id_of(node);
        let Heard { term, stance, candidate } = core::mem::take(&mut self.known[node].heard);
        self.check_vote(node, status, candidate);
        self.demand(term <= status.term, || {
            format!("I7: {name:?} stays in {:?}, and has heard of {term:?}", status.term)
        });
        let Some(before) = stance else { return };
        let after = Stance::of(raft, status);
        self.demand(after.follows(before), || {
            format!("I10: a question makes {before:?} of {name:?} to {after:?}")
        });
    }

    /// I10: a vote stays what it is as long as the term does. I3: it goes to nobody whose log is
    /// older than that of the voter (paper, section 5.4.1).
    fn check_vote(
        &mut self,
        node: usize,
        status: &Status,
        candidate: Option<(NodeId, [LogPosition; 2])>,
    ) {
        let (name, now) = (id_of(node), (status.term, status.vote));
        let before = core::mem::replace(&mut self.known[node].vote, now);
        let kept = before.0 != now.0 || before.1.is_none() || before == now;
        self.demand(kept, || format!("I10: the vote of {name:?} was {before:?} and is {now:?}"));
        let Some((candidate, logs)) = candidate else { return };
        let [theirs, own] = logs.map(|last| (last.term, last.index));
        let votes = now.1 == Some(candidate) && before != now;
        self.demand(!votes || theirs >= own, || {
            format!(
                "I3: {name:?}, whose log ends at {own:?}, votes for {candidate:?} with {theirs:?}"
            )
        });
    }

    /// A read begins at a node. `leases`: whether leaders may answer without asking the others.
    pub(crate) fn read_begins(&self, node: usize, leases: bool) -> ReadBegan {
        let known = &self.known[node];
        let newest = self.leaders.last_key_value().map(|(term, _)| *term);
        let confirmed_after = known
            .leads
            .filter(|_| !leases)
            .map(|term| (known.sent.max((term, 0)), known.membership.clone()));
        ReadBegan { commit: self.newest_commit(), confirmed_after, leads: known.leads.zip(newest) }
    }

    /// I15, before any client compares values: a read sees everything that was committed when it
    /// began, wherever it was; and a leader that serves it has made sure after it began that it
    /// still leads.
    pub(crate) fn check_read(
        &mut self,
        nodes: &[SimNode],
        node: usize,
        began: &ReadBegan,
        index: LogIndex,
    ) {
        let name = id_of(node);
        let ReadBegan { commit, confirmed_after, leads: led } = began;
        self.demand(*commit <= index, || {
            format!("I15: {name:?} reads at {index}, but {commit} was committed when it began")
        });
        if let Some((term, newest)) = led
            && self.known[node].leads == Some(*term)
        {
            self.demand(newest <= term, || {
                format!(
                    "I15: {name:?} of {term:?} serves a read begun when {newest:?} had a leader"
                )
            });
        }
        let (Some((after, members)), Some(raft)) = (confirmed_after, &nodes[node].raft) else {
            return;
        };
        let Checker { known, .. } = self;
        let Known { leads, membership, peers, .. } = &known[node];
        if *leads != Some(after.0) || membership != members || raft.membership() != &**members {
            return;
        }
        let confirmed = is_quorum(members, |id| {
            id == name || peers.get(number(id)).is_some_and(|peer| peer.answered > *after)
        });
        self.demand(confirmed, || {
            format!(
                "I15: leader {name:?} reads at {index}, and was last confirmed before {after:?}"
            )
        });
    }
}

/// The number of the leader's message that this one answers.
fn answered_message(message: &Message) -> Option<u64> {
    match &message.body {
        Body::AppendReply(reply) => Some(reply.sequence),
        Body::SnapshotReply(reply) => Some(reply.sequence),
        _ => None,
    }
}
