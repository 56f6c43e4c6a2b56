//! Clients that read and write registers through any node while things go wrong: what they see
//! must be linearizable.

use alloc::format;
use alloc::vec::Vec;

use crate::cluster::{CallId, Cluster, Network, Setup};
use crate::lab::Lab;
use crate::registers::{Call, Registers, Request};

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

/// Partitions and crashes while the leader answers reads by its lease.
pub fn linearizable_clients_leases<C: Cluster>(mut cluster: C) {
    cluster.set_up(Setup { leases: true, ..Setup::default() });
    run(cluster, Faults { partitions: true, crashes: true, ..Faults::default() });
}

#[derive(Clone, Copy, Default)]
struct Faults {
    network: Network,
    partitions: bool,
    crashes: bool,
}

struct Clients {
    registers: Registers,
    /// One client each, with at most one call open.
    open: Vec<Option<(CallId, Call)>>,
}

fn run<C: Cluster>(mut cluster: C, faults: Faults) {
    cluster.set_network(faults.network);
    let mut lab = Lab::begin(cluster);
    let mut clients =
        Clients { registers: Registers::default(), open: (0..6).map(|_| None).collect() };
    for _ in 0..lab.rounds(30) {
        inject(&mut lab, faults);
        for _ in 0..25 {
            clients.go_on(&mut lab, true);
            lab.sleep(0.02);
        }
    }
    lab.cluster.heal();
    lab.cluster.set_network(Network::default());
    lab.start_all();
    let answered = lab.until(20.0, |lab| {
        clients.go_on(lab, false);
        clients.open.iter().all(Option::is_none)
    });
    lab.demand(answered, || "a client was never answered".into());
    let size = lab.size();
    lab.agree(size, true);
    let verdict = clients.registers.verdict();
    lab.demand(verdict.is_ok(), || verdict.err().unwrap_or_default());
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
        for client in 0..self.open.len() {
            if let Some((id, call)) = self.open[client].take() {
                let Some(answer) = lab.cluster.answer(id) else {
                    self.open[client] = Some((id, call));
                    continue;
                };
                let at = lab.cluster.tick();
                let recorded = self.registers.end(call, at, answer);
                lab.demand(recorded.is_ok(), || format!("the history is broken: {recorded:?}"));
            }
            if more {
                self.open[client] = self.begin(lab, client as u64);
            }
        }
    }

    fn begin<C: Cluster>(&mut self, lab: &mut Lab<C>, client: u64) -> Option<(CallId, Call)> {
        let node = lab.cluster.random(lab.size() as u64) as usize;
        if !lab.cluster.is_running(node) {
            return None;
        }
        let (key, dice) = (lab.cluster.random(REGISTERS), lab.cluster.random(10));
        let at = lab.cluster.tick();
        let (call, request) = self.registers.begin(client, at, key, dice);
        let id = match request {
            Request::Propose(command) => lab.cluster.propose(node, command),
            Request::Read(query) => lab.cluster.read(node, query),
        };
        Some((id, call))
    }
}
