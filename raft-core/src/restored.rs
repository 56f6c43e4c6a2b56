//! What a node brings back from its disk when it starts.

use alloc::vec::Vec;

use crate::entry::{HardState, TermStart};
use crate::ids::LogIndex;

/// What a log store holds. The entries themselves stay on the disk; the core asks for them with
/// [`Output::Load`](crate::Output::Load) when it needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredLog {
    /// The newest hard state that was written; the default if none ever was.
    pub hard_state: HardState,
    /// Where each term of the log begins: ascending, the first at index 1, empty for an empty log.
    pub terms: Vec<TermStart>,
    /// The index of the last entry; zero for an empty log.
    pub last: LogIndex,
}

/// All that a restarted node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// What the log store holds.
    pub log: StoredLog,
    /// The last entry whose effect the state machine has kept; zero when it keeps nothing across a
    /// restart. Entries after it are applied again once they are known to be committed.
    pub applied: LogIndex,
}
