//! What an operator asks of a node, and through it of the cluster.
//!
//! | request | reply |
//! | --- | --- |
//! | `RAFT.MEMBERS [LATEST]` | the sections `raft` and `members` of `INFO`; with `LATEST` they are at least as new as this request, which takes a majority |
//! | `RAFT.CHANGE ADD id host:port [LEARNER] [IF version]` | `OK` when the node is a voter (a learner) |
//! | `RAFT.CHANGE MOVE id host:port [IF version]` | `OK` when the others reach the member there |
//! | `RAFT.CHANGE REMOVE id [IF version]` | `OK` when it is no member any more |
//! | `RAFT.CHANGE PROMOTE id [IF version]` | `OK` when the learner is a voter |
//! | `RAFT.CHANGE DEMOTE id [IF version]` | `OK` when the voter is a learner |
//! | `RAFT.TRANSFER [id]` | the id of the new leader |
//! | `RAFT.SNAPSHOT` | the index of the newest snapshot of this node |
//! | `RAFT.PROPOSE envelope` | what the state machine answers, see [`backend`](crate::backend) |
//!
//! Any node takes them, and all but `RAFT.SNAPSHOT` and a plain `RAFT.MEMBERS` concern the whole
//! cluster. A change is always made on the condition that the members are still those from which
//! this node has computed it; with `IF`, also that these are the ones of that `members_version`.
//! Who asks for what is the case already is answered `OK` as well, by the leader.
//!
//! The first word of an error is for programs: `TRYAGAIN` (nothing was changed, and soon it may
//! be), `MEMBERSCHANGED`, `NOTCAUGHTUP`, `TRANSFERFAILED`, `CLUSTERDOWN`, `UNKNOWN`, `ERR`.

use raft_node::core::{Membership, NodeId, Refusal};
use raft_node::{Handle, NoSnapshot, RequestError};
use thiserror::Error;

use crate::backend::Trouble;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Members { latest: bool },
    Change { change: Change, only_if: Option<u32> },
    Transfer(Option<NodeId>),
    Snapshot,
}

impl Order {
    /// Whether this node can't carry it out by itself.
    pub(crate) const fn needs_a_quorum(&self) -> bool {
        !matches!(self, Self::Members { latest: false } | Self::Snapshot)
    }
}

/// A change of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add { id: NodeId, address: String, learner: bool },
    Move { id: NodeId, address: String },
    Remove(NodeId),
    Promote(NodeId),
    Demote(NodeId),
}

/// An order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum AdminError {
    #[error("TRYAGAIN {0}; nothing was changed")]
    TryAgain(String),
    #[error(
        "MEMBERSCHANGED the members are not those that the change was made for; nothing was \
         changed, look at them again"
    )]
    MembersChanged,
    #[error(
        "NOTCAUGHTUP node {0} does not catch up with the log and stays a learner; see that it runs \
         and is reached at its address, then promote it, or remove it"
    )]
    NotCaughtUp(NodeId),
    #[error(
        "TRANSFERFAILED the other node did not take over in time; nothing was changed, see that it \
         runs and has caught up"
    )]
    TransferFailed,
    #[error("CLUSTERDOWN {0}")]
    Stopped(RequestError),
    #[error("UNKNOWN nobody knows what came of it; look at the members, then try again")]
    Unknown,
    #[error(
        "ERR node {id} is a member already, at {address}; if it was moved with all of its data, \
         say so with MOVE (`raft-kv member move`), otherwise it needs an id that was never used"
    )]
    AtOtherAddress { id: NodeId, address: String },
    #[error("ERR node {0} is no member")]
    NoMember(NodeId),
    #[error("ERR node {0} is the last voter; without one there is no cluster")]
    LastVoter(NodeId),
    #[error("ERR this node belongs to no cluster yet; ask one that does to add it")]
    NoCluster,
    #[error("ERR the snapshot could not be written: {0}")]
    Snapshot(String),
    #[error("ERR {0}")]
    Refused(RequestError),
    /// The cluster has not told who its members are.
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

impl AdminError {
    /// Whether nobody has decided on the order, or nobody knows how.
    pub(crate) const fn is_no_answer(&self) -> bool {
        matches!(self, Self::Unknown | Self::Stopped(_) | Self::Trouble(_))
    }
}

impl From<RequestError> for AdminError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused { reason, .. } => match reason {
                Refusal::MembershipChanged => Self::MembersChanged,
                Refusal::NotCaughtUp { id } => Self::NotCaughtUp(id),
                Refusal::TransferFailed => Self::TransferFailed,
                Refusal::NoLeader
                | Refusal::Overloaded
                | Refusal::Transferring
                | Refusal::ChangeInProgress => Self::TryAgain(reason.to_string()),
                Refusal::TooLarge { .. } | Refusal::NoVoters | Refusal::NoSuchVoter => {
                    Self::Refused(error)
                }
            },
            RequestError::Lost => Self::TryAgain(error.to_string()),
            RequestError::Stopped => Self::Stopped(error),
            RequestError::NoSnapshot(_) => Self::Refused(error),
            // What is not known to this program is not known at all.
            _ => Self::Unknown,
        }
    }
}

/// A name for a set of members: other members, or the same with other roles or addresses, have
/// another one.
pub(crate) fn version(members: &Membership) -> u32 {
    crc32fast::hash(&members.encode())
}

