//! A log store without a disk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft_core::{Entries, Entry, HardState, LogIndex, StoredLog, Term, TermStart, Write};

use crate::{LogStore, StoreError, fit};

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
    entries: Vec<Entry>,
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
    fn last(&self) -> LogIndex {
        self.entries.last().map_or(LogIndex::ZERO, |entry| entry.index)
    }

    fn apply(&mut self, write: &Write) -> Result<(), StoreError> {
        let kept = fit::kept(write, self.last());
        let position = position(kept.next());
        let term = position
            .checked_sub(1)
            .and_then(|last| self.entries.get(last))
            .map_or(Term::ZERO, |entry| entry.term);
        fit::check(write, kept, term).map_err(|what| StoreError::OutOfOrder { what })?;
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        self.entries.truncate(position);
        self.entries.extend_from_slice(&write.entries);
        Ok(())
    }
}

impl LogStore for MemoryLog {
    fn restore(&mut self) -> Result<StoredLog, StoreError> {
        let content = self.content();
        let mut terms: Vec<TermStart> = Vec::new();
        for entry in &content.entries {
            if terms.last().is_none_or(|start| start.term != entry.term) {
                terms.push(TermStart { first: entry.index, term: entry.term });
            }
        }
        Ok(StoredLog { hard_state: content.hard_state, terms, last: content.last() })
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
        let end = position(through.next()).min(content.entries.len());
        let stored = match from {
            LogIndex::ZERO => &[],
            _ => content.entries.get(position(from)..end).unwrap_or_default(),
        };
        let mut bytes = 0_usize;
        let fit = stored.iter().enumerate().take_while(|(nth, entry)| {
            bytes = bytes.saturating_add(entry.size());
            *nth == 0 || bytes <= max_bytes
        });
        let entries = fit.map(|(_, entry)| entry.clone()).collect();
        Entries::new(entries)
            .ok_or(StoreError::OutOfOrder { what: "the stored entries are not consecutive" })
    }
}

/// Where the entry at `index` is in a list that begins with index 1.
fn position(index: LogIndex) -> usize {
    usize::try_from(index.prev().get()).unwrap_or(usize::MAX)
}
