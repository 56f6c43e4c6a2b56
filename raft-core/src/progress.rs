//! What a leader knows of one peer.

use alloc::collections::VecDeque;

use crate::config::Config;
use crate::ids::{LogIndex, NodeId};
use crate::time::Instant;

/// A peer's log as the leader sees it (paper, figure 2: `nextIndex` and `matchIndex`), and what is
/// under way to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    pub(crate) id: NodeId,
    /// Everything up to here is durable at the peer. Never falls within a term.
    pub(crate) matched: LogIndex,
    /// The next entry to send.
    pub(crate) next: LogIndex,
    pub(crate) state: State,
    in_flight: VecDeque<(LogIndex, usize)>,
    in_flight_bytes: usize,
    /// When the peer was last heard in this term.
    pub(crate) heard: Instant,
    /// The number of the newest message that the peer has answered.
    pub(crate) answered: u64,
    /// Rejections of messages up to this one were dealt with.
    dealt_with: u64,
    /// The commit index that the peer was last told.
    pub(crate) commit_sent: LogIndex,
    /// Up to here somebody waits at the peer for news of the commit.
    pub(crate) commit_wanted: LogIndex,
    /// A message is due even if there is nothing new to say.
    pub(crate) heartbeat: bool,
    /// Entries from here on are being loaded for the peer.
    pub(crate) loading: Option<LogIndex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// It is not known where the logs meet: one message at a time.
    Probe {
        /// Whether the probe is out. A heartbeat sends it again.
        sent: bool,
    },
    /// The logs meet: entries are sent ahead of their acknowledgements.
    Replicate,
}

impl Progress {
    pub(crate) fn new(id: NodeId, last: LogIndex, now: Instant) -> Self {
        Self {
            id,
            matched: LogIndex::ZERO,
            next: last.next(),
            state: State::Probe { sent: false },
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            heard: now,
            answered: 0,
            dealt_with: 0,
            commit_sent: LogIndex::ZERO,
            commit_wanted: LogIndex::ZERO,
            heartbeat: false,
            loading: None,
        }
    }

    /// Whether another message with entries may go.
    pub(crate) fn may_send(&self, config: &Config) -> bool {
        self.loading.is_none()
            && self.in_flight.len() < config.max_in_flight_messages
            && self.in_flight_bytes < config.max_in_flight_bytes
    }

    /// Entries up to `last` are on their way.
    pub(crate) fn sent(&mut self, last: LogIndex, bytes: usize) {
        self.in_flight.push_back((last, bytes));
        self.in_flight_bytes += bytes;
        self.next = last.next();
    }

    /// The peer's log agrees up to `last` and is durable up to `durable`. Says whether `matched`
    /// rose.
    pub(crate) fn accepted(&mut self, last: LogIndex, durable: LogIndex) -> bool {
        self.next = self.next.max(last.next());
        self.state = State::Replicate;
        let rose = durable > self.matched;
        self.matched = self.matched.max(durable);
        while let Some((sent, bytes)) = self.in_flight.front()
            && *sent <= self.matched
        {
            self.in_flight_bytes -= bytes;
            self.in_flight.pop_front();
        }
        rose
    }

    /// Whether the rejection of message `sequence`, with entries after `prev`, tells something new.
    /// One lost message makes the peer reject all that were under way behind it, and only the
    /// first of these rejections counts: if each made the leader send something, the two would
    /// never stop talking.
    pub(crate) fn is_news(&self, sequence: u64, prev: LogIndex) -> bool {
        sequence > self.dealt_with && self.matched < prev && prev < self.next
    }

    /// The logs meet at `meeting` at the latest: start again from there. `newest` is the number of
    /// the newest message that went out.
    pub(crate) fn rejected(&mut self, meeting: LogIndex, newest: u64) {
        self.dealt_with = newest;
        self.next = meeting.max(self.matched).next();
        self.state = State::Probe { sent: false };
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.commit_sent = self.commit_sent.min(meeting);
    }

    /// Whether the peer waits for a commit index that it could be told now.
    pub(crate) fn owes_commit(&self, commit: LogIndex) -> bool {
        self.state == State::Replicate
            && self.commit_sent < self.commit_wanted
            && self.commit_sent < commit.min(self.next.prev())
    }

    pub(crate) fn check(&self, last: LogIndex) -> Result<(), &'static str> {
        if self.matched >= self.next || self.next > last.next() {
            return Err("match < next <= last index + 1");
        }
        if self.in_flight_bytes != self.in_flight.iter().map(|(_, bytes)| bytes).sum::<usize>() {
            return Err("bytes in flight to a peer equal their recomputation");
        }
        Ok(())
    }
}
