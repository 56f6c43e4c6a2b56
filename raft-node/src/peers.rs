//! Who the peers of a node are, and where: what the links need to know.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::{fmt, mem};

use bytes::Bytes;
use raft_core::{Entries, Membership, NodeId, Payload};

use crate::identity::{Identity, StorageId};
use crate::{LinkError, Mutex, MutexGuard, Notifier};

/// Nodes that are no members, as far as this node knows, and are connected. A leader that was just
/// added is one, until the log says so.
const GUESTS: usize = 16;
/// So many storages are remembered. Of more than that, those of nodes that never were members and
/// are not connected are forgotten first.
const MET: usize = 4096;
/// To a node that was not added yet, all members of its cluster are guests.
const GUESTS_OF_A_BLANK_NODE: usize = 1024;

/// Where to dial a node that is said to be reached at an address.
pub type Route = Arc<dyn Fn(NodeId, &str) -> String + Send + Sync>;

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
    /// The newest configuration that is known to be committed.
    committed: Option<Arc<Membership>>,
    guests: BTreeMap<NodeId, Guest>,
    /// Those that went with the last change, and where they are. A leader that removes itself needs
    /// the acknowledgements of the others to commit that, and a removed follower is told.
    leaving: BTreeMap<NodeId, String>,
    /// Where this node is reached.
    address: String,
    route: Option<Route>,
    changed: Vec<Notifier>,
}

