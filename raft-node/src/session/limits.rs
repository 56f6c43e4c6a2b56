//! How much the replicas remember of their clients.

use alloc::vec::Vec;
use core::time::Duration;

use super::varint;
use crate::io::{self, Read};

/// How much a [`Sessions`](super::Sessions) remembers. A limit of zero is taken as one.
///
/// Limits are a part of the replicated state: they travel in snapshots, and what they throw away is
/// thrown away at the same entry on every node. So the ones that a node is started with count only
/// at the beginning of a log and must be the same on every node, for ever. To change them later,
/// propose [`limits`](super::limits).
///
/// The table takes at most `bytes` for answers, and beside that about 150 bytes for each session
/// and 100 for each command that is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    sessions: u32,
    answers: u32,
    bytes: u64,
    ttl_ms: u64,
}

impl Default for SessionLimits {
    /// 4096 sessions, 64 answers in each, 16 MiB of answers in all, one hour.
    fn default() -> Self {
        Self { sessions: 4096, answers: 64, bytes: 16 << 20, ttl_ms: 60 * 60 * 1000 }
    }
}

impl SessionLimits {
    /// How many sessions may be open. One more evicts the one that was not used for the longest.
    #[must_use]
    pub fn sessions(mut self, sessions: u32) -> Self {
        self.sessions = sessions.max(1);
        self
    }

    /// How many commands of a session may be under way: how far a sequence number may be ahead of
    /// the acknowledged one. A session keeps the number that it was opened with.
    #[must_use]
    pub fn answers(mut self, answers: u32) -> Self {
        self.answers = answers.max(1);
        self
    }

    /// How many bytes all remembered answers may have together. Beyond it the oldest are forgotten,
    /// but not that their commands were applied: these are still not applied again. An answer that
    /// is larger than this alone is not kept at all.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes.max(1);
        self
    }

    /// After how long without use a session expires, in whole milliseconds.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        self
    }

    pub(super) const fn max_sessions(&self) -> usize {
        self.sessions as usize
    }

    pub(super) const fn window(&self) -> u32 {
        self.answers
    }

    pub(super) const fn max_bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }

    /// How far one entry may move the log's clock, in milliseconds.
    pub(super) fn max_step_ms(&self) -> u64 {
        (self.ttl_ms / 16).max(1)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for number in [self.sessions.into(), self.answers.into(), self.bytes, self.ttl_ms] {
            varint::put(out, number);
        }
    }

    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let sessions = varint::read_u32(from)?.max(1);
        let answers = varint::read_u32(from)?.max(1);
        let bytes = varint::read(from)?.max(1);
        let ttl_ms = varint::read(from)?.max(1);
        Ok(Self { sessions, answers, bytes, ttl_ms })
    }
}
