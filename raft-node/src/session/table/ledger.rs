//! Which answers are kept, and how much room they take.

use alloc::collections::BTreeMap;

use bytes::Bytes;
use raft_core::LogIndex;

use super::record::Kept;

/// A session and a sequence number in it.
pub(super) type Name = (LogIndex, u64);

/// All kept answers of all sessions, the oldest first. It follows from the sessions, and is there
/// so that no entry has to go through them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ledger {
    by_age: BTreeMap<LogIndex, Name>,
    bytes: u64,
}

impl Ledger {
    pub(super) const fn new() -> Self {
        Self { by_age: BTreeMap::new(), bytes: 0 }
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.by_age.len()
    }

    pub(super) fn add(&mut self, name: Name, kept: &Kept) {
        if let Some(answer) = &kept.answer {
            self.by_age.insert(kept.index, name);
            self.bytes = self.bytes.saturating_add(size(answer));
        }
    }

    pub(super) fn remove(&mut self, kept: &Kept) {
        if let Some(answer) = &kept.answer {
            self.by_age.remove(&kept.index);
            self.bytes = self.bytes.saturating_sub(size(answer));
        }
    }

    pub(super) fn oldest(&self) -> Option<Name> {
        self.by_age.first_key_value().map(|(_, name)| *name)
    }
}

pub(super) const fn size(answer: &Bytes) -> u64 {
    answer.len() as u64
}
