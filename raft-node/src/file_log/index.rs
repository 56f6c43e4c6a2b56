//! Where everything is: the only part of the log that stays in memory.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use raft_core::{
    Entry, HardState, LogIndex, LogPosition, Membership, Payload, StoredLog, Term, TermStart, Write,
};

use crate::fit::{self, Bounds};
use crate::record::{ENTRY_BYTES, Head, Place};

/// Entries of one segment that lie at most this far apart are read in one go. What lies between
/// them is mostly the headers of frames, and a read costs more than a few extra kilobytes.
const MAX_GAP: u64 = 4096;

/// The places of all entries, their terms, their configurations, and the hard state.
#[derive(Debug, Default)]
pub(super) struct Index {
    hard_state: HardState,
    begin_after: LogPosition,
    /// The place before the first entry that is known: later than `begin_after` while segments
    /// are read of which older ones are missing.
    base: LogIndex,
    /// The places of the entries behind `base`.
    places: VecDeque<Place>,
    terms: Steps<Term>,
    segments: Steps<u64>,
    /// The configurations among the entries, ascending.
    memberships: Vec<(LogIndex, Arc<Membership>)>,
}

/// A value that changes at few indexes of the log: a list of the changes, ascending.
#[derive(Debug)]
struct Steps<T>(Vec<(LogIndex, T)>);

/// A stretch of one segment that holds consecutive entries.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) segment: u64,
    pub(super) bytes: Range<u64>,
    pub(super) places: Vec<Place>,
}

impl<T> Default for Steps<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + PartialEq> Steps<T> {
    fn push(&mut self, index: LogIndex, value: T) {
        if self.0.last().is_none_or(|(_, last)| *last != value) {
            self.0.push((index, value));
        }
    }

    /// Forgets what is behind `last`.
    fn keep(&mut self, last: LogIndex) {
        let kept = self.0.partition_point(|(first, _)| *first <= last);
        self.0.truncate(kept);
    }

    /// Forgets what is before `first`, which has a value.
    fn begin_at(&mut self, first: LogIndex) {
        let past = self.0.partition_point(|(start, _)| *start <= first);
        self.0.drain(..past.saturating_sub(1));
        if let Some((start, _)) = self.0.first_mut() {
            *start = first;
        }
    }

    fn at(&self, index: LogIndex) -> Option<T> {
        let after = self.0.partition_point(|(first, _)| *first <= index);
        let (_, value) = self.0.get(after.checked_sub(1)?)?;
        Some(*value)
    }
}

impl Index {
    /// What the log has come to.
    pub(super) fn head(&self) -> Head {
        let bounds = Bounds { begin_after: self.begin_after, last: self.last() };
        Head { hard_state: self.hard_state, bounds }
    }

    /// The index of a log of which older segments are missing: they have come to `head`.
    pub(super) fn behind(head: Head) -> Self {
        Self {
            hard_state: head.hard_state,
            begin_after: head.bounds.begin_after,
            base: head.bounds.last,
            ..Self::default()
        }
    }

    /// Whether the log holds entries of segments that are missing.
    pub(super) fn lacks_entries(&self) -> bool {
        self.base != self.begin_after.index
    }

    /// The oldest segment that entries of the log are in; `None` if it has none.
    pub(super) fn oldest_segment(&self) -> Option<u64> {
        self.segments.0.first().map(|(_, segment)| *segment)
    }

    /// The index of the last entry, or where the log begins if it has none.
    pub(super) fn last(&self) -> LogIndex {
        self.base.plus(self.places.len() as u64)
    }

