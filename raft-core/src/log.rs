//! The log: the terms of all of it, the newest entries themselves, and what of it is durable.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use crate::config::Inconsistency;
use crate::entry::{Entries, HardState, LogPosition, TermStart, Write};
use crate::ids::{LogIndex, Term, Ticket};
use crate::restored::StoredLog;

/// A log of which only a bounded tail is in memory.
///
/// The term of every entry is known all the same, since a log has few terms: so every question of
/// the protocol is answered at once, and only payloads ever have to be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    terms: Vec<TermStart>,
    last: LogIndex,
    tail: VecDeque<Cached>,
    tail_bytes: usize,
    written: LogIndex,
    truncate_from: Option<LogIndex>,
    unwritten_bytes: usize,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    durable: LogIndex,
    newest_ticket: Ticket,
    durable_ticket: Ticket,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cached {
    entries: Entries,
    bytes: usize,
}

/// A write that the disk has not acknowledged. `last` is what of the log is durable once it is:
/// a truncation lowers it, so a late completion can't vouch for entries that came in place of those that
/// it wrote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InFlight {
    ticket: Ticket,
    last: LogIndex,
    bytes: usize,
}

/// A log that begins below this never gets to the largest index in the time of this world.
const HIGHEST_RESTORED: LogIndex = LogIndex::MAX.half();

impl Log {
    pub(crate) fn restore(stored: StoredLog) -> Result<Self, Inconsistency> {
        let StoredLog { hard_state, terms, last } = stored;
        let ascends = terms
            .windows(2)
            .all(|pair| pair[0].first < pair[1].first && pair[0].term < pair[1].term);
        let begins = terms.first().map_or(last == LogIndex::ZERO, |start| {
            start.first == LogIndex::ZERO.next() && start.term > Term::ZERO
        });
        let ends = terms.last().is_none_or(|start| start.first <= last && last < HIGHEST_RESTORED);
        if !(ascends && begins && ends) {
            return Err(Inconsistency::Terms { last });
        }
        let log = terms.last().map_or(Term::ZERO, |start| start.term);
        if log > hard_state.term || hard_state.term >= Term::MAX {
            return Err(Inconsistency::TermAhead { log, hard_state: hard_state.term });
        }
        Ok(Self {
            terms,
            last,
            tail: VecDeque::new(),
            tail_bytes: 0,
            written: last,
            truncate_from: None,
            unwritten_bytes: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            durable: last,
            newest_ticket: Ticket::default(),
            durable_ticket: Ticket::default(),
        })
    }

    pub(crate) const fn last(&self) -> LogIndex {
        self.last
    }

    pub(crate) const fn durable(&self) -> LogIndex {
        self.durable
    }

    pub(crate) const fn durable_ticket(&self) -> Ticket {
        self.durable_ticket
    }

    /// Bytes of entries that this node's disk has not acknowledged.
    pub(crate) const fn unpersisted_bytes(&self) -> usize {
        self.unwritten_bytes.saturating_add(self.in_flight_bytes)
    }

    pub(crate) const fn cached_bytes(&self) -> usize {
        self.tail_bytes
    }

    pub(crate) fn last_position(&self) -> LogPosition {
        LogPosition {
            index: self.last,
            term: self.terms.last().map_or(Term::ZERO, |start| start.term),
        }
    }

