//! The log: the terms of all of it, the newest entries themselves, and what of it is durable.

use crate::shared::Arc;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use crate::config::Inconsistency;
use crate::entry::{Entries, HardState, LogPosition, Payload, TermStart, Write};
use crate::ids::{LogIndex, Term, Ticket};
use crate::membership::Membership;
use crate::restored::StoredLog;
use crate::run::Run;
use crate::snapshot::Snapshot;
use crate::time::Instant;

/// A log of which only a bounded tail is in memory.
///
/// The term of every entry is known all the same, since a log has few terms: so every question of
/// the protocol is answered at once, and only payloads ever have to be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    /// The entries up to here are compacted away. They were committed.
    base: LogPosition,
    /// `base` has changed since the last write.
    base_changed: bool,
    terms: Vec<TermStart>,
    /// The configurations of the log, ascending, behind one for what is older.
    memberships: Vec<(LogIndex, Arc<Membership>)>,
    last: LogIndex,
    tail: VecDeque<Run>,
    tail_bytes: usize,
    written: LogIndex,
    truncate_from: Option<LogIndex>,
    unwritten_bytes: usize,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    durable: LogIndex,
    newest_ticket: Ticket,
    durable_ticket: Ticket,
    /// When the disk last completed a write.
    disk_answered: Instant,
}

/// A write that the disk has not acknowledged. `last` is what of the log is durable once it is: a
/// truncation lowers it, so a late completion can't vouch for entries that came in place of those
/// that it wrote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InFlight {
    ticket: Ticket,
    last: LogIndex,
    bytes: usize,
    since: Instant,
}

/// A log that begins below this never gets to the largest index in the time of this world.
pub(crate) const HIGHEST_BASE: LogIndex = LogIndex::MAX.half();

impl Log {
    /// The log as the store and the newest snapshot describe it.
    ///
    /// A snapshot that came from a leader may be durable when the write is lost that was to make
    /// room for it. Then the log is behind it or contradicts it, and is dropped here: the snapshot
    /// holds committed entries.
    pub(crate) fn restore(
        stored: StoredLog,
        snapshot: Option<&Snapshot>,
    ) -> Result<Self, Inconsistency> {
        check_stored(&stored)?;
        let StoredLog { begin_after, terms, last, memberships, .. } = stored;
        let covered = snapshot.map(|snapshot| snapshot.position).unwrap_or_default();
        // Both are committed, so the one that reaches further is of no earlier term.
        let follows = covered.index > begin_after.index && covered.term >= begin_after.term;
        if !follows && covered != begin_after {
            return Err(Inconsistency::SnapshotMissing { begin_after: begin_after.index });
        }
        let older = snapshot.map(|snapshot| (snapshot.position.index, snapshot.membership.clone()));
        let older = older.unwrap_or_default();
        let newer = memberships.into_iter().filter(|(index, _)| *index > older.0);
        let mut log = Self {
            base: begin_after,
            base_changed: false,
            terms,
            memberships: [older.clone()].into_iter().chain(newer).collect(),
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
            disk_answered: Instant::ORIGIN,
        };
        if let Some(snapshot) = snapshot
            && log.term_at(snapshot.position.index) != Some(snapshot.position.term)
        {
            log.install(snapshot);
        }
        Ok(log)
    }

