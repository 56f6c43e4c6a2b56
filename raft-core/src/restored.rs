//! What a node brings back from its disk when it starts.

use crate::shared::Arc;
use alloc::vec::Vec;

use crate::entry::{HardState, LogPosition, TermStart};
use crate::ids::LogIndex;
use crate::membership::Membership;
use crate::snapshot::Snapshot;

/// What a log store holds. The entries themselves stay on the disk; the core asks for them with
/// [`Output::Load`](crate::Output::Load) when it needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StoredLog {
    /// The newest hard state that was written; the default if none ever was.
    pub hard_state: HardState,
    /// The newest `begin_after` that was written; the default if none ever was. The first entry is
    /// the one behind it.
    pub begin_after: LogPosition,
    /// Where each term of the entries begins: ascending, the first at the first entry, empty if
    /// there are no entries. The first one's term may have entries before `begin_after` too.
    pub terms: Vec<TermStart>,
    /// The index of the last entry; that of `begin_after` if there are none.
    pub last: LogIndex,
    /// The configurations among the entries, ascending.
    pub memberships: Vec<(LogIndex, Arc<Membership>)>,
}

/// All that a restarted node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Restored {
    /// What the log store holds.
    pub log: StoredLog,
    /// The newest durable snapshot; until there is one, [`Snapshot::initial`] with the members
    /// that the cluster was founded with; `None` on a node that is to be added to a cluster.
    pub snapshot: Option<Snapshot>,
    /// The last entry whose effect the state machine has kept; zero when it keeps nothing across a
    /// restart. If it is before the snapshot, the state machine is restored from the snapshot
    /// first. Entries after that are applied again once they are known to be committed.
    pub applied: LogIndex,
}

impl Restored {
    /// A node with empty disks that takes part in the founding of a cluster of `members`. Every
    /// founding node is given the same members; nodes that come later are given
    /// [`Restored::default`] and are added.
    #[must_use]
    pub fn founding(members: Membership) -> Self {
        Self { snapshot: Some(Snapshot::initial(members)), ..Self::default() }
    }
}
