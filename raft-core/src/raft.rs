//! The node: its state, and what becomes of a message.

use crate::shared::Arc;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::apply::Applier;
use crate::config::{Config, ConfigError, Inconsistency};
use crate::entry::HardState;
use crate::forward::Awaiting;
use crate::ids::{LogIndex, NodeId, RequestId, Term, Ticket};
use crate::log::{HIGHEST_BASE, Log};
use crate::membership::Membership;
use crate::message::{
    Append, AppendReply, AppendResult, Body, Message, SnapshotChunk, SnapshotReply,
};
use crate::outbox::Outbox;
use crate::output::{Notice, Outcome, Refusal, RoleKind};
use crate::random::Random;
use crate::reads::ConfirmedReads;
use crate::receiving::Receiving;
use crate::restored::Restored;
use crate::role::Role;
use crate::snapshot::Snapshot;
use crate::status::Dropped;
use crate::time::Instant;
use crate::timers::ElectionTimer;
use crate::transfer::Handovers;

/// More writes than this don't wait for a disk only because peers bring ever newer terms.
const MAX_WRITES: usize = 1024;

/// One node of a Raft cluster, as a value.
///
/// Everything that happens to the node goes into [`step`](Raft::step), everything that it wants
/// done comes out. It owns no clock, no socket, no file and no thread; the crate's documentation
/// lists what a host has to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    pub(crate) config: Config,
    /// The newest configuration of the log.
    pub(crate) membership: Arc<Membership>,
    pub(crate) random: Random,
    pub(crate) now: Instant,
    pub(crate) hard_state: HardState,
    pub(crate) hard_state_changed: bool,
    pub(crate) hard_state_ticket: Ticket,
    pub(crate) log: Log,
    pub(crate) commit: LogIndex,
    pub(crate) applier: Applier,
    pub(crate) snapshot: Option<Snapshot>,
    /// Older ones that may still be in use.
    pub(crate) old_snapshots: Vec<Snapshot>,
    /// Newer ones that the host was told to drop, and may not have dropped yet.
    pub(crate) doomed_snapshots: Vec<Snapshot>,
    pub(crate) receiving: Option<Receiving>,
    pub(crate) snapshot_attempts: u64,
    pub(crate) role: Role,
    pub(crate) election: ElectionTimer,
    /// When any leader was last heard; the start of this life, if none ever was.
    pub(crate) heard_leader: Instant,
    pub(crate) held: VecDeque<Held>,
    pub(crate) awaiting: Awaiting,
    pub(crate) handovers: Handovers,
    pub(crate) confirmed_reads: ConfirmedReads,
    pub(crate) incarnation: u64,
    pub(crate) batch_sequence: u64,
    pub(crate) read_sequence: u64,
    pub(crate) dropped: Dropped,
    announced: (RoleKind, Term, Option<NodeId>),
}

/// A message that waits until a write is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) until: Ticket,
    pub(crate) message: Message,
}

impl Raft {
    /// Makes a node from its settings and what its disk holds, at the host's time `now`. A node
    /// that starts for the first time has [`Restored::default`].
    ///
    /// The node starts as a follower, whatever it was before, and knows nothing to be committed
    /// beyond what its state machine has applied; it learns the rest from its leader.
    ///
    /// # Errors
    /// A setting makes no sense, or the stored log contradicts itself; the error says which.
    pub fn new(config: Config, restored: Restored, now: Instant) -> Result<Self, ConfigError> {
        config.check()?;
        let Restored { log, snapshot, applied } = restored;
        let mut hard_state = log.hard_state;
        let log = Log::restore(log, snapshot.as_ref()).map_err(ConfigError::Inconsistent)?;
        let ahead = log.last_position().term > hard_state.term;
        if ahead {
            // A snapshot was durable before the term in which it came.
            hard_state = HardState { term: log.last_position().term, vote: None };
        }
        if applied > log.last() {
            let last = log.last();
            return Err(ConfigError::Inconsistent(Inconsistency::AppliedBeyondLog {
                applied,
                last,
            }));
        }
        let mut random = Random::new(config.seed);
        let election = ElectionTimer::new(now, random.once_to_twice(config.election_timeout));
        Ok(Self {
            membership: log.membership().1.clone(),
            // Half the range is left, so that counting up from here never wraps.
            incarnation: random.next(),
            batch_sequence: 0,
            read_sequence: random.next() >> 1,
            config,
            random,
            now,
            hard_state,
            hard_state_changed: ahead,
            hard_state_ticket: Ticket::default(),
            log,
            commit: snapshot.as_ref().map_or(applied, |it| applied.max(it.position.index)),
            applier: Applier::new(applied, snapshot.as_ref()),
            snapshot,
            old_snapshots: Vec::new(),
            doomed_snapshots: Vec::new(),
            receiving: None,
            snapshot_attempts: 0,
            role: Role::Follower(None),
            election,
            heard_leader: now,
            held: VecDeque::new(),
            awaiting: Awaiting::default(),
            handovers: Handovers::default(),
            confirmed_reads: ConfirmedReads::default(),
            dropped: Dropped::default(),
            announced: (RoleKind::Follower, hard_state.term, None),
        })
    }

