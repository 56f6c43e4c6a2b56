//! What a leader knows of one peer.

use alloc::collections::VecDeque;

use crate::config::Config;
use crate::entry::Entries;
use crate::ids::{LogIndex, NodeId};
use crate::run::Run;
use crate::sending::Sending;
use crate::time::Instant;

/// How often, between two heartbeats, a peer that rejects at the same place is asked again at once.
const PROBES: u32 = 3;

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
    /// The number of the newest message that had been sent when `matched` last rose.
    matched_at: u64,
    /// The peer denies what it had acknowledged.
    pub(crate) has_lost_entries: bool,
    /// The commit index that the peer was last told.
    pub(crate) commit_sent: LogIndex,
    /// Up to here somebody waits at the peer for news of the commit.
    pub(crate) commit_wanted: LogIndex,
    /// Where rejections since the last heartbeat have left off, and how often at the same place.
    met: (LogIndex, u32),
    /// A message is due even if there is nothing new to say.
    pub(crate) heartbeat: bool,
    /// Entries from here on are being loaded for the peer.
    loading: Option<LogIndex>,
    /// What was loaded for the peer in this step.
    loaded: Option<Run>,
    /// The peer has lost its state and waits for a snapshot.
    pub(crate) without_state: bool,
    /// The peer has got a snapshot and still needs entries that follow it; when it last got any.
    pub(crate) catching_up: Option<Instant>,
    /// The peer is no longer a member. It is spoken to until it knows, or until this time.
    pub(crate) leaves_by: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// It is not known where the logs meet: one message at a time.
    Probe {
        /// Whether the probe is out. A heartbeat sends it again.
        sent: bool,
    },
    /// The logs meet: entries are sent ahead of their acknowledgements.
    Replicate,
    /// The log no longer has what the peer needs: it is sent a snapshot.
    Snapshot(Sending),
}

