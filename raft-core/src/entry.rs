//! Log entries, runs of them, and the unit of durable writing.

use crate::shared::Arc;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::ops::Deref;
use core::{fmt, mem};

use bytes::Bytes;

use crate::ids::{LogIndex, NodeId, Term, Ticket};
use crate::membership::Membership;

/// The index and the term of an entry. Two logs that hold the same position hold the same entries
/// up to it (the log matching property; paper, section 5.3). The default is the place before the
/// first entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct LogPosition {
    /// Where the entry is.
    pub index: LogIndex,
    /// The term of the leader that made it.
    pub term: Term,
}

impl LogPosition {
    /// Whether a log that ends here is at least as up to date as one that ends at `other`
    /// (paper, section 5.4.1).
    #[must_use]
    pub fn at_least_as_up_to_date_as(self, other: Self) -> bool {
        (self.term, self.index) >= (other.term, other.index)
    }
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Payload {
    /// The entry that a leader writes at the start of its term, so that entries of earlier terms
    /// can commit and reads can be served (dissertation, sections 3.6.2 and 6.4). It changes
    /// nothing in the state machine.
    Noop,
    /// A command for the state machine, opaque to the core.
    Command(Bytes),
    /// The members from here on: a configuration is in force on a node as soon as it is in its log
    /// (dissertation, section 4.1).
    Membership(Arc<Membership>),
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Entry {
    /// The term of the leader that made the entry.
    pub term: Term,
    /// The place of the entry.
    pub index: LogIndex,
    /// What it carries.
    pub payload: Payload,
}

impl Entry {
    /// Where the entry is.
    #[must_use]
    pub const fn position(&self) -> LogPosition {
        LogPosition { index: self.index, term: self.term }
    }

    /// What the entry counts against limits in bytes: its payload and the entry itself.
    #[must_use]
    pub fn size(&self) -> usize {
        mem::size_of::<Self>()
            + match &self.payload {
                Payload::Noop => 0,
                Payload::Command(command) => command.len(),
                Payload::Membership(membership) => membership.size(),
            }
    }
}

/// A run of consecutive entries that is cheap to clone: everything that the core hands out (to
/// disk, peers and the state machine) shares one allocation.
///
/// It reads as a slice of [`Entry`]. The index of each entry is the one before it plus one, and
/// terms never fall; [`Entries::new`] is the only way in.
#[derive(Clone)]
pub struct Entries {
    batch: Arc<[Entry]>,
    from: u32,
    to: u32,
}

impl Entries {
    /// Makes a run, or `None` when the entries are not consecutive, their terms fall, an index or
    /// a term is zero or at its maximum, or there are more than `u32::MAX` of them.
    #[must_use]
    pub fn new(entries: Vec<Entry>) -> Option<Self> {
        let sound = |entry: &Entry| {
            (LogIndex::ZERO < entry.index && entry.index < LogIndex::MAX)
                && (Term::ZERO < entry.term && entry.term < Term::MAX)
        };
        let consecutive = entries
            .windows(2)
            .all(|pair| pair[1].index == pair[0].index.next() && pair[0].term <= pair[1].term);
        if !consecutive || !entries.iter().all(sound) {
            return None;
        }
        let to = u32::try_from(entries.len()).ok()?;
        Some(Self { batch: entries.into(), from: 0, to })
    }

    /// A run of no entries.
    #[must_use]
    pub fn empty() -> Self {
        Self { batch: Arc::default(), from: 0, to: 0 }
    }

    /// New entries of one term, from `first` on. One allocation, whatever their number.
    pub(crate) fn of_term(term: Term, first: LogIndex, payloads: Vec<Payload>) -> Self {
        let mut index = first.prev();
        let number = |payload| {
            index = index.next();
            Entry { term, index, payload }
        };
        let batch: Arc<[Entry]> = payloads.into_iter().map(number).collect();
        let to = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        Self { batch, from: 0, to }
    }

    /// The part whose indexes are in `from..=through`, sharing the same allocation.
    pub(crate) fn between(&self, from: LogIndex, through: LogIndex) -> Self {
        let Some(first) = self.first() else { return Self::empty() };
        let len = u64::from(self.to - self.from);
        // Both offsets are at most the length, which fits a u32.
        let start = from.since(first.index).min(len) as u32;
        let end = (through.next().since(first.index)).min(len) as u32;
        Self { batch: self.batch.clone(), from: self.from + start, to: self.from + end.max(start) }
    }

    /// What follows the first `count` entries.
    pub(crate) fn after(self, count: usize) -> Self {
        // More than the length, which fits a u32, leaves nothing.
        let skipped = count.min(self.len()) as u32;
        Self { from: self.from + skipped, ..self }
    }

    /// The longest beginning that has at most `bytes` and `count` entries, but at least one entry.
    pub(crate) fn up_to(self, bytes: usize, count: usize) -> Self {
        if self.to - self.from <= 1 {
            return self;
        }
        let mut sum = 0_usize;
        let fit = self.iter().take(count).take_while(|entry| {
            sum = sum.saturating_add(entry.size());
            sum <= bytes
        });
        let len = fit.count().max(1).min(self.len());
        Self { to: self.from + len as u32, ..self }
    }

    /// The sum of [`Entry::size`].
    #[must_use]
    pub fn size(&self) -> usize {
        self.iter().map(Entry::size).sum()
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        self.batch.get(self.from as usize..self.to as usize).unwrap_or_default()
    }
}

impl Default for Entries {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for Entries {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Entries {}

impl Hash for Entries {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What a node must not forget besides its log (paper, figure 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HardState {
    /// The newest term that the node has seen.
    pub term: Term,
    /// The candidate that got the node's vote in `term`.
    pub vote: Option<NodeId>,
}

/// One atomic unit of durable writing: after a crash all of it is there, or nothing of it.
///
/// To carry it out: replace the hard state if there is one; remove the entries at
/// `truncate_from` and later if it is set; remove the entries up to `begin_after` if it is set, and
/// remember that position; append `entries`, which then begin right behind the last entry. Make
/// all of that durable, together with every write before it, and answer with
/// [`Event::Persisted`](crate::Event::Persisted) and the ticket. Writes may be synced together and
/// only the newest ticket answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Write {
    /// Names this write, and all before it.
    pub ticket: Ticket,
    /// The new term and vote, if they changed.
    pub hard_state: Option<HardState>,
    /// Entries at this index and later are replaced.
    pub truncate_from: Option<LogIndex>,
    /// The log begins behind this position from now on: a snapshot covers everything up to it. A
    /// log that does not reach it is empty then, and goes on behind it. The space may be freed at
    /// any later time.
    pub begin_after: Option<LogPosition>,
    /// The entries to append.
    pub entries: Entries,
}

/// One change of term in a log: the first index that has the term. A log is described by a list
/// of these, ascending in both fields, one for each term that has entries in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TermStart {
    /// The first entry of the term.
    pub first: LogIndex,
    /// The term of that entry and of those after it, up to the next start.
    pub term: Term,
}
