//! The invariants that only somebody who sees all nodes and all disks can check. The numbers are
//! those of the project's list of invariants.

mod commits;
mod disks;
mod hearing;
mod leaders;
mod promises;
mod quorum;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use raft_node::core::{
    Entry, Instant, LogIndex, Membership, NodeId, Output, Payload, PeerStatus, RoleKind, Snapshot,
    Status, Term, Write,
};

pub(crate) use self::commits::Claim;
pub(crate) use self::hearing::ReadBegan;
pub(crate) use self::quorum::is_quorum;
use crate::sim::checker::disks::Log;
use crate::sim::checker::hearing::{Heard, Numbered};
use crate::sim::node::SimNode;
use crate::sim::world::id_of;

/// What has ever been true, and what must stay so.
pub(crate) struct Checker {
    leaders: BTreeMap<Term, usize>,
    votes: BTreeMap<(usize, Term), NodeId>,
    committed: Vec<Committed>,
    /// The configurations that are committed, ascending, from the one of the founding on.
    memberships: Vec<(LogIndex, Arc<Membership>)>,
    /// Those that were asked for in vain.
    refused: Vec<Membership>,
    known: Vec<Known>,
    claims: Vec<Claim>,
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
    /// The newest snapshot in the core's eyes.
    snapshot: LogIndex,
    /// It has lost its state, and may go on from an older snapshot.
    lost: bool,
    commit: LogIndex,
    applied: LogIndex,
    membership: Arc<Membership>,
    vote: (Term, Option<NodeId>),
    leads: Option<Term>,
    campaigns: bool,
    /// The newest message that it has sent as a leader.
    sent: Numbered,
    /// Of each node.
    peers: Vec<Peer>,
    /// The latest that its clock has shown.
    now: Instant,
    heard: Heard,
    /// The furthest that its disk reached in this step before a write.
    reached: LogIndex,
    /// In this step a configuration was written.
    writes_membership: bool,
}

/// What a node was seen to know of another.
#[derive(Clone, Debug, Default)]
struct Peer {
    /// As its leader: the match index, and when it was last heard.
    seen: Option<(LogIndex, Instant)>,
    /// The newest message that it has answered.
    answered: Numbered,
    /// The newest term of an answer, and when that came.
    answered_at: (Term, Instant),
}

impl Known {
    /// What is known of a node that has done nothing, among so many.
    fn of_nothing(nodes: usize) -> Self {
        Self { peers: vec![Peer::default(); nodes], ..Self::default() }
    }
}

