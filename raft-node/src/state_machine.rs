//! What is replicated.

use alloc::boxed::Box;
use bytes::Bytes;
use raft_core::LogIndex;

use crate::io::{self, Read, Write};

/// A frozen state, to be written out by another thread while commands are applied.
pub type FrozenState = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

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

    /// Hands out the state as it is now, for a snapshot. This is called between two commands, so it
    /// should be cheap: clone a persistent data structure, or a handle to a version of the data.
    /// What it returns is called on another thread while commands go on, and writes the state as
    /// bytes of any format, the same for the same state. An error that it returns must be one of
    /// the writer; anything else that can fail had better fail here.
    fn snapshot(&self) -> FrozenState;

    /// Replaces the state by that of a snapshot, read to its end. The state before counts for
    /// nothing. A machine that keeps its state on disk makes the new one and its index durable
    /// before it returns.
    ///
    /// # Errors
    /// The bytes could not be read or make no sense. The node stops.
    fn restore(&mut self, index: LogIndex, state: &mut dyn Read) -> io::Result<()>;

    /// The last index whose effect survives a restart. A machine that keeps its state in memory
    /// says zero (the default) and is rebuilt from the log. Asked only while the node starts. A
    /// machine that keeps its state on disk stores the index together with the effect, atomically,
    /// or commands are applied twice.
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

    fn snapshot(&self) -> FrozenState {
        (**self).snapshot()
    }

    fn restore(&mut self, index: LogIndex, state: &mut dyn Read) -> io::Result<()> {
        (**self).restore(index, state)
    }

    fn applied(&self) -> LogIndex {
        (**self).applied()
    }
}
