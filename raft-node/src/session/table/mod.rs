//! All sessions, and which of them to forget.

mod image;
mod ledger;
mod record;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use bytes::Bytes;
use raft_core::LogIndex;

use self::ledger::Ledger;
use self::record::{Kept, Record};
use super::envelope::Use;
use super::{SessionError, SessionLimits};

/// The sessions by the index of the entry that opened them. Everything here follows from the log
/// alone, in logarithmic time for each entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    limits: SessionLimits,
    /// The log's clock: milliseconds that have passed since the first session was opened, for
    /// certain. See [`Record::touch`].
    clock: u64,
    /// Shared with the images of snapshots that are being written.
    sessions: BTreeMap<LogIndex, Arc<Record>>,
    /// The sessions by the entry that used them last; as the clock never runs backward, they expire
    /// in this order too.
    by_use: BTreeMap<LogIndex, LogIndex>,
    ledger: Ledger,
}

/// What to do with a command.
pub(super) enum Verdict {
    /// It is new.
    Apply,
    /// It was applied, with this answer.
    Repeat(Bytes),
}

impl Table {
    pub(super) const fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            clock: 0,
            sessions: BTreeMap::new(),
            by_use: BTreeMap::new(),
            ledger: Ledger::new(),
        }
    }

    pub(super) const fn limits(&self) -> &SessionLimits {
        &self.limits
    }

    pub(super) fn set_limits(&mut self, limits: SessionLimits) {
        self.limits = limits;
        self.expire();
        self.evict_to(limits.max_sessions());
        self.forget_to(limits.max_bytes());
    }

    pub(super) fn open(&mut self, index: LogIndex) {
        self.evict_to(self.limits.max_sessions().saturating_sub(1));
        let record = Record::new(index, self.clock, self.limits.window());
        self.sessions.insert(index, Arc::new(record));
        self.by_use.insert(index, index);
    }

    pub(super) fn close(&mut self, session: LogIndex) {
        if let Some(record) = self.sessions.remove(&session) {
            self.by_use.remove(&record.used);
            record.answers.values().for_each(|kept| self.ledger.remove(kept));
        }
    }

    /// The entry at `index` uses a session. It never makes that session itself expire, only others.
    pub(super) fn touch(&mut self, index: LogIndex, used: Use) -> Result<(), SessionError> {
        let record = self.sessions.get_mut(&used.session).ok_or(SessionError::Expired)?;
        let record = Arc::make_mut(record);
        self.by_use.remove(&record.used);
        self.by_use.insert(index, used.session);
        self.clock = record.touch(index, used.elapsed, self.clock, self.limits.max_step_ms());
        record.acknowledged = record.acknowledged.max(used.acknowledged);
        while let Some(kept) = record.pop_acknowledged() {
            self.ledger.remove(&kept);
        }
        self.expire();
        Ok(())
    }

    pub(super) fn look_up(
        &self,
        session: LogIndex,
        sequence: u64,
    ) -> Result<Verdict, SessionError> {
        let record = self.sessions.get(&session).ok_or(SessionError::Expired)?;
        let ahead = sequence.saturating_sub(record.acknowledged);
        if ahead == 0 {
            return Err(SessionError::AnswerGone);
        }
        if ahead > record.window.into() {
            return Err(SessionError::TooManyOutstanding { limit: record.window });
        }
        match record.answers.get(&sequence) {
            None => Ok(Verdict::Apply),
            Some(Kept { answer: Some(answer), .. }) => Ok(Verdict::Repeat(answer.clone())),
            Some(Kept { answer: None, .. }) => Err(SessionError::AnswerGone),
        }
    }

    /// Remembers that a command was applied by the entry at `index`, and its answer as long as
    /// there is room.
    pub(super) fn remember(
        &mut self,
        index: LogIndex,
        session: LogIndex,
        sequence: u64,
        answer: Bytes,
    ) {
        let Some(record) = self.sessions.get_mut(&session) else { return };
        // One that has no place even alone must not drive out all the others first.
        let answer = (ledger::size(&answer) <= self.limits.max_bytes()).then_some(answer);
        let kept = Kept { index, answer };
        self.ledger.add((session, sequence), &kept);
        Arc::make_mut(record).answers.insert(sequence, kept);
        self.forget_to(self.limits.max_bytes());
    }

    fn expire(&mut self) {
        let ttl = self.limits.ttl_ms();
        while let Some((_, &oldest)) = self.by_use.first_key_value()
            && let Some(record) = self.sessions.get(&oldest)
            && self.clock.saturating_sub(record.used_at) >= ttl
        {
            self.close(oldest);
        }
    }

    fn evict_to(&mut self, count: usize) {
        while self.sessions.len() > count
            && let Some((_, &oldest)) = self.by_use.first_key_value()
        {
            self.close(oldest);
        }
    }

    fn forget_to(&mut self, bytes: u64) {
        while self.ledger.bytes() > bytes
            && let Some((session, sequence)) = self.ledger.oldest()
            && let Some(record) = self.sessions.get_mut(&session)
            && let Some(kept) = Arc::make_mut(record).answers.get_mut(&sequence)
        {
            self.ledger.remove(kept);
            kept.answer = None;
        }
    }

    /// The table of these sessions; what follows from them is worked out anew. If two entries claim
    /// the same index, some of it is missing.
    fn of(limits: SessionLimits, clock: u64, sessions: BTreeMap<LogIndex, Arc<Record>>) -> Self {
        let mut table = Self { clock, ..Self::new(limits) };
        for (&session, record) in &sessions {
            table.by_use.insert(record.used, session);
            for (&sequence, kept) in &record.answers {
                table.ledger.add((session, sequence), kept);
            }
        }
        Self { sessions, ..table }
    }

    /// Whether the books are right and the limits kept, by recomputation.
    pub(super) fn is_consistent(&self) -> bool {
        let again = Self::of(self.limits, self.clock, self.sessions.clone());
        let kept = |record: &Arc<Record>| {
            record.answers.values().filter(|kept| kept.answer.is_some()).count()
        };
        *self == again
            && self.by_use.len() == self.sessions.len()
            && self.ledger.len() == self.sessions.values().map(kept).sum::<usize>()
            && self.sessions.len() <= self.limits.max_sessions()
            && self.ledger.bytes() <= self.limits.max_bytes()
            && self.sessions.iter().all(|(&session, record)| self.fits(session, record))
    }

    /// Whether a session makes sense by itself.
    fn fits(&self, session: LogIndex, record: &Record) -> bool {
        let last = record.acknowledged.saturating_add(record.window.into());
        let within = |sequence: &u64| *sequence > record.acknowledged && *sequence <= last;
        record.opened <= record.used_at
            && record.used_at <= self.clock
            && self.clock.saturating_sub(record.used_at) < self.limits.ttl_ms()
            && session <= record.used
            && record.answers.keys().all(within)
            && record.answers.values().all(|kept| kept.index > session && kept.index <= record.used)
    }
}