impl Progress {
    pub(crate) fn new(
        id: NodeId,
        last: LogIndex,
        now: Instant,
        leaves_by: Option<Instant>,
    ) -> Self {
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
            matched_at: 0,
            has_lost_entries: false,
            commit_sent: LogIndex::ZERO,
            commit_wanted: LogIndex::ZERO,
            met: (LogIndex::ZERO, 0),
            heartbeat: false,
            loading: None,
            loaded: None,
            without_state: false,
            catching_up: None,
            leaves_by,
        }
    }

    /// Whether another message with entries may go.
    pub(crate) fn may_send(&self, config: &Config) -> bool {
        self.loading.is_none()
            && self.in_flight.len() < config.max_in_flight_messages
            && self.in_flight_bytes < config.max_in_flight_bytes
    }

    /// What follows the peer's log has to be loaded.
    pub(crate) const fn load(&mut self) {
        self.loading = Some(self.next);
    }

    /// Entries from `from` on were loaded; none if the log no longer has them, or other ones.
    pub(crate) fn on_loaded(&mut self, from: LogIndex, entries: &Entries) {
        if self.loading == Some(from) {
            self.loading = None;
            self.loaded = Run::new(entries.clone());
        }
    }

    /// What was loaded in this step, if it is what follows the peer's log.
    pub(crate) fn take_loaded(&mut self) -> Option<Run> {
        self.loaded.as_ref()?;
        let next = self.next;
        self.loaded.take().filter(|run| run.first() == next)
    }

    /// Entries up to `last` are on their way.
    pub(crate) fn sent(&mut self, last: LogIndex, bytes: usize) {
        self.in_flight.push_back((last, bytes));
        self.in_flight_bytes += bytes;
        self.next = last.next();
    }

    /// The peer, which was just heard, has a log that agrees up to `last` and is durable up to
    /// `durable`; the log here begins behind `base`. `newest` is the number of the newest message
    /// that went out.
    pub(crate) fn accepted(
        &mut self,
        last: LogIndex,
        durable: LogIndex,
        base: LogIndex,
        newest: u64,
    ) {
        self.next = self.next.max(last.next());
        match &self.state {
            // It may be any index that connects the logs, not only that of the snapshot.
            State::Snapshot(_) if last < base => {}
            State::Snapshot(_) => {
                self.catching_up = Some(self.heard);
                self.state = State::Replicate;
            }
            State::Probe { .. } | State::Replicate => self.state = State::Replicate,
        }
        if durable > self.matched {
            self.matched = durable;
            self.matched_at = newest;
            self.catching_up = self.catching_up.map(|_| self.heard);
        }
        while let Some((sent, bytes)) = self.in_flight.front()
            && *sent <= self.matched
        {
            self.in_flight_bytes -= bytes;
            self.in_flight.pop_front();
        }
    }

    /// Whether the rejection of message `sequence`, with entries after `prev`, tells something new.
    /// One lost message makes the peer reject all that were under way behind it, and only the
    /// first of these rejections counts: if each made the leader send something, the two would
    /// never stop talking.
    pub(crate) fn is_news(&self, sequence: u64, prev: LogIndex) -> bool {
        sequence > self.dealt_with && self.matched < prev && prev < self.next
    }

    /// Whether the rejection of message `sequence` proves that the peer has lost entries that it
    /// had acknowledged: it was asked about them after the acknowledgement was here.
    pub(crate) fn proves_loss(&self, sequence: u64, prev: LogIndex) -> bool {
        sequence > self.matched_at && prev <= self.matched
    }

    /// The logs meet at `meeting` at the latest: start again from there. `newest` is the number of
    /// the newest message that went out.
    pub(crate) fn rejected(&mut self, meeting: LogIndex, newest: u64) {
        self.dealt_with = newest;
        self.start_over(meeting.max(self.matched).next());
        // Rejected again and again at the same place: the peer drops what it is sent, because its
        // disk is slow perhaps. The next try comes with the heartbeat, not as fast as the network
        // goes.
        let times = if self.met.0 == meeting { self.met.1 + 1 } else { 1 };
        self.met = (meeting, times);
        self.state = State::Probe { sent: times > PROBES };
        self.commit_sent = self.commit_sent.min(meeting);
    }

    /// Whether a message is due even if there is nothing new to say.
    pub(crate) fn take_heartbeat(&mut self) -> bool {
        let due = core::mem::take(&mut self.heartbeat);
        if due {
            self.met.1 = 0;
        }
        due
    }

    fn start_over(&mut self, next: LogIndex) {
        self.next = next;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.loading = None;
    }

    /// Asks again where the logs meet, at `base` or later: the log here begins behind it.
    pub(crate) fn probe(&mut self, base: LogIndex) {
        self.start_over(self.next.max(base.next()));
        self.state = State::Probe { sent: false };
    }

    pub(crate) fn begin_snapshot(&mut self, sending: Sending) {
        self.start_over(self.next);
        self.state = State::Snapshot(sending);
        self.heartbeat = true;
    }

    /// What is on the peer's disk: of the log, and of a snapshot on its way.
    pub(crate) const fn gained(&self) -> (LogIndex, u64) {
        let written = match &self.state {
            State::Snapshot(sending) => sending.progress().0,
            State::Probe { .. } | State::Replicate => 0,
        };
        (self.matched, written)
    }

    /// Whether the peer needs a snapshot, or has just got one.
    pub(crate) const fn lags(&self) -> bool {
        self.catching_up.is_some() || matches!(self.state, State::Snapshot(_))
    }

    /// Whether the peer waits for a commit index that it could be told now.
    pub(crate) fn owes_commit(&self, commit: LogIndex) -> bool {
        matches!(self.state, State::Replicate)
            && self.commit_sent < self.commit_wanted
            && self.commit_sent < commit.min(self.next.prev())
    }

    pub(crate) fn check(&self, base: LogIndex, last: LogIndex) -> Result<(), &'static str> {
        if self.next <= base && !matches!(self.state, State::Snapshot(_)) {
            return Err("a peer that needs what is compacted gets a snapshot");
        }
        if self.loaded.is_some() {
            return Err("what was loaded for a peer is sent in the same step");
        }
        if self.matched >= self.next || self.next > last.next() {
            return Err("match < next <= last index + 1");
        }
        if self.in_flight_bytes != self.in_flight.iter().map(|(_, bytes)| bytes).sum::<usize>() {
            return Err("bytes in flight to a peer equal their recomputation");
        }
        Ok(())
    }
}
