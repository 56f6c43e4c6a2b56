//! What is committed stays so, and is the same everywhere.

use alloc::format;

use raft_node::core::{LogIndex, Membership, NodeId, Status, Term};

use crate::sim::checker::Checker;
use crate::sim::checker::disks::Log;
use crate::sim::checker::quorum::is_quorum;
use crate::sim::node::SimNode;
use crate::sim::world::{id_of, number};

/// Something that a node has answered.
#[derive(Clone, Debug)]
pub(crate) enum Claim {
    /// These are the members, by the entry at an index.
    Changed { index: LogIndex, target: Membership },
    /// These are not the members because of somebody's request, and never will be.
    NotChanged { target: Membership },
    /// This node leads in a term.
    Transferred { leader: NodeId, term: Term },
}

/// Whether a configuration can be told from those of other requests: its members have addresses,
/// which name the request. What comes on the way to it has other members or other addresses.
fn is_marked(members: &Membership) -> bool {
    members.voters().iter().all(|id| members.address(*id).is_some_and(|it| !it.is_empty()))
}

impl Checker {
    /// The last entry that anybody knows to be committed.
    pub(crate) fn newest_commit(&self) -> LogIndex {
        self.committed.last().map_or(LogIndex::ZERO, |known| known.entry.index)
    }

    /// A node answers that something was done. Whether it was is seen at the end of its step.
    pub(crate) fn claim(&mut self, claim: Claim) {
        self.claims.push(claim);
    }

    pub(super) fn check_claims(&mut self) {
        for claim in core::mem::take(&mut self.claims) {
            let holds = match &claim {
                Claim::Changed { index, target } => {
                    *index <= self.newest_commit() && **self.membership_at(*index) == *target
                }
                Claim::NotChanged { target } => {
                    let tells_apart = is_marked(target);
                    if tells_apart {
                        self.refused.push(target.clone());
                    }
                    !tells_apart || self.memberships.iter().all(|(_, made)| **made != *target)
                }
                Claim::Transferred { leader, term } => {
                    self.leaders.get(term) == Some(&number(*leader))
                }
            };
            self.demand(holds, || format!("I16: a node answers what is not so: {claim:?}"));
        }
    }

    /// I16, once more, for a configuration that becomes the committed one: nobody was told that it
    /// would not, and what was asked for once is made once.
    pub(super) fn check_made(&mut self, index: LogIndex, made: &Membership) {
        if !is_marked(made) || made.is_joint() {
            return;
        }
        let refused = self.refused.contains(made);
        self.demand(!refused, || format!("I16: {index:?} makes what was refused: {made:?}"));
        let before = self.memberships.iter().find(|(_, before)| **before == *made);
        if let Some((before, _)) = before {
            self.fail(format!("I16: {index:?} makes again what {before:?} has made: {made:?}"));
        }
    }

    /// I2, I4 and I5, for all entries that this node now knows to be committed.
    pub(super) fn check_commits(&mut self, nodes: &[SimNode], node: usize, status: &Status) {
        let name = id_of(node);
        if self.known[node].commit < status.base {
            // A snapshot covers them. What it says of the log was checked before it was restored.
            let known = self.committed_term(status.base);
            self.demand(known.is_some(), || {
                format!("I4: {name:?} compacts to {}, which nobody committed", status.base)
            });
            self.known[node].commit = status.base;
        }
        while self.known[node].commit < status.commit && self.violation.is_none() {
            let index = self.known[node].commit.next();
            self.known[node].commit = index;
            self.check_commit(nodes, node, index, status);
        }
    }

    fn check_commit(&mut self, nodes: &[SimNode], node: usize, index: LogIndex, status: &Status) {
        let name = id_of(node);
        let Some(entry) = nodes[node].disk.current().entry(index) else {
            return self.fail(format!("I8: {name:?} commits {index}, which it does not have"));
        };
        if index == self.newest_commit().next() {
            let holds = |id: NodeId| self.holds(nodes, id, index, entry.term);
            // The step may have begun with one configuration in force and ended with the next.
            let before = &self.known[node].membership;
            let durable = is_quorum(before, holds) || is_quorum(&status.membership, holds);
            self.demand(durable, || {
                format!(
                    "I5: {name:?} commits {entry:?} without a quorum of {:?}",
                    status.membership
                )
            });
            return self.note_committed(entry, status.term);
        }
        let place = usize::try_from(index.prev().get()).unwrap_or(usize::MAX);
        let known = self.committed.get(place).map(|known| known.entry.clone());
        let same = known.as_ref() == Some(entry);
        self.demand(same, || format!("I4: {name:?} commits {entry:?}, others {known:?}"));
    }

    /// Whether a node has an entry for good.
    fn holds(&self, nodes: &[SimNode], id: NodeId, index: LogIndex, term: Term) -> bool {
        let Some(node) = nodes.get(number(id)) else { return false };
        self.term_in(&Log::durable(node), index) == Some(term)
    }
}
