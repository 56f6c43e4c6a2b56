//! A disk that loses what was not synced.

use std::collections::VecDeque;

use raft_node::core::{
    Entries, Entry, HardState, LogIndex, StoredLog, Term, TermStart, Ticket, Write,
};

/// A node's disk: what is on it for good, and the writes that still lie in some cache.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    durable: Image,
    /// What the operating system would show: `durable` and all the pending writes.
    current: Image,
    pending: VecDeque<Write>,
    syncing: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) hard_state: HardState,
    entries: Vec<Entry>,
}

impl Image {
    fn carry_out(&mut self, write: &Write) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(from) = write.truncate_from {
            self.entries.truncate(position(from));
        }
        self.entries.extend(write.entries.iter().cloned());
    }

    pub(crate) fn last(&self) -> LogIndex {
        self.entries.last().map_or(LogIndex::ZERO, |entry| entry.index)
    }

    pub(crate) fn entry(&self, index: LogIndex) -> Option<&Entry> {
        self.entries.get(position(index))
    }

    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.entry(index).map(|entry| entry.term)
    }
}

/// Where the entry with this index is in a vector that begins at index 1.
fn position(index: LogIndex) -> usize {
    usize::try_from(index.get()).unwrap_or(usize::MAX).wrapping_sub(1)
}

impl Disk {
    pub(crate) const fn durable(&self) -> &Image {
        &self.durable
    }

    pub(crate) const fn current(&self) -> &Image {
        &self.current
    }

    pub(crate) fn write(&mut self, write: Write) {
        self.current.carry_out(&write);
        self.pending.push_back(write);
    }

    /// Begins a sync of everything that is pending, unless one is under way or nothing is.
    pub(crate) fn begin_sync(&mut self) -> bool {
        let begin = self.syncing == 0 && !self.pending.is_empty();
        if begin {
            self.syncing = self.pending.len();
        }
        begin
    }

    /// The sync is done; returns the newest ticket that is durable.
    pub(crate) fn end_sync(&mut self) -> Option<Ticket> {
        let mut newest = None;
        for write in self.pending.drain(..self.syncing) {
            self.durable.carry_out(&write);
            newest = Some(write.ticket);
        }
        self.syncing = 0;
        newest
    }

    /// The power goes: of the pending writes the first `survivors` reached the disk all the same,
    /// and the one after them, torn, did not.
    pub(crate) fn crash(&mut self, survivors: usize) {
        for write in self.pending.drain(..).take(survivors) {
            self.durable.carry_out(&write);
        }
        self.syncing = 0;
        self.current = self.durable.clone();
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What a log store says when it is opened.
    pub(crate) fn restore(&self) -> StoredLog {
        let mut terms: Vec<TermStart> = Vec::new();
        for entry in &self.durable.entries {
            if terms.last().is_none_or(|start| start.term < entry.term) {
                terms.push(TermStart { first: entry.index, term: entry.term });
            }
        }
        StoredLog { hard_state: self.durable.hard_state, terms, last: self.durable.last() }
    }

    pub(crate) fn load(&self, from: LogIndex, through: LogIndex, max_bytes: usize) -> Entries {
        let mut room = max_bytes;
        let mut entries = Vec::new();
        for entry in self.current.entries.iter().skip(position(from)) {
            if entry.index > through || (!entries.is_empty() && entry.size() > room) {
                break;
            }
            room = room.saturating_sub(entry.size());
            entries.push(entry.clone());
        }
        Entries::new(entries).unwrap_or_else(Entries::empty)
    }
}