impl Checker {
    pub(crate) fn new(founders: Membership, nodes: usize) -> Self {
        Self {
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            committed: Vec::new(),
            memberships: vec![(LogIndex::ZERO, Arc::new(founders))],
            refused: Vec::new(),
            known: vec![Known::of_nothing(nodes); nodes],
            claims: Vec::new(),
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
    pub(crate) fn started(&mut self, nodes: &[SimNode], node: usize) {
        let durable_term = self.known[node].durable_term;
        self.known[node] = Known { durable_term, ..Known::of_nothing(nodes.len()) };
        self.after_outputs(nodes, node);
    }

    /// A node has lost its state, so that it goes on from an older snapshot perhaps.
    pub(crate) fn state_lost(&mut self, node: usize) {
        let known = &mut self.known[node];
        (known.applied, known.lost) = (LogIndex::ZERO, true);
    }

    /// A node's disk holds something new for good (I7, I8, I10).
    pub(crate) fn disk_changed(&mut self, nodes: &[SimNode], node: usize) {
        let name = id_of(node);
        let SimNode { disk, snapshots, .. } = &nodes[node];
        let hard_state = disk.durable().hard_state;
        let begin_after = disk.durable().begin_after().index;
        let snapshot = snapshots.newest().map_or(LogIndex::ZERO, |it| it.position.index);
        let Known { durable_term, snapshot: relied_on, .. } = self.known[node];
        self.demand(hard_state.term >= durable_term, || {
            let now = hard_state.term;
            format!("I7: the durable term of {name:?} fell from {durable_term} to {now}")
        });
        self.demand(snapshot >= relied_on, || {
            format!("I7: {name:?} relies on a snapshot of {relied_on}, its disk has {snapshot}")
        });
        self.demand(begin_after <= snapshot, || {
            format!("I8: the log of {name:?} begins after {begin_after}, snapshot {snapshot}")
        });
        self.known[node].durable_term = hard_state.term;
        if let Some(vote) = hard_state.vote {
            let first = *self.votes.entry((node, hard_state.term)).or_insert(vote);
            self.demand(first == vote, || {
                format!("I10: {name:?} voted for {first} and {vote} in term {}", hard_state.term)
            });
        }
    }

    /// A step has made this durable before it has produced its outputs. So what it leads to, the
    /// questions of a candidate say, is among them.
    pub(crate) fn written_at_once(&mut self, nodes: &[SimNode], node: usize, write: &Write) {
        self.disk_changed(nodes, node);
        let vote = write.hard_state.and_then(|hard_state| hard_state.vote);
        self.known[node].campaigns |= vote == Some(id_of(node));
    }

    /// A step has produced these outputs; none is carried out yet.
    pub(crate) fn before_outputs(&mut self, nodes: &[SimNode], node: usize, outputs: &[Output]) {
        let name = id_of(node);
        let mut writes = 0;
        let mut appends: Vec<NodeId> = Vec::new();
        let mut lost = nodes[node].lost;
        for output in outputs {
            match output {
                Output::Send(message) => self.check_message(nodes, node, message, &mut appends),
                Output::Persist(write) => {
                    writes += 1;
                    self.check_write(nodes, node, write);
                }
                Output::Apply(entries) => {
                    self.demand(!lost, || format!("I8: {name:?} applies to a state that is lost"));
                    let log = Log::durable(&nodes[node]);
                    let gone = entries.iter().find(|entry| {
                        self.term_in(&log, entry.index) != Some(entry.term)
                            || log.entry(entry.index).is_some_and(|it| it != *entry)
                    });
                    self.demand(gone.is_none(), || {
                        format!("I8: {name:?} applies what is not on its disk: {gone:?}")
                    });
                }
                Output::Restore(snapshot) => {
                    lost = false;
                    self.check_snapshot(node, snapshot);
                }
                _ => {}
            }
        }
        self.demand(writes <= 1, || format!("{name:?} wrote {writes} times in one step"));
    }

    /// A snapshot holds committed entries and says the truth about them (I4).
    fn check_snapshot(&mut self, node: usize, snapshot: &Snapshot) {
        let name = id_of(node);
        let position = snapshot.position;
        let known = self.committed_term(position.index);
        let membership = self.membership_at(position.index).clone();
        self.demand(known == Some(position.term) && membership == snapshot.membership, || {
            format!("I4: {snapshot:?} at {name:?}, where {known:?} and {membership:?} hold")
        });
    }

    /// The outputs of a step are on their way.
    pub(crate) fn after_outputs(&mut self, nodes: &[SimNode], node: usize) {
        let name = id_of(node);
        let Some(raft) = &nodes[node].raft else { return };
        if let Err(broken) = raft.check_invariants() {
            self.fail(format!("an invariant of the core at {name:?}: {broken}"));
        }
        let status = raft.status();
        self.check_progress(node, &status);
        self.check_leader(nodes, node, &status);
        self.check_counting(nodes, node, &status);
        self.check_commits(nodes, node, &status);
        self.check_claims();
        self.check_heard(raft, node, &status);
        self.check_in_force(nodes, node, &status);
        if core::mem::take(&mut self.known[node].writes_membership) {
            self.check_configurations(nodes, node, &status);
        }
        self.known[node].campaigns = status.role == RoleKind::Candidate;
        self.known[node].reached = LogIndex::ZERO;
        self.known[node].lost = nodes[node].lost;
        self.known[node].membership = status.membership;
    }

    /// A leader counts copies of entries of its own term only (paper, section 5.4.2): those of
    /// earlier terms may still be overwritten although a majority has them.
    fn check_counting(&mut self, nodes: &[SimNode], node: usize, status: &Status) {
        let name = id_of(node);
        if status.role == RoleKind::Leader && status.commit > self.known[node].commit {
            let at = self.term_in(&Log::current(&nodes[node]), status.commit);
            self.demand(at == Some(status.term), || {
                let (Status { term, commit, .. }, at) = (status, at.unwrap_or_default());
                format!("I5: leader {name:?} of {term:?} counts copies of {commit:?}, an entry of {at:?}")
            });
        }
    }

    /// I7 and I8: nothing falls within one life, and everything is in its order.
    fn check_progress(&mut self, node: usize, status: &Status) {
        let name = id_of(node);
        let Known { commit, applied, snapshot, lost, .. } = self.known[node];
        let monotonic = status.commit >= commit
            && status.applied >= applied
            && (lost || status.snapshot >= snapshot);
        self.demand(monotonic, || {
            format!("I7: commit, applied or snapshot of {name:?} fell: {status:?}")
        });
        let ordered = status.base <= status.snapshot
            && status.snapshot <= status.commit
            && status.applied <= status.commit
            && status.commit <= status.last;
        self.demand(ordered, || {
            format!("I8: base <= snapshot <= commit <= last does not hold: {status:?}")
        });
        self.known[node].applied = status.applied;
        self.known[node].snapshot = status.snapshot;
    }

    /// I12: a configuration is in force as soon as it is in the log (dissertation, section 4.1).
    /// What a disk still has from before a snapshot that a crash has let survive is not in the log.
    fn check_in_force(&mut self, nodes: &[SimNode], node: usize, status: &Status) {
        let newest = nodes[node].disk.current().memberships().last();
        let newest = newest.filter(|(index, _)| *index > status.base);
        let in_force = newest.is_none_or(|(_, newest)| *newest == status.membership);
        self.demand(in_force, || {
            let Status { id, membership, .. } = status;
            format!("I12: {id:?} has {membership:?} in force, its log {newest:?}")
        });
    }

    /// I12: no log holds two configurations of which nobody knows that they are committed, and the
    /// quorums of one and the next intersect.
    fn check_configurations(&mut self, nodes: &[SimNode], node: usize, status: &Status) {
        let name = id_of(node);
        let image = nodes[node].disk.current();
        let log = image.memberships();
        let newest = self.newest_commit();
        let open = log.iter().filter(|(index, _)| *index > newest).count();
        self.demand(open <= 1, || format!("I12: {open} uncommitted configurations at {name:?}"));
        let Some((index, new)) = log.last() else { return };
        let old = match log.iter().rev().nth(1) {
            Some((_, old)) => old.clone(),
            None => self.membership_at(image.begin_after().index).clone(),
        };
        let apart = quorum::can_be_apart(&old, new);
        self.demand(!apart, || {
            format!("I12: quorums of {old:?} and {new:?} at {name:?} need not intersect")
        });
        let by = image.term_at(*index);
        if status.role == RoleKind::Leader && by == Some(status.term) {
            self.check_change(status, image.term_at(status.commit), *index, new);
        }
    }

    /// I12: a leader changes nothing before it has committed an entry of its own term, since a
    /// change of an earlier leader may be on its way that it does not know; and new voters have
    /// what was in the log when they became members before they count.
    fn check_change(
        &mut self,
        status: &Status,
        committed: Option<Term>,
        index: LogIndex,
        new: &Membership,
    ) {
        let Status { id, term, peers, .. } = status;
        self.demand(committed == Some(*term), || {
            format!("I12: leader {id:?} of {term:?} changes the members, and has committed nothing")
        });
        // A leader that was deposed, and does not know, lacks what was committed since.
        let known = index.prev().min(status.commit);
        let before = self.memberships.iter().rev().find(|(before, _)| *before <= known);
        let Some((since, old)) = before.filter(|_| new.is_joint()) else { return };
        let lacks = |it: &&PeerStatus| {
            new.voters().contains(&it.id) && !old.is_voter(it.id) && it.matched < *since
        };
        if let Some(peer) = peers.iter().find(lacks) {
            self.fail(format!("I12: leader {id:?} makes a voter of {peer:?}, which lacks {since}"));
        }
    }

    /// The configuration that is committed up to this index.
    fn membership_at(&self, index: LogIndex) -> &Arc<Membership> {
        let after = self.memberships.partition_point(|(first, _)| *first <= index);
        // The first one is at index zero.
        &self.memberships[after.max(1) - 1].1
    }

    fn note_committed(&mut self, entry: &Entry, in_term: Term) {
        if let Payload::Membership(membership) = &entry.payload {
            self.check_made(entry.index, membership);
            self.memberships.push((entry.index, membership.clone()));
        }
        self.committed.push(Committed { entry: entry.clone(), in_term });
    }
}