/// Changes the members, and returns when that is committed.
pub(crate) async fn change(
    handle: &Handle,
    change: &Change,
    only_if: Option<u32>,
) -> Result<(), AdminError> {
    let members = handle.membership();
    if members.is_empty() {
        return Err(AdminError::NoCluster);
    }
    if members.is_joint() {
        return Err(
            RequestError::Refused { reason: Refusal::ChangeInProgress, leader: None }.into()
        );
    }
    if only_if.is_some_and(|wanted| wanted != version(&members)) {
        return Err(AdminError::MembersChanged);
    }
    let before = Membership::clone(&members);
    let target = change.target(before.clone())?;
    Ok(handle.change_membership(target, Some(before)).await?)
}

/// Lets another node lead, and returns which one does.
pub(crate) async fn transfer(handle: &Handle, to: Option<NodeId>) -> Result<NodeId, AdminError> {
    Ok(handle.transfer_leadership(to).await?)
}

/// Takes a snapshot on this node, and returns up to which index.
pub(crate) async fn snapshot(handle: &Handle) -> Result<u64, AdminError> {
    let taken = handle.snapshot().await;
    let status = handle.status().await.map_err(AdminError::Stopped)?;
    match (taken, status.snapshot_failure) {
        (Ok(()), _) => Ok(status.raft.snapshot.get()),
        (Err(RequestError::NoSnapshot(NoSnapshot::Failed)), Some(why)) => {
            Err(AdminError::Snapshot(why))
        }
        (Err(error), _) => Err(error.into()),
    }
}

impl Change {
    /// The members after the change.
    fn target(&self, members: Membership) -> Result<Membership, AdminError> {
        let address = |id| members.address(id).map(str::to_owned).ok_or(AdminError::NoMember(id));
        match self {
            Self::Add { id, address: wanted, learner } => match members.address(*id) {
                Some(known) if known != wanted => {
                    let address = known.to_owned();
                    Err(AdminError::AtOtherAddress { id: *id, address })
                }
                // Whoever adds a voter as a learner would demote it by accident.
                Some(_) if *learner => Ok(members),
                None if *learner => Ok(members.learner(*id, wanted)),
                _ => Ok(members.voter(*id, wanted)),
            },
            Self::Move { id, address: wanted } => {
                address(*id)?;
                Ok(match members.voters().contains(id) {
                    true => members.voter(*id, wanted),
                    false => members.learner(*id, wanted),
                })
            }
            Self::Remove(id) if !members.contains(*id) => Ok(members),
            Self::Remove(id) => keep_a_voter(members.without(*id), *id),
            Self::Promote(id) => {
                let address = address(*id)?;
                Ok(members.voter(*id, address))
            }
            Self::Demote(id) => {
                let address = address(*id)?;
                keep_a_voter(members.learner(*id, address), *id)
            }
        }
    }
}

fn keep_a_voter(target: Membership, last: NodeId) -> Result<Membership, AdminError> {
    if target.voters().is_empty() { Err(AdminError::LastVoter(last)) } else { Ok(target) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> NodeId {
        NodeId::new(number)
    }

    fn members() -> Membership {
        Membership::new().voter(id(1), "a:1").voter(id(2), "b:1").learner(id(3), "c:1")
    }

    fn add(number: u64, address: &str, learner: bool) -> Change {
        Change::Add { id: id(number), address: address.to_owned(), learner }
    }

    fn move_to(number: u64, address: &str) -> Change {
        Change::Move { id: id(number), address: address.to_owned() }
    }

    #[test]
    fn a_change_leaves_all_other_members_as_they_are() {
        for (change, target) in [
            (add(4, "d:1", false), members().voter(id(4), "d:1")),
            (add(4, "d:1", true), members().learner(id(4), "d:1")),
            // Asked for again, after it has not caught up.
            (add(3, "c:1", false), members().voter(id(3), "c:1")),
            (add(1, "a:1", true), members()),
            (add(1, "a:1", false), members()),
            (
                move_to(2, "z:1"),
                Membership::new().voter(id(1), "a:1").voter(id(2), "z:1").learner(id(3), "c:1"),
            ),
            (move_to(3, "z:1"), members().learner(id(3), "z:1")),
            (move_to(3, "c:1"), members()),
            (Change::Remove(id(1)), members().without(id(1))),
            (Change::Remove(id(9)), members()),
            (Change::Promote(id(3)), members().voter(id(3), "c:1")),
            (Change::Promote(id(1)), members()),
            (Change::Demote(id(1)), members().learner(id(1), "a:1")),
        ] {
            assert_eq!(change.target(members()), Ok(target), "{change:?}");
        }
    }

    #[test]
    fn a_change_that_makes_no_sense_is_refused() {
        let one = Membership::new().voter(id(1), "a:1").learner(id(2), "b:1");
        for (change, error) in [
            (add(1, "z:1", false), AdminError::AtOtherAddress { id: id(1), address: "a:1".into() }),
            (Change::Remove(id(1)), AdminError::LastVoter(id(1))),
            (Change::Demote(id(1)), AdminError::LastVoter(id(1))),
            (move_to(7, "z:1"), AdminError::NoMember(id(7))),
            (Change::Promote(id(7)), AdminError::NoMember(id(7))),
            (Change::Demote(id(7)), AdminError::NoMember(id(7))),
        ] {
            assert_eq!(change.target(one.clone()), Err(error), "{change:?}");
        }
    }

    #[test]
    fn other_members_have_another_version() {
        let same = [members(), members().without(id(3)).learner(id(3), "c:1")];
        assert_eq!(version(&same[0]), version(&same[1]));
        for other in
            [members().without(id(3)), members().voter(id(3), "c:1"), members().voter(id(1), "z:1")]
        {
            assert_ne!(version(&members()), version(&other), "{other:?}");
        }
    }
}
