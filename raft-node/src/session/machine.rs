//! The wrapper around the user's state machine.

use alloc::boxed::Box;

use bytes::Bytes;
use raft_core::LogIndex;
use thiserror::Error;

use super::answer::{failure, opened, success};
use super::envelope::{Envelope, Use};
use super::table::{Table, Verdict};
use super::{SessionError, SessionLimits};
#[cfg(feature = "std")]
use crate::io::BufReader;
use crate::io::{self, Read};
use crate::{FrozenState, StateMachine};

/// The stand-in has its size in its type.
#[cfg(not(feature = "std"))]
type BufReader<R> = crate::io::BufReader<R, 512>;

/// A state machine that applies each command of a session once, however often it is in the log, and
/// repeats the answer. See the [module](super) for how to use it.
///
/// Its commands and answers are those of the wrapped machine in envelopes. Questions are passed to
/// the wrapped machine as they are.
#[derive(Debug)]
pub struct Sessions<M> {
    machine: M,
    table: Table,
}

/// The machine that was to be wrapped keeps its state by itself, so commands that it has applied
/// would not be applied again after a restart, and the sessions of these commands not be known.
/// Let it deduplicate by itself, with its own state, or keep its state in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("sessions are kept in memory, so the state machine must be as well")]
pub struct KeepsItsState;

impl<M: StateMachine> Sessions<M> {
    /// Wraps `machine`. The limits count from the beginning of the log on, must be the same on
    /// every node, and stay the same for ever; [`limits`](super::limits) changes them.
    ///
    /// # Errors
    /// [`KeepsItsState`], if the machine has [`applied`](StateMachine::applied) something already. It
    /// is asked only now: one that keeps its state on disk must not be wrapped even when new.
    pub fn new(machine: M, limits: SessionLimits) -> Result<Self, KeepsItsState> {
        if machine.applied() > LogIndex::ZERO {
            return Err(KeepsItsState);
        }
        Ok(Self { machine, table: Table::new(limits) })
    }

    fn command(
        &mut self,
        index: LogIndex,
        used: Use,
        sequence: u64,
        command: Bytes,
    ) -> Result<Bytes, SessionError> {
        self.table.touch(index, used)?;
        if let Verdict::Repeat(answer) = self.table.look_up(used.session, sequence)? {
            return Ok(answer);
        }
        let answer = success(&self.machine.apply(index, command));
        self.table.remember(index, used.session, sequence, answer.clone());
        Ok(answer)
    }

    #[cfg(test)]
    pub(super) fn is_consistent(&self) -> bool {
        self.table.is_consistent()
    }

    #[cfg(test)]
    pub(super) const fn machine(&self) -> &M {
        &self.machine
    }
}

impl<M: StateMachine> StateMachine for Sessions<M> {
    fn apply(&mut self, index: LogIndex, command: Bytes) -> Bytes {
        let answer = Envelope::decode(command).and_then(|envelope| match envelope {
            Envelope::Plain(command) => Ok(success(&self.machine.apply(index, command))),
            Envelope::Open => {
                self.table.open(index);
                Ok(opened(index, self.table.limits()))
            }
            Envelope::Close(session) => {
                self.table.close(session);
                Ok(success(&[]))
            }
            Envelope::KeepAlive(used) => self.table.touch(index, used).map(|()| success(&[])),
            Envelope::Command { used, sequence, command } => {
                self.command(index, used, sequence, command)
            }
            Envelope::Limits(limits) => {
                self.table.set_limits(limits);
                Ok(success(&[]))
            }
        });
        answer.unwrap_or_else(failure)
    }

    fn query(&self, query: Bytes) -> Bytes {
        self.machine.query(query)
    }

    fn snapshot(&self) -> FrozenState {
        debug_assert!(self.table.is_consistent());
        let table = self.table.image();
        let machine = self.machine.snapshot();
        Box::new(move |to| {
            table.write(to)?;
            // The copies that the table makes while the wrapped machine is written would be waste.
            drop(table);
            machine(to)
        })
    }

    fn restore(&mut self, index: LogIndex, state: &mut dyn Read) -> io::Result<()> {
        let mut state = BufReader::new(state);
        let table = Table::read(&mut state, index)?;
        self.machine.restore(index, &mut state)?;
        self.table = table;
        Ok(())
    }

    fn applied(&self) -> LogIndex {
        self.machine.applied()
    }
}
