//! Who a node is, kept with its log: a log under another name would break promises.

use alloc::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
#[cfg(feature = "std")]
use raft_core::{HardState, LogIndex, Snapshot, StoredLog};
use raft_core::{Membership, NodeId};
use thiserror::Error;

use crate::ClusterId;
#[cfg(feature = "std")]
use crate::{NodeError, Settings, StoreError};

const VERSION: u8 = 2;
/// The same without the removed members.
const FIRST_VERSION: u8 = 1;

/// Tells one storage from another: a random number, drawn when the storage is first used. A node
/// whose disk was wiped, or that runs on a copy of another's name, has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StorageId(u64);

impl StorageId {
    /// Names a storage.
    #[must_use]
    pub(crate) const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number behind the name.
    #[must_use]
    pub(crate) const fn get(self) -> u64 {
        self.0
    }
}

/// What a node does not say of itself is not known: it does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// It comes from a version that this one can't read. Start the program that wrote it.
    #[error("the node's name has format version {found}; this program reads version {VERSION}")]
    Version {
        /// The version that was found.
        found: u8,
    },
    /// The bytes are no identity. The storage is damaged; don't start the node on it.
    #[error("what the log says of its node makes no sense")]
    Damaged,
}

#[cfg(feature = "std")]
impl From<IdentityError> for NodeError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Version { found } => Self::IdentityVersion { found, expected: VERSION },
            IdentityError::Damaged => StoreError::Other(error.to_string()).into(),
        }
    }
}

/// Who a node is: its cluster, its name there, its storage, and whom it has met. It is kept with the
/// log ([`LogStore::metadata`](crate::LogStore::metadata)). A [`Host`](crate::Host) sees to it by
/// itself; a host of your own makes one when its storage is first used, and keeps what
/// [`Peers::take_unsaved`](crate::Peers::take_unsaved) says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) storage: StorageId,
    /// The members that the cluster was founded with; nobody if the node was added later.
    pub(crate) founders: Membership,
    /// The storages of the other nodes, as they were when they were first met.
    pub(crate) met: BTreeMap<NodeId, StorageId>,
    /// Those that were members, in a configuration that was committed, and are none any more. An id
    /// is never used again.
    pub(crate) removed: BTreeSet<NodeId>,
}

impl Identity {
    /// A node whose storage was never used. `storage` is a random number that no other storage has:
    /// by it the peers notice when the storage was wiped, or when two nodes have one name. `founders`
    /// are the members that the cluster is founded with; nobody if the node is to be added later.
    #[must_use]
    pub const fn new(cluster: ClusterId, node: NodeId, storage: u64, founders: Membership) -> Self {
        let storage = StorageId::new(storage);
        Self { cluster, node, storage, founders, met: BTreeMap::new(), removed: BTreeSet::new() }
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The random number that names the storage.
    #[must_use]
    pub const fn storage(&self) -> u64 {
        self.storage.get()
    }

    /// The members that the cluster was founded with; nobody if the node was added later.
    #[must_use]
    pub const fn founders(&self) -> &Membership {
        &self.founders
    }

    /// Who the node is, from what the storage holds: `kept` is the metadata of its log. Says as
    /// well whether that is news, which has to be kept before anything else is written.
    #[cfg(feature = "std")]
    pub(crate) fn establish(
        settings: &Settings,
        kept: Bytes,
        log: &StoredLog,
        snapshot: Option<&Snapshot>,
    ) -> Result<(Self, bool), NodeError> {
        let founders = settings.founders();
        if !founders.is_empty() && !founders.contains(settings.id()) {
            return Err(NodeError::NotAFounder { id: settings.id() });
        }
        let untouched = log.last == LogIndex::ZERO
            && log.hard_state == HardState::default()
            && snapshot.is_none();
        if kept.is_empty() {
            // A log that was lost is not replaced by a new one: the node has forgotten its vote.
            if !untouched {
                return Err(NodeError::NoIdentity);
            }
            let storage = getrandom::u64().map_err(NodeError::Randomness)?;
            let (cluster, node) = (settings.cluster_id(), settings.id());
            return Ok((Self::new(cluster, node, storage, founders), true));
        }
        let mut identity = Self::decode(kept)?;
        let (cluster, node) = (identity.cluster, identity.node);
        if (cluster, node) != (settings.cluster_id(), settings.id()) {
            return Err(NodeError::OtherNode { cluster, node });
        }
        if founders.is_empty() || founders == identity.founders {
            return Ok((identity, false));
        }
        // Members that have moved are the same; once the log says where they are, this counts for
        // nothing. A founder that has not even begun an election has promised nothing to anybody.
        let mistyped = untouched && !identity.founders.is_empty();
        if !same_members(&founders, &identity.founders) && !mistyped {
            return Err(NodeError::OtherFounders);
        }
        identity.founders = founders;
        Ok((identity, true))
    }

    /// As bytes, to be kept with the log.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let founders = self.founders.encode();
        let mut bytes = BytesMut::new();
        bytes.put_u8(VERSION);
        bytes.put_u64_le(self.cluster.get());
        bytes.put_u64_le(self.node.get());
        bytes.put_u64_le(self.storage.0);
        bytes.put_u64_le(founders.len() as u64);
        bytes.put_slice(&founders);
        bytes.put_u64_le(self.removed.len() as u64);
        self.removed.iter().for_each(|id| bytes.put_u64_le(id.get()));
        for (id, storage) in &self.met {
            bytes.put_u64_le(id.get());
            bytes.put_u64_le(storage.0);
        }
        bytes.freeze()
    }