    /// Checks that `write` continues the log, and says what its removals leave. An error says what
    /// does not fit.
    pub(super) fn check(&self, write: &Write) -> Result<Bounds, &'static str> {
        fit::check(write, self.head().bounds, |index| self.terms.at(index))
    }

    /// Notes a write of which [`Index::check`] said that it leaves `left`: its entries are in
    /// `segment` at `places`.
    pub(super) fn apply(&mut self, write: &Write, left: Bounds, segment: u64, places: &[Place]) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        self.truncate(left.last);
        self.compact(left.begin_after);
        self.places.extend(places);
        for entry in write.entries.iter() {
            self.terms.push(entry.index, entry.term);
            if let Payload::Membership(membership) = &entry.payload {
                self.memberships.push((entry.index, membership.clone()));
            }
        }
        if let Some(first) = write.entries.first() {
            self.segments.push(first.index, segment);
        }
    }

    fn truncate(&mut self, last: LogIndex) {
        self.places.truncate(distance(last, self.base));
        self.terms.keep(last);
        self.segments.keep(last);
        self.memberships.truncate(self.memberships.partition_point(|(at, _)| *at <= last));
        self.base = self.base.min(last);
    }

    fn compact(&mut self, begin_after: LogPosition) {
        self.begin_after = begin_after;
        if begin_after.index <= self.base {
            return;
        }
        let compacted = distance(begin_after.index, self.base).min(self.places.len());
        self.places.drain(..compacted);
        if self.places.capacity() / 4 > self.places.len() {
            self.places.shrink_to(2 * self.places.len());
        }
        self.base = begin_after.index;
        if self.places.is_empty() {
            self.terms.0.clear();
            self.segments.0.clear();
        }
        self.terms.begin_at(self.base.next());
        self.segments.begin_at(self.base.next());
        let past = self.memberships.partition_point(|(at, _)| *at <= self.base);
        self.memberships.drain(..past);
    }

    pub(super) fn describe(&self) -> StoredLog {
        let start = |&(first, term): &(LogIndex, Term)| TermStart { first, term };
        StoredLog {
            hard_state: self.hard_state,
            begin_after: self.begin_after,
            terms: self.terms.0.iter().map(start).collect(),
            last: self.last(),
            memberships: self.memberships.clone(),
        }
    }

    /// Where to read the entries from `from` up to `through`: at least one of them, then as many
    /// as fit in `max_bytes`. Empty when the log has none of them.
    pub(super) fn select(
        &self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Vec<Stretch> {
        if from <= self.base {
            return Vec::new();
        }
        let start = distance(from.prev(), self.base);
        let end = distance(through, self.base).min(self.places.len());
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut index = from;
        let mut bytes = 0_usize;
        for &place in self.places.range(start.min(end)..end) {
            bytes = bytes.saturating_add(self.size(index, place));
            if bytes > max_bytes && index != from {
                break;
            }
            let segment = self.segments.at(index).unwrap_or_default();
            extend(&mut stretches, segment, place);
            index = index.next();
        }
        stretches
    }

    /// [`Entry::size`] of the entry at `index`, which is at `place`.
    fn size(&self, index: LogIndex, place: Place) -> usize {
        if let Ok(nth) = self.memberships.binary_search_by_key(&index, |(at, _)| *at)
            && let Some((_, membership)) = self.memberships.get(nth)
        {
            let payload = Payload::Membership(membership.clone());
            return Entry { term: Term::ZERO, index, payload }.size();
        }
        let command = place.len.saturating_sub(ENTRY_BYTES);
        size_of::<Entry>().saturating_add(usize::try_from(command).unwrap_or(usize::MAX))
    }
}

/// Adds an entry to the last stretch if it is near, or else begins a new one.
fn extend(stretches: &mut Vec<Stretch>, segment: u64, place: Place) {
    if let Some(last) = stretches.last_mut()
        && last.segment == segment
        && place.offset.saturating_sub(last.bytes.end) <= MAX_GAP
    {
        last.bytes.end = place.end();
        last.places.push(place);
        return;
    }
    stretches.push(Stretch { segment, bytes: place.offset..place.end(), places: vec![place] });
}

