//! Requests about the cluster, and their answers.

use crate::shared::Arc;

use prost::Oneof;

use super::membership::Members;
use super::{DecodeError, Position};
use crate::ids::NodeId;
use crate::message::{self, BatchId, Body, ControlResult};
use crate::output::Refusal;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Control {
    #[prost(uint64, tag = "1")]
    incarnation: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(oneof = "What", tags = "3, 4")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(message, tag = "3")]
    ChangeMembership(Change),
    #[prost(message, tag = "4")]
    TransferLeadership(Transfer),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Change {
    #[prost(message, required, tag = "1")]
    target: Members,
    #[prost(message, optional, tag = "2")]
    only_if: Option<Members>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Transfer {
    #[prost(uint64, optional, tag = "1")]
    to: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct ControlReply {
    #[prost(uint64, tag = "1")]
    incarnation: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(oneof = "Ended", tags = "3, 4, 5")]
    ended: Option<Ended>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
enum Ended {
    #[prost(message, tag = "3")]
    Committed(Position),
    #[prost(message, tag = "4")]
    Refused(Refused),
    #[prost(bool, tag = "5")]
    Unknown(bool),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Refused {
    /// The place in `REASONS`, from one on, or one of the two that have details.
    #[prost(uint32, tag = "1")]
    reason: u32,
    /// The node, or the size.
    #[prost(uint64, tag = "2")]
    detail: u64,
    #[prost(uint64, tag = "3")]
    limit: u64,
}

/// The refusals without fields, by their numbers on the wire from one on.
const REASONS: [Refusal; 8] = [
    Refusal::NoLeader,
    Refusal::Overloaded,
    Refusal::Transferring,
    Refusal::ChangeInProgress,
    Refusal::MembershipChanged,
    Refusal::NoVoters,
    Refusal::NoSuchVoter,
    Refusal::TransferFailed,
];
const NOT_CAUGHT_UP: u32 = 9;
const TOO_LARGE: u32 = 10;

impl Control {
    pub(super) fn new(batch: BatchId, control: &message::Control) -> Self {
        let what = match control {
            message::Control::ChangeMembership { target, only_if } => {
                let only_if = only_if.as_deref().map(Members::from);
                What::ChangeMembership(Change { target: target.as_ref().into(), only_if })
            }
            message::Control::TransferLeadership { to } => {
                What::TransferLeadership(Transfer { to: to.map(NodeId::get) })
            }
        };
        Self { incarnation: batch.incarnation, sequence: batch.sequence, what: Some(what) }
    }

    pub(super) fn decode(self) -> Result<Body, DecodeError> {
        let control = match self.what.ok_or(DecodeError::Unknown)? {
            What::ChangeMembership(Change { target, only_if }) => {
                message::Control::ChangeMembership {
                    target: Arc::new(target.try_into()?),
                    only_if: only_if.map(TryInto::try_into).transpose()?.map(Arc::new),
                }
            }
            What::TransferLeadership(Transfer { to }) => {
                message::Control::TransferLeadership { to: to.map(NodeId::new) }
            }
        };
        let batch = BatchId { incarnation: self.incarnation, sequence: self.sequence };
        Ok(Body::Control { batch, control })
    }
}

impl ControlReply {
    pub(super) fn new(batch: BatchId, result: ControlResult) -> Self {
        let ended = match result {
            ControlResult::Committed(position) => Ended::Committed(position.into()),
            ControlResult::Refused(refusal) => Ended::Refused(refusal.into()),
            ControlResult::Unknown => Ended::Unknown(true),
        };
        Self { incarnation: batch.incarnation, sequence: batch.sequence, ended: Some(ended) }
    }

    pub(super) fn decode(self) -> Result<Body, DecodeError> {
        let result = match self.ended.ok_or(DecodeError::Unknown)? {
            Ended::Committed(position) => ControlResult::Committed(position.try_into()?),
            Ended::Refused(refused) => ControlResult::Refused(refused.try_into()?),
            Ended::Unknown(_) => ControlResult::Unknown,
        };
        let batch = BatchId { incarnation: self.incarnation, sequence: self.sequence };
        Ok(Body::ControlReply { batch, result })
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let place = REASONS.iter().position(|reason| *reason == refusal).unwrap_or_default();
        match refusal {
            Refusal::NotCaughtUp { id } => {
                Self { reason: NOT_CAUGHT_UP, detail: id.get(), limit: 0 }
            }
            Refusal::TooLarge { size, limit } => {
                Self { reason: TOO_LARGE, detail: size as u64, limit: limit as u64 }
            }
            _ => Self { reason: place as u32 + 1, detail: 0, limit: 0 },
        }
    }
}

impl TryFrom<Refused> for Refusal {
    type Error = DecodeError;

    fn try_from(Refused { reason, detail, limit }: Refused) -> Result<Self, DecodeError> {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        match reason {
            NOT_CAUGHT_UP => Ok(Self::NotCaughtUp { id: NodeId::new(detail) }),
            TOO_LARGE => Ok(Self::TooLarge { size: number(detail), limit: number(limit) }),
            _ => {
                let place = number(u64::from(reason)).checked_sub(1);
                place.and_then(|place| REASONS.get(place)).copied().ok_or(DecodeError::Unknown)
            }
        }
    }
}
