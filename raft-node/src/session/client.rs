//! The client's side of a session.

use alloc::collections::BTreeSet;
use core::time::Duration;

use bytes::Bytes;
use raft_core::{Instant, LogIndex};

use super::answer::{self, Opening};
use super::envelope::{self, Use};
use super::{Request, SessionError};

/// An open session, on the client's side: it numbers the commands and knows which answers are
/// missing. It does no I/O. One client owns it, and several commands may be under way at once;
/// these take effect in any order.
///
/// `now` is always the client's own monotonic clock, of any origin: a [`Clock`](crate::Clock), say.
#[derive(Debug)]
pub struct Session {
    id: LogIndex,
    window: u32,
    ttl: Duration,
    opened: Instant,
    /// The last sequence number that was given out.
    last: u64,
    outstanding: BTreeSet<u64>,
    expired: bool,
}

impl Session {
    /// The session that the replicas have opened, from their answer to [`open`](super::open). `now`
    /// is a moment after the answer has come, never before; if it was, the replicas take more time
    /// for passed than has.
    ///
    /// # Errors
    /// What the replicas said instead.
    pub fn new(answer: Bytes, now: Instant) -> Result<Self, SessionError> {
        let Opening { id, window, ttl_ms } = answer::decode_opening(answer)?;
        Ok(Self {
            id,
            window,
            ttl: Duration::from_millis(ttl_ms),
            opened: now,
            last: 0,
            outstanding: BTreeSet::new(),
            expired: false,
        })
    }

    /// The name of the session: the index of the entry that opened it.
    #[must_use]
    pub const fn id(&self) -> LogIndex {
        self.id
    }

    /// The session is safe from expiry if it is used more often than this. Use it at least twice as
    /// often, since a use counts when it is applied.
    #[must_use]
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Numbers a command. Propose the [`Request`] until it has an answer, at any nodes, then call
    /// [`answered`](Session::answered); or [`give_up`](Session::give_up).
    ///
    /// # Errors
    /// [`TooManyOutstanding`](SessionError::TooManyOutstanding): the oldest unanswered command must
    /// have its answer first. [`Expired`](SessionError::Expired): an answer said so before.
    pub fn command(&mut self, command: &[u8], now: Instant) -> Result<Request, SessionError> {
        if self.expired {
            return Err(SessionError::Expired);
        }
        let used = self.used(now);
        let sequence = self.last.saturating_add(1);
        if sequence.saturating_sub(used.acknowledged) > self.window.into() {
            return Err(SessionError::TooManyOutstanding { limit: self.window });
        }
        self.last = sequence;
        self.outstanding.insert(sequence);
        let envelope = used.command(sequence, command);
        Ok(Request { session: self.id, sequence, envelope })
    }

    /// Takes in the answer to a request of this session, and takes it apart. With the next command
    /// the replicas learn that they need not keep it.
    ///
    /// # Errors
    /// As each [`SessionError`] says. After [`TooManyOutstanding`](SessionError::TooManyOutstanding)
    /// and [`Garbled`](SessionError::Garbled) the request is still outstanding.
    pub fn answered(&mut self, request: &Request, answer: Bytes) -> Result<Bytes, SessionError> {
        let answer = answer::decode(answer);
        if request.session != self.id {
            return answer;
        }
        match answer {
            Err(SessionError::TooManyOutstanding { .. } | SessionError::Garbled) => {}
            Err(SessionError::Expired) => self.expired = true,
            _ => self.give_up(request),
        }
        answer
    }

    /// No longer wait for the answer to a request. Whether it was applied is not known. But the
    /// replicas will not apply it any more once they have seen a command or a
    /// [`keep_alive`](Session::keep_alive) that was made after this request and all earlier ones
    /// were answered or given up; an answer to that makes it certain.
    pub fn give_up(&mut self, request: &Request) {
        if request.session == self.id {
            self.outstanding.remove(&request.sequence);
        }
    }

    /// The envelope that keeps the session from expiring while there are no commands, and tells the
    /// replicas which answers they may forget. Its answer is for [`decode`](super::decode).
    #[must_use]
    pub fn keep_alive(&self, now: Instant) -> Bytes {
        self.used(now).keep_alive()
    }

    /// The envelope that closes the session: the replicas forget all of it, and apply none of its
    /// commands any more. Its answer is for [`decode`](super::decode). A session that is not closed
    /// expires.
    #[must_use]
    pub fn close(self) -> Bytes {
        envelope::close(self.id)
    }

    fn used(&self, now: Instant) -> Use {
        let elapsed = now.since(self.opened).as_millis();
        Use {
            session: self.id,
            elapsed: u64::try_from(elapsed).unwrap_or(u64::MAX),
            acknowledged: self
                .outstanding
                .first()
                .map_or(self.last, |&first| first.saturating_sub(1)),
        }
    }
}
