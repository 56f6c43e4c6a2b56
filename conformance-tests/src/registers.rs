//! Clients' calls on registers, and whether what they saw is linearizable. The scenarios and the
//! explorer share it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use bytes::Bytes;
use raft_node::RequestError;

use crate::linearizability::models::{Keyed, Register, RegisterAction, RegisterRet};
use crate::linearizability::{History, HistoryError, OperationId, check};
use crate::machine::{self, Command};

/// Steps that the checker may take for each register.
const CHECK_BUDGET: u64 = 10_000_000;

/// Every call that was made, as the linearizability checker wants it.
#[derive(Default)]
pub(crate) struct Registers {
    history: History<Action, RegisterRet>,
    /// The value that each register was last seen with, for swaps that may succeed.
    seen: BTreeMap<u64, u64>,
    values: u64,
    begun: u64,
    succeeded: u64,
}

type Action = Keyed<u64, RegisterAction>;

/// A call that has begun.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    operation: OperationId,
    action: Action,
}

/// What to ask of a node.
pub(crate) enum Request {
    Propose(Bytes),
    Read(Bytes),
}

impl Call {
    pub(crate) fn key(&self) -> u64 {
        *self.action.key()
    }
}

impl Registers {
    /// Begins a call on a register; `dice` (0 to 9) decides which.
    pub(crate) fn begin(&mut self, client: u64, at: u64, key: u64, dice: u64) -> (Call, Request) {
        let (action, request) = match dice {
            0..=3 => (RegisterAction::Read, Request::Read(machine::query(key))),
            4..=7 => {
                let (call, command) = self.begin_write(client, at, key);
                return (call, Request::Propose(command));
            }
            _ => {
                let value = self.fresh_value();
                let expected = self.seen.get(&key).copied();
                let command = Command::Swap { key, expected, value };
                let action = RegisterAction::Cas { expected, new: value };
                (action, Request::Propose(command.encode()))
            }
        };
        (self.invoke(client, at, key, action), request)
    }

    /// Begins a write of a value that no other call writes.
    pub(crate) fn begin_write(&mut self, client: u64, at: u64, key: u64) -> (Call, Bytes) {
        let value = self.fresh_value();
        let call = self.invoke(client, at, key, RegisterAction::Write(value));
        (call, Command::Write { key, value }.encode())
    }

    const fn fresh_value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    fn invoke(&mut self, client: u64, at: u64, key: u64, action: RegisterAction) -> Call {
        self.begun += 1;
        let action = Keyed::new(key, action);
        let operation = self.history.invoke(client, at, action.clone());
        Call { operation, action }
    }

    /// Takes in the answer of a call.
    pub(crate) fn end(
        &mut self,
        call: Call,
        at: u64,
        answer: Result<Bytes, RequestError>,
    ) -> Result<(), HistoryError> {
        let Call { operation, action } = call;
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

    /// How many calls have begun.
    pub(crate) const fn begun(&self) -> u64 {
        self.begun
    }

    /// How many calls had a result.
    pub(crate) const fn succeeded(&self) -> u64 {
        self.succeeded
    }

    /// Whether what the clients saw is linearizable (I15), or why not.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let verdict = check::<Register>(&self.history, CHECK_BUDGET);
        if verdict.is_linearizable() { Ok(()) } else { Err(format!("I15: {verdict}")) }
    }
}
