//! The leader's side of a snapshot transfer (paper, section 7).
//!
//! A follower that needs entries which are compacted away gets a snapshot, in chunks that are sent
//! ahead of their acknowledgements within a window of bytes. What the follower has is never sent
//! twice on purpose: the transfer begins with a question, and goes on from the answer, be it the
//! first or one after a loss, a new connection or a new leader with the same snapshot.

use alloc::boxed::Box;

use bytes::Bytes;

use crate::config::Config;
use crate::ids::{LogIndex, NodeId};
use crate::message::{Body, Message, SnapshotChunk, SnapshotReply};
use crate::outbox::Outbox;
use crate::output::Notice;
use crate::progress::{Progress, State};
use crate::raft::Raft;
use crate::replication::Speaker;
use crate::role::Role;
use crate::snapshot::Snapshot;
use crate::time::Instant;

/// A transfer that gains nothing for so many election timeouts is abandoned, and so is waiting for
/// a follower that was sent a snapshot and needs the entries after it.
pub(crate) const PATIENCE: u32 = 10;

/// A snapshot on its way to a follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sending {
    snapshot: Snapshot,
    /// Where the next chunk begins; `None` until the follower has said how much it has.
    next: Option<u64>,
    /// So much is written at the follower.
    written: u64,
    /// So much was, at its best.
    best: u64,
    /// The host reads the next chunk.
    reading: bool,
    /// The number of the newest message that was answered.
    heard: u64,
    /// Gaps that were reported for messages up to this one were dealt with.
    dealt_with: u64,
    /// When `best` last rose.
    gained: Instant,
}

impl Sending {
    fn new(snapshot: Snapshot, sequence: u64, now: Instant) -> Self {
        Self {
            snapshot,
            next: None,
            written: 0,
            best: 0,
            reading: false,
            heard: sequence,
            dealt_with: sequence,
            gained: now,
        }
    }

    /// How many bytes of how many are there.
    pub(crate) const fn progress(&self) -> (u64, u64) {
        (self.written, self.snapshot.size)
    }

    /// Takes note of what the follower has. `newest` is the number of the newest message.
    fn answered(&mut self, reply: &SnapshotReply, newest: u64, now: Instant) {
        if reply.sequence < self.heard {
            return;
        }
        self.heard = reply.sequence;
        if reply.written > self.written {
            self.written = reply.written;
        }
        if reply.written > self.best {
            self.best = reply.written;
            self.gained = now;
        }
        let lost = reply.gap && reply.sequence > self.dealt_with;
        // A follower that has less than it had written has found the bytes to be corrupt, and
        // perhaps one that has nothing when all was sent.
        let less = reply.received < self.written && reply.sequence > self.dealt_with;
        let nothing = reply.received == 0 && self.next == Some(self.snapshot.size);
        if less || (lost && nothing) {
            // It may be this node's disk that is to blame: begin anew with the next heartbeat, not
            // as fast as the network goes.
            self.written = reply.written;
            self.next = None;
            self.reading = false;
            self.dealt_with = newest;
            return;
        }
        match self.next {
            Some(next) if !lost && next >= reply.received => {}
            _ => {
                self.next = Some(reply.received);
                self.reading = false;
                self.dealt_with = newest;
            }
        }
    }

    /// Where to read the next chunk, if it may go.
    fn wants(&self, config: &Config) -> Option<u64> {
        let next = self.next?;
        let window = config.max_in_flight_snapshot_bytes as u64;
        // A snapshot without bytes arrives with the question.
        let unsent = next < self.snapshot.size;
        (unsent && !self.reading && next.saturating_sub(self.written) < window).then_some(next)
    }
}

impl Raft {
    /// The peer can't go on from what is in the log, or has lost its state.
    pub(crate) fn send_snapshot(&mut self, peer: NodeId, at_least: LogIndex) {
        let now = self.now;
        let snapshot = self.snapshot.clone().filter(|it| it.position.index >= at_least);
        let Role::Leader(leader) = &mut self.role else { return };
        let newest = leader.sequence;
        let Some(peer) = leader.peers.iter_mut().find(|it| it.id == peer) else { return };
        if let (Some(snapshot), false) = (snapshot, matches!(peer.state, State::Snapshot(_))) {
            peer.begin_snapshot(Sending::new(snapshot, newest, now));
        }
    }

    /// A follower says that it has lost its state.
    pub(crate) fn on_state_lost_at(
        &mut self,
        peer: NodeId,
        at_least: LogIndex,
        out: &mut Outbox<'_>,
    ) {
        let usable =
            |it: &Snapshot| it.position.index >= at_least && it.position.index > LogIndex::ZERO;
        if self.snapshot.as_ref().is_some_and(usable) {
            self.send_snapshot(peer, at_least);
        } else {
            out.notice(Notice::SnapshotWanted);
        }
    }

