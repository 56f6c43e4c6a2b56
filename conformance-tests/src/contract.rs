//! The contract of a state machine, to be checked by whoever writes one.
//!
//! A replicated state machine must do the same with the same commands wherever and whenever it is
//! given them, and one that keeps its state on disk must know after a crash what it has done. If it
//! breaks that, replicas differ, and Raft does not notice. Both checks want a list of commands that
//! is worth something: every kind of command, with some that make no sense.
//!
//! ```
//! use std::io::{self, Read};
//!
//! use bytes::Bytes;
//! use conformance_tests::contract;
//! use raft_node::core::LogIndex;
//! use raft_node::{FrozenState, StateMachine};
//!
//! #[derive(Default)]
//! struct Last(Vec<u8>);
//!
//! impl StateMachine for Last {
//!     fn apply(&mut self, _: LogIndex, command: Bytes) -> Bytes {
//!         std::mem::replace(&mut self.0, command.to_vec()).into()
//!     }
//!     fn query(&self, _: Bytes) -> Bytes {
//!         self.0.clone().into()
//!     }
//!     fn snapshot(&self) -> FrozenState {
//!         let state = self.0.clone();
//!         Box::new(move |to| to.write_all(&state))
//!     }
//!     fn restore(&mut self, _: LogIndex, state: &mut dyn Read) -> io::Result<()> {
//!         self.0.clear();
//!         state.read_to_end(&mut self.0).map(drop)
//!     }
//! }
//!
//! let commands: Vec<Bytes> = (0..100).map(|nth| nth.to_string().into()).collect();
//! contract::is_deterministic(Last::default, &commands)?;
//! # Ok::<(), contract::BrokenContract>(())
//! ```

use std::io;
use std::path::Path;

use bytes::Bytes;
use raft_node::StateMachine;
use raft_node::core::LogIndex;
use tempfile::TempDir;

