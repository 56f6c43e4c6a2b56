//! What is asked of the cluster itself: other members, another leader, another state.

use raft_node::core::{Membership, NodeId};

use crate::explore::run::Run;
use crate::sim::is_quorum;
use crate::sim::random::chance;
use crate::sim::world::{id_of, number};

impl Run {
    /// Asks a node for other members: a few or one, sometimes only if nothing has changed since.
    pub(super) fn change_membership(&mut self, node: usize) {
        let now = self.membership_at(node);
        let target =
            if self.world.rng.bool() { self.one_step_from(&now) } else { self.any_members() };
        let target = if self.plan.priorities { self.with_preferences(target) } else { target };
        // Sometimes it asks for what is there already.
        let marked = chance(&mut self.world.rng, 900);
        let target = if marked { self.marked(&target) } else { target };
        let only_if = chance(&mut self.world.rng, 300).then_some(now);
        let call = self.world.change_membership(node, target, only_if);
        self.controls.insert(call);
    }

    /// The members as the node knows them, or those of the founding if it is dead.
    fn membership_at(&self, node: usize) -> Membership {
        let raft = self.world.nodes[node].raft.as_ref();
        raft.map_or_else(|| self.world.founders(), |raft| raft.membership().clone())
    }

    /// Some node becomes a voter, a learner, or nobody.
    fn one_step_from(&mut self, members: &Membership) -> Membership {
        let node = id_of(self.any_node());
        let settled = members.voters().iter().fold(Membership::new(), |all, id| all.voter(*id, ""));
        let settled = members.learners().iter().fold(settled, |all, id| all.learner(*id, ""));
        match self.world.rng.u8(0..3) {
            0 => settled.voter(node, ""),
            1 => settled.learner(node, ""),
            _ => settled.without(node),
        }
    }

    fn any_members(&mut self) -> Membership {
        let mut nodes: Vec<usize> = (0..self.world.nodes.len()).collect();
        self.world.rng.shuffle(&mut nodes);
        let voters = self.world.rng.usize(1..=nodes.len().min(7));
        let (voters, others) = nodes.split_at(voters);
        let members = Membership::of_voters(voters.iter().copied().map(id_of));
        others.iter().fold(members, |members, other| {
            let joins = chance(&mut self.world.rng, 200);
            if joins { members.learner(id_of(*other), "") } else { members }
        })
    }

    /// The same members, at addresses of which no other request speaks.
    pub(super) fn marked(&self, members: &Membership) -> Membership {
        let mark = format!("request {}", self.injections);
        let voters = members.voters().iter().fold(members.clone(), |all, id| all.voter(*id, &mark));
        members.learners().iter().fold(voters, |all, id| all.learner(*id, &mark))
    }

    fn with_preferences(&mut self, members: Membership) -> Membership {
        let ids: Vec<NodeId> = members.members().collect();
        ids.into_iter().fold(members, |members, id| members.prefer(id, self.world.rng.u32(0..3)))
    }

    pub(super) fn transfer(&mut self, node: usize) {
        let to = if self.world.rng.bool() { Some(id_of(self.any_node())) } else { None };
        let call = self.world.transfer(node, to);
        self.controls.insert(call);
    }

    /// Damages a state, unless too few others are left that could lead.
    pub(super) fn lose_state(&mut self, node: usize) {
        let lost = |id: NodeId| number(id) == node || self.is_lost(id);
        if self.enough(|id| !lost(id)) {
            self.world.lose_state(node);
        }
    }

    pub(super) fn is_lost(&self, id: NodeId) -> bool {
        self.world.nodes.get(number(id)).is_some_and(|node| node.lost)
    }

    /// Whether those for whom `holds` is true decide in every configuration that any node knows.
    pub(super) fn enough(&self, holds: impl Fn(NodeId) -> bool) -> bool {
        let mut nodes = self.world.nodes.iter();
        nodes.all(|node| match &node.raft {
            Some(raft) if !raft.membership().is_empty() => is_quorum(raft.membership(), &holds),
            _ => true,
        })
    }
}
