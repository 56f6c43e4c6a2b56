//! Clients of an explored world.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use raft_node::{RequestError, session};

use crate::cluster::CallId;
use crate::registers::{Call, Registers, Request};
use crate::sim::World;

/// Clients that call any node at any time.
pub(crate) struct Workload {
    pub(crate) registers: Registers,
    open: BTreeMap<CallId, Open>,
    /// Commands of which clients were told that they are never applied.
    in_vain: BTreeSet<Bytes>,
    /// Whether commands are envelopes.
    envelopes: bool,
}

struct Open {
    call: Call,
    /// What is to be applied; nothing for a read.
    command: Option<Bytes>,
}

impl Workload {
    pub(crate) fn new(envelopes: bool) -> Self {
        Self {
            registers: Registers::default(),
            open: BTreeMap::new(),
            in_vain: BTreeSet::new(),
            envelopes,
        }
    }

    fn wrap(&self, command: Bytes) -> Bytes {
        if self.envelopes { session::plain(&command) } else { command }
    }

    /// One call on a random register at a node.
    pub(crate) fn call(&mut self, world: &mut World, node: usize, registers: u64) {
        let key = self.quiet_key(world.rng.u64(0..registers), registers);
        let (at, dice) = (world.tick(), world.rng.u64(0..10));
        // Each call is a client of its own: a node answers its calls in any order.
        let client = self.registers.begun();
        let (call, request) = self.registers.begin(client, at, key, dice);
        let (id, command) = match request {
            Request::Read(query) => (world.read(node, query), None),
            Request::Propose(command) => {
                (world.propose(node, self.wrap(command.clone())), Some(command))
            }
        };
        self.open.insert(id, Open { call, command });
    }

    /// Several writes at a node in one event, each to a register of its own.
    pub(crate) fn batch(&mut self, world: &mut World, node: usize, size: u64) {
        let (mut begun, mut commands) = (Vec::new(), Vec::new());
        for number in 0..size {
            let key = self.quiet_key(number, size);
            let (client, at) = (self.registers.begun(), world.tick());
            let (call, command) = self.registers.begin_write(client, at, key);
            begun.push(Open { call, command: Some(command.clone()) });
            commands.push(self.wrap(command));
        }
        let calls = world.propose_all(node, commands);
        self.open.extend(calls.into_iter().zip(begun));
    }

    /// The key, or another in its place while many calls on it are open: the time to check a
    /// history grows exponentially with the calls that overlap on one key.
    fn quiet_key(&self, key: u64, registers: u64) -> u64 {
        const OVERLAPPING: usize = 5;
        let open_on = |key| self.open.values().filter(|open| open.call.key() == key).count();
        let mut layers = (0..).map(|layer| key + layer * registers);
        layers.find(|key| open_on(*key) < OVERLAPPING).unwrap_or(key)
    }

    /// Takes in the answers that have come.
    pub(crate) fn collect(&mut self, world: &mut World) -> Result<(), String> {
        let answered: Vec<_> =
            self.open.keys().filter_map(|id| Some((*id, world.answer(*id)?))).collect();
        for (id, answer) in answered {
            if let Some(Open { call, command }) = self.open.remove(&id) {
                let at = world.tick();
                let wrapped = self.envelopes && command.is_some();
                let answer = if wrapped { unwrap(answer)? } else { answer };
                if answer.as_ref().is_err_and(|error| error.is_certain()) {
                    self.in_vain.extend(command);
                }
                self.registers.end(call, at, answer).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// What clients were told is true, and what they saw linearizable.
    pub(crate) fn verdict(&self, world: &World) -> Result<(), String> {
        let oracle = world.oracle.lock();
        let mut applied = oracle.commands().filter(|command| self.in_vain.contains(*command));
        if let Some(command) = applied.next() {
            return Err(format!("I16: {command:?} is applied, and its client was told otherwise"));
        }
        self.registers.verdict()
    }

    /// How many calls wait for their answer.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }
}

/// The answer in an envelope. Plain commands have no other.
fn unwrap(answer: Result<Bytes, RequestError>) -> Result<Result<Bytes, RequestError>, String> {
    match answer {
        Ok(answer) => session::decode(answer).map(Ok).map_err(|error| error.to_string()),
        Err(error) => Ok(Err(error)),
    }
}
