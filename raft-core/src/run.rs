//! A part of the log that lies in memory in one piece.

use core::ops::RangeInclusive;

use crate::entry::{Entries, Entry};
use crate::ids::LogIndex;

/// At least one entry, with what is asked about them all the time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    entries: Entries,
    first: LogIndex,
    last: LogIndex,
    bytes: usize,
}

impl Run {
    /// `None` if there are no entries.
    #[inline]
    pub(crate) fn new(entries: Entries) -> Option<Self> {
        let (first, last) = (entries.first()?.index, entries.last()?.index);
        let bytes = entries.size();
        Some(Self { entries, first, last, bytes })
    }

    /// Whether what is known of the entries is true of them.
    pub(crate) fn is_sound(&self) -> bool {
        let index = |entry: Option<&Entry>| entry.map(|entry| entry.index);
        index(self.entries.first()) == Some(self.first)
            && index(self.entries.last()) == Some(self.last)
            && self.entries.size() == self.bytes
    }

    pub(crate) const fn entries(&self) -> &Entries {
        &self.entries
    }

    pub(crate) fn into_entries(self) -> Entries {
        self.entries
    }

    pub(crate) const fn first(&self) -> LogIndex {
        self.first
    }

    pub(crate) const fn last(&self) -> LogIndex {
        self.last
    }

    /// What the entries count against limits.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The part whose indexes are in the range, as far as the limits allow but at least one entry,
    /// sharing the same memory; `None` if nothing is in the range.
    #[inline]
    pub(crate) fn part(
        &self,
        range: RangeInclusive<LogIndex>,
        bytes: usize,
        count: usize,
    ) -> Option<Self> {
        let within = *range.start() <= self.first && self.last <= *range.end();
        let small = self.bytes <= bytes && self.entries.len() <= count;
        if within && (small || self.first == self.last) {
            return Some(self.clone());
        }
        self.cut(range, bytes, count)
    }

    fn cut(&self, range: RangeInclusive<LogIndex>, bytes: usize, count: usize) -> Option<Self> {
        let (from, through) = range.into_inner();
        Self::new(self.entries.between(from, through).up_to(bytes, count))
    }
}