    /// The place before the first entry.
    pub(crate) const fn base(&self) -> LogPosition {
        self.base
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
            term: self.terms.last().map_or(self.base.term, |start| start.term),
        }
    }

    /// The term of the entry at `index`, or of the place before the first entry; `None` beyond the
    /// end and for what is compacted.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index > self.last || index < self.base.index {
            return None;
        }
        let starts = match self.terms.last() {
            Some(newest) if newest.first <= index => return Some(newest.term),
            _ => self.terms.partition_point(|start| start.first <= index),
        };
        Some(starts.checked_sub(1).map_or(self.base.term, |at| self.terms[at].term))
    }

    pub(crate) fn contains(&self, position: LogPosition) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// Whether a leader's log agrees with this one at `position`. All agree on what is compacted,
    /// because it was committed.
    pub(crate) fn agrees_at(&self, position: LogPosition) -> bool {
        position.index < self.base.index || self.contains(position)
    }

    /// The last position that is at or before `limit` in both index and term: where a log that
    /// has `limit` may still agree with this one. The default if that is compacted.
    pub(crate) fn last_at_most(&self, limit: LogPosition) -> LogPosition {
        let mut index = self.last.min(limit.index);
        let starts = self.terms.partition_point(|start| start.first <= index);
        for start in self.terms[..starts].iter().rev() {
            if start.term <= limit.term {
                return LogPosition { index, term: start.term };
            }
            index = start.first.prev();
        }
        let base = self.base;
        let reached = base.index <= limit.index && base.term <= limit.term;
        if reached { base } else { LogPosition::default() }
    }

    /// The configuration in force: the newest of the log.
    pub(crate) fn membership(&self) -> (LogIndex, &Arc<Membership>) {
        // There is always one.
        let (index, membership) = &self.memberships[self.memberships.len() - 1];
        (*index, membership)
    }

    /// The configuration in force at an index, with the index of its entry; `None` if that is
    /// compacted.
    pub(crate) fn membership_at(&self, index: LogIndex) -> Option<(LogIndex, &Arc<Membership>)> {
        let after = self.memberships.partition_point(|(first, _)| *first <= index);
        let (first, membership) = self.memberships.get(after.checked_sub(1)?)?;
        Some((*first, membership))
    }

    /// Puts entries behind the last one. The caller has made sure that they follow it.
    pub(crate) fn append(&mut self, entries: Entries) {
        let Some(run) = Run::new(entries) else { return };
        debug_assert_eq!(run.first(), self.last.next(), "entries follow the log without a gap");
        for entry in run.entries().iter() {
            if self.terms.last().is_none_or(|start| start.term < entry.term) {
                self.terms.push(TermStart { first: entry.index, term: entry.term });
            }
            if let Payload::Membership(membership) = &entry.payload {
                self.memberships.push((entry.index, membership.clone()));
            }
        }
        self.tail_bytes += run.bytes();
        self.unwritten_bytes += run.bytes();
        self.last = run.last();
        self.tail.push_back(run);
    }

    /// Removes the entry at `from` and all later ones.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        let keep = from.prev();
        if keep >= self.last {
            return;
        }
        while let Some(run) = self.tail.back()
            && run.last() > keep
        {
            self.tail_bytes -= run.bytes();
            let kept = run.part(LogIndex::ZERO..=keep, usize::MAX, usize::MAX);
            self.tail.pop_back();
            if let Some(run) = kept {
                self.tail_bytes += run.bytes();
                self.tail.push_back(run);
            }
        }
        self.terms.truncate(self.terms.partition_point(|start| start.first <= keep));
        let kept = self.memberships.partition_point(|(first, _)| *first <= keep);
        // The first one is committed, like everything that was compacted.
        self.memberships.truncate(kept.max(1));
        self.last = keep;
        self.durable = self.durable.min(keep);
        for write in &mut self.in_flight {
            write.last = write.last.min(keep);
        }
        if keep < self.written {
            self.written = keep;
            self.truncate_from = Some(from);
        }
        self.unwritten_bytes = self.runs(self.written.next()).map(|run| run.bytes()).sum();
    }

    /// Forgets the entries up to `to`, which are covered by a snapshot.
    pub(crate) fn compact(&mut self, to: LogIndex) {
        let Some(term) = self.term_at(to) else { return };
        if to <= self.base.index || to > self.durable {
            return;
        }
        self.base = LogPosition { index: to, term };
        self.base_changed = true;
        let first = to.next();
        let past = self.terms.partition_point(|start| start.first <= first);
        self.terms.drain(..past.saturating_sub(1));
        match self.terms.first_mut() {
            Some(_) if to == self.last => self.terms.clear(),
            Some(start) => start.first = start.first.max(first),
            None => {}
        }
        let past = self.memberships.partition_point(|(first, _)| *first <= to);
        self.memberships.drain(..past.saturating_sub(1));
        while let Some(run) = self.tail.front()
            && run.last() <= to
        {
            self.tail_bytes -= run.bytes();
            self.tail.pop_front();
        }
    }

    /// Replaces the whole log by a snapshot, which is on this node's disk already: what the
    /// snapshot covers is durable, even if the write that makes room for it is lost.
    pub(crate) fn install(&mut self, snapshot: &Snapshot) {
        let index = snapshot.position.index;
        self.base = snapshot.position;
        self.base_changed = true;
        self.terms.clear();
        self.memberships = alloc::vec![(index, snapshot.membership.clone())];
        self.last = index;
        self.tail.clear();
        self.tail_bytes = 0;
        self.written = index;
        self.truncate_from = Some(index.next());
        self.unwritten_bytes = 0;
        for write in &mut self.in_flight {
            write.last = index;
        }
        self.durable = index;
    }

    /// Which of the runs in memory is the first that ends at `from` or later. Nearly always the
    /// newest few are asked for, so the search begins with them.
    fn place_of(&self, from: LogIndex) -> usize {
        const NEWEST: usize = 4;
        let len = self.tail.len();
        for place in (len.saturating_sub(NEWEST)..len).rev() {
            if let Some(run) = self.tail.get(place)
                && run.first() <= from
            {
                return if from <= run.last() { place } else { place + 1 };
            }
        }
        self.tail.partition_point(|run| run.last() < from)
    }

    /// The runs in memory that hold entries from `from` on.
    fn runs(&self, from: LogIndex) -> impl Iterator<Item = Run> {
        let runs = self.tail.range(self.place_of(from)..);
        runs.filter_map(move |run| run.part(from..=LogIndex::MAX, usize::MAX, usize::MAX))
    }

    /// The run that holds the first entry of the range, cut to the range and to the limits, but
    /// with one entry at least; `None` if that entry is not in memory.
    pub(crate) fn run_at(
        &self,
        range: RangeInclusive<LogIndex>,
        bytes: usize,
        count: usize,
    ) -> Option<Run> {
        let run = self.tail.get(self.place_of(*range.start()))?;
        if range.is_empty() || *range.start() < run.first() {
            return None;
        }
        run.part(range, bytes, count)
    }

    /// Entries from `from` on within the limits, but at least one; `None` if that one is not in
    /// memory. Entries of one run are shared; only those that lie in several runs are copied
    /// together.
    pub(crate) fn entries(&self, from: LogIndex, bytes: usize, count: usize) -> Option<Run> {
        let newest = self.tail.back()?;
        if newest.first() <= from {
            return newest.part(from..=self.last, bytes, count);
        }
        let first = self.run_at(from..=self.last, bytes, count)?;
        let mut room = bytes.saturating_sub(first.bytes());
        let (mut count, mut more) = (count.saturating_sub(first.entries().len()), Vec::new());
        'runs: for run in self.runs(first.last().next()) {
            for entry in run.entries().iter() {
                if entry.size() > room || count == 0 {
                    break 'runs;
                }
                room -= entry.size();
                count -= 1;
                more.push(entry.clone());
            }
        }
        if more.is_empty() {
            return Some(first);
        }
        let joined = first.entries().iter().cloned().chain(more);
        Run::new(Entries::new(joined.collect())?)
    }

    /// Whether there is something to write.
    pub(crate) fn owes_write(&self) -> bool {
        self.written != self.last || self.truncate_from.is_some() || self.base_changed
    }

    /// The write that this step owes to the disk: what was appended and cut since the last one,
    /// and `hard_state` if it changed.
    pub(crate) fn take_write(&mut self, hard_state: Option<HardState>, now: Instant) -> Write {
        let entries =
            if self.written == self.last { Entries::empty() } else { self.join_unwritten() };
        let ticket = self.newest_ticket.next();
        self.newest_ticket = ticket;
        let bytes = core::mem::take(&mut self.unwritten_bytes);
        self.in_flight_bytes += bytes;
        let last = self.last;
        self.in_flight.push_back(InFlight { ticket, last, bytes, since: now });
        self.written = last;
        let truncate_from = self.truncate_from.take();
        let begin_after = core::mem::take(&mut self.base_changed).then_some(self.base);
        Write { ticket, hard_state, truncate_from, begin_after, entries }
    }

    /// The entries that were never written, which are always in memory. From now on they are one
    /// run, so that nobody who is sent them has to put them together again.
    fn join_unwritten(&mut self) -> Entries {
        let from = self.written.next();
        if let Some(newest) = self.tail.back().filter(|newest| newest.first() == from) {
            return newest.entries().clone();
        }
        let Some(run) = self.entries(from, usize::MAX, usize::MAX) else { return Entries::empty() };
        let place = self.place_of(from);
        if self.tail.get(place).is_some_and(|first| first.first() == from) {
            self.tail.truncate(place);
            self.tail.push_back(run.clone());
        }
        run.into_entries()
    }

    /// Since when the disk has completed nothing although there is something to complete.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        self.in_flight.front().map(|write| write.since.max(self.disk_answered))
    }

    /// How many writes the disk has not acknowledged.
    pub(crate) fn writes_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The ticket that a change made in this step will be durable with.
    pub(crate) const fn upcoming_ticket(&self) -> Ticket {
        self.newest_ticket.next()
    }

    /// Takes note of a completed write; false if the ticket says nothing new or was never minted.
    pub(crate) fn persisted(&mut self, ticket: Ticket, now: Instant) -> bool {
        if ticket <= self.durable_ticket || ticket > self.newest_ticket {
            return false;
        }
        self.durable_ticket = ticket;
        self.disk_answered = now;
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
            if run.last() > self.durable {
                return;
            }
            self.tail_bytes -= run.bytes();
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
        if self.base.index > self.durable {
            return Err("what is compacted was durable");
        }
        let begins = self.terms.first().is_none_or(|start| start.first > self.base.index);
        if !begins || self.terms.is_empty() != (self.base.index == self.last) {
            return Err("the terms are those of the entries");
        }
        if self.memberships.iter().skip(1).any(|(index, _)| *index <= self.base.index) {
            return Err("configurations that are compacted, but for the one in force then");
        }
        if self.in_flight_bytes != self.in_flight.iter().map(|write| write.bytes).sum::<usize>() {
            return Err("bytes in flight to the disk equal their recomputation");
        }
        // Looking at a long tail after every step would make long logs slow to test.
        if self.tail.len() > 64 {
            return Ok(());
        }
        if self.tail_bytes != self.tail.iter().map(Run::bytes).sum::<usize>() {
            return Err("bytes in memory equal their recomputation");
        }
        let mut next = self.last.next();
        for run in self.tail.iter().rev() {
            if !run.is_sound() {
                return Err("what is known of a run equals its recomputation");
            }
            let first = run.entries().first().map(crate::Entry::position);
            let agrees = first.is_some_and(|first| self.agrees_at(first));
            if run.last().next() != next || !agrees {
                return Err(
                    "the tail is contiguous, ends at the last index and has the log's terms",
                );
            }
            next = run.first();
        }
        if next > self.durable.next() {
            return Err("entries that are not durable are in memory");
        }
        Ok(())
    }
}

/// Whether what a store says makes sense.
fn check_stored(stored: &StoredLog) -> Result<(), Inconsistency> {
    let StoredLog { hard_state, begin_after, terms, last, memberships } = stored;
    let ascends =
        terms.windows(2).all(|pair| pair[0].first < pair[1].first && pair[0].term < pair[1].term);
    let begins = terms.first().map_or(*last == begin_after.index, |start| {
        start.first == begin_after.index.next()
            && start.term >= begin_after.term
            && start.term > Term::ZERO
    });
    let ends = terms.last().is_none_or(|start| start.first <= *last) && *last < HIGHEST_BASE;
    let of_entries =
        memberships.iter().all(|(index, members)| *index <= *last && !members.is_empty());
    let sorted = memberships.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !(ascends && begins && ends && of_entries && sorted) {
        return Err(Inconsistency::Terms { last: *last });
    }
    let log = terms.last().map_or(begin_after.term, |start| start.term);
    if log > hard_state.term || hard_state.term >= Term::MAX {
        return Err(Inconsistency::TermAhead { log, hard_state: hard_state.term });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
