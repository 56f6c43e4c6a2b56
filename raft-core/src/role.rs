//! The data that belongs to a role and to no other.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::append::OwedAcks;
use crate::change::Change;
use crate::control::{Asked, Controls};
use crate::forward::{Forwards, SeenBatches};
use crate::ids::{LogIndex, NodeId, RequestId, Ticket};
use crate::lease::Lease;
use crate::membership::insert;
use crate::output::RoleKind;
use crate::progress::Progress;
use crate::reads::{FollowerReads, LeaderReads};
use crate::time::Instant;
use crate::transfer::Transfer;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Follower(Option<Following>),
    PreCandidate(PreCandidate),
    Candidate(Candidate),
    /// By far the largest of them, and the rarest.
    Leader(Box<Leader>),
}

impl Role {
    pub(crate) const fn kind(&self) -> RoleKind {
        match self {
            Self::Follower(_) => RoleKind::Follower,
            Self::PreCandidate(_) => RoleKind::PreCandidate,
            Self::Candidate(_) => RoleKind::Candidate,
            Self::Leader(_) => RoleKind::Leader,
        }
    }
}

/// A follower that knows its leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Following {
    pub(crate) leader: NodeId,
    /// When the leader was last heard.
    pub(crate) heard: Instant,
    pub(crate) reads: FollowerReads,
    pub(crate) forwards: Forwards,
    pub(crate) controls: Controls,
    pub(crate) acks: OwedAcks,
}

/// Who has granted a vote or a pre-vote, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Voters(Vec<NodeId>);

impl Voters {
    pub(crate) fn insert(&mut self, id: NodeId) {
        insert(&mut self.0, id);
    }

    pub(crate) fn contains(&self, id: NodeId) -> bool {
        self.0.contains(&id)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PreCandidate {
    pub(crate) granted: Voters,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Candidate {
    pub(crate) granted: Voters,
    /// The candidate's own vote counts once this is durable.
    pub(crate) own_vote: Ticket,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    /// The index of the first entry of the leader's term.
    pub(crate) term_start: LogIndex,
    pub(crate) peers: Vec<Progress>,
    /// The proposals of this term that are not committed, ascending.
    pub(crate) pending: VecDeque<Pending>,
    /// The bytes of those proposals.
    pub(crate) uncommitted_bytes: usize,
    pub(crate) next_heartbeat: Instant,
    pub(crate) next_quorum_check: Instant,
    /// The number of the newest `Append` of this term.
    pub(crate) sequence: u64,
    pub(crate) reads: LeaderReads,
    pub(crate) seen: SeenBatches,
    pub(crate) asked: Asked,
    /// The change of membership that it was asked for.
    pub(crate) change: Option<Change>,
    pub(crate) transfer: Option<Transfer>,
    /// When it may next hand over to a preferred node.
    pub(crate) next_preference: Instant,
    pub(crate) lease: Lease,
}

impl Leader {
    pub(crate) fn peer(&mut self, id: NodeId) -> Option<&mut Progress> {
        self.peers.iter_mut().find(|peer| peer.id == id)
    }
}

/// A proposal in the leader's log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pending {
    pub(crate) index: LogIndex,
    pub(crate) bytes: usize,
    /// Whom to answer; nobody here if a follower passed it on.
    pub(crate) request: Option<RequestId>,
}
