//! Random scripts: whatever goes wrong in between, nothing unsafe happens (the harness checks that
//! in every step), and once everything is repaired the cluster works and every request is answered.

mod common;

use std::time::Duration;

use common::*;
use proptest::prelude::*;
use raft_core::{Config, RoleKind};

#[derive(Clone, Debug)]
enum Verb {
    Propose(u64),
    Read(u64),
    Timeout(u64),
    Tick(u64),
    Run(u64),
    /// Delivers every n-th of the messages under way, the newest first if asked to.
    Deliver {
        nth: usize,
        newest_first: bool,
    },
    /// Loses every n-th of the messages under way.
    Lose(usize),
    /// Puts a second copy of every n-th message under way.
    Repeat(usize),
    HoldDisk(u64),
    PersistOldest(u64),
    ReleaseDisk(u64),
    HoldMachine(u64),
    ReleaseMachine(u64),
    Crash(u64),
    Restart(u64),
    Isolate(u64),
    Cut(u64, u64),
    Heal,
}

fn any_verb(nodes: u64) -> impl Strategy<Value = Verb> {
    let node = move || 1..=nodes;
    prop_oneof![
        6 => node().prop_map(Verb::Propose),
        3 => node().prop_map(Verb::Read),
        2 => node().prop_map(Verb::Timeout),
        3 => (1..1500_u64).prop_map(Verb::Tick),
        4 => (1..2500_u64).prop_map(Verb::Run),
        8 => (1..4_usize, any::<bool>())
            .prop_map(|(nth, newest_first)| Verb::Deliver { nth, newest_first }),
        1 => (1..4_usize).prop_map(Verb::Lose),
        1 => (1..4_usize).prop_map(Verb::Repeat),
        2 => node().prop_map(Verb::HoldDisk),
        3 => node().prop_map(Verb::PersistOldest),
        2 => node().prop_map(Verb::ReleaseDisk),
        1 => node().prop_map(Verb::HoldMachine),
        1 => node().prop_map(Verb::ReleaseMachine),
        1 => node().prop_map(Verb::Crash),
        2 => node().prop_map(Verb::Restart),
        1 => node().prop_map(Verb::Isolate),
        1 => (node(), node()).prop_map(|(from, to)| Verb::Cut(from, to)),
        2 => Just(Verb::Heal),
    ]
}

/// The picked messages under way: every n-th of them.
fn every(cluster: &mut Cluster, nth: usize) -> Vec<raft_core::Message> {
    let number = std::cell::Cell::new(0_usize);
    cluster.lose(|_| {
        number.set(number.get() + 1);
        number.get().is_multiple_of(nth)
    })
}

fn act(cluster: &mut Cluster, verb: Verb, command: usize) {
    let up = |cluster: &Cluster, node| cluster.host(node).raft.is_some();
    match verb {
        Verb::Propose(node) if up(cluster, node) => {
            cluster.propose(node, &format!("c{command}"));
        }
        Verb::Read(node) if up(cluster, node) => {
            cluster.read(node);
        }
        Verb::Timeout(node) if up(cluster, node) && cluster.role(node) != RoleKind::Leader => {
            cluster.lose_patience(node);
            cluster.timeout(node);
        }
        Verb::Tick(millis) => cluster.tick(Duration::from_millis(millis)),
        Verb::Run(millis) => cluster.run(Duration::from_millis(millis)),
        Verb::Deliver { nth, newest_first } => {
            let mut picked = every(cluster, nth);
            if newest_first {
                picked.reverse();
            }
            picked.into_iter().for_each(|message| cluster.receive(message));
        }
        Verb::Lose(nth) => drop(every(cluster, nth)),
        Verb::Repeat(nth) => {
            let picked = every(cluster, nth);
            let copies = picked.iter().chain(&picked).cloned();
            cluster.world.bag.extend(copies);
        }
        Verb::HoldDisk(node) => cluster.hold_disk(node),
        Verb::PersistOldest(node) if !cluster.writes(node).is_empty() => {
            cluster.persist_oldest(node);
        }
        Verb::ReleaseDisk(node) => cluster.release_disk(node),
        Verb::HoldMachine(node) => cluster.hold_machine(node),
        Verb::ReleaseMachine(node) => cluster.release_machine(node),
        Verb::Crash(node) => cluster.crash(node),
        Verb::Restart(node) => cluster.restart(node),
        Verb::Isolate(node) => cluster.isolate(node),
        Verb::Cut(from, to) => cluster.cut(from, to),
        Verb::Heal => cluster.heal(),
        _ => {}
    }
}

fn play(mut cluster: Cluster, verbs: Vec<Verb>) {
    for node in cluster.nodes() {
        cluster.host_mut(node).keeps_machine = node % 2 == 0;
    }
    for (command, verb) in verbs.into_iter().enumerate() {
        act(&mut cluster, verb, command);
    }
    cluster.settle();
}

const fn plain(config: Config) -> Config {
    config
}

/// Limits so small that everything that can be refused, paged or dropped is.
fn tiny(config: Config) -> Config {
    config
        .max_append_entries(2)
        .max_in_flight_messages(2)
        .max_cached_bytes(0)
        .max_applying_bytes(1)
        .max_unpersisted_bytes(300)
        .max_uncommitted_bytes(400)
        .max_pending_requests(5)
        .max_held_messages(4)
}

proptest! {
    #[test]
    fn five_nodes_stay_safe_and_recover(verbs in prop::collection::vec(any_verb(5), 0..120)) {
        play(Cluster::with(5, plain), verbs);
    }

    #[test]
    fn three_nodes_with_tiny_limits_stay_safe_and_recover(
        verbs in prop::collection::vec(any_verb(3), 0..120)
    ) {
        play(Cluster::with(3, tiny), verbs);
    }

    #[test]
    fn nodes_without_pre_vote_and_check_quorum_stay_safe_and_recover(
        verbs in prop::collection::vec(any_verb(3), 0..120)
    ) {
        play(Cluster::with(3, |config| config.pre_vote(false).check_quorum(false)), verbs);
    }
}
