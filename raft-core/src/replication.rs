//! The leader's side of replication (paper, section 5.3).

use crate::config::Config;
use crate::entry::{Entries, LogPosition};
use crate::ids::{LogIndex, NodeId, Term};
use crate::log::Log;
use crate::message::{Append, AppendReply, AppendResult, Body, Message};
use crate::outbox::Outbox;
use crate::progress::{Progress, State};
use crate::raft::Raft;
use crate::role::{Leader, Role};
use crate::run::Run;

/// What every message of a leader is made of.
pub(crate) struct Speaker<'a> {
    id: NodeId,
    pub(crate) config: &'a Config,
    log: &'a Log,
    term: Term,
    commit: LogIndex,
    sequence: &'a mut u64,
}

impl Raft {
    pub(crate) fn on_append_reply(
        &mut self,
        from: NodeId,
        reply: AppendReply,
        out: &mut Outbox<'_>,
    ) {
        let (base, last_index) = (self.log.base().index, self.log.last());
        let Role::Leader(leader) = &mut self.role else { return };
        let newest = leader.sequence;
        let Some(peer) = leader.peer(from) else { return };
        let claimed = match reply.result {
            AppendResult::Accepted { last, durable } => last.max(durable),
            AppendResult::Rejected { prev, .. } => prev,
        };
        if claimed > last_index || reply.sequence > newest {
            // Nobody can have what was never sent.
            self.dropped.malformed += 1;
            return;
        }
        peer.heard = self.now;
        peer.answered = peer.answered.max(reply.sequence);
        peer.without_state = reply.needs_snapshot.is_some();
        match reply.result {
            AppendResult::Accepted { last, durable } => {
                peer.accepted(last, durable, base, newest);
            }
            AppendResult::Rejected { prev, hint } => {
                peer.has_lost_entries |= peer.proves_loss(reply.sequence, prev);
                let probed = !matches!(peer.state, State::Snapshot(_));
                if probed && peer.is_news(reply.sequence, prev) {
                    peer.rejected(self.log.last_at_most(hint).index, newest);
                    if peer.next <= base {
                        // The peer has just answered: it is worth the bytes.
                        peer.probe(base);
                        self.send_snapshot(from, LogIndex::ZERO);
                    }
                }
            }
        }
        if let Some(at_least) = reply.needs_snapshot {
            self.on_state_lost_at(from, at_least, out);
        }
    }

    /// Commits what a majority has on its disks, if it is of this term: an entry of an earlier
    /// term is only safe once one of this term follows it (paper, section 5.4.2).
    pub(crate) fn advance_commit(&mut self, out: &mut Outbox<'_>) {
        let Role::Leader(leader) = &self.role else { return };
        if self.commit == self.log.last() {
            return;
        }
        let durable = self.log.durable();
        let matched = |id| match leader.peers.iter().find(|peer| peer.id == id) {
            Some(peer) => peer.matched,
            None => durable,
        };
        let Some(index) = self.membership.reached_by_majority(matched) else { return };
        if index > self.commit && self.log.term_at(index) == Some(self.hard_state.term) {
            self.set_commit(index, out);
        }
    }

    /// Whether some peer could be sent more entries than this step has sent.
    pub(crate) fn has_more_to_send(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let last = self.log.last();
        leader.peers.iter().any(|peer| {
            matches!(peer.state, State::Replicate)
                && peer.next <= last
                && peer.may_send(&self.config)
        })
    }

    /// Sends each peer what is due: at most one message each.
    pub(crate) fn replicate(&mut self, out: &mut Outbox<'_>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Leader { peers, sequence, .. } = &mut **leader;
        let mut speaker = Speaker {
            id: self.config.id,
            config: &self.config,
            log: &self.log,
            term: self.hard_state.term,
            commit: self.commit,
            sequence,
        };
        for peer in peers {
            speaker.serve(peer, out);
        }
    }
}

impl Speaker<'_> {
    fn serve(&mut self, peer: &mut Progress, out: &mut Outbox<'_>) {
        let Config { max_append_bytes: bytes, max_append_entries: count, .. } = *self.config;
        let heartbeat = peer.take_heartbeat();
        let loaded = peer.take_loaded();
        match &mut peer.state {
            State::Snapshot(sending) => self.serve_snapshot(peer.id, sending, heartbeat, out),
            State::Probe { sent: true } if !heartbeat => {}
            State::Probe { sent } => {
                let sent = *sent;
                // Entries that lie in memory may as well come along with a first guess. When it
                // goes unanswered the peer may be gone, and only asking is cheaper.
                let entries = if sent { None } else { self.log.entries(peer.next, bytes, count) };
                let entries = entries.map(Run::into_entries);
                self.tell(peer, entries.unwrap_or_else(Entries::empty), out);
                peer.state = State::Probe { sent: true };
            }
            State::Replicate => {
                if peer.next <= self.log.last() && peer.may_send(self.config) {
                    let run = match loaded {
                        Some(loaded) => loaded.part(peer.next..=LogIndex::MAX, bytes, count),
                        None => self.log.entries(peer.next, bytes, count),
                    };
                    if let Some(run) = run {
                        return self.append(peer, run, out);
                    }
                    peer.load();
                    out.load(peer.next, self.log.last(), bytes);
                }
                if heartbeat || peer.owes_commit(self.commit) {
                    self.tell(peer, Entries::empty(), out);
                }
            }
        }
    }

    /// Sends entries ahead of their acknowledgement.
    fn append(&mut self, peer: &mut Progress, run: Run, out: &mut Outbox<'_>) {
        let (last, bytes) = (run.last(), run.bytes());
        self.tell(peer, run.into_entries(), out);
        peer.sent(last, bytes);
    }

    /// Sends the message that begins at the peer's next entry. Without entries it asks whether
    /// everything before has arrived, and so finds out about losses.
    fn tell(&mut self, peer: &mut Progress, entries: Entries, out: &mut Outbox<'_>) {
        let index = peer.next.prev();
        // The log has a term for every index up to its last, and `next` is at most one beyond.
        let term = self.log.term_at(index).unwrap_or(Term::ZERO);
        let prev = LogPosition { index, term };
        let commit = self.commit.min(index.plus(entries.len() as u64));
        peer.commit_sent = peer.commit_sent.max(commit);
        let sequence = self.number();
        self.say(peer.id, Body::Append(Append { prev, entries, commit, sequence }), out);
    }

    /// The number of the next message.
    pub(crate) const fn number(&mut self) -> u64 {
        *self.sequence += 1;
        *self.sequence
    }

    pub(crate) fn say(&self, to: NodeId, body: Body, out: &mut Outbox<'_>) {
        out.send(Message { from: self.id, to, term: self.term, body });
    }
}
