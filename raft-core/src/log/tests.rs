//! The log against a naive one: a list of all entries from the first on, and a few numbers.

extern crate std;

use crate::shared::Arc;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::entry::Entry;
use crate::ids::NodeId;

/// What happens to a log.
#[derive(Clone, Debug)]
enum Change {
    /// So many entries of a term that is so much newer; with a configuration among them or not.
    Append(usize, u64, bool),
    Truncate(prop::sample::Index),
    Write,
    Persisted(prop::sample::Index),
    Compact(prop::sample::Index),
    /// A snapshot so far behind the end.
    Install(u64),
    Shrink(usize),
}

fn any_change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        6 => (1..4_usize, 0..2_u64, prop::bool::weighted(0.2))
            .prop_map(|(count, newer, members)| Change::Append(count, newer, members)),
        2 => place().prop_map(Change::Truncate),
        4 => Just(Change::Write),
        4 => place().prop_map(Change::Persisted),
        2 => place().prop_map(Change::Compact),
        1 => (1..5_u64).prop_map(Change::Install),
        1 => (0..400_usize).prop_map(Change::Shrink),
    ]
}

fn index(number: u64) -> LogIndex {
    LogIndex::new(number).unwrap_or(LogIndex::MAX)
}

fn members(number: u64) -> Arc<Membership> {
    Arc::new(Membership::of_voters([NodeId::new(number)]))
}

/// Everything that was ever appended and not truncated, and what a disk would hold.
#[derive(Default)]
struct Naive {
    /// Entries that a snapshot has replaced are unknown.
    entries: Vec<Option<Entry>>,
    base: LogPosition,
    base_members: Option<Arc<Membership>>,
    writes: Vec<Write>,
}

impl Naive {
    fn term_at(&self, at: LogIndex) -> Option<Term> {
        if at == self.base.index {
            return Some(self.base.term);
        }
        let place = usize::try_from(at.get()).ok()?.checked_sub(1)?;
        let entry = self.entries.get(place)?.as_ref()?;
        (at > self.base.index).then_some(entry.term)
    }

    fn last(&self) -> LogIndex {
        index(self.entries.len() as u64)
    }

    fn members(&self) -> Option<Arc<Membership>> {
        let known = self.entries.iter().rev().flatten();
        let mut newest = known.filter_map(|entry| match &entry.payload {
            Payload::Membership(members) => Some(members.clone()),
            _ => None,
        });
        newest.next().or_else(|| self.base_members.clone())
    }

    fn last_at_most(&self, limit: LogPosition) -> LogPosition {
        let mut at = self.last().min(limit.index);
        while let Some(term) = self.term_at(at) {
            if term <= limit.term {
                return LogPosition { index: at, term };
            }
            if at == self.base.index {
                break;
            }
            at = at.prev();
        }
        LogPosition::default()
    }
}

struct Both {
    log: Log,
    naive: Naive,
    tickets: Vec<Ticket>,
}

impl Both {
    fn new() -> Self {
        let snapshot = Snapshot::initial(Membership::of_voters([NodeId::new(0)]));
        let log = Log::restore(StoredLog::default(), Some(&snapshot)).unwrap();
        let base_members = Some(snapshot.membership);
        let naive = Naive { base_members, ..Naive::default() };
        Self { log, naive, tickets: Vec::new() }
    }

    fn carry_out(&mut self, change: Change) {
        match change {
            Change::Append(count, newer, with_members) => self.append(count, newer, with_members),
            Change::Truncate(place) => {
                let (base, last) = (self.naive.base.index, self.naive.last());
                let from = base.plus(1 + place.index(last.since(base) as usize + 1) as u64);
                self.log.truncate(from);
                self.naive.entries.truncate(from.get() as usize - 1);
            }
            Change::Write => {
                if self.log.owes_write() {
                    let write = self.log.take_write(None, Instant::ORIGIN);
                    self.tickets.push(write.ticket);
                    self.naive.writes.push(write);
                }
            }
            Change::Persisted(place) if !self.tickets.is_empty() => {
                let ticket = self.tickets[place.index(self.tickets.len())];
                self.log.persisted(ticket, Instant::ORIGIN);
            }
            Change::Persisted(_) => {}
            Change::Compact(place) => {
                let (base, durable) = (self.log.base().index, self.log.durable());
                let to = base.plus(place.index(durable.since(base) as usize + 1) as u64);
                if to > base {
                    let term = self.naive.term_at(to).unwrap();
                    let before = self.log.membership_at(to).unwrap().1.clone();
                    self.log.compact(to);
                    self.naive.base = LogPosition { index: to, term };
                    self.naive.base_members = Some(before);
                    for entry in &mut self.naive.entries[..to.get() as usize] {
                        *entry = None;
                    }
                }
            }
            Change::Install(ahead) => self.install(ahead),
            Change::Shrink(limit) => self.log.shrink(limit),
        }
    }

