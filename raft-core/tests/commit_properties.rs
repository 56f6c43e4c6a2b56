//! The commit index under random acknowledgements. Rows named R and C are those of the project's
//! lists of known bugs and corner cases.

mod common;

use common::*;
use proptest::prelude::*;

proptest! {
    /// R032: after every acknowledgement the commit is that of a naive computation.
    #[test]
    fn the_commit_is_the_largest_index_on_a_majority_of_disks(
        acks in prop::collection::vec((2_u64..=5, 1_u64..=8), 0..30)
    ) {
        let mut node = Lone::of(5);
        node.lead();
        node.propose_all(1, &["x"; 7]);
        let mut durable = [8_u64, 0, 0, 0, 0];
        for (peer, last) in acks {
            node.hears(peer, 1, accepted(last, last));
            let slot = &mut durable[peer as usize - 1];
            *slot = last.max(*slot);
            let on_majority = |n: &u64| durable.iter().filter(|last| **last >= *n).count() >= 3;
            let expected = (0..=8).rev().find(on_majority).unwrap();
            prop_assert_eq!(node.commit(1), expected, "{:?}", durable);
        }
    }
}
