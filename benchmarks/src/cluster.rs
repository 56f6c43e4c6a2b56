//! What every library is put behind: three nodes in one thread, without disks and networks.

use bytes::Bytes;

/// Every node compacts its log when it has applied so many entries since the last time.
pub(crate) const COMPACTION: u64 = 4096;

/// Three nodes of one library, one of which leads.
///
/// Whatever the library wants written counts as durable as soon as the library has handed it over;
/// messages are passed on as values, in order and without an encoding. So what is measured is the
/// library's own work, and what its interface makes a host do.
pub(crate) trait Cluster {
    /// What the library is called in tables.
    const NAME: &'static str;

    /// Starts the nodes and lets one be elected.
    fn start() -> Self;

    /// Hands commands to the leader, and carries out everything that follows until nobody has
    /// anything to do.
    fn propose(&mut self, commands: &[Bytes]);

    /// Lets time pass until the followers know what is committed.
    fn settle(&mut self);

    /// The three state machines.
    fn machines(&self) -> [&Machine; 3];
}

/// A state machine that looks at every byte count and keeps none of the bytes.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    commands: u64,
    bytes: u64,
}

impl Machine {
    pub(crate) fn apply(&mut self, command: &[u8]) {
        self.commands += 1;
        self.bytes += command.len() as u64;
    }

    /// How many commands of how many bytes were applied.
    pub(crate) const fn applied(&self) -> (u64, u64) {
        (self.commands, self.bytes)
    }
}

/// Tells when it is time for the next compaction.
#[derive(Debug, Default)]
pub(crate) struct Compactor {
    compacted: u64,
}

impl Compactor {
    /// Whether the log is to be compacted, now that everything up to `applied` is applied.
    pub(crate) const fn is_due(&mut self, applied: u64) -> bool {
        let due = applied >= self.compacted + COMPACTION;
        if due {
            self.compacted = applied;
        }
        due
    }
}
