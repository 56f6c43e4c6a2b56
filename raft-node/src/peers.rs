//! Who the peers of a node are, and where: what the links need to know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use raft_core::{Membership, NodeId};

use crate::identity::{Identity, StorageId};
use crate::settings::Route;
use crate::{LinkError, Notifier};

/// Nodes that are no members, as far as this node knows, and have dialled it. A leader that was
/// just added is one, until the log says so.
const GUESTS: usize = 16;

/// The peers of a node, shared by the node and its links. Cheap to clone.
///
/// The addresses come from the configuration in the log. A node that was not added yet knows none:
/// it learns those of the nodes that dial it from their greeting.
#[derive(Clone)]
pub struct Peers(Arc<Mutex<State>>);

struct State {
    identity: Identity,
    /// A peer was met for the first time, and that is not on the disk.
    unsaved: bool,
    membership: Arc<Membership>,
    guests: BTreeMap<NodeId, String>,
    /// Those that were members and are none any more.
    removed: BTreeSet<NodeId>,
    /// Those that went with the last change, and where they are. A leader that removes itself needs
    /// the acknowledgements of the others to commit that, and a removed follower is told.
    leaving: BTreeMap<NodeId, String>,
    /// Where this node is reached.
    address: String,
    route: Option<Route>,
    changed: Vec<Notifier>,
}

/// What a dialling node says of itself and of whom it means to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) cluster: crate::ClusterId,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) storage: StorageId,
    pub(crate) address: String,
}

impl Peers {
    pub(crate) fn new(
        identity: Identity,
        membership: Arc<Membership>,
        address: String,
        route: Option<Route>,
    ) -> Self {
        Self(Arc::new(Mutex::new(State {
            identity,
            unsaved: false,
            membership,
            guests: BTreeMap::new(),
            removed: BTreeSet::new(),
            leaving: BTreeMap::new(),
            address,
            route,
            changed: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is made in one go, so a panic elsewhere leaves the state usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom to dial, and at which address: all the other members, those that went last, and the
    /// guests. It changes over time, see [`on_change`](Peers::on_change).
    #[must_use]
    pub fn to_dial(&self) -> BTreeMap<NodeId, String> {
        let state = self.state();
        let own = state.identity.node;
        let address = |id| state.membership.address(id).map(|address| (id, address.to_owned()));
        let members = state.membership.members().filter_map(address);
        let others = state.leaving.clone().into_iter().chain(state.guests.clone());
        let all = others.chain(members);
        let dialled = all.filter(|(id, address)| *id != own && !address.is_empty());
        match state.route.clone() {
            None => dialled.collect(),
            Some(route) => dialled.map(|(id, address)| (id, route(id, &address))).collect(),
        }
    }

    /// Calls `notify`, which must not block, when [`to_dial`](Peers::to_dial) may have changed.
    pub fn on_change(&self, notify: Notifier) {
        self.state().changed.push(notify);
    }

    fn notify(&self) {
        let changed = self.state().changed.clone();
        changed.iter().for_each(|notify| notify());
    }

    /// Another configuration is in force.
    pub(crate) fn adopt(&self, membership: Arc<Membership>) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.membership, membership);
        let gone: Vec<NodeId> =
            before.members().filter(|id| !state.membership.contains(*id)).collect();
        state.leaving =
            gone.iter().filter_map(|id| Some((*id, before.address(*id)?.to_owned()))).collect();
        state.removed.extend(gone);
        let now = state.membership.clone();
        state.removed.retain(|id| !now.contains(*id));
        state.guests.retain(|id, _| !now.contains(*id));
        drop(state);
        self.notify();
    }

    /// What to say to a peer.
    pub(crate) fn greeting(&self, to: NodeId) -> Greeting {
        let state = self.state();
        let Identity { cluster, node: from, storage, .. } = state.identity;
        let own = state.membership.address(from).filter(|address| !address.is_empty());
        let address = own.unwrap_or(&state.address).to_owned();
        Greeting { cluster, from, to, storage, address }
    }

    pub(crate) fn storage(&self) -> StorageId {
        self.state().identity.storage
    }

    /// Whether a node that greets is welcome.
    pub(crate) fn welcome(&self, greeting: &Greeting) -> Result<(), LinkError> {
        let state = self.state();
        let own = &state.identity;
        let from = greeting.from;
        if greeting.cluster != own.cluster {
            return Err(LinkError::OtherCluster);
        }
        if greeting.to != own.node || from == own.node {
            return Err(LinkError::WrongNode);
        }
        if state.removed.contains(&from) {
            return Err(LinkError::NotAMember);
        }
        let stranger = !state.membership.contains(from);
        let known_guest = state.guests.contains_key(&from);
        if stranger && !known_guest && state.guests.len() >= GUESTS {
            return Err(LinkError::NotAMember);
        }
        drop(state);
        self.meet(from, greeting.storage)?;
        let mut state = self.state();
        let news = stranger
            && state.guests.insert(from, greeting.address.clone()).as_ref()
                != Some(&greeting.address);
        drop(state);
        if news {
            self.notify();
        }
        Ok(())
    }

    /// A peer has said which storage it runs on. It must be the one that it had when it was first
    /// met.
    pub(crate) fn meet(&self, peer: NodeId, storage: StorageId) -> Result<(), LinkError> {
        let mut state = self.state();
        match state.identity.met.get(&peer) {
            Some(known) if *known == storage => Ok(()),
            Some(_) => Err(LinkError::OtherStorage),
            None => {
                state.identity.met.insert(peer, storage);
                state.unsaved = true;
                drop(state);
                self.notify();
                Ok(())
            }
        }
    }

    /// What is to be kept with the log, if it has changed.
    pub(crate) fn take_unsaved(&self) -> Option<Bytes> {
        let mut state = self.state();
        std::mem::take(&mut state.unsaved).then(|| state.identity.encode())
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("to_dial", &self.to_dial()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClusterId;

    fn members(ids: &[u64]) -> Arc<Membership> {
        let voter = |all: Membership, id: &u64| all.voter(NodeId::new(*id), format!("node-{id}"));
        Arc::new(ids.iter().fold(Membership::new(), voter))
    }

    fn dialled(peers: &Peers) -> Vec<u64> {
        peers.to_dial().into_keys().map(NodeId::get).collect()
    }

    /// Corner case 59: a removed leader needs the acknowledgements of those that stay, or the
    /// removal is never committed.
    #[test]
    fn a_node_that_goes_is_dialled_until_the_next_change() {
        let identity = Identity {
            cluster: ClusterId::new(1),
            node: NodeId::new(1),
            storage: StorageId::new(1),
            founders: Membership::new(),
            met: BTreeMap::new(),
        };
        let peers = Peers::new(identity, members(&[1, 2, 3]), "node-1".into(), None);
        peers.adopt(members(&[1, 2]));
        assert_eq!(dialled(&peers), [2, 3]);
        peers.adopt(members(&[1, 2, 4]));
        assert_eq!(dialled(&peers), [2, 4]);
    }
}