fn distance(index: LogIndex, base: LogIndex) -> usize {
    usize::try_from(index.since(base)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use raft_core::{Entries, NodeId, Ticket};

    use super::*;

    fn index(index: u64) -> LogIndex {
        LogIndex::new(index).unwrap()
    }

    fn write(truncate_from: Option<u64>, entries: &[(u64, u64)]) -> Write {
        let entry = |&(at, term): &(u64, u64)| Entry {
            term: Term::new(term).unwrap(),
            index: index(at),
            payload: Payload::Noop,
        };
        Write {
            ticket: Ticket::default(),
            hard_state: None,
            truncate_from: truncate_from.map(index),
            begin_after: None,
            entries: Entries::new(entries.iter().map(entry).collect()).unwrap(),
        }
    }

    fn position(at: u64, term: u64) -> LogPosition {
        LogPosition { index: index(at), term: Term::new(term).unwrap() }
    }

    fn beginning(at: u64, term: u64, entries: &[(u64, u64)]) -> Write {
        Write { begin_after: Some(position(at, term)), ..write(None, entries) }
    }

    impl Index {
        fn note(&mut self, write: &Write, segment: u64, places: &[Place]) {
            let left = self.check(write).unwrap();
            self.apply(write, left, segment, places);
        }

        fn starts(&self) -> Vec<(u64, u64)> {
            let terms = self.describe().terms;
            terms.iter().map(|start| (start.first.get(), start.term.get())).collect()
        }
    }

    fn place(offset: u64) -> Place {
        Place { offset, len: ENTRY_BYTES, crc: 0 }
    }

    #[test]
    fn truncation_forgets_terms_and_segments_of_what_it_removes() {
        let mut log = Index::default();
        log.note(&write(None, &[(1, 1), (2, 1)]), 1, &[place(40), place(60)]);
        log.note(&write(None, &[(3, 2), (4, 3)]), 2, &[place(40), place(60)]);
        log.note(&write(Some(3), &[(3, 4)]), 3, &[place(80)]);
        assert_eq!(log.starts(), [(1, 1), (3, 4)]);
        assert_eq!(log.last(), index(3));
        let stretches = log.select(index(1), LogIndex::MAX, usize::MAX);
        let segments: Vec<_> = stretches.iter().map(|stretch| stretch.segment).collect();
        assert_eq!(segments, [1, 3]);
        assert_eq!(stretches[0].bytes, 40..60 + u64::from(ENTRY_BYTES));
    }

    #[test]
    fn entries_that_lie_far_apart_are_read_one_by_one() {
        let mut log = Index::default();
        let far = 49 + MAX_GAP + 1;
        log.note(&write(None, &[(1, 1), (2, 1)]), 1, &[place(40), place(far)]);
        assert_eq!(log.select(index(1), index(2), usize::MAX).len(), 2);
        log.note(&write(Some(2), &[(2, 1)]), 1, &[place(far - 1)]);
        assert_eq!(log.select(index(1), index(2), usize::MAX).len(), 1);
    }

    #[test]
    fn a_write_that_leaves_a_gap_or_lowers_the_term_does_not_fit() {
        let mut log = Index::default();
        log.note(&write(None, &[(1, 5), (2, 6)]), 1, &[place(40), place(60)]);
        assert!(log.check(&write(None, &[(4, 6)])).is_err());
        assert!(log.check(&write(None, &[(2, 6)])).is_err());
        assert!(log.check(&write(None, &[(3, 5)])).is_err());
        assert!(log.check(&write(Some(2), &[(2, 5)])).is_ok());
        assert!(log.check(&write(Some(9), &[(3, 6)])).is_ok());
    }

    #[test]
    fn compaction_forgets_places_terms_segments_and_configurations() {
        let mut log = Index::default();
        let mut first = write(None, &[(1, 1), (2, 1)]);
        let members = Arc::new(Membership::of_voters([NodeId::new(1)]));
        let of_members = |entry: &Entry| Entry {
            payload: Payload::Membership(members.clone()),
            ..entry.clone()
        };
        first.entries = Entries::new(first.entries.iter().map(of_members).collect()).unwrap();
        log.note(&first, 1, &[place(40), place(60)]);
        log.note(&write(None, &[(3, 2), (4, 3)]), 2, &[place(40), place(60)]);
        log.note(&beginning(1, 1, &[]), 3, &[]);
        assert_eq!(log.starts(), [(2, 1), (3, 2), (4, 3)]);
        assert_eq!(log.oldest_segment(), Some(1));
        assert_eq!(log.describe().memberships, [(index(2), members)]);
        log.note(&beginning(3, 2, &[]), 3, &[]);
        assert_eq!(log.starts(), [(4, 3)]);
        assert_eq!((log.oldest_segment(), log.places.len()), (Some(2), 1));
        assert!(log.describe().memberships.is_empty());
        assert!(log.select(index(3), index(4), usize::MAX).is_empty());
        assert_eq!(log.select(index(4), index(4), usize::MAX)[0].bytes.start, 60);
        log.note(&beginning(9, 3, &[(10, 3)]), 4, &[place(40)]);
        assert_eq!((log.starts(), log.oldest_segment()), (vec![(10, 3)], Some(4)));
        assert_eq!((log.last(), log.places.len()), (index(10), 1));
    }

    #[test]
    fn memory_for_compacted_entries_is_given_back() {
        let mut log = Index::default();
        let many: Vec<_> = (1..=5000).map(|at| (at, 1)).collect();
        log.note(&write(None, &many), 1, &vec![place(40); 5000]);
        log.note(&beginning(4990, 1, &[]), 2, &[]);
        assert!(log.places.capacity() <= 20, "{}", log.places.capacity());
    }

    #[test]
    fn entries_of_missing_segments_are_missed_until_the_log_begins_behind_them() {
        let bounds = Bounds { begin_after: position(2, 1), last: index(9) };
        let head = Head { hard_state: HardState::default(), bounds };
        let mut log = Index::behind(head);
        assert_eq!((log.head(), log.lacks_entries()), (head, true));
        log.note(&write(None, &[(10, 4)]), 2, &[place(40)]);
        log.note(&write(Some(8), &[(8, 5)]), 2, &[place(60)]);
        assert!(log.lacks_entries(), "3 to 7");
        log.note(&beginning(6, 2, &[]), 2, &[]);
        assert!(log.lacks_entries(), "7");
        let mut all_replaced = Index::behind(log.head());
        log.note(&beginning(7, 3, &[]), 2, &[]);
        assert!(!log.lacks_entries());
        assert_eq!((log.starts(), log.last()), (vec![(8, 5)], index(8)));
        all_replaced.note(&write(Some(7), &[(7, 5)]), 2, &[place(40)]);
        assert!(!all_replaced.lacks_entries());
    }

    #[test]
    fn a_beginning_that_contradicts_the_log_does_not_fit() {
        let mut log = Index::default();
        log.note(&write(None, &[(1, 1), (2, 1), (3, 2), (4, 2)]), 1, &[place(40); 4]);
        log.note(&beginning(2, 1, &[]), 1, &[]);
        for wrong in [
            beginning(1, 1, &[]),
            beginning(2, 2, &[]),
            beginning(3, 1, &[]),
            beginning(5, 2, &[(5, 2)]),
            beginning(5, 3, &[(6, 2)]),
            write(Some(2), &[(2, 2)]),
        ] {
            assert!(log.check(&wrong).is_err(), "{wrong:?}");
        }
        for right in [
            beginning(2, 1, &[(5, 2)]),
            // A snapshot may contradict the log if nothing stays behind it.
            beginning(4, 1, &[(5, 1)]),
            Write { truncate_from: Some(index(4)), ..beginning(3, 1, &[(4, 1)]) },
            beginning(9, 1, &[(10, 1)]),
        ] {
            assert!(log.check(&right).is_ok(), "{right:?}");
        }
    }
}
