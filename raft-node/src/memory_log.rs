//! A log store without a disk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use raft_core::{
    Entries, Entry, HardState, LogIndex, LogPosition, Payload, StoredLog, Term, TermStart, Write,
};

use crate::fit::{self, Bounds};
use crate::{LogStore, StoreError};

/// A log in memory, for tests and trials. **Nothing in it survives the process.** A server that
/// comes back with an empty log under its old id can vote twice in one term and breaks the safety
/// of its cluster, so production servers use [`FileLog`](crate::FileLog).
///
/// A clone is a second handle to the same content. A test that keeps one can stop a node and start
/// it again with the log that it had.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    hard_state: HardState,
    begin_after: LogPosition,
    /// The entries behind `begin_after`.
    entries: Vec<Entry>,
    metadata: Bytes,
}

impl MemoryLog {
    /// Makes an empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A panic of another holder can't leave a write half done that matters: `append` checks before
    /// it changes anything.
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn bounds(&self) -> Bounds {
        let begin_after = self.begin_after;
        Bounds { begin_after, last: begin_after.index.plus(self.entries.len() as u64) }
    }

    fn term_at(&self, index: LogIndex) -> Option<Term> {
        let before = self.count_through(index).checked_sub(1)?;
        self.entries.get(before).map(|entry| entry.term)
    }

    /// How many entries there would be if the log went up to `index`.
    fn count_through(&self, index: LogIndex) -> usize {
        usize::try_from(index.since(self.begin_after.index)).unwrap_or(usize::MAX)
    }

    fn apply(&mut self, write: &Write) -> Result<(), StoreError> {
        let left = fit::check(write, self.bounds(), |index| self.term_at(index))
            .map_err(|what| StoreError::OutOfOrder { what })?;
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        self.entries.truncate(self.count_through(left.last));
        let compacted = self.count_through(left.begin_after.index).min(self.entries.len());
        self.entries.drain(..compacted);
        self.begin_after = left.begin_after;
        self.entries.extend_from_slice(&write.entries);
        Ok(())
    }

    fn describe(&self) -> StoredLog {
        let mut terms: Vec<TermStart> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if terms.last().is_none_or(|start| start.term != entry.term) {
                terms.push(TermStart { first: entry.index, term: entry.term });
            }
            if let Payload::Membership(membership) = &entry.payload {
                memberships.push((entry.index, membership.clone()));
            }
        }
        let Bounds { begin_after, last } = self.bounds();
        StoredLog { hard_state: self.hard_state, begin_after, terms, last, memberships }
    }
}

impl LogStore for MemoryLog {
    fn restore(&mut self) -> Result<StoredLog, StoreError> {
        Ok(self.content().describe())
    }

    fn append(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let mut content = self.content();
        writes.iter().try_for_each(|write| content.apply(write))
    }

    fn load(
        &mut self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Entries, StoreError> {
        let content = self.content();
        if from <= content.begin_after.index {
            return Ok(Entries::empty());
        }
        let range = content.count_through(from.prev())
            ..content.count_through(through).min(content.entries.len());
        let stored = content.entries.get(range).unwrap_or_default();
        let mut bytes = 0_usize;
        let fit = stored.iter().enumerate().take_while(|(nth, entry)| {
            bytes = bytes.saturating_add(entry.size());
            *nth == 0 || bytes <= max_bytes
        });
        let entries = fit.map(|(_, entry)| entry.clone()).collect();
        Entries::new(entries)
            .ok_or(StoreError::OutOfOrder { what: "the stored entries are not consecutive" })
    }

    fn metadata(&mut self) -> Result<Bytes, StoreError> {
        Ok(self.content().metadata.clone())
    }

    fn set_metadata(&mut self, metadata: &[u8]) -> Result<(), StoreError> {
        self.content().metadata = Bytes::copy_from_slice(metadata);
        Ok(())
    }
}