    /// Reads what [`encode`](Identity::encode) has written, of this version or an older one.
    ///
    /// # Errors
    /// The bytes are something else.
    pub fn decode(mut bytes: Bytes) -> Result<Self, IdentityError> {
        match bytes.try_get_u8() {
            Ok(version @ (FIRST_VERSION | VERSION)) => {
                Self::decode_content(version, bytes).ok_or(IdentityError::Damaged)
            }
            Ok(found) => Err(IdentityError::Version { found }),
            Err(_) => Err(IdentityError::Damaged),
        }
    }

    fn decode_content(version: u8, mut bytes: Bytes) -> Option<Self> {
        let mut number = || bytes.try_get_u64_le().ok();
        let (cluster, node) = (ClusterId::new(number()?), NodeId::new(number()?));
        let (storage, length) = (StorageId(number()?), usize::try_from(number()?).ok()?);
        if length > bytes.len() {
            return None;
        }
        let founders = Membership::decode(bytes.split_to(length)).ok()?;
        let mut removed = BTreeSet::new();
        if version > FIRST_VERSION {
            for _ in 0..bytes.try_get_u64_le().ok()? {
                removed.insert(NodeId::new(bytes.try_get_u64_le().ok()?));
            }
        }
        let mut met = BTreeMap::new();
        while !bytes.is_empty() {
            let id = NodeId::new(bytes.try_get_u64_le().ok()?);
            met.insert(id, StorageId(bytes.try_get_u64_le().ok()?));
        }
        Some(Self { cluster, node, storage, founders, met, removed })
    }
}

