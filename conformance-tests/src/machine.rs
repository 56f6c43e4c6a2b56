//! The state machine of the suite, and the oracle that watches all its replicas.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft_node::core::LogIndex;
use raft_node::io::{self, Read};
use raft_node::{FrozenState, Mutex, MutexGuard, StateMachine};
use siphasher::sip::SipHasher13;

use crate::sim::world::id_of;

/// A command of the suite.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Changes nothing and is answered with its number among all commands, see [`decode_value`];
    /// scenarios look for it in the oracle.
    Mark(Bytes),
    /// Sets a register.
    Write {
        /// The register.
        key: u64,
        /// Its new value.
        value: u64,
    },
    /// Sets a register if it has the expected value.
    Swap {
        /// The register.
        key: u64,
        /// The value that it must have; `None` if it must never have been written.
        expected: Option<u64>,
        /// Its new value.
        value: u64,
    },
}

impl Command {
    /// The command as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Mark(mark) => {
                bytes.put_u8(0);
                bytes.put_slice(mark);
            }
            Self::Write { key, value } => {
                bytes.put_u8(1);
                bytes.put_u64_le(*key);
                bytes.put_u64_le(*value);
            }
            Self::Swap { key, expected, value } => {
                bytes.put_u8(2);
                bytes.put_u64_le(*key);
                bytes.put_u64_le(*value);
                bytes.put_slice(&encode_value(*expected));
            }
        }
        bytes.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        match bytes.try_get_u8().ok()? {
            0 => Some(Self::Mark(bytes)),
            1 => Some(Self::Write {
                key: bytes.try_get_u64_le().ok()?,
                value: bytes.try_get_u64_le().ok()?,
            }),
            2 => {
                let (key, value) = (bytes.try_get_u64_le().ok()?, bytes.try_get_u64_le().ok()?);
                Some(Self::Swap { key, expected: decode_value(&bytes)?, value })
            }
            _ => None,
        }
    }
}

/// A register's content as the bytes of an answer.
#[must_use]
pub fn encode_value(value: Option<u64>) -> Bytes {
    let mut bytes = BytesMut::new();
    if let Some(value) = value {
        bytes.put_u64_le(value);
    }
    bytes.freeze()
}

/// The content of an answer to a read; the outer `None` if it is no such answer.
#[must_use]
pub fn decode_value(mut bytes: &[u8]) -> Option<Option<u64>> {
    if bytes.is_empty() { Some(None) } else { bytes.try_get_u64_le().ok().map(Some) }
}

/// The question for a register's content.
#[must_use]
pub fn query(key: u64) -> Bytes {
    Bytes::copy_from_slice(&key.to_le_bytes())
}

/// Registers in memory, rebuilt from a snapshot and the log at each start.
#[derive(Debug)]
pub struct Machine {
    node: usize,
    life: u64,
    oracle: SharedOracle,
    /// How many commands it has applied, and a checksum of all of them.
    history: History,
    registers: BTreeMap<u64, u64>,
}

/// So many commands, and a checksum of them in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct History {
    count: u64,
    checksum: u64,
}

impl History {
    fn then(self, index: LogIndex, command: &[u8]) -> Self {
        let mut hasher = SipHasher13::new();
        (self.checksum, index.get(), command).hash(&mut hasher);
        Self { count: self.count + 1, checksum: hasher.finish() }
    }
}

impl Machine {
    /// A replica for a node that is starting. The oracle forgets what the node's earlier life had
    /// applied, and no longer listens to it.
    #[must_use]
    pub fn start(node: usize, oracle: &SharedOracle) -> Self {
        let life = oracle.lock().begin_life(node);
        let (history, registers) = (History::default(), BTreeMap::new());
        Self { node, life, oracle: oracle.clone(), history, registers }
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, index: LogIndex, command: Bytes) -> Bytes {
        self.history = self.history.then(index, &command);
        self.oracle.lock().applied(self.node, self.life, index, &command);
        match Command::decode(command) {
            Some(Command::Write { key, value }) => {
                self.registers.insert(key, value);
                Bytes::new()
            }
            Some(Command::Swap { key, expected, value }) => {
                let swapped = self.registers.get(&key).copied() == expected;
                if swapped {
                    self.registers.insert(key, value);
                }
                Bytes::copy_from_slice(&[u8::from(swapped)])
            }
            Some(Command::Mark(_)) => encode_value(Some(self.history.count)),
            None => Bytes::new(),
        }
    }

    fn query(&self, mut query: Bytes) -> Bytes {
        let key = query.try_get_u64_le().unwrap_or_default();
        encode_value(self.registers.get(&key).copied())
    }

    fn snapshot(&self) -> FrozenState {
        let (history, registers) = (self.history, self.registers.clone());
        Box::new(move |out| {
            out.write_all(&history.count.to_le_bytes())?;
            out.write_all(&history.checksum.to_le_bytes())?;
            registers.iter().try_for_each(|(key, value)| {
                out.write_all(&key.to_le_bytes())?;
                out.write_all(&value.to_le_bytes())
            })
        })
    }