    fn append(&mut self, count: usize, newer: u64, with_members: bool) {
        let term = Term::new(self.log.last_position().term.get().max(1) + newer).unwrap();
        let first = self.log.last().next();
        let payload = |n: usize| match (with_members, n) {
            (true, 0) => Payload::Membership(members(first.get())),
            _ => Payload::Command(alloc::vec![7; n].into()),
        };
        let entries = Entries::of_term(term, first, (0..count).map(payload).collect());
        self.naive.entries.extend(entries.iter().cloned().map(Some));
        self.log.append(entries);
    }

    fn install(&mut self, ahead: u64) {
        let last = self.log.last_position();
        let term = Term::new(last.term.get() + 1).unwrap();
        let position = LogPosition { index: last.index.plus(ahead), term };
        let membership = members(1000 + position.index.get());
        self.log.install(&Snapshot {
            position,
            membership: membership.clone(),
            size: 0,
            checksum: 0,
        });
        self.naive.entries = alloc::vec![None; position.index.get() as usize];
        self.naive.base = position;
        self.naive.base_members = Some(membership);
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let Self { log, naive, .. } = self;
        prop_assert_eq!(log.check(), Ok(()));
        prop_assert_eq!(log.last(), naive.last());
        prop_assert_eq!(log.base(), naive.base);
        prop_assert_eq!(Some(log.membership().1.clone()), naive.members());
        let newest = log.last_position().term.get();
        for at in 0..=naive.last().get() + 1 {
            let at = index(at);
            prop_assert_eq!(log.term_at(at), naive.term_at(at), "the term at {:?}", at);
            for term in newest.saturating_sub(2)..=newest + 1 {
                let limit = LogPosition { index: at, term: Term::new(term).unwrap() };
                prop_assert_eq!(log.last_at_most(limit), naive.last_at_most(limit), "{:?}", limit);
            }
            let Some(run) = log.run_at(at..=LogIndex::MAX, usize::MAX, usize::MAX) else {
                continue;
            };
            for entry in run.entries().iter().filter(|entry| entry.index > log.base().index) {
                let place = entry.index.get() as usize - 1;
                prop_assert_eq!(naive.entries[place].as_ref(), Some(entry));
            }
        }
        Ok(())
    }

    /// Carries out all writes as a disk would, and compares what is there with what the log says.
    fn compare_disk(&mut self) -> Result<(), TestCaseError> {
        self.carry_out(Change::Write);
        let mut begin_after = LogPosition::default();
        let mut disk: Vec<Entry> = Vec::new();
        for write in &self.naive.writes {
            if let Some(from) = write.truncate_from {
                disk.retain(|entry| entry.index < from);
            }
            if let Some(position) = write.begin_after {
                disk.retain(|entry| entry.index > position.index);
                begin_after = position;
            }
            let last = disk.last().map_or(begin_after.index, |entry| entry.index);
            if let Some(first) = write.entries.first() {
                prop_assert_eq!(first.index, last.next(), "a write leaves a gap");
            }
            disk.extend(write.entries.iter().cloned());
        }
        prop_assert_eq!(begin_after, self.log.base());
        let kept: Vec<Entry> = self.naive.entries.iter().flatten().cloned().collect();
        prop_assert_eq!(disk, kept);
        Ok(())
    }
}

proptest! {
    #[test]
    fn the_log_is_like_a_naive_one(changes in prop::collection::vec(any_change(), 0..40)) {
        let mut both = Both::new();
        for change in changes {
            both.carry_out(change);
            both.compare()?;
        }
        both.compare_disk()?;
    }
}
