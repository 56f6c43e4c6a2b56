//! Who a node is, kept with its log: a log under another name would break promises.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft_core::{HardState, LogIndex, Membership, NodeId, StoredLog};

use crate::{ClusterId, LogStore, NodeError, Settings, StoreError};

const VERSION: u8 = 1;

/// Tells one storage from another: a random number, drawn when the storage is first used. A node
/// whose disk was wiped, or that runs on a copy of another's name, has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StorageId(u64);

impl StorageId {
    /// Names a storage.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number behind the name.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What is kept with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) storage: StorageId,
    /// The members that the cluster was founded with; nobody if the node was added later.
    pub(crate) founders: Membership,
    /// The storages of the other nodes, as they were when they were first met.
    pub(crate) met: BTreeMap<NodeId, StorageId>,
}

impl Identity {
    /// Reads who the node is, or makes it so on a storage that was never used.
    pub(crate) fn establish(
        settings: &Settings,
        store: &mut impl LogStore,
        log: &StoredLog,
    ) -> Result<Self, NodeError> {
        let founders = settings.founders();
        if !founders.is_empty() && !founders.contains(settings.id()) {
            return Err(NodeError::NotAFounder { id: settings.id() });
        }
        let kept = store.metadata()?;
        if kept.is_empty() {
            let unused = log.last == LogIndex::ZERO && log.hard_state == HardState::default();
            if !unused {
                return Err(NodeError::NoIdentity);
            }
            let storage = StorageId(getrandom::u64().map_err(NodeError::Randomness)?);
            let (cluster, node) = (settings.cluster_id(), settings.id());
            let identity = Self { cluster, node, storage, founders, met: BTreeMap::new() };
            store.set_metadata(&identity.encode())?;
            return Ok(identity);
        }
        let damaged = || StoreError::Other("what the log says of its node makes no sense".into());
        let mut identity = Self::decode(kept).ok_or_else(damaged)?;
        let (cluster, node) = (identity.cluster, identity.node);
        if (cluster, node) != (settings.cluster_id(), settings.id()) {
            return Err(NodeError::OtherNode { cluster, node });
        }
        if !founders.is_empty() && founders != identity.founders {
            if !same_members(&founders, &identity.founders) {
                return Err(NodeError::OtherFounders);
            }
            // They have moved. Once the log says where they are, this counts for nothing.
            identity.founders = founders;
            store.set_metadata(&identity.encode())?;
        }
        Ok(identity)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let founders = self.founders.encode();
        let mut bytes = BytesMut::new();
        bytes.put_u8(VERSION);
        bytes.put_u64_le(self.cluster.get());
        bytes.put_u64_le(self.node.get());
        bytes.put_u64_le(self.storage.0);
        bytes.put_u64_le(founders.len() as u64);
        bytes.put_slice(&founders);
        for (id, storage) in &self.met {
            bytes.put_u64_le(id.get());
            bytes.put_u64_le(storage.0);
        }
        bytes.freeze()
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let mut number = || bytes.try_get_u64_le().ok();
        let (cluster, node) = (ClusterId::new(number()?), NodeId::new(number()?));
        let (storage, length) = (StorageId(number()?), usize::try_from(number()?).ok()?);
        if length > bytes.len() {
            return None;
        }
        let founders = Membership::decode(bytes.split_to(length)).ok()?;
        let mut met = BTreeMap::new();
        while !bytes.is_empty() {
            let id = NodeId::new(bytes.try_get_u64_le().ok()?);
            met.insert(id, StorageId(bytes.try_get_u64_le().ok()?));
        }
        Some(Self { cluster, node, storage, founders, met })
    }
}

fn same_members(left: &Membership, right: &Membership) -> bool {
    (left.voters(), left.learners()) == (right.voters(), right.learners())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryLog;

    fn settings(id: u64, founders: &[u64]) -> Settings {
        let settings = Settings::new(NodeId::new(id)).cluster(ClusterId::new(7));
        founders.iter().fold(settings, |settings, id| settings.peer(NodeId::new(*id), "a"))
    }

    fn establish(settings: &Settings, store: &mut MemoryLog) -> Result<Identity, NodeError> {
        let log = store.restore().unwrap();
        Identity::establish(settings, store, &log)
    }

    #[test]
    fn founding_again_with_the_same_members_is_harmless() {
        let mut store = MemoryLog::new();
        let first = establish(&settings(1, &[1, 2]), &mut store).unwrap();
        assert_eq!(establish(&settings(1, &[2, 1]), &mut store).unwrap(), first);
        assert_eq!(establish(&settings(1, &[]), &mut store).unwrap(), first);
        let moved = settings(1, &[1, 2]).peer(NodeId::new(2), "b");
        let founders = establish(&moved, &mut store).unwrap().founders;
        assert_eq!(founders.address(NodeId::new(2)), Some("b"));
    }

    /// U21: a storage that is in use is not founded a second time.
    #[test]
    fn other_founders_another_name_or_another_cluster_are_refused() {
        let mut store = MemoryLog::new();
        establish(&settings(1, &[1, 2]), &mut store).unwrap();
        let refused = |settings: Settings| establish(&settings, &mut store.clone()).unwrap_err();
        assert!(matches!(refused(settings(1, &[1, 2, 3])), NodeError::OtherFounders));
        assert!(matches!(refused(settings(2, &[1, 2])), NodeError::OtherNode { .. }));
        let elsewhere = settings(1, &[1, 2]).cluster(ClusterId::new(8));
        assert!(matches!(refused(elsewhere), NodeError::OtherNode { .. }));
        assert!(matches!(refused(settings(3, &[1, 2])), NodeError::NotAFounder { .. }));
    }

    #[test]
    fn a_node_that_was_added_does_not_found_a_cluster() {
        let mut store = MemoryLog::new();
        establish(&settings(4, &[]), &mut store).unwrap();
        let refused = establish(&settings(4, &[4]), &mut store);
        assert!(matches!(refused, Err(NodeError::OtherFounders)));
    }

    #[test]
    fn what_was_cut_short_or_is_of_another_version_is_no_identity() {
        let mut store = MemoryLog::new();
        let mut identity = establish(&settings(1, &[1, 2]), &mut store).unwrap();
        identity.met.insert(NodeId::new(2), StorageId(5));
        let bytes = identity.encode();
        assert_eq!(Identity::decode(bytes.clone()), Some(identity));
        for length in (0..bytes.len()).filter(|length| *length != bytes.len() - 16) {
            assert_eq!(Identity::decode(bytes.slice(..length)), None, "{length}");
        }
    }
}