    pub(crate) fn on_forget_leader(&mut self, out: &mut Outbox<'_>) {
        let follows = matches!(self.role, Role::Follower(Some(_)));
        if follows && self.config.read_leases.is_none() {
            self.follow(self.hard_state.term, None, out);
        }
    }

    pub(crate) fn receive(&mut self, message: Message, out: &mut Outbox<'_>) {
        if !self.is_sensible(&message) {
            self.dropped.malformed += 1;
            return;
        }
        let Message { from, term, body, .. } = message;
        let asks_for_vote =
            matches!(body, Body::PreVote { .. } | Body::Vote { transfer: false, .. });
        if asks_for_vote && term > self.hard_state.term && self.hears_leader_other_than(from) {
            // A server that is out of touch must not depose a leader that the others hear
            // (dissertation, section 4.2.3).
            self.dropped.disruptive += 1;
            return;
        }
        if term < self.hard_state.term {
            return self.answer_stale(from, &body, out);
        }
        if term > self.hard_state.term {
            if self.log.writes_in_flight() >= MAX_WRITES {
                self.dropped.over_limit += 1;
                return;
            }
            self.follow(term, None, out);
        }
        self.hear(from, body, out);
    }

    fn hear(&mut self, from: NodeId, body: Body, out: &mut Outbox<'_>) {
        match body {
            Body::PreVote { last } => self.on_pre_vote(from, last, out),
            Body::PreVoteReply { granted } => self.on_pre_vote_reply(from, granted, out),
            Body::Vote { last, transfer } => self.on_vote(from, last, transfer, out),
            Body::VoteReply { granted } => self.on_vote_reply(from, granted, out),
            Body::Append(append) => self.on_append(from, append, out),
            Body::AppendReply(reply) => self.on_append_reply(from, reply, out),
            Body::Propose { batch, commands } => self.on_forwarded(from, batch, commands, out),
            Body::ProposeReply { batch, result } => self.on_propose_reply(from, batch, result, out),
            Body::ReadIndex { sequence } => self.on_read_index(from, sequence, out),
            Body::ReadIndexReply { sequence, index } => {
                self.on_read_index_reply(from, sequence, index, out);
            }
            Body::SnapshotChunk(chunk) => self.on_snapshot_chunk(from, *chunk, out),
            Body::SnapshotReply(reply) => self.on_snapshot_reply(from, &reply),
            Body::TimeoutNow => self.on_timeout_now(from, out),
            Body::Control { batch, control } => self.on_remote_control(from, batch, control, out),
            Body::ControlReply { batch, result } => {
                self.on_control_reply(from, batch, result, out);
            }
        }
    }

    /// Whether a message is for this node and contradicts neither itself nor the protocol.
    fn is_sensible(&self, message: &Message) -> bool {
        let Message { from, to, term, body } = message;
        let addressed = *to == self.config.id && *from != self.config.id;
        let term_fits = Term::ZERO < *term && *term <= self.hard_state.term.furthest();
        let first_election =
            *term == Term::ZERO && matches!(body, Body::PreVote { .. } | Body::PreVoteReply { .. });
        let body_fits = match body {
            Body::Append(append) => {
                let follows = append.entries.first().is_none_or(|entry| {
                    entry.index == append.prev.index.next() && entry.term >= append.prev.term
                });
                let within_term = append.entries.last().is_none_or(|entry| entry.term <= *term);
                follows
                    && within_term
                    && append.prev.term <= *term
                    && append.commit <= append.last()
            }
            Body::AppendReply(AppendReply {
                result: AppendResult::Accepted { last, durable },
                ..
            }) => durable <= last,
            Body::ProposeReply { result, .. } => *result != Ok(LogIndex::ZERO),
            Body::SnapshotChunk(chunk) => {
                let SnapshotChunk { snapshot, offset, data, .. } = &**chunk;
                let Snapshot { position, size, membership, .. } = snapshot;
                let within = offset.checked_add(data.len() as u64).is_some_and(|end| end <= *size);
                within
                    && LogIndex::ZERO < position.index
                    && position.index < HIGHEST_BASE
                    && position.term <= *term
                    && !membership.is_empty()
            }
            Body::SnapshotReply(SnapshotReply { received, written, .. }) => written <= received,
            Body::TimeoutNow | Body::Control { .. } | Body::ControlReply { .. } => true,
            Body::AppendReply(_)
            | Body::PreVote { .. }
            | Body::PreVoteReply { .. }
            | Body::Vote { .. }
            | Body::VoteReply { .. }
            | Body::Propose { .. }
            | Body::ReadIndex { .. }
            | Body::ReadIndexReply { .. } => true,
        };
        addressed && (term_fits || first_election) && body_fits
    }

