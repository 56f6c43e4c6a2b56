//! A disk that loses what was not synced.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use raft_node::core::{
    Entries, Entry, HardState, LogIndex, LogPosition, Membership, Payload, StoredLog, Term,
    TermStart, Ticket, Write,
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

/// A log, as some prefix of the writes has made it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) hard_state: HardState,
    begin_after: LogPosition,
    /// The entries behind that.
    entries: Vec<Entry>,
    /// The configurations among them.
    memberships: Vec<(LogIndex, Arc<Membership>)>,
}

impl Image {
    /// Carries out a write; false if it is one that no log can carry out.
    fn carry_out(&mut self, write: &Write) -> bool {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(from) = write.truncate_from {
            self.entries.truncate(self.place(from));
            self.memberships.retain(|(index, _)| *index < from);
        }
        let mut sound = true;
        if let Some(position) = write.begin_after {
            sound = position.index >= self.begin_after.index;
            let gone = self.place(position.index.next()).min(self.entries.len());
            self.entries.drain(..gone);
            self.memberships.retain(|(index, _)| *index > position.index);
            self.begin_after = position;
        }
        for entry in write.entries.iter() {
            sound &= entry.index == self.last().next();
            if let Payload::Membership(membership) = &entry.payload {
                self.memberships.push((entry.index, membership.clone()));
            }
            self.entries.push(entry.clone());
        }
        sound
    }

    /// Where the entry with this index is, or would be.
    fn place(&self, index: LogIndex) -> usize {
        usize::try_from(index.since(self.begin_after.index.next())).unwrap_or(usize::MAX)
    }

    pub(crate) const fn begin_after(&self) -> LogPosition {
        self.begin_after
    }

    pub(crate) fn last(&self) -> LogIndex {
        self.entries.last().map_or(self.begin_after.index, |entry| entry.index)
    }

    pub(crate) fn entry(&self, index: LogIndex) -> Option<&Entry> {
        if index <= self.begin_after.index {
            return None;
        }
        self.entries.get(self.place(index))
    }

    /// The term of the entry, or of the place before the first one.
    pub(crate) fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.begin_after.index {
            return Some(self.begin_after.term);
        }
        self.entry(index).map(|entry| entry.term)
    }

    pub(crate) fn memberships(&self) -> &[(LogIndex, Arc<Membership>)] {
        &self.memberships
    }
}

impl Disk {
    pub(crate) const fn durable(&self) -> &Image {
        &self.durable
    }

    pub(crate) const fn current(&self) -> &Image {
        &self.current
    }

    /// Takes a write; false if it is one that no log can carry out.
    pub(crate) fn write(&mut self, write: Write) -> bool {
        let sound = self.current.carry_out(&write);
        self.pending.push_back(write);
        sound
    }

    /// Takes a write that is durable with that; false if it is one that no log can carry out.
    pub(crate) fn write_at_once(&mut self, write: &Write) -> bool {
        self.durable.carry_out(write) && self.current.carry_out(write)
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
        StoredLog {
            hard_state: self.durable.hard_state,
            begin_after: self.durable.begin_after,
            terms,
            last: self.durable.last(),
            memberships: self.durable.memberships.clone(),
        }
    }

    pub(crate) fn load(&self, from: LogIndex, through: LogIndex, max_bytes: usize) -> Entries {
        let mut room = max_bytes;
        let mut entries = Vec::new();
        if from <= self.current.begin_after.index {
            return Entries::empty();
        }
        for entry in self.current.entries.iter().skip(self.current.place(from)) {
            if entry.index > through || (!entries.is_empty() && entry.size() > room) {
                break;
            }
            room = room.saturating_sub(entry.size());
            entries.push(entry.clone());
        }
        Entries::new(entries).unwrap_or_else(Entries::empty)
    }
}