/// A node that is no member and has dialled this one.
struct Guest {
    address: String,
    /// How many connections it has: a new one takes the place of the old.
    links: usize,
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
    /// The peers of the node that `identity` names, which is reached at `address` itself, by the
    /// configuration in force. `route` says where to dial each of them, if that is not the address
    /// in the configuration.
    #[must_use]
    pub fn new(
        identity: Identity,
        membership: Arc<Membership>,
        address: String,
        route: Option<Route>,
    ) -> Self {
        Self(Arc::new(Mutex::new(State {
            identity,
            unsaved: false,
            membership,
            committed: None,
            guests: BTreeMap::new(),
            leaving: BTreeMap::new(),
            address,
            route,
            changed: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Whom to dial, and at which address: all the other members, those that went last, and the
    /// guests. It changes over time, see [`on_change`](Peers::on_change).
    #[must_use]
    pub fn to_dial(&self) -> BTreeMap<NodeId, String> {
        let state = self.state();
        let own = state.identity.node;
        let address = |id| state.membership.address(id).map(|address| (id, address));
        let members = state.membership.members().filter_map(address);
        let leaving = state.leaving.iter().map(|(id, address)| (*id, address.as_str()));
        let guests = state.guests.iter().map(|(id, guest)| (*id, guest.address.as_str()));
        let all = leaving.chain(guests).chain(members);
        let dialled = all.filter(|(id, address)| *id != own && !address.is_empty());
        let mut dialled: BTreeMap<_, _> =
            dialled.map(|(id, address)| (id, address.to_owned())).collect();
        let route = state.route.clone();
        // The route is the user's code, which may take its time or ask for something here.
        drop(state);
        if let Some(route) = route {
            dialled.retain(|id, address| match take(&route, *id, address) {
                Some(there) => {
                    *address = there;
                    true
                }
                None => false,
            });
        }
        dialled
    }

    /// Brings connections in line with whom to dial now. Those that are no longer wanted are dropped,
    /// which has to end them; `dial` begins one with a peer, at an address. Call it once at the
    /// start, and then when [`on_change`](Peers::on_change) says so.
    pub fn update_links<T>(
        &self,
        links: &mut BTreeMap<NodeId, (String, T)>,
        mut dial: impl FnMut(NodeId, &str) -> T,
    ) {
        let wanted = self.to_dial();
        links.retain(|peer, (address, _)| wanted.get(peer) == Some(address));
        for (peer, address) in wanted {
            links.entry(peer).or_insert_with(|| {
                let link = dial(peer, &address);
                (address, link)
            });
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

    /// Another configuration is in force, as [`Notice::Membership`](raft_core::Notice::Membership)
    /// tells. It may yet be replaced by the one before.
    pub fn adopt(&self, membership: Arc<Membership>) {
        let mut state = self.state();
        let before = mem::replace(&mut state.membership, membership);
        let gone: Vec<NodeId> =
            before.members().filter(|id| !state.membership.contains(*id)).collect();
        state.leaving =
            gone.iter().filter_map(|id| Some((*id, before.address(*id)?.to_owned()))).collect();
        let now = state.membership.clone();
        state.guests.retain(|id, _| !now.contains(*id));
        drop(state);
        self.notify();
    }

    /// A configuration is committed: it is among the entries of an
    /// [`Output::Apply`](raft_core::Output::Apply), or that of the snapshot of an
    /// [`Output::Restore`](raft_core::Output::Restore). The first one is that in force where the state
    /// machine is when the node starts. Whom the next one takes away is remembered with the log, so
    /// that a removed node is told so by nodes that were restarted, too; nobody else is, since a
    /// change that is not committed may be undone, and made again under the same id.
    pub fn commit(&self, membership: Arc<Membership>) {
        let mut state = self.state();
        let before = state.committed.replace(membership.clone()).unwrap_or_default();
        let known = state.identity.removed.clone();
        let removed = &mut state.identity.removed;
        removed.extend(before.members());
        removed.retain(|id| !membership.contains(*id));
        if *removed == known {
            return;
        }
        let removed = removed.clone();
        state.unsaved = true;
        state.guests.retain(|id, _| !removed.contains(id));
        drop(state);
        self.notify();
    }

    /// The same for the configurations among entries that are to be applied.
    pub fn commit_those_of(&self, entries: &Entries) {
        for entry in entries.iter() {
            if let Payload::Membership(membership) = &entry.payload {
                self.commit(membership.clone());
            }
        }
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
        let stranger = !state.membership.contains(from);
        if stranger && own.removed.contains(&from) {
            return Err(LinkError::NotAMember);
        }
        let places = if state.membership.is_empty() { GUESTS_OF_A_BLANK_NODE } else { GUESTS };
        if stranger && !state.guests.contains_key(&from) && state.guests.len() >= places {
            return Err(LinkError::Crowded);
        }
        drop(state);
        self.meet(from, greeting.storage)?;
        if stranger {
            self.receive_guest(from, &greeting.address);
        }
        Ok(())
    }

    fn receive_guest(&self, from: NodeId, address: &str) {
        let mut state = self.state();
        let nobody = Guest { address: String::new(), links: 0 };
        let guest = state.guests.entry(from).or_insert(nobody);
        guest.links += 1;
        let news = guest.address != address;
        address.clone_into(&mut guest.address);
        drop(state);
        if news {
            self.notify();
        }
    }

    /// A connection of a node that was welcome has ended.
    pub(crate) fn part(&self, from: NodeId) {
        let mut state = self.state();
        let Some(guest) = state.guests.get_mut(&from) else { return };
        guest.links = guest.links.saturating_sub(1);
        if guest.links == 0 {
            state.guests.remove(&from);
            drop(state);
            self.notify();
        }
    }

    /// A peer has said which storage it runs on. It must be the one that it had when it was first
    /// met.
    ///
    /// The link is open before the first meeting is on the disk. So a power cut right then can make
    /// this node forget whom it has met; that lets a wiped peer in only if it is wiped in the same
    /// moment, which no record of others can rule out.
    pub(crate) fn meet(&self, peer: NodeId, storage: StorageId) -> Result<(), LinkError> {
        let mut state = self.state();
        match state.identity.met.get(&peer) {
            Some(known) if *known == storage => Ok(()),
            Some(_) => Err(LinkError::OtherStorage),
            None => {
                state.identity.met.insert(peer, storage);
                state.forget_strangers(peer);
                state.unsaved = true;
                drop(state);
                self.notify();
                Ok(())
            }
        }
    }

    /// What is to be kept with the log, if it has changed: the node's [`Identity`], encoded.
    #[must_use]
    pub fn take_unsaved(&self) -> Option<Bytes> {
        let mut state = self.state();
        mem::take(&mut state.unsaved).then(|| state.identity.encode())
    }
}

impl State {
    /// Keeps what is remembered within bounds, whoever comes by.
    fn forget_strangers(&mut self, newest: NodeId) {
        if self.identity.met.len() <= MET {
            return;
        }
        let needed = |id: &NodeId| {
            *id == newest
                || self.membership.contains(*id)
                || self.guests.contains_key(id)
                || self.identity.removed.contains(id)
        };
        if let Some(id) = self.identity.met.keys().copied().find(|id| !needed(id)) {
            self.identity.met.remove(&id);
        }
    }
}

/// The way to a peer. Whoever leaves it open is not dialled: not at an address that was to be avoided.
fn take(route: &Route, id: NodeId, address: &str) -> Option<String> {
    #[cfg(feature = "std")]
    return crate::error::guard(|| Ok(route(id, address)), |text| text)
        .inspect_err(|text| tracing::error!(%id, text, "the route to a peer panicked"))
        .ok();
    #[cfg(not(feature = "std"))]
    Some(route(id, address))
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("to_dial", &self.to_dial()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ClusterId;

    fn members(ids: &[u64]) -> Arc<Membership> {
        let voter = |all: Membership, id: &u64| all.voter(NodeId::new(*id), format!("node-{id}"));
        Arc::new(ids.iter().fold(Membership::new(), voter))
    }

    fn dialled(peers: &Peers) -> Vec<u64> {
        peers.to_dial().into_keys().map(NodeId::get).collect()
    }

    fn identity(node: u64) -> Identity {
        Identity {
            cluster: ClusterId::new(1),
            node: NodeId::new(node),
            storage: StorageId::new(node),
            founders: Membership::new(),
            met: BTreeMap::new(),
            removed: BTreeSet::new(),
        }
    }

    fn from(node: u64) -> Greeting {
        Greeting {
            cluster: ClusterId::new(1),
            from: NodeId::new(node),
            to: NodeId::new(1),
            storage: StorageId::new(node),
            address: format!("node-{node}"),
        }
    }

    /// C59: a removed leader needs the acknowledgements of those that stay, or the
    /// removal is never committed.
    #[test]
    fn a_node_that_goes_is_dialled_until_the_next_change() {
        let peers = Peers::new(identity(1), members(&[1, 2, 3]), "node-1".into(), None);
        peers.adopt(members(&[1, 2]));
        assert_eq!(dialled(&peers), [2, 3]);
        peers.adopt(members(&[1, 2, 4]));
        assert_eq!(dialled(&peers), [2, 4]);
    }

    /// R143: whichever of the members leads may bring up a node that was just added.
    #[test]
    fn a_node_that_was_not_added_yet_welcomes_all_members_of_a_large_cluster() {
        let peers = Peers::new(identity(1), members(&[]), "node-1".into(), None);
        for node in 2..=40 {
            assert_eq!(peers.welcome(&from(node)), Ok(()));
        }
        assert_eq!(dialled(&peers).len(), 39);
    }

    #[test]
    fn the_places_of_guests_are_bounded_and_free_again_when_they_have_left() {
        let peers = Peers::new(identity(1), members(&[1]), "node-1".into(), None);
        for node in 2..=17 {
            assert_eq!(peers.welcome(&from(node)), Ok(()));
        }
        assert_eq!(peers.welcome(&from(18)), Err(LinkError::Crowded));
        assert_eq!(
            peers.welcome(&from(2)),
            Ok(()),
            "a second connection is none of a second guest"
        );
        peers.part(NodeId::new(2));
        assert_eq!(peers.welcome(&from(18)), Err(LinkError::Crowded));
        peers.part(NodeId::new(2));
        assert_eq!(peers.welcome(&from(18)), Ok(()));
        assert!(!dialled(&peers).contains(&2) && dialled(&peers).contains(&18));
    }

    /// R127: what is kept with the log has a limit, beyond which the node would stop.
    #[test]
    fn strangers_are_forgotten_before_there_are_too_many_and_members_never() {
        let peers = Peers::new(identity(1), members(&[1, 2]), "node-1".into(), None);
        for node in 2..=10_000 {
            assert_eq!(peers.welcome(&from(node)), Ok(()));
            peers.part(NodeId::new(node));
        }
        let kept = Identity::decode(peers.take_unsaved().unwrap()).unwrap();
        assert_eq!(kept.met.len(), MET);
        let wiped = Greeting { storage: StorageId::new(0), ..from(2) };
        assert_eq!(peers.welcome(&wiped), Err(LinkError::OtherStorage));
    }

    #[test]
    fn a_removed_node_is_told_so_by_a_node_that_was_restarted_too() {
        let peers = Peers::new(identity(1), members(&[1, 2, 3]), "node-1".into(), None);
        peers.commit(members(&[1, 2, 3]));
        peers.adopt(members(&[1, 2]));
        assert_eq!(peers.welcome(&from(3)), Ok(()), "the change may yet be undone");
        peers.commit(members(&[1, 2]));
        assert_eq!(dialled(&peers), [2, 3], "it is told by the leader");
        let kept = Identity::decode(peers.take_unsaved().unwrap()).unwrap();
        let peers = Peers::new(kept, members(&[1, 2]), "node-1".into(), None);
        assert_eq!(peers.welcome(&from(3)), Err(LinkError::NotAMember));
        // Before the state machine is where it was, older configurations are committed once more.
        peers.commit(members(&[1, 2, 3]));
        peers.commit(members(&[1, 2]));
        assert_eq!(peers.welcome(&from(3)), Err(LinkError::NotAMember));
    }

    /// A node that only a deposed leader has added is a stranger, and can be added again.
    #[test]
    fn a_node_whose_addition_was_undone_is_not_taken_for_a_removed_one() {
        let peers = Peers::new(identity(1), members(&[1, 2, 3]), "node-1".into(), None);
        peers.commit(members(&[1, 2, 3]));
        peers.adopt(members(&[1, 2, 3, 4]));
        peers.adopt(members(&[1, 2, 3]));
        assert_eq!(peers.take_unsaved(), None);
        assert_eq!(peers.welcome(&from(4)), Ok(()));
        peers.commit(members(&[1, 2, 3]));
        assert_eq!(peers.welcome(&from(4)), Ok(()));
        let kept = Identity::decode(peers.take_unsaved().unwrap()).unwrap();
        assert!(kept.removed.is_empty());
    }

    #[test]
    fn a_route_that_panics_leaves_out_the_peer_and_no_other() {
        let route: Route = Arc::new(|id, address| {
            assert_ne!(id.get(), 2, "no way to node 2");
            format!("tunnel to {address}")
        });
        let peers = Peers::new(identity(1), members(&[1, 2, 3]), "node-1".into(), Some(route));
        assert_eq!(dialled(&peers), [3]);
        assert_eq!(peers.to_dial()[&NodeId::new(3)], "tunnel to node-3");
    }

    #[test]
    fn links_follow_the_members_and_their_addresses() {
        let peers = Peers::new(identity(1), members(&[1, 2, 3]), "node-1".into(), None);
        let mut links = BTreeMap::new();
        let update = |links: &mut BTreeMap<_, (String, Arc<NodeId>)>| {
            let mut begun = Vec::new();
            peers.update_links(links, |peer, address| {
                begun.push((peer.get(), address.to_owned()));
                Arc::new(peer)
            });
            begun
        };
        assert_eq!(update(&mut links), [(2, "node-2".into()), (3, "node-3".into())]);
        assert_eq!(update(&mut links), []);
        let old = Arc::downgrade(&links[&NodeId::new(2)].1);
        let moved = Membership::clone(&members(&[1, 2, 3])).voter(NodeId::new(2), "elsewhere");
        peers.adopt(Arc::new(moved));
        assert_eq!(update(&mut links), [(2, "elsewhere".into())]);
        assert!(old.upgrade().is_none(), "the link to the old address has ended");
        // Twice, since one that goes is dialled until the next change.
        peers.adopt(members(&[1, 3]));
        peers.adopt(members(&[1, 3, 4]));
        assert_eq!(update(&mut links), [(4, "node-4".into())]);
        assert_eq!(links.into_keys().map(NodeId::get).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn a_route_may_ask_for_what_it_is_asked_by() {
        let (tell, told) = std::sync::mpsc::channel::<Peers>();
        let told = Mutex::new(told);
        let route: Route = Arc::new(move |_, address| {
            let peers = told.lock().try_recv();
            let known = peers.map_or(0, |peers| peers.to_dial().len());
            format!("{address}, one of {known}")
        });
        let peers = Peers::new(identity(1), members(&[1, 2]), "node-1".into(), Some(route));
        tell.send(peers.clone()).unwrap();
        assert_eq!(dialled(&peers), [2]);
    }
}
