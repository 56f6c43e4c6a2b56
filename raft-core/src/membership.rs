//! Who belongs to the cluster, and what a majority of it is.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::ids::NodeId;

/// The members of a cluster (dissertation, chapter 4): voters, whose votes and disks count, and
/// learners, which receive the log and are not counted. Each member carries its address, so that
/// nodes find each other by what the log says.
///
/// ```
/// use raft_core::{Membership, NodeId};
///
/// let [a, b, c] = [1, 2, 3].map(NodeId::new);
/// let members = Membership::new().voter(a, "10.0.0.1:7100").voter(b, "10.0.0.2:7100");
/// let grown = members.clone().learner(c, "10.0.0.3:7100");
/// assert_eq!(grown.voters(), members.voters());
/// assert_eq!(grown.address(c), Some("10.0.0.3:7100"));
/// assert_eq!(grown.without(c), members);
/// ```
///
/// While one set of voters takes over from another, a configuration is *joint*: it names both sets,
/// and whatever is decided takes a majority of each (section 4.3). Users never make a joint
/// configuration; the leader writes one on the way to the one that they ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// All four are sorted. A node may be outgoing and, from then on, a learner.
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
    members: BTreeMap<NodeId, Member>,
}

/// What a configuration says of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) address: String,
    pub(crate) priority: u32,
}

impl Membership {
    /// No members. A node that knows of no members waits until a leader speaks to it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Voters without addresses, for hosts that know by other means where their peers are.
    #[must_use]
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Self {
        voters.into_iter().fold(Self::new(), |members, id| members.voter(id, ""))
    }

    /// With this voter, whatever the node was before.
    #[must_use]
    pub fn voter(mut self, id: NodeId, address: impl Into<String>) -> Self {
        self.learners.retain(|learner| *learner != id);
        insert(&mut self.voters, id);
        self.members.entry(id).or_default().address = address.into();
        self
    }

    /// With this learner, whatever the node was before.
    #[must_use]
    pub fn learner(mut self, id: NodeId, address: impl Into<String>) -> Self {
        self.voters.retain(|voter| *voter != id);
        insert(&mut self.learners, id);
        self.members.entry(id).or_default().address = address.into();
        self
    }

    /// Without this node.
    #[must_use]
    pub fn without(mut self, id: NodeId) -> Self {
        self.voters.retain(|voter| *voter != id);
        self.learners.retain(|learner| *learner != id);
        if !self.outgoing.contains(&id) {
            self.members.remove(&id);
        }
        self
    }

    /// With this priority for a member: the leader hands over to a caught-up voter of a higher
    /// priority than its own. Zero by default. Does nothing for a node that is no member.
    #[must_use]
    pub fn prefer(mut self, id: NodeId, priority: u32) -> Self {
        if let Some(member) = self.members.get_mut(&id) {
            member.priority = priority;
        }
        self
    }

    /// The voters, ascending; of a joint configuration those that it leads to.
    #[must_use]
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// Of a joint configuration the voters that it leads away from, ascending; else nobody.
    #[must_use]
    pub fn outgoing(&self) -> &[NodeId] {
        &self.outgoing
    }

    /// The learners, ascending.
    #[must_use]
    pub fn learners(&self) -> &[NodeId] {
        &self.learners
    }

