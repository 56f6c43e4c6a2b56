//! Clients of an explored world, and what they saw.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_node::RequestError;

use crate::cluster::CallId;
use crate::linearizability::models::{Keyed, Register, RegisterAction, RegisterRet};
use crate::linearizability::{History, HistoryError, OperationId, check};
use crate::machine::{self, Command};
use crate::sim::World;

/// Steps that the checker may take for each register.
const CHECK_BUDGET: u64 = 10_000_000;

type Action = Keyed<u64, RegisterAction>;

/// Every call that was made, as the linearizability checker wants it.
#[derive(Default)]
pub(crate) struct Workload {
    history: History<Action, RegisterRet>,
    open: BTreeMap<CallId, (OperationId, Action)>,
    values: u64,
    succeeded: u64,
    /// The value that each register was last seen with, for swaps that may succeed.
    seen: BTreeMap<u64, u64>,
}

impl Workload {
    /// One call on a random register at a node.
    pub(crate) fn call(&mut self, world: &mut World, node: usize, registers: u64) {
        let key = self.quiet_key(world.rng.u64(0..registers), registers);
        self.values += 1;
        let value = self.values;
        let expected = self.seen.get(&key).copied();
        let action = match world.rng.u64(0..10) {
            0..=3 => RegisterAction::Read,
            4..=7 => RegisterAction::Write(value),
            _ => RegisterAction::Cas { expected, new: value },
        };
        let at = world.tick();
        // Each call is a client of its own: a node answers its calls in any order.
        let client = self.values;
        let operation = self.history.invoke(client, at, Keyed::new(key, action.clone()));
        let call = match &action {
            RegisterAction::Read => world.read(node, machine::query(key)),
            RegisterAction::Write(value) => {
                let value = *value;
                world.propose(node, Command::Write { key, value }.encode())
            }
            RegisterAction::Cas { expected, new: value } => {
                let (expected, value) = (*expected, *value);
                world.propose(node, Command::Swap { key, expected, value }.encode())
            }
        };
        self.open.insert(call, (operation, Keyed::new(key, action)));
    }

    /// The key, or another in its place while many calls on it are open: the time to check a
    /// history grows exponentially with the calls that overlap on one key.
    fn quiet_key(&self, key: u64, registers: u64) -> u64 {
        const OVERLAPPING: usize = 5;
        let open_on = |key| self.open.values().filter(|(_, action)| *action.key() == key).count();
        let layers = (0..).map(|layer| key + layer * registers);
        layers.into_iter().find(|key| open_on(*key) < OVERLAPPING).unwrap_or(key)
    }

    /// Takes in the answers that have come.
    pub(crate) fn collect(&mut self, world: &mut World) -> Result<(), HistoryError> {
        let answered: Vec<_> = self
            .open
            .keys()
            .filter_map(|call| world.answer(*call).map(|answer| (*call, answer)))
            .collect();
        for (call, answer) in answered {
            if let Some((operation, action)) = self.open.remove(&call) {
                let at = world.tick();
                self.record(operation, &action, answer, at)?;
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        operation: OperationId,
        action: &Action,
        answer: Result<Bytes, RequestError>,
        at: u64,
    ) -> Result<(), HistoryError> {
        let bytes = match answer {
            Ok(bytes) => bytes,
            // A read that failed has told nothing and changed nothing.
            Err(error) if error.is_certain() || *action.action() == RegisterAction::Read => {
                return self.history.failed(operation);
            }
            Err(_) => return self.history.unknown(operation),
        };
        let returned = match action.action() {
            RegisterAction::Read => {
                let value = machine::decode_value(&bytes).flatten();
                if let Some(value) = value {
                    self.seen.insert(*action.key(), value);
                }
                RegisterRet::Value(value)
            }
            RegisterAction::Write(_) => RegisterRet::Written,
            RegisterAction::Cas { .. } => RegisterRet::Swapped(bytes.first() == Some(&1)),
        };
        self.succeeded += 1;
        self.history.returned(operation, at, returned)
    }

    /// How many calls had a result.
    pub(crate) const fn succeeded(&self) -> u64 {
        self.succeeded
    }

    /// How many calls wait for their answer.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn calls(&self) -> usize {
        self.history.len()
    }

    /// Whether what the clients saw is linearizable (I15).
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let verdict = check::<Register>(&self.history, CHECK_BUDGET);
        if verdict.is_linearizable() { Ok(()) } else { Err(format!("I15: {verdict}")) }
    }
}
