//! Clients of an explored world.

use std::collections::BTreeMap;

use crate::cluster::CallId;
use crate::linearizability::HistoryError;
use crate::registers::{Call, Registers, Request};
use crate::sim::World;

/// Clients that call any node at any time.
#[derive(Default)]
pub(crate) struct Workload {
    pub(crate) registers: Registers,
    open: BTreeMap<CallId, Call>,
}

impl Workload {
    /// One call on a random register at a node.
    pub(crate) fn call(&mut self, world: &mut World, node: usize, registers: u64) {
        let key = self.quiet_key(world.rng.u64(0..registers), registers);
        let (at, dice) = (world.tick(), world.rng.u64(0..10));
        // Each call is a client of its own: a node answers its calls in any order.
        let client = self.registers.begun();
        let (call, request) = self.registers.begin(client, at, key, dice);
        let id = match request {
            Request::Read(query) => world.read(node, query),
            Request::Propose(command) => world.propose(node, command),
        };
        self.open.insert(id, call);
    }

    /// Several writes at a node in one event, each to a register of its own.
    pub(crate) fn batch(&mut self, world: &mut World, node: usize, size: u64) {
        let (mut begun, mut commands) = (Vec::new(), Vec::new());
        for number in 0..size {
            let key = self.quiet_key(number, size);
            let (client, at) = (self.registers.begun(), world.tick());
            let (call, command) = self.registers.begin_write(client, at, key);
            begun.push(call);
            commands.push(command);
        }
        let calls = world.propose_all(node, commands);
        self.open.extend(calls.into_iter().zip(begun));
    }

    /// The key, or another in its place while many calls on it are open: the time to check a
    /// history grows exponentially with the calls that overlap on one key.
    fn quiet_key(&self, key: u64, registers: u64) -> u64 {
        const OVERLAPPING: usize = 5;
        let open_on = |key| self.open.values().filter(|call| call.key() == key).count();
        let mut layers = (0..).map(|layer| key + layer * registers);
        layers.find(|key| open_on(*key) < OVERLAPPING).unwrap_or(key)
    }

    /// Takes in the answers that have come.
    pub(crate) fn collect(&mut self, world: &mut World) -> Result<(), HistoryError> {
        let answered: Vec<_> =
            self.open.keys().filter_map(|id| Some((*id, world.answer(*id)?))).collect();
        for (id, answer) in answered {
            if let Some(call) = self.open.remove(&id) {
                let at = world.tick();
                self.registers.end(call, at, answer)?;
            }
        }
        Ok(())
    }

    /// How many calls wait for their answer.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }
}
