//! What a quorum is, said once more and independently of the core.

use alloc::vec::Vec;

use raft_node::core::{Membership, NodeId};

/// Whether those for whom `agrees` holds decide: a majority of the voters, and while one set of
/// voters takes over from another a majority of either.
pub(crate) fn is_quorum(members: &Membership, agrees: impl Fn(NodeId) -> bool) -> bool {
    let majority = |voters: &[NodeId]| {
        2 * voters.iter().filter(|voter| agrees(**voter)).count() > voters.len()
    };
    majority(members.voters()) && (!members.is_joint() || majority(members.outgoing()))
}

/// Whether there are a quorum of the one and a quorum of the other that have nobody in common.
pub(super) fn can_be_apart(one: &Membership, other: &Membership) -> bool {
    if one.voters() == other.voters() && one.outgoing() == other.outgoing() {
        return false;
    }
    let mut voters: Vec<NodeId> = one.members().chain(other.members()).collect();
    voters.sort_unstable();
    voters.dedup();
    let within = |set: u32, id: NodeId| {
        voters.iter().position(|voter| *voter == id).is_some_and(|at| set >> at & 1 == 1)
    };
    (0..1_u32 << voters.len().min(12))
        .any(|set| is_quorum(one, |id| within(set, id)) && is_quorum(other, |id| !within(set, id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::world::membership_of;

    #[test]
    fn one_voter_more_or_less_is_safe_and_two_are_not() {
        let of = |count| membership_of(0..count, []);
        assert!(!can_be_apart(&of(3), &of(4)));
        assert!(!can_be_apart(&of(4), &of(5)));
        assert!(can_be_apart(&of(3), &of(5)));
        assert!(can_be_apart(&membership_of([0], []), &membership_of([1], [])));
    }

    #[test]
    fn learners_do_not_count() {
        let members = membership_of(0..3, 3..6);
        assert!(is_quorum(&members, |id| id.get() <= 2));
        assert!(!is_quorum(&members, |id| id.get() > 2));
    }
}