    pub(crate) fn on_snapshot_reply(&mut self, from: NodeId, reply: &SnapshotReply) {
        let now = self.now;
        let Role::Leader(leader) = &mut self.role else { return };
        let newest = leader.sequence;
        let Some(peer) = leader.peer(from) else { return };
        if reply.sequence > newest {
            self.dropped.malformed += 1;
            return;
        }
        peer.heard = now;
        peer.answered = peer.answered.max(reply.sequence);
        let State::Snapshot(sending) = &mut peer.state else { return };
        let snapshot = &sending.snapshot;
        if (snapshot.position, snapshot.checksum) != (reply.position, reply.checksum) {
            self.dropped.stale += 1;
        } else if reply.received > snapshot.size {
            self.dropped.malformed += 1;
        } else {
            sending.answered(reply, newest, now);
        }
    }

    /// The host has read a chunk, for all the peers that wait for it.
    pub(crate) fn on_snapshot_read(
        &mut self,
        snapshot: &Snapshot,
        offset: u64,
        data: Option<&Bytes>,
        out: &mut Outbox<'_>,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        let (id, term) = (self.config.id, self.hard_state.term);
        for peer in &mut leader.peers {
            let State::Snapshot(sending) = &mut peer.state else { continue };
            let waits = sending.reading && sending.next == Some(offset);
            if !waits || sending.snapshot != *snapshot {
                continue;
            }
            sending.reading = false;
            let room = snapshot.size - offset;
            let sound = |data: &&Bytes| data.len() as u64 <= room && !data.is_empty();
            let Some(data) = data.filter(sound) else {
                // The snapshot is gone. What the peer needs is found out anew, with the next
                // heartbeat: if there is no other snapshot, this comes back again and again.
                peer.probe(self.log.base().index);
                peer.state = State::Probe { sent: true };
                continue;
            };
            sending.next = Some(offset + data.len() as u64);
            leader.sequence += 1;
            let sequence = leader.sequence;
            let chunk =
                SnapshotChunk { snapshot: snapshot.clone(), offset, data: data.clone(), sequence };
            let body = Body::SnapshotChunk(Box::new(chunk));
            out.send(Message { from: id, to: peer.id, term, body });
        }
    }

    /// Abandons the transfers that gain nothing, and forgets the snapshots that nobody needs.
    pub(crate) fn review_snapshots(&mut self, out: &mut Outbox<'_>) {
        self.review_receiving(out);
        self.review_sending();
        if self.old_snapshots.is_empty() {
            return;
        }
        for snapshot in core::mem::take(&mut self.old_snapshots) {
            if self.is_being_sent(&snapshot) || self.applier.is_restoring(&snapshot) {
                self.old_snapshots.push(snapshot);
            } else {
                self.drop_snapshot(snapshot, out);
            }
        }
    }

    fn review_sending(&mut self) {
        let (now, base) = (self.now, self.log.base().index);
        let covered = self.snapshot.as_ref().map_or(LogIndex::ZERO, |it| it.position.index);
        let election_timeout = self.config.election_timeout;
        let is_over = |since: Instant| since.plus(election_timeout.saturating_mul(PATIENCE)) <= now;
        if let Role::Leader(leader) = &mut self.role {
            for peer in leader.peers.iter_mut().filter(|peer| peer.lags()) {
                peer.catching_up =
                    peer.catching_up.filter(|gained| peer.matched < covered && !is_over(*gained));
                if let State::Snapshot(sending) = &peer.state
                    && is_over(sending.gained)
                {
                    peer.probe(base);
                }
            }
        }
    }

    fn is_being_sent(&self, snapshot: &Snapshot) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let sent = |peer: &Progress| matches!(&peer.state, State::Snapshot(sending) if sending.snapshot == *snapshot);
        leader.peers.iter().any(sent)
    }

    /// The entries after this index may not be compacted: a follower that is sent a snapshot, or
    /// has just got one, needs them.
    pub(crate) fn needed_after(&self) -> LogIndex {
        let Role::Leader(leader) = &self.role else { return LogIndex::MAX };
        let needs = leader.peers.iter().filter_map(|peer| match &peer.state {
            State::Snapshot(sending) => Some(sending.snapshot.position.index),
            _ => peer.catching_up.map(|_| peer.matched),
        });
        needs.min().unwrap_or(LogIndex::MAX)
    }
}

impl Speaker<'_> {
    /// Goes on with a transfer: asks the follower how far it is, or the host for the next chunk.
    pub(crate) fn serve_snapshot(
        &mut self,
        peer: NodeId,
        sending: &mut Sending,
        heartbeat: bool,
        out: &mut Outbox<'_>,
    ) {
        if heartbeat {
            let chunk = SnapshotChunk {
                snapshot: sending.snapshot.clone(),
                offset: sending.next.unwrap_or(0),
                data: Bytes::new(),
                sequence: self.number(),
            };
            self.say(peer, Body::SnapshotChunk(Box::new(chunk)), out);
        }
        if let Some(offset) = sending.wants(self.config) {
            sending.reading = true;
            let max_bytes = self.config.max_snapshot_chunk_bytes;
            out.read_snapshot(sending.snapshot.clone(), offset, max_bytes);
        }
    }
}
