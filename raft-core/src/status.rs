//! What people and metrics may look at.

use crate::shared::Arc;
use alloc::vec::Vec;

use crate::ids::{LogIndex, NodeId, Term};
use crate::membership::Membership;
use crate::output::RoleKind;
use crate::progress::State;
use crate::raft::Raft;
use crate::role::Role;
use crate::time::Instant;

/// A picture of a node at one moment. It proves nothing about the present: a node that believes it
/// leads may have been deposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The node.
    pub id: NodeId,
    /// Its role.
    pub role: RoleKind,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in this term.
    pub vote: Option<NodeId>,
    /// The leader of the term, if the node knows it.
    pub leader: Option<NodeId>,
    /// The members, as its log has them.
    pub membership: Arc<Membership>,
    /// The index of its newest snapshot; zero if it has none.
    pub snapshot: LogIndex,
    /// The index before the first entry of its log.
    pub base: LogIndex,
    /// The last index of its log.
    pub last: LogIndex,
    /// How much of the log is on its disk.
    pub durable: LogIndex,
    /// What it knows to be committed.
    pub commit: LogIndex,
    /// What its state machine has applied.
    pub applied: LogIndex,
    /// Requests that wait for their answer.
    pub pending_requests: usize,
    /// Bytes of entries that its disk has not acknowledged.
    pub unpersisted_bytes: usize,
    /// Bytes of entries in memory.
    pub cached_bytes: usize,
    /// Messages that wait for its disk.
    pub held_messages: usize,
    /// At a leader: when a majority last answered. The difference to now is the best measure of
    /// health.
    pub last_quorum_contact: Option<Instant>,
    /// At a leader: the other members.
    pub peers: Vec<PeerStatus>,
    /// What the node has ignored since it started, or since the counts were
    /// [taken](Raft::take_dropped).
    pub dropped: Dropped,
}

/// What a leader knows of another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The member.
    pub id: NodeId,
    /// Whether its vote counts.
    pub voter: bool,
    /// If it is being sent a snapshot: how many bytes of how many are there.
    pub snapshot: Option<(u64, u64)>,
    /// Everything up to here is on its disk.
    pub matched: LogIndex,
    /// The next entry that it will be sent.
    pub next: LogIndex,
    /// Whether the leader still looks for the place where the logs meet.
    pub probing: bool,
    /// When it was last heard in this term; the start of the leadership if never.
    pub heard: Instant,
    /// It denies entries that it had acknowledged as durable: its disk has lost them, and perhaps
    /// votes too. It gets no entries any more, and what it votes for can't be trusted. Stop it,
    /// remove it from the cluster, and add a new node under a new id.
    pub has_lost_entries: bool,
}

/// Counts of inputs that were ignored, each for a reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dropped {
    /// For another node, or contradicting itself or the protocol. More than a few point to a
    /// broken or hostile peer.
    pub malformed: u64,
    /// Of an old term, repeated, or overtaken by events.
    pub stale: u64,
    /// Requests for a vote while the node hears a leader.
    pub disruptive: u64,
    /// Snapshots that arrived with another checksum than they were announced with.
    pub corrupt_snapshots: u64,
    /// For a leader, which this node is no longer.
    pub not_leader: u64,
    /// Over a limit of the configuration.
    pub over_limit: u64,
}

impl Raft {
    /// Takes the counts of what was ignored; they begin at zero again. For a host that adds them up
    /// itself, and for a model checker, which would take two states for different ones because of
    /// them.
    pub fn take_dropped(&mut self) -> Dropped {
        core::mem::take(&mut self.dropped)
    }

    /// A picture of the node. Building it takes an allocation for the peers of a leader.
    #[must_use]
    pub fn status(&self) -> Status {
        let leader = match &self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        };
        let peers = leader.map_or(&[][..], |leader| &leader.peers).iter().map(|peer| PeerStatus {
            id: peer.id,
            voter: self.membership.is_voter(peer.id),
            matched: peer.matched,
            next: peer.next,
            probing: matches!(peer.state, State::Probe { .. }),
            snapshot: match &peer.state {
                State::Snapshot(sending) => Some(sending.progress()),
                _ => None,
            },
            heard: peer.heard,
            has_lost_entries: peer.has_lost_entries,
        });
        Status {
            id: self.config.id,
            role: self.role.kind(),
            term: self.hard_state.term,
            vote: self.hard_state.vote,
            leader: self.leader(),
            membership: self.membership.clone(),
            snapshot: self.snapshot.as_ref().map_or(LogIndex::ZERO, |it| it.position.index),
            base: self.log.base().index,
            last: self.log.last(),
            durable: self.log.durable(),
            commit: self.commit,
            applied: self.applier.applied(),
            pending_requests: self.pending_requests(),
            unpersisted_bytes: self.log.unpersisted_bytes(),
            cached_bytes: self.log.cached_bytes(),
            held_messages: self.held.len() + self.acks_owed(),
            last_quorum_contact: leader.map(|_| self.last_quorum_contact()),
            peers: peers.collect(),
            dropped: self.dropped.clone(),
        }
    }
}
