//! Leaders: one in a term, with everything that is committed, and right about the others.

use alloc::format;

use raft_node::core::{LogIndex, RoleKind, Status, Term};

use crate::sim::checker::Checker;
use crate::sim::checker::disks::Log;
use crate::sim::checker::quorum::is_quorum;
use crate::sim::node::SimNode;
use crate::sim::world::{id_of, number};

impl Checker {
    /// I1, I3 and I13.
    pub(super) fn check_leader(&mut self, nodes: &[SimNode], node: usize, status: &Status) {
        let name = id_of(node);
        if status.role != RoleKind::Leader {
            self.known[node].leads = None;
            return;
        }
        let first = *self.leaders.entry(status.term).or_insert(node);
        self.demand(first == node, || {
            format!("I1: {:?} and {name:?} both led in term {}", id_of(first), status.term)
        });
        if self.known[node].leads != Some(status.term) {
            self.known[node].leads = Some(status.term);
            self.known[node].peers.iter_mut().for_each(|peer| peer.seen = None);
            self.check_completeness(nodes, node, status.term);
            self.check_votes(node, status);
        }
        self.check_matches(nodes, node, status);
    }

    /// I1: a new leader has the votes of a quorum, and they are on the disks of those who gave them.
    fn check_votes(&mut self, node: usize, status: &Status) {
        let name = id_of(node);
        let votes = |id| self.votes.get(&(number(id), status.term)) == Some(&name);
        let elected = is_quorum(&status.membership, votes);
        self.demand(elected, || {
            let Status { term, membership, .. } = status;
            format!("I1: {name:?} leads in term {term} without the votes of {membership:?}")
        });
    }

    /// I3: a new leader has everything that is committed. One of an old term may win late, without
    /// what was committed since.
    fn check_completeness(&mut self, nodes: &[SimNode], node: usize, term: Term) {
        let name = id_of(node);
        let log = Log::current(&nodes[node]);
        let behind = usize::try_from(log.base().index.get()).unwrap_or(usize::MAX);
        let known = self.committed.get(behind..).unwrap_or_default();
        let earlier = known.iter().filter(|known| known.in_term <= term);
        let mut places = earlier.map(|known| (known.entry.index, known.entry.term));
        let lacks = |(index, term): &(LogIndex, Term)| self.term_in(&log, *index) != Some(*term);
        let missing = places.find(lacks);
        let base = log.base();
        let sound = self.committed_term(base.index) == Some(base.term);
        self.demand(missing.is_none() && sound, || {
            format!("I3: leader {name:?} of term {term} lacks committed {missing:?}, base {base:?}")
        });
    }

    /// I13: what a leader believes that the others have is on their disks, and it takes nobody for
    /// heard without an answer of its own term.
    fn check_matches(&mut self, nodes: &[SimNode], node: usize, status: &Status) {
        let name = id_of(node);
        let current = Log::current(&nodes[node]);
        for peer in &status.peers {
            let at = number(peer.id);
            let Some(other) = nodes.get(at) else {
                return self.fail(format!("I17: leader {name:?} has a peer {}", peer.id));
            };
            let known = &mut self.known[node].peers[at];
            let before = known.seen.replace((peer.matched, peer.heard));
            let answered_at = known.answered_at;
            self.demand(before.is_none_or(|(before, _)| before <= peer.matched), || {
                format!("I13: the match of {peer:?} at leader {name:?} fell from {before:?}")
            });
            let heard = before.is_none_or(|(_, before)| before == peer.heard)
                || answered_at == (status.term, peer.heard);
            self.demand(heard, || {
                format!("I13: leader {name:?} takes {peer:?} for heard, which answered at {answered_at:?}")
            });
            // A leader that was deposed without knowing it may be wrong about the others.
            let deposed = other.disk.durable().hard_state.term > status.term;
            let theirs = self.term_in(&Log::durable(other), peer.matched);
            let holds = peer.matched < peer.next
                && (deposed || theirs == self.term_in(&current, peer.matched));
            self.demand(holds, || {
                format!("I13: leader {name:?} believes that {peer:?} has what its disk lacks")
            });
        }
        // Who is removed and added again begins anew, perhaps within one step.
        for (peer, known) in self.known[node].peers.iter_mut().enumerate() {
            known.seen.take_if(|_| !status.membership.contains(id_of(peer)));
        }
    }
}