    /// Tells the sender of an old term's request about the newer term. Old answers are dropped.
    fn answer_stale(&mut self, from: NodeId, body: &Body, out: &mut Outbox<'_>) {
        self.dropped.stale += 1;
        match body {
            Body::PreVote { .. } => self.send(from, Body::PreVoteReply { granted: false }, out),
            Body::Vote { .. } => self.send(from, Body::VoteReply { granted: false }, out),
            Body::Append(Append { prev, sequence, .. }) => {
                self.reject_append(from, *prev, *sequence, out);
            }
            Body::SnapshotChunk(chunk) => {
                let SnapshotChunk { snapshot, sequence, .. } = &**chunk;
                let (position, checksum) = (snapshot.position, snapshot.checksum);
                let sequence = *sequence;
                let (received, written, gap) = (0, 0, false);
                let reply = SnapshotReply { sequence, position, checksum, received, written, gap };
                self.send(from, Body::SnapshotReply(reply), out);
            }
            _ => {}
        }
    }

    pub(crate) fn announce(&mut self, out: &mut Outbox<'_>) {
        let (role, term, leader) = (self.role.kind(), self.hard_state.term, self.leader());
        if self.announced != (role, term, leader) {
            self.announced = (role, term, leader);
            out.notice(Notice::Leadership { role, term, leader });
        }
    }

    /// The leader of the current term, as far as this node knows.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leader(_) => Some(self.config.id),
            Role::Follower(Some(following)) => Some(following.leader),
            _ => None,
        }
    }

    /// Enters a newer term, or votes in the current one. The change is durable with the write of
    /// this step.
    pub(crate) fn set_hard_state(&mut self, term: Term, vote: Option<NodeId>) {
        if term > self.hard_state.term {
            // What was to be said in the old term is of no use to anybody.
            self.held.clear();
            // Another leader numbers its messages anew.
            if let Some(receiving) = &mut self.receiving {
                receiving.forget_sequence();
            }
        }
        self.hard_state = HardState { term, vote };
        self.hard_state_changed = true;
    }

    /// The ticket with which the current term and vote are durable.
    pub(crate) const fn hard_state_ticket(&self) -> Ticket {
        if self.hard_state_changed { self.log.upcoming_ticket() } else { self.hard_state_ticket }
    }

    /// Sends a message once the current term and vote are durable, which every message promises.
    pub(crate) fn send(&mut self, to: NodeId, body: Body, out: &mut Outbox<'_>) {
        let message = Message { from: self.config.id, to, term: self.hard_state.term, body };
        let until = self.hard_state_ticket();
        if until <= self.log.durable_ticket() {
            out.send(message);
        } else {
            self.hold(until, message);
        }
    }

    fn hold(&mut self, until: Ticket, message: Message) {
        if self.may_hold_another() {
            self.held.push_back(Held { until, message });
        } else {
            self.dropped.over_limit += 1;
        }
    }

    /// The members are only counted when it matters.
    fn may_hold_another(&self) -> bool {
        let held = self.held.len();
        held < self.config.max_held_messages || held < self.held_limit()
    }

    /// A candidate's requests for votes always fit.
    pub(crate) fn held_limit(&self) -> usize {
        self.config.max_held_messages.saturating_add(self.membership.members().count())
    }

    pub(crate) fn refuse(&self, request: RequestId, reason: Refusal, out: &mut Outbox<'_>) {
        out.done(request, Outcome::Refused { reason, leader: self.leader() });
    }
}
