//! One session, as the replicas remember it.

use alloc::collections::BTreeMap;

use bytes::Bytes;
use raft_core::LogIndex;

/// One session. Times are milliseconds of the log's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// When the session was opened.
    pub(super) opened: u64,
    /// When it was used last.
    pub(super) used_at: u64,
    /// The entry that used it last.
    pub(super) used: LogIndex,
    /// How much of what the client's clock says is not believed.
    pub(super) leapt: u64,
    /// Answers up to this sequence number are not needed any more.
    pub(super) acknowledged: u64,
    /// How far a sequence number may be ahead of the acknowledged one.
    pub(super) window: u32,
    /// The commands above `acknowledged` that were applied, by sequence number.
    pub(super) answers: BTreeMap<u64, Kept>,
}

/// A command that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The entry that was applied.
    pub(super) index: LogIndex,
    /// Its answer, unless that was forgotten to save room.
    pub(super) answer: Option<Bytes>,
}

impl Record {
    pub(super) const fn new(index: LogIndex, clock: u64, window: u32) -> Self {
        Self {
            opened: clock,
            used_at: clock,
            used: index,
            leapt: 0,
            acknowledged: 0,
            window,
            answers: BTreeMap::new(),
        }
    }

    /// The session is used by the entry at `index`, whose client says that `elapsed` has passed
    /// since the opening. Returns what the log's clock says then, at most `max_step` later than
    /// before.
    ///
    /// The rest of a leap is never believed in later either, or the same wrong clock would move the
    /// log's with each of its entries. An honest client that was silent for long is cut as well;
    /// others tell the time then, or the log's clock stays behind, and sessions live longer.
    pub(super) fn touch(
        &mut self,
        index: LogIndex,
        elapsed: u64,
        clock: u64,
        max_step: u64,
    ) -> u64 {
        let latest = clock.saturating_add(max_step);
        let claim = self.opened.saturating_add(elapsed.saturating_sub(self.leapt));
        self.leapt = self.leapt.saturating_add(claim.saturating_sub(latest));
        self.used = index;
        self.used_at = claim.clamp(clock, latest);
        self.used_at
    }

    /// Takes out a command whose answer is not needed any more.
    pub(super) fn pop_acknowledged(&mut self) -> Option<Kept> {
        let first = self.answers.first_entry()?;
        (*first.key() <= self.acknowledged).then(|| first.remove())
    }
}