#[cfg(feature = "std")]
fn same_members(left: &Membership, right: &Membership) -> bool {
    (left.voters(), left.learners()) == (right.voters(), right.learners())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use raft_core::{LogPosition, Term};

    use super::*;

    /// What a storage holds.
    #[derive(Clone, Default)]
    struct Stored {
        metadata: Bytes,
        log: StoredLog,
        snapshot: Option<Snapshot>,
    }

    impl Stored {
        /// Of a node that has been in an election.
        fn used(mut self) -> Self {
            self.log.hard_state.term = Term::new(1).unwrap();
            self
        }
    }

    fn settings(id: u64, founders: &[u64]) -> Settings {
        let settings = Settings::new(NodeId::new(id)).cluster(ClusterId::new(7));
        founders.iter().fold(settings, |settings, id| settings.peer(NodeId::new(*id), "a"))
    }

    /// Starts on this storage, as a node does.
    fn establish(settings: &Settings, stored: &mut Stored) -> Result<Identity, NodeError> {
        let (kept, snapshot) = (stored.metadata.clone(), stored.snapshot.as_ref());
        let (identity, news) = Identity::establish(settings, kept, &stored.log, snapshot)?;
        assert_eq!(news, identity.encode() != stored.metadata);
        stored.metadata = identity.encode();
        Ok(identity)
    }

    #[test]
    fn founding_again_with_the_same_members_is_harmless() {
        let mut stored = Stored::default();
        let first = establish(&settings(1, &[1, 2]), &mut stored).unwrap();
        let mut stored = stored.used();
        assert_eq!(establish(&settings(1, &[2, 1]), &mut stored).unwrap(), first);
        assert_eq!(establish(&settings(1, &[]), &mut stored).unwrap(), first);
        let moved = settings(1, &[1, 2]).peer(NodeId::new(2), "b");
        let founders = establish(&moved, &mut stored).unwrap().founders;
        assert_eq!(founders.address(NodeId::new(2)), Some("b"));
    }

    /// U21: a storage that is in use is not founded a second time.
    #[test]
    fn other_founders_another_name_or_another_cluster_are_refused() {
        let mut stored = Stored::default();
        establish(&settings(1, &[1, 2]), &mut stored).unwrap();
        let stored = stored.used();
        let refused = |settings: Settings| establish(&settings, &mut stored.clone()).unwrap_err();
        assert!(matches!(refused(settings(1, &[1, 2, 3])), NodeError::OtherFounders));
        assert!(matches!(refused(settings(2, &[1, 2])), NodeError::OtherNode { .. }));
        let elsewhere = settings(1, &[1, 2]).cluster(ClusterId::new(8));
        assert!(matches!(refused(elsewhere), NodeError::OtherNode { .. }));
        assert!(matches!(refused(settings(3, &[1, 2])), NodeError::NotAFounder { .. }));
    }

    #[test]
    fn founders_can_be_corrected_until_the_node_has_been_in_an_election() {
        let mut stored = Stored::default();
        let mistyped = establish(&settings(1, &[1, 22]), &mut stored).unwrap();
        let corrected = establish(&settings(1, &[1, 2]), &mut stored).unwrap();
        assert_eq!(corrected.founders, settings(1, &[1, 2]).founders());
        assert_eq!(corrected.storage, mistyped.storage);
        let refused = establish(&settings(1, &[1, 3]), &mut stored.used());
        assert!(matches!(refused, Err(NodeError::OtherFounders)));
    }

    #[test]
    fn a_node_that_was_added_does_not_found_a_cluster() {
        let mut stored = Stored::default();
        establish(&settings(4, &[]), &mut stored).unwrap();
        let refused = establish(&settings(4, &[4]), &mut stored);
        assert!(matches!(refused, Err(NodeError::OtherFounders)));
    }

    /// R072: a log that is deleted or not mounted, while the snapshots beside it are still there.
    #[test]
    fn a_storage_that_has_lost_its_log_is_not_taken_for_a_new_one() {
        let snapshot = Snapshot {
            position: LogPosition { index: LogIndex::new(9).unwrap(), term: Term::new(2).unwrap() },
            membership: Arc::new(settings(1, &[1, 2]).founders()),
            size: 0,
            checksum: 0,
        };
        let mut stored = Stored { snapshot: Some(snapshot), ..Stored::default() };
        for settings in [settings(1, &[1, 2]), settings(1, &[])] {
            let refused = establish(&settings, &mut stored);
            assert!(matches!(refused, Err(NodeError::NoIdentity)));
        }
        let refused = establish(&settings(1, &[1, 2]), &mut Stored::default().used());
        assert!(matches!(refused, Err(NodeError::NoIdentity)));
    }

    #[test]
    fn what_was_cut_short_is_no_identity_and_another_version_is_named() {
        let mut stored = Stored::default();
        let mut identity = establish(&settings(1, &[1, 2]), &mut stored).unwrap();
        identity.met.insert(NodeId::new(2), StorageId(5));
        identity.removed.insert(NodeId::new(3));
        let bytes = identity.encode();
        assert_eq!(Identity::decode(bytes.clone()).unwrap(), identity);
        for length in (0..bytes.len()).filter(|length| *length != bytes.len() - 16) {
            let cut = Identity::decode(bytes.slice(..length));
            assert_eq!(cut, Err(IdentityError::Damaged), "{length}");
        }
        let mut newer = bytes.to_vec();
        newer[0] = VERSION + 1;
        let error = Identity::decode(newer.into()).unwrap_err();
        assert_eq!(error, IdentityError::Version { found: VERSION + 1 });
        assert!(matches!(
            NodeError::from(error),
            NodeError::IdentityVersion { found, expected: VERSION } if found == VERSION + 1
        ));
    }

    #[test]
    fn an_identity_of_the_first_version_still_reads() {
        let mut stored = Stored::default();
        let identity = establish(&settings(1, &[1, 2]), &mut stored).unwrap();
        let mut first = identity.encode().to_vec();
        // It has no number of removed members, which is zero here.
        first.truncate(first.len() - 8);
        first[0] = FIRST_VERSION;
        assert_eq!(Identity::decode(first.into()).unwrap(), identity);
    }
}
