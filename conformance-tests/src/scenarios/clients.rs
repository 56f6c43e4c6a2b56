//! Clients that read and write registers through any node while things go wrong: what they see
//! must be linearizable.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_node::RequestError;

use crate::cluster::{CallId, Cluster, Network};
use crate::lab::Lab;
use crate::linearizability::models::{Keyed, Register, RegisterAction, RegisterRet};
use crate::linearizability::{History, OperationId, check};
use crate::machine::{self, Command};

/// Steps that the checker may take for each register.
const CHECK_BUDGET: u64 = 10_000_000;
const REGISTERS: u64 = 4;

/// Clients of a healthy cluster.
pub fn linearizable_clients<C: Cluster>(cluster: C) {
    run(cluster, Faults::default());
}

/// Clients on a network that loses messages.
pub fn linearizable_clients_unreliable<C: Cluster>(cluster: C) {
    run(
        cluster,
        Faults {
            network: Network { unreliable: true, long_reordering: false },
            ..Faults::default()
        },
    );
}

/// Clients while the cluster is split again and again.
pub fn linearizable_clients_partitions<C: Cluster>(cluster: C) {
    run(cluster, Faults { partitions: true, ..Faults::default() });
}

/// Clients while nodes crash and come back.
pub fn linearizable_clients_crashes<C: Cluster>(cluster: C) {
    run(cluster, Faults { crashes: true, ..Faults::default() });
}

/// Everything at once.
pub fn linearizable_clients_all_faults<C: Cluster>(cluster: C) {
    let network = Network { unreliable: true, long_reordering: false };
    run(cluster, Faults { network, partitions: true, crashes: true });
}

#[derive(Clone, Copy, Default)]
struct Faults {
    network: Network,
    partitions: bool,
    crashes: bool,
}

type Action = Keyed<u64, RegisterAction>;

/// One client: it has at most one call open, at one node.
#[derive(Default)]
struct Client {
    open: Option<(CallId, OperationId, Action)>,
}

struct Clients {
    history: History<Action, RegisterRet>,
    clients: Vec<Client>,
    next_value: u64,
    seen: BTreeMap<u64, u64>,
}

fn run<C: Cluster>(mut cluster: C, faults: Faults) {
    cluster.set_network(faults.network);
    let mut lab = Lab::begin(cluster);
    let mut clients = Clients {
        history: History::new(),
        clients: (0..6).map(|_| Client::default()).collect(),
        next_value: 0,
        seen: BTreeMap::new(),
    };
    for _ in 0..lab.rounds(30) {
        inject(&mut lab, faults);
        for _ in 0..25 {
            clients.go_on(&mut lab, true);
            lab.sleep(0.02);
        }
    }
    lab.cluster.heal();
    lab.cluster.set_network(Network::default());
    for node in 0..lab.size() {
        if !lab.cluster.is_running(node) {
            lab.cluster.start(node);
        }
        lab.connect([node]);
    }
    let answered = lab.until(20.0, |lab| {
        clients.go_on(lab, false);
        clients.clients.iter().all(|client| client.open.is_none())
    });
    lab.demand(answered, || "a client was never answered".into());
    let size = lab.size();
    lab.agree(size, true);
    let verdict = check::<Register>(&clients.history, CHECK_BUDGET);
    lab.demand(verdict.is_linearizable(), || verdict.to_string());
    lab.end();
}

fn inject<C: Cluster>(lab: &mut Lab<C>, faults: Faults) {
    let size = lab.size() as u64;
    if faults.partitions {
        let sides: Vec<bool> = (0..size).map(|_| lab.cluster.random(2) == 0).collect();
        lab.cluster.heal();
        if lab.cluster.random(3) > 0 {
            lab.cluster.partition(&sides);
        }
    }
    if faults.crashes {
        let node = lab.cluster.random(size) as usize;
        if lab.cluster.is_running(node) {
            lab.cluster.crash(node);
        } else {
            lab.cluster.start(node);
            lab.connect([node]);
        }
        let running = (0..lab.size()).filter(|node| lab.cluster.is_running(*node)).count();
        if running * 2 <= lab.size() {
            for node in 0..lab.size() {
                if !lab.cluster.is_running(node) {
                    lab.cluster.start(node);
                    lab.connect([node]);
                }
            }
        }
    }
}

impl Clients {
    /// Takes answers in, and lets clients without an open call make one.
    fn go_on<C: Cluster>(&mut self, lab: &mut Lab<C>, more: bool) {
        for number in 0..self.clients.len() {
            if let Some((call, operation, action)) = self.clients[number].open.take() {
                match lab.cluster.answer(call) {
                    Some(answer) => self.record(lab, operation, &action, answer),
                    None => {
                        self.clients[number].open = Some((call, operation, action));
                        continue;
                    }
                }
            }
            if more {
                self.invoke(lab, number);
            }
        }
    }

    fn invoke<C: Cluster>(&mut self, lab: &mut Lab<C>, number: usize) {
        let node = lab.cluster.random(lab.size() as u64) as usize;
        if !lab.cluster.is_running(node) {
            return;
        }
        let key = lab.cluster.random(REGISTERS);
        self.next_value += 1;
        let value = self.next_value;
        let expected = self.seen.get(&key).copied();
        let (action, command) = match lab.cluster.random(6) {
            0..=2 => (RegisterAction::Read, None),
            3 | 4 => (RegisterAction::Write(value), Some(Command::Write { key, value })),
            _ => (
                RegisterAction::Cas { expected, new: value },
                Some(Command::Swap { key, expected, value }),
            ),
        };
        let action = Keyed::new(key, action);
        let at = lab.cluster.tick();
        let operation = self.history.invoke(number as u64, at, action.clone());
        let call = match command {
            Some(command) => lab.cluster.propose(node, command.encode()),
            None => lab.cluster.read(node, machine::query(key)),
        };
        self.clients[number].open = Some((call, operation, action));
    }

    fn record<C: Cluster>(
        &mut self,
        lab: &mut Lab<C>,
        operation: OperationId,
        action: &Action,
        answer: Result<Bytes, RequestError>,
    ) {
        let at = lab.cluster.tick();
        let is_read = matches!(action.action(), RegisterAction::Read);
        let recorded = match answer {
            Ok(bytes) => {
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
                self.history.returned(operation, at, returned)
            }
            // A read that failed has told nothing and changed nothing.
            Err(error) if error.is_certain() || is_read => self.history.failed(operation),
            Err(_) => self.history.unknown(operation),
        };
        lab.demand(recorded.is_ok(), || format!("the history is broken: {recorded:?}"));
    }
}
