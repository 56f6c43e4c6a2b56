//! What is replicated.

use bytes::Bytes;
use raft_core::LogIndex;

/// The replicated state machine: the same commands in the same order on every node.
///
/// It runs on a thread of its own, so a slow call delays neither heartbeats nor peers. `apply`
/// must be deterministic: no clock, no randomness, no iteration order of a hash map, or the
/// replicas drift apart. The same goes for commands that make no sense: every replica must treat
/// them alike. A panic stops the node.
pub trait StateMachine: Send + 'static {
    /// Applies the command at `index` and returns the answer for whoever proposed it; on the other
    /// nodes the answer is dropped. Indexes ascend, with gaps where the log holds something else
    /// than commands.
    ///
    /// `command` may share its memory with all that came in the same message. Copy what is to be
    /// kept for long, or a few bytes hold on to a megabyte.
    fn apply(&mut self, index: LogIndex, command: Bytes) -> Bytes;

    /// Answers a question without changing anything. The node calls it for a linearizable read,
    /// after everything that the read must see has been applied, on the same thread as `apply`: a
    /// slow question delays commands.
    fn query(&self, query: Bytes) -> Bytes;

    /// The last index whose effect survives a restart. A machine that keeps its state in memory
    /// says zero (the default) and is rebuilt from the log. Asked once, at the start. A machine that
    /// keeps its state on disk stores the index together with the effect, atomically, or commands
    /// are applied twice.
    fn applied(&self) -> LogIndex {
        LogIndex::ZERO
    }
}

impl<T: StateMachine + ?Sized> StateMachine for Box<T> {
    fn apply(&mut self, index: LogIndex, command: Bytes) -> Bytes {
        (**self).apply(index, command)
    }

    fn query(&self, query: Bytes) -> Bytes {
        (**self).query(query)
    }

    fn applied(&self) -> LogIndex {
        (**self).applied()
    }
}
