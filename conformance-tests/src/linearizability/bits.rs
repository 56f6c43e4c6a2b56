//! Sets of small numbers.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

const BITS: usize = u64::BITS as usize;

/// A set of numbers below a fixed capacity.
#[derive(Debug, Clone)]
pub(super) struct BitSet {
    words: Vec<u64>,
}

impl BitSet {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { words: vec![0; capacity.div_ceil(BITS)] }
    }

    pub(super) fn insert(&mut self, number: usize) {
        if let Some(word) = self.words.get_mut(number / BITS) {
            *word |= 1 << (number % BITS);
        }
    }

    pub(super) fn remove(&mut self, number: usize) {
        if let Some(word) = self.words.get_mut(number / BITS) {
            *word &= !(1 << (number % BITS));
        }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.words.get(number / BITS).is_some_and(|word| word & (1 << (number % BITS)) != 0)
    }

    /// Whether each member of `self` is a member of `other`, which has the same capacity.
    pub(super) fn is_subset(&self, other: &BitSet) -> bool {
        self.words.iter().zip(&other.words).all(|(mine, theirs)| mine & !theirs == 0)
    }

    /// A short value that is equal for equal sets of one capacity and different for others.
    pub(super) fn signature(&self) -> Signature {
        let full = self.words.iter().take_while(|word| **word == u64::MAX).count();
        let end = self.words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        Signature { full, rest: self.words.get(full..end).unwrap_or_default().into() }
    }
}

/// The members of a set, short because placed operations are a long run from the first one on,
/// with a few gaps and stragglers at its end: only the words of that end are kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Signature {
    full: usize,
    rest: Box<[u64]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: impl IntoIterator<Item = usize>) -> BitSet {
        let mut set = BitSet::with_capacity(200);
        numbers.into_iter().for_each(|number| set.insert(number));
        set
    }

    #[test]
    fn signatures_tell_different_sets_apart_and_equal_sets_not() {
        let sets =
            [set([]), set(0..64), set(0..65), set(0..128), set(1..65), set([64]), set([199])];
        for (i, a) in sets.iter().enumerate() {
            for (j, b) in sets.iter().enumerate() {
                assert_eq!(a.signature() == b.signature(), i == j, "sets {i} and {j}");
            }
        }
        let mut removed = set(0..66);
        removed.remove(65);
        assert_eq!(removed.signature(), set(0..65).signature());
    }

    #[test]
    fn a_subset_has_no_member_of_its_own() {
        assert!(set([]).is_subset(&set([3])));
        assert!(set([3, 150]).is_subset(&set([3, 4, 150])));
        assert!(!set([3, 151]).is_subset(&set([3, 4, 150])));
        assert!(set([151]).contains(151) && !set([151]).contains(23));
    }
}