    /// The term of the entry at `index`; term zero for the place before the first entry; `None`
    /// beyond the end.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index > self.last {
            return None;
        }
        let starts = match self.terms.last() {
            Some(newest) if newest.first <= index => return Some(newest.term),
            _ => self.terms.partition_point(|start| start.first <= index),
        };
        Some(starts.checked_sub(1).map_or(Term::ZERO, |at| self.terms[at].term))
    }

    pub(crate) fn contains(&self, position: LogPosition) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// The last position that is at or before `limit` in both index and term: where a log that
    /// has `limit` may still agree with this one.
    pub(crate) fn last_at_most(&self, limit: LogPosition) -> LogPosition {
        let mut index = self.last.min(limit.index);
        let starts = self.terms.partition_point(|start| start.first <= index);
        for start in self.terms[..starts].iter().rev() {
            if start.term <= limit.term {
                return LogPosition { index, term: start.term };
            }
            index = start.first.prev();
        }
        LogPosition::default()
    }

    /// Puts entries behind the last one. The caller has made sure that they follow it.
    pub(crate) fn append(&mut self, entries: Entries) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        debug_assert_eq!(first.index, self.last.next(), "entries follow the log without a gap");
        let last_index = last.index;
        for entry in entries.iter() {
            if self.terms.last().is_none_or(|start| start.term < entry.term) {
                self.terms.push(TermStart { first: entry.index, term: entry.term });
            }
        }
        let bytes = entries.size();
        self.tail.push_back(Cached { entries, bytes });
        self.tail_bytes += bytes;
        self.unwritten_bytes += bytes;
        self.last = last_index;
    }

    /// Removes the entry at `from` and all later ones.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        let keep = from.prev();
        if keep >= self.last {
            return;
        }
        while let Some(run) = self.tail.back() {
            let Some(first) = run.entries.first() else { break };
            if first.index > keep {
                self.tail_bytes -= run.bytes;
                self.tail.pop_back();
                continue;
            }
            let entries = run.entries.between(first.index, keep);
            let bytes = entries.size();
            self.tail_bytes = self.tail_bytes - run.bytes + bytes;
            self.tail.pop_back();
            self.tail.push_back(Cached { entries, bytes });
            break;
        }
        self.terms.truncate(self.terms.partition_point(|start| start.first <= keep));
        self.last = keep;
        self.durable = self.durable.min(keep);
        for write in &mut self.in_flight {
            write.last = write.last.min(keep);
        }
        if keep < self.written {
            self.written = keep;
            self.truncate_from = Some(from);
        }
        self.unwritten_bytes = self.runs(self.written.next()).map(|run| run.size()).sum();
    }

    /// The runs in memory that hold entries from `from` on.
    fn runs(&self, from: LogIndex) -> impl Iterator<Item = Entries> {
        let skip = self
            .tail
            .partition_point(|run| run.entries.last().is_none_or(|entry| entry.index < from));
        self.tail.range(skip..).map(move |run| run.entries.between(from, LogIndex::MAX))
    }

    /// The run that holds the entry at `from`, cut to the range, sharing its memory; `None` if that
    /// entry is not in memory.
    pub(crate) fn run_at(&self, range: RangeInclusive<LogIndex>) -> Option<Entries> {
        let (from, through) = range.into_inner();
        let run = self.runs(from).next()?;
        let starts_here = run.first().is_some_and(|entry| entry.index == from);
        (starts_here && from <= through).then(|| run.between(from, through))
    }

    /// Entries from `from` on within the limits, but at least one; `None` if that one is not in
    /// memory. Entries of one run are shared; only those that lie in several runs are copied
    /// together.
    pub(crate) fn entries(&self, from: LogIndex, bytes: usize, count: usize) -> Option<Entries> {
        let whole = self.run_at(from..=self.last)?;
        let first = whole.up_to(bytes, count);
        let cut = first.len() < whole.len();
        if cut || first.len() >= count || first.last().is_none_or(|entry| entry.index == self.last)
        {
            return Some(first);
        }
        let mut room = bytes.saturating_sub(first.size());
        let mut collected = first.to_vec();
        'runs: for run in self.runs(from.plus(first.len() as u64)) {
            for entry in run.iter() {
                if entry.size() > room || collected.len() >= count {
                    break 'runs;
                }
                room -= entry.size();
                collected.push(entry.clone());
            }
        }
        if collected.len() == first.len() { Some(first) } else { Entries::new(collected) }
    }

    /// The write that this step owes to the disk: what was appended and cut since the last one,
    /// and `hard_state` if it changed.
    pub(crate) fn take_write(&mut self, hard_state: Option<HardState>) -> Option<Write> {
        let nothing_new = self.written == self.last && self.truncate_from.is_none();
        if hard_state.is_none() && nothing_new {
            return None;
        }
        let entries = if self.written == self.last {
            Entries::empty()
        } else {
            // Entries that were never written are always in memory.
            self.entries(self.written.next(), usize::MAX, usize::MAX).unwrap_or_else(Entries::empty)
        };
        self.newest_ticket = self.newest_ticket.next();
        let bytes = core::mem::take(&mut self.unwritten_bytes);
        self.in_flight_bytes += bytes;
        self.in_flight.push_back(InFlight { ticket: self.newest_ticket, last: self.last, bytes });
        self.written = self.last;
        let truncate_from = self.truncate_from.take();
        Some(Write { ticket: self.newest_ticket, hard_state, truncate_from, entries })
    }

    /// The ticket that a change made in this step will be durable with.
    pub(crate) const fn upcoming_ticket(&self) -> Ticket {
        self.newest_ticket.next()
    }

    /// Takes note of a completed write; false if the ticket says nothing new or was never minted.
    pub(crate) fn persisted(&mut self, ticket: Ticket) -> bool {
        if ticket <= self.durable_ticket || ticket > self.newest_ticket {
            return false;
        }
        self.durable_ticket = ticket;
        while let Some(write) = self.in_flight.front() {
            if write.ticket > ticket {
                break;
            }
            self.durable = self.durable.max(write.last);
            self.in_flight_bytes -= write.bytes;
            self.in_flight.pop_front();
        }
        true
    }

    /// Forgets the oldest durable entries until at most `limit` bytes are in memory.
    pub(crate) fn shrink(&mut self, limit: usize) {
        while self.tail_bytes > limit {
            let Some(run) = self.tail.front() else { return };
            if run.entries.last().is_some_and(|entry| entry.index > self.durable) {
                return;
            }
            self.tail_bytes -= run.bytes;
            self.tail.pop_front();
        }
    }

    /// Whether loaded entries are those of this log.
    pub(crate) fn owns(&self, entries: &Entries) -> bool {
        entries.iter().all(|entry| self.contains(entry.position()))
    }

    /// What must hold after every step.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.durable > self.written || self.written > self.last {
            return Err("durable <= written <= last index");
        }
        if self.in_flight_bytes != self.in_flight.iter().map(|write| write.bytes).sum::<usize>() {
            return Err("bytes in flight to the disk equal their recomputation");
        }
        // Looking at a long tail after every step would make long logs slow to test.
        if self.tail.len() > 64 {
            return Ok(());
        }
        if self.tail_bytes != self.tail.iter().map(|run| run.bytes).sum::<usize>() {
            return Err("bytes in memory equal their recomputation");
        }
        let mut next = self.last.next();
        for run in self.tail.iter().rev() {
            let (Some(first), Some(last)) = (run.entries.first(), run.entries.last()) else {
                return Err("no empty run in the tail");
            };
            if last.index.next() != next || !self.contains(first.position()) {
                return Err(
                    "the tail is contiguous, ends at the last index and has the log's terms",
                );
            }
            next = first.index;
        }
        if next > self.durable.next() {
            return Err("entries that are not durable are in memory");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
