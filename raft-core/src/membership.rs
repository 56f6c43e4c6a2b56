//! Who belongs to the cluster, and what a majority of it is.

use alloc::vec::Vec;

use crate::config::Config;
use crate::ids::NodeId;

/// The members of the cluster, each list sorted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Membership {
    voters: Vec<NodeId>,
    learners: Vec<NodeId>,
}

impl Membership {
    pub(crate) fn of(config: &Config) -> Self {
        let mut voters = config.voters.clone();
        let mut learners = config.learners.clone();
        voters.sort_unstable();
        learners.sort_unstable();
        Self { voters, learners }
    }

    pub(crate) fn is_voter(&self, id: NodeId) -> bool {
        self.voters.binary_search(&id).is_ok()
    }

    /// All members but one.
    pub(crate) fn peers_of(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        self.voters.iter().chain(&self.learners).copied().filter(move |member| *member != id)
    }

    pub(crate) fn voting_peers_of(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        self.voters.iter().copied().filter(move |member| *member != id)
    }

    /// Whether the voters for which `agrees` holds are a majority.
    pub(crate) fn is_majority(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        majority(&self.voters, agrees)
    }

    /// The largest value that a majority of the voters has reached.
    ///
    /// Voters are few, so looking at each pair of them is cheaper than a sorted copy, and an
    /// unsorted one can't slip in.
    pub(crate) fn reached_by_majority<T: Ord + Copy>(
        &self,
        value: impl Fn(NodeId) -> T,
    ) -> Option<T> {
        let reached = |goal: &T| majority(&self.voters, |voter| value(voter) >= *goal);
        self.voters.iter().map(|voter| value(*voter)).filter(reached).max()
    }
}

fn majority(voters: &[NodeId], agrees: impl Fn(NodeId) -> bool) -> bool {
    voters.iter().filter(|voter| agrees(**voter)).count() > voters.len() / 2
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// R032: the quorum is computed on values in any order.
        #[test]
        fn the_value_of_the_majority_is_that_of_a_sorted_reference(
            values in prop::collection::vec(0_u64..9, 1..9)
        ) {
            let voters: Vec<NodeId> = (0..values.len() as u64).map(NodeId::new).collect();
            let membership = Membership { voters, learners: Vec::new() };
            let mut sorted = values.clone();
            sorted.sort_unstable();
            // With n voters the majority-th largest value is held by a majority.
            let reference = sorted[values.len() - 1 - values.len() / 2];
            let computed = membership.reached_by_majority(|id| values[id.get() as usize]);
            prop_assert_eq!(computed, Some(reference));
            prop_assert!(membership.is_majority(|id| values[id.get() as usize] >= reference));
        }

        #[test]
        fn two_majorities_share_a_voter(count in 1_u64..9, left in any::<u16>(), right in any::<u16>()) {
            let voters: Vec<NodeId> = (0..count).map(NodeId::new).collect();
            let membership = Membership { voters, learners: Vec::new() };
            let within = |set: u16| move |id: NodeId| set >> id.get() & 1 == 1;
            if membership.is_majority(within(left)) && membership.is_majority(within(right)) {
                prop_assert!((0..count).any(|id| left & right & (1 << id) != 0));
            }
        }
    }
}
