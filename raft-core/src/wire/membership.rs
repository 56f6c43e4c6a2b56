//! Configurations, on the wire and on disks.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use prost::Message as _;

use super::DecodeError;
use crate::ids::NodeId;
use crate::membership::{Member, Membership};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Members {
    #[prost(message, repeated, tag = "1")]
    members: Vec<Described>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Described {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(uint32, tag = "3")]
    priority: u32,
    #[prost(bool, tag = "4")]
    voter: bool,
    #[prost(bool, tag = "5")]
    outgoing: bool,
    #[prost(bool, tag = "6")]
    learner: bool,
}

impl From<&Membership> for Members {
    fn from(membership: &Membership) -> Self {
        let describe = |(id, member): (&NodeId, &Member)| Described {
            id: id.get(),
            address: member.address.clone(),
            priority: member.priority,
            voter: membership.voters().contains(id),
            outgoing: membership.outgoing().contains(id),
            learner: membership.learners().contains(id),
        };
        Self { members: membership.details().iter().map(describe).collect() }
    }
}

impl TryFrom<Members> for Membership {
    type Error = DecodeError;

    fn try_from(members: Members) -> Result<Self, DecodeError> {
        let listed = |which: fn(&Described) -> bool| -> Vec<NodeId> {
            members.members.iter().filter(|it| which(it)).map(|it| NodeId::new(it.id)).collect()
        };
        let lists = [listed(|it| it.voter), listed(|it| it.outgoing), listed(|it| it.learner)];
        let count = members.members.len();
        let described = |it: Described| {
            (NodeId::new(it.id), Member { address: it.address, priority: it.priority })
        };
        let members: BTreeMap<NodeId, Member> =
            members.members.into_iter().map(described).collect();
        let unique = members.len() == count;
        Self::from_parts(lists, members).filter(|_| unique).ok_or(DecodeError::Contradiction)
    }
}

impl Membership {
    /// The configuration as bytes, for log stores and snapshot files. The encoding is that of the
    /// wire and can gain fields; `docs/wire.md` has the schema.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        Members::from(self).encode_to_vec().into()
    }

    /// Reads what [`encode`](Membership::encode) wrote.
    ///
    /// # Errors
    /// The bytes are no configuration; the error says why.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        Members::decode(bytes).map_err(|_| DecodeError::Garbled)?.try_into()
    }
}