    fn restore(&mut self, index: LogIndex, state: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        state.read_to_end(&mut bytes)?;
        let mut numbers = bytes.chunks_exact(8).map(|mut number| number.get_u64_le());
        let mut pair = || Some((numbers.next()?, numbers.next()?));
        let (count, checksum) = pair().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.history = History { count, checksum };
        self.registers = core::iter::from_fn(pair).collect();
        self.oracle.lock().restored(self.node, self.life, index, self.history);
        Ok(())
    }
}

/// Sees every command that any replica applies, and checks that all replicas apply the same
/// commands at the same places in the same order, without a gap (state machine safety; paper,
/// figure 3).
#[derive(Debug, Default)]
pub struct Oracle {
    order: Vec<(LogIndex, Bytes)>,
    /// The history up to and including each command.
    histories: Vec<History>,
    nodes: BTreeMap<usize, Replica>,
    installs: u64,
    violation: Option<String>,
}

#[derive(Debug, Default)]
struct Replica {
    life: u64,
    applied: usize,
    /// The most commands that it had applied in any life.
    most: usize,
}

impl Oracle {
    fn begin_life(&mut self, node: usize) -> u64 {
        let replica = self.nodes.entry(node).or_default();
        replica.life += 1;
        replica.applied = 0;
        replica.life
    }

    fn applied(&mut self, node: usize, life: u64, index: LogIndex, command: &Bytes) {
        let name = id_of(node);
        let replica = self.nodes.entry(node).or_default();
        if replica.life != life {
            return;
        }
        let place = replica.applied;
        replica.applied += 1;
        replica.most = replica.most.max(replica.applied);
        match self.order.get(place) {
            Some(known) if *known == (index, command.clone()) => {}
            Some((known_index, known)) => {
                self.violation.get_or_insert(format!(
                    "{name:?} applied {command:?} at index {index} as command {}, others \
                     applied {known:?} at index {known_index}",
                    place + 1
                ));
            }
            None => {
                if self.order.last().is_some_and(|(last, _)| *last >= index) {
                    self.violation
                        .get_or_insert(format!("{name:?} applied index {index} out of order"));
                }
                self.order.push((index, command.clone()));
                let before = self.histories.last().copied().unwrap_or_default();
                self.histories.push(before.then(index, command));
            }
        }
    }

    /// A replica goes on from a snapshot: it must hold exactly the commands up to its index.
    fn restored(&mut self, node: usize, life: u64, index: LogIndex, history: History) {
        let name = id_of(node);
        let replica = self.nodes.entry(node).or_default();
        if replica.life != life {
            return;
        }
        let applied = self.order.partition_point(|(at, _)| *at <= index);
        replica.applied = applied;
        self.installs += u64::from(applied > replica.most);
        replica.most = replica.most.max(applied);
        let known = applied.checked_sub(1).and_then(|last| self.histories.get(last).copied());
        if known.unwrap_or_default() != history {
            self.violation.get_or_insert(format!(
                "{name:?} restored a snapshot at index {index} that holds {} commands, where \
                 others had applied {applied}, or other ones",
                history.count
            ));
        }
    }

    /// What is wrong, if anything is.
    #[must_use]
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// How many replicas have applied the command number `ordinal` (the first is number 1).
    #[must_use]
    pub fn count(&self, ordinal: usize) -> usize {
        self.nodes.values().filter(|replica| replica.applied >= ordinal).count()
    }

    /// How many commands a node has applied in its present life.
    #[must_use]
    pub fn applied_by(&self, node: usize) -> usize {
        self.nodes.get(&node).map_or(0, |replica| replica.applied)
    }

    /// How often a node went on from a snapshot with commands that it had never applied itself, so
    /// that it must have got it from another.
    #[must_use]
    pub const fn installs(&self) -> u64 {
        self.installs
    }

    /// All commands that anybody has applied, in their order.
    pub fn commands(&self) -> impl Iterator<Item = &Bytes> {
        self.order.iter().map(|(_, command)| command)
    }

    /// The number of commands that anybody has applied.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether nobody has applied anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Where the command is, counted in commands from 1, if anybody has applied it after the first
    /// `after` commands.
    #[must_use]
    pub fn ordinal_of(&self, command: &Bytes, after: usize) -> Option<usize> {
        let position = self.order.iter().skip(after).position(|(_, known)| known == command)?;
        Some(after + position + 1)
    }
}

/// An oracle for the replicas of one cluster.
#[derive(Clone, Debug, Default)]
pub struct SharedOracle(Arc<Mutex<Oracle>>);

impl SharedOracle {
    /// Opens the oracle.
    pub fn lock(&self) -> MutexGuard<'_, Oracle> {
        self.0.lock()
    }
}
