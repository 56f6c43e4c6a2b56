//! Where everything is: the only part of the log that stays in memory.

use std::ops::Range;

use raft_core::{Entry, HardState, LogIndex, StoredLog, Term, TermStart, Write};

use super::record::{ENTRY_BYTES, Place};
use crate::fit;

/// Entries of one segment that lie at most this far apart are read in one go. What lies between
/// them is mostly the headers of frames, and a read costs more than a few extra kilobytes.
const MAX_GAP: u64 = 4096;

/// The places of all entries, their terms, and the hard state.
#[derive(Debug, Default)]
pub(super) struct Index {
    hard_state: HardState,
    /// The place of entry `i` is at `i - 1`.
    places: Vec<Place>,
    terms: Steps<Term>,
    segments: Steps<u64>,
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

    fn keep(&mut self, last: LogIndex) {
        let kept = self.0.partition_point(|(first, _)| *first <= last);
        self.0.truncate(kept);
    }

    fn at(&self, index: LogIndex) -> Option<T> {
        let after = self.0.partition_point(|(first, _)| *first <= index);
        let (_, value) = self.0.get(after.checked_sub(1)?)?;
        Some(*value)
    }
}

impl Index {
    pub(super) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// The index of the last entry, or zero.
    pub(super) fn last(&self) -> LogIndex {
        LogIndex::ZERO.plus(self.places.len() as u64)
    }

    /// Checks that `write` continues the log. An error says what does not fit.
    pub(super) fn check(&self, write: &Write) -> Result<(), &'static str> {
        let kept = fit::kept(write, self.last());
        fit::check(write, kept, self.terms.at(kept).unwrap_or(Term::ZERO))
    }

    /// Notes a write that passed [`Index::check`]: its entries are in `segment` at `places`.
    pub(super) fn apply(&mut self, write: &Write, segment: u64, places: &[Place]) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        let kept = fit::kept(write, self.last());
        self.places.truncate(position(kept.next()));
        self.terms.keep(kept);
        self.segments.keep(kept);
        self.places.extend_from_slice(places);
        for entry in write.entries.iter() {
            self.terms.push(entry.index, entry.term);
        }
        if let Some(first) = write.entries.first() {
            self.segments.push(first.index, segment);
        }
    }

    pub(super) fn describe(&self) -> StoredLog {
        let start = |&(first, term): &(LogIndex, Term)| TermStart { first, term };
        StoredLog {
            hard_state: self.hard_state,
            terms: self.terms.0.iter().map(start).collect(),
            last: self.last(),
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
        let end = position(through.next()).min(self.places.len());
        let stored = match from {
            LogIndex::ZERO => &[],
            _ => self.places.get(position(from)..end).unwrap_or_default(),
        };
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut index = from;
        let mut bytes = 0_usize;
        for place in stored {
            bytes = bytes.saturating_add(size(*place));
            if bytes > max_bytes && index != from {
                break;
            }
            let segment = self.segments.at(index).unwrap_or_default();
            extend(&mut stretches, segment, *place);
            index = index.next();
        }
        stretches
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

/// [`Entry::size`] of the entry at `place`.
fn size(place: Place) -> usize {
    let command = place.len.saturating_sub(ENTRY_BYTES);
    size_of::<Entry>().saturating_add(usize::try_from(command).unwrap_or(usize::MAX))
}

/// Where the place of the entry at `index` is in the list of places.
fn position(index: LogIndex) -> usize {
    usize::try_from(index.prev().get()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use raft_core::{Entries, Payload, Ticket};

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
            entries: Entries::new(entries.iter().map(entry).collect()).unwrap(),
        }
    }

    fn place(offset: u64) -> Place {
        Place { offset, len: ENTRY_BYTES, crc: 0 }
    }

    #[test]
    fn truncation_forgets_terms_and_segments_of_what_it_removes() {
        let mut log = Index::default();
        log.apply(&write(None, &[(1, 1), (2, 1)]), 1, &[place(40), place(60)]);
        log.apply(&write(None, &[(3, 2), (4, 3)]), 2, &[place(40), place(60)]);
        log.apply(&write(Some(3), &[(3, 4)]), 3, &[place(80)]);
        let terms: Vec<_> = log
            .describe()
            .terms
            .iter()
            .map(|start| (start.first.get(), start.term.get()))
            .collect();
        assert_eq!(terms, [(1, 1), (3, 4)]);
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
        log.apply(&write(None, &[(1, 1), (2, 1)]), 1, &[place(40), place(far)]);
        assert_eq!(log.select(index(1), index(2), usize::MAX).len(), 2);
        log.apply(&write(Some(2), &[(2, 1)]), 1, &[place(far - 1)]);
        assert_eq!(log.select(index(1), index(2), usize::MAX).len(), 1);
    }

    #[test]
    fn a_write_that_leaves_a_gap_or_lowers_the_term_does_not_fit() {
        let mut log = Index::default();
        log.apply(&write(None, &[(1, 5), (2, 6)]), 1, &[place(40), place(60)]);
        assert!(log.check(&write(None, &[(4, 6)])).is_err());
        assert!(log.check(&write(None, &[(2, 6)])).is_err());
        assert!(log.check(&write(None, &[(3, 5)])).is_err());
        assert!(log.check(&write(Some(2), &[(2, 5)])).is_ok());
        assert!(log.check(&write(Some(9), &[(3, 6)])).is_ok());
    }
}