/// How a state machine breaks its contract: the first thing that was noticed. Commands are numbered
/// from 1, and each has its number for an index.
#[derive(Debug, thiserror::Error)]
pub enum BrokenContract {
    /// Two machines that were given the same commands answer one of them differently. Look for a
    /// clock, a random number, an order that differs from map to map, a state that a snapshot
    /// lacks.
    #[error("command {number}: {who} answers {found:?}, not {expected:?}")]
    Answer {
        /// The command.
        number: usize,
        /// The machine whose answer differs.
        who: &'static str,
        /// Its answer.
        found: Bytes,
        /// The answer of a machine that was given every command once.
        expected: Bytes,
    },
    /// The same of the bytes of a snapshot.
    #[error("after command {number}: the snapshot of {who} differs from byte {offset} on")]
    Snapshot {
        /// The last command before the snapshot.
        number: usize,
        /// The machine whose snapshot differs.
        who: &'static str,
        /// Where it differs, or ends before the other.
        offset: usize,
    },
    /// A machine says after a crash that it has applied what it was never given. The node would not
    /// start.
    #[error("a machine says that it has applied index {applied}, but it was given {given}")]
    Ahead {
        /// What it says.
        applied: LogIndex,
        /// The last command that it was given.
        given: LogIndex,
    },
    /// A snapshot could not be written to memory, or not be restored from there.
    #[error("a snapshot of the machine can't be written or restored: {0}")]
    Io(#[from] io::Error),
}

/// Gives the same commands to machines that `make` makes, each of them new and empty, and compares
/// their answers and the bytes of their snapshots after each command. One of them goes on from a
/// snapshot that was taken in the middle and written out at the end.
///
/// # Errors
/// The first difference. No error proves little: a clock may stand still for as long, and what
/// depends on the machine or on the version of a library shows only between two of them.
pub fn is_deterministic<M: StateMachine>(
    mut make: impl FnMut() -> M,
    commands: &[Bytes],
) -> Result<(), BrokenContract> {
    let (before, after) = commands.split_at(commands.len() / 2);
    let (mut first, mut second) = (make(), make());
    let mut answers = Vec::new();
    let mut middle = None;
    for (number, command) in numbered(commands) {
        if number == before.len() + 1 {
            middle = Some(first.snapshot());
        }
        let expected = first.apply(index(number), command.clone());
        let found = second.apply(index(number), command.clone());
        same_answer(number, "a second machine", found, &expected)?;
        same_snapshot(number, "a second machine", &second, &snapshot(&first)?)?;
        answers.push(expected);
    }
    let Some(frozen) = middle else { return Ok(()) };
    let mut bytes = Vec::new();
    frozen(&mut bytes)?;
    let (mut third, mut again) = (make(), make());
    for (number, command) in numbered(before) {
        again.apply(index(number), command.clone());
    }
    // The state had better be frozen while the machine went on, and be replaced as a whole.
    same_bytes(before.len(), "a machine that went on", &bytes, &snapshot(&again)?)?;
    if let Some(command) = after.first() {
        third.apply(index(1), command.clone());
    }
    third.restore(index(before.len()), &mut bytes.as_slice())?;
    goes_on(&mut third, "a restored machine", before.len(), commands, &answers)?;
    same_snapshot(commands.len(), "a restored machine", &third, &snapshot(&first)?)
}

/// Crashes a machine that keeps its state on disk after each command, starts it again, and gives it
/// the commands behind the index that it says to have [applied](StateMachine::applied), as a node
/// does. Answers and the last snapshot must be those of a machine that never crashed. The same
/// after a snapshot was restored. `open` opens the machine whose files are in a directory, or makes
/// it.
///
/// A crash is a copy of the directory: what the process has given to the system is there, and what
/// it holds back in its memory is not. So this notices a machine that stores its index later than
/// its data, or its data later than its index, and not one that forgets to sync before a power cut.
/// A machine that keeps nothing and says zero passes too.
///
/// # Errors
/// The first difference, and `Io` also if a directory can't be copied.
pub fn survives_crashes<M: StateMachine>(
    mut open: impl FnMut(&Path) -> M,
    commands: &[Bytes],
) -> Result<(), BrokenContract> {
    let (home, elsewhere) = (TempDir::new()?, TempDir::new()?);
    let mut steady = open(home.path());
    let mut answers = Vec::new();
    let mut middle = Vec::new();
    for (number, command) in numbered(commands) {
        answers.push(steady.apply(index(number), command.clone()));
        if number == commands.len() / 2 {
            middle = snapshot(&steady)?;
        }
    }
    let end = snapshot(&steady)?;

    let mut victim = open(elsewhere.path());
    for given in 0..=commands.len() {
        if let Some(last) = given.checked_sub(1) {
            victim.apply(index(given), commands[last].clone());
        }
        let copy = copy_of(elsewhere.path())?;
        let mut revived = open(copy.path());
        let applied = applied(&revived, given)?;
        goes_on(&mut revived, "a machine after a crash", applied, commands, &answers)?;
        same_snapshot(commands.len(), "a machine after a crash", &revived, &end)?;
    }

    let received = TempDir::new()?;
    let base = commands.len() / 2;
    let mut receiver = open(received.path());
    receiver.restore(index(base), &mut middle.as_slice())?;
    let copy = copy_of(received.path())?;
    let mut revived = open(copy.path());
    if applied(&revived, base)? < base {
        // The log begins behind the snapshot, so the node restores it once more.
        revived.restore(index(base), &mut middle.as_slice())?;
    }
    goes_on(&mut revived, "a machine restored before a crash", base, commands, &answers)?;
    same_snapshot(commands.len(), "a machine restored before a crash", &revived, &end)
}

fn numbered(commands: &[Bytes]) -> impl Iterator<Item = (usize, &Bytes)> {
    (1..).zip(commands)
}

fn index(number: usize) -> LogIndex {
    LogIndex::new(number as u64).unwrap_or(LogIndex::MAX)
}

/// How many commands the machine says to have applied, of so many that it was given.
fn applied(machine: &impl StateMachine, given: usize) -> Result<usize, BrokenContract> {
    let (applied, given) = (machine.applied(), index(given));
    if applied > given {
        return Err(BrokenContract::Ahead { applied, given });
    }
    Ok(usize::try_from(applied.get()).unwrap_or(usize::MAX))
}

/// Gives a machine all commands but the first few.
fn goes_on(
    machine: &mut impl StateMachine,
    who: &'static str,
    applied: usize,
    commands: &[Bytes],
    answers: &[Bytes],
) -> Result<(), BrokenContract> {
    for ((number, command), expected) in numbered(commands).zip(answers).skip(applied) {
        let found = machine.apply(index(number), command.clone());
        same_answer(number, who, found, expected)?;
    }
    Ok(())
}

fn same_answer(
    number: usize,
    who: &'static str,
    found: Bytes,
    expected: &Bytes,
) -> Result<(), BrokenContract> {
    if found == *expected {
        return Ok(());
    }
    Err(BrokenContract::Answer { number, who, found, expected: expected.clone() })
}

fn snapshot(machine: &impl StateMachine) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    machine.snapshot()(&mut bytes)?;
    Ok(bytes)
}

fn same_snapshot(
    number: usize,
    who: &'static str,
    machine: &impl StateMachine,
    expected: &[u8],
) -> Result<(), BrokenContract> {
    same_bytes(number, who, &snapshot(machine)?, expected)
}

fn same_bytes(
    number: usize,
    who: &'static str,
    found: &[u8],
    expected: &[u8],
) -> Result<(), BrokenContract> {
    if found == expected {
        return Ok(());
    }
    let offset = found.iter().zip(expected).take_while(|(found, expected)| found == expected);
    Err(BrokenContract::Snapshot { number, who, offset: offset.count() })
}

/// A copy of a directory, as it is now.
fn copy_of(directory: &Path) -> io::Result<TempDir> {
    let copy = TempDir::new()?;
    let mut left = vec![(directory.to_owned(), copy.path().to_owned())];
    while let Some((from, to)) = left.pop() {
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let to = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                std::fs::create_dir(&to)?;
                left.push((entry.path(), to));
            } else {
                std::fs::copy(entry.path(), to)?;
            }
        }
    }
    Ok(copy)
}