    /// Whether one set of voters is taking over from another.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// All members, ascending.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        self.members.keys().copied()
    }

    /// Whether the node is a member of any kind.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        self.members.contains_key(&id)
    }

    /// Whether the node's vote counts, be it only in one half of a joint configuration.
    #[must_use]
    pub fn is_voter(&self, id: NodeId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Where a member is reached; empty if nobody said so.
    #[must_use]
    pub fn address(&self, id: NodeId) -> Option<&str> {
        self.members.get(&id).map(|member| member.address.as_str())
    }

    /// The priority of a node, see [`prefer`](Membership::prefer).
    #[must_use]
    pub fn priority(&self, id: NodeId) -> u32 {
        self.members.get(&id).map_or(0, |member| member.priority)
    }

    /// What the configuration counts against limits, in bytes.
    pub(crate) fn size(&self) -> usize {
        let lists = self.voters.len() + self.outgoing.len() + self.learners.len();
        let addresses: usize = self.members.values().map(|member| member.address.len()).sum();
        lists * size_of::<NodeId>() + self.members.len() * size_of::<Member>() + addresses
    }

    pub(crate) fn from_parts(
        [voters, outgoing, learners]: [Vec<NodeId>; 3],
        members: BTreeMap<NodeId, Member>,
    ) -> Option<Self> {
        let membership = Self { voters, outgoing, learners, members };
        membership.is_sound().then_some(membership)
    }

    pub(crate) const fn details(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// Whether the lists are sorted, name each node at most once, and name all members and nobody
    /// else; and whether there is a voter, unless there is nobody.
    pub(crate) fn is_sound(&self) -> bool {
        let lists = [&self.voters, &self.outgoing, &self.learners];
        let sorted = lists.iter().all(|list| list.windows(2).all(|pair| pair[0] < pair[1]));
        let named = lists.iter().all(|list| list.iter().all(|id| self.contains(*id)));
        let used = |id: &NodeId| lists.iter().any(|list| list.binary_search(id).is_ok());
        let apart = self.learners.iter().all(|id| self.voters.binary_search(id).is_err());
        let led = self.voters.is_empty() == self.members.is_empty();
        sorted && named && self.members.keys().all(used) && apart && led
    }

    /// The joint configuration on the way from this one to `target`.
    pub(crate) fn joined_with(&self, target: &Self) -> Self {
        let mut members = target.members.clone();
        for id in &self.voters {
            if let Some(member) = self.members.get(id) {
                members.entry(*id).or_insert_with(|| member.clone());
            }
        }
        Self { outgoing: self.voters.clone(), members, ..target.clone() }
    }

    /// What a joint configuration leads to.
    pub(crate) fn settled(&self) -> Self {
        let mut settled = Self { outgoing: Vec::new(), ..self.clone() };
        settled.members.retain(|id, _| {
            self.voters.binary_search(id).is_ok() || self.learners.binary_search(id).is_ok()
        });
        settled
    }

    /// All members but one.
    pub(crate) fn peers_of(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        self.members().filter(move |member| *member != id)
    }

    pub(crate) fn voting_peers_of(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        self.peers_of(id).filter(|peer| self.is_voter(*peer))
    }

    /// Whether the voters for which `agrees` holds are a majority, of each half of a joint
    /// configuration.
    pub(crate) fn is_majority(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        majority(&self.voters, &agrees) && (!self.is_joint() || majority(&self.outgoing, &agrees))
    }

    /// The largest value that a majority of the voters has reached, of each half of a joint
    /// configuration.
    pub(crate) fn reached_by_majority<T: Ord + Copy>(
        &self,
        value: impl Fn(NodeId) -> T,
    ) -> Option<T> {
        let reached = reached(&self.voters, &value)?;
        if self.is_joint() {
            return Some(reached.min(self::reached(&self.outgoing, &value)?));
        }
        Some(reached)
    }
}

/// Adds a node to an ascending list.
pub(crate) fn insert(list: &mut Vec<NodeId>, id: NodeId) {
    if let Err(place) = list.binary_search(&id) {
        list.insert(place, id);
    }
}

fn majority(voters: &[NodeId], agrees: impl Fn(NodeId) -> bool) -> bool {
    voters.iter().filter(|voter| agrees(**voter)).count() > voters.len() / 2
}

/// The largest value that more than half of the voters have reached. Looking at each voter's value
/// for each voter takes no memory and little code, and voters are few.
fn reached<T: Ord + Copy>(voters: &[NodeId], value: impl Fn(NodeId) -> T) -> Option<T> {
    // Most clusters have three voters, and then it is the median.
    if let [one, two, three] = voters {
        let (one, two, three) = (value(*one), value(*two), value(*three));
        return Some(one.max(two).min(one.min(two).max(three)));
    }
    let values = voters.iter().map(|voter| value(*voter));
    values.filter(|reached| majority(voters, |voter| value(voter) >= *reached)).max()
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;

    use super::*;

    fn voters(count: u64) -> Membership {
        Membership::of_voters((0..count).map(NodeId::new))
    }

    proptest! {
        /// R032: the quorum is computed on values in any order.
        #[test]
        fn the_value_of_the_majority_is_that_of_a_sorted_reference(
            values in prop::collection::vec(0_u64..9, 1..14)
        ) {
            let membership = voters(values.len() as u64);
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
            let membership = voters(count);
            let within = |set: u16| move |id: NodeId| set >> id.get() & 1 == 1;
            if membership.is_majority(within(left)) && membership.is_majority(within(right)) {
                prop_assert!((0..count).any(|id| left & right & (1 << id) != 0));
            }
        }

        /// R064, I12: what a joint configuration decides takes a majority of either half.
        #[test]
        fn a_joint_majority_is_a_majority_of_both_halves(
            old in prop::collection::btree_set(0_u64..9, 1..6),
            new in prop::collection::btree_set(0_u64..9, 1..6),
            values in prop::collection::vec(0_u64..5, 9),
        ) {
            let of = |ids: &std::collections::BTreeSet<u64>| {
                Membership::of_voters(ids.iter().copied().map(NodeId::new))
            };
            let (old, new) = (of(&old), of(&new));
            let joint = old.joined_with(&new);
            let value = |id: NodeId| values[id.get() as usize];
            let reached = joint.reached_by_majority(value).unwrap();
            prop_assert_eq!(
                reached,
                old.reached_by_majority(value).unwrap().min(new.reached_by_majority(value).unwrap())
            );
            let agrees = |id| value(id) > 2;
            prop_assert_eq!(
                joint.is_majority(agrees),
                old.is_majority(agrees) && new.is_majority(agrees)
            );
            prop_assert!(joint.is_sound());
            prop_assert_eq!(joint.settled(), new);
        }
    }

    /// A demoted voter counts in the old half until the joint configuration is left.
    #[test]
    fn a_demoted_voter_is_outgoing_and_a_learner_at_once() {
        let [a, b] = [1, 2].map(NodeId::new);
        let both = Membership::of_voters([a, b]);
        let joint = both.joined_with(&both.clone().learner(b, ""));
        assert!(joint.is_voter(b) && joint.learners() == [b] && joint.is_sound());
        assert!(!joint.settled().is_voter(b) && joint.settled().contains(b));
    }
}
