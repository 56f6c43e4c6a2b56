//! What is said about a snapshot.

use crate::shared::Arc;

use crate::entry::LogPosition;
use crate::membership::Membership;

/// Describes a snapshot: the state of the state machine after all entries up to a position, in
/// place of those entries (paper, section 7; dissertation, chapter 5). Its bytes are the host's;
/// the core passes them on without looking at them, except for their checksum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Snapshot {
    /// The last entry that the snapshot covers.
    pub position: LogPosition,
    /// The configuration in force at that entry.
    pub membership: Arc<Membership>,
    /// The number of its bytes.
    pub size: u64,
    /// The CRC-32 of its bytes (the one of gzip and PNG).
    pub checksum: u32,
}

impl Snapshot {
    /// What a cluster begins with: no entries, no state, and its first members. A node that takes
    /// part in the founding of a cluster is given this at each start until it has a real snapshot.
    #[must_use]
    pub fn initial(membership: Membership) -> Self {
        Self {
            position: LogPosition::default(),
            membership: Arc::new(membership),
            size: 0,
            checksum: 0,
        }
    }
}
