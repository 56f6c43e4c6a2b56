//! Random scripts: whatever goes wrong in between, nothing unsafe happens (the harness checks that
//! in every step), and once everything is repaired the cluster works and every request is answered,
//! whoever its members are by then.

mod common;

use std::time::Duration;

use common::*;
use proptest::prelude::*;
use raft_core::{Config, Event, Membership, Notice, Outcome, Payload, RequestId, RoleKind};

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
    TakeSnapshot(u64),
    HoldSnapshots(u64),
    SnapshotJob(u64),
    ReleaseSnapshots(u64),
    LoseState(u64),
    Change(Wish),
    Transfer(u64, Option<u64>),
    ForgetLeader(u64),
}

/// A change of membership: the node that is asked, and the members to be as bits.
#[derive(Clone, Copy, Debug)]
struct Wish {
    asked: u64,
    voters: u8,
    learners: u8,
    preferred: u64,
    only_if_unchanged: bool,
}

impl Wish {
    fn target(self, nodes: u64) -> Membership {
        let within = |bits: u8, node: &u64| bits >> *node & 1 == 1;
        let mut members = Membership::new();
        for node in 1..=nodes {
            if within(self.learners, &node) {
                members = members.learner(id(node), "");
            }
            if within(self.voters, &node) {
                members = members.voter(id(node), "");
            }
        }
        members.prefer(id(self.preferred), 1)
    }
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

/// The same, and snapshots.
fn any_verb_or_snapshot(nodes: u64) -> impl Strategy<Value = Verb> {
    let node = move || 1..=nodes;
    prop_oneof![
        20 => any_verb(nodes),
        5 => node().prop_map(Verb::TakeSnapshot),
        1 => node().prop_map(Verb::HoldSnapshots),
        4 => node().prop_map(Verb::SnapshotJob),
        2 => node().prop_map(Verb::ReleaseSnapshots),
        1 => node().prop_map(Verb::LoseState),
    ]
}

/// What else can happen where members come and go.
fn any_verb_of_changing_members(nodes: u64) -> impl Strategy<Value = Verb> {
    let node = move || 1..=nodes;
    let wish = (node(), any::<u8>(), any::<u8>(), node(), any::<bool>()).prop_map(
        |(asked, voters, learners, preferred, only_if_unchanged)| {
            Verb::Change(Wish { asked, voters, learners, preferred, only_if_unchanged })
        },
    );
    prop_oneof![
        6 => any_verb(nodes),
        2 => wish,
        1 => (node(), prop::option::of(node())).prop_map(|(at, to)| Verb::Transfer(at, to)),
        1 => node().prop_map(Verb::TakeSnapshot),
        1 => (1..4_usize).prop_map(Verb::Repeat),
        1 => node().prop_map(Verb::ForgetLeader),
        3 => (1..2500_u64).prop_map(Verb::Run),
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
        Verb::Change(wish) if up(cluster, wish.asked) => {
            let target = wish.target(cluster.nodes().len() as u64);
            let now = cluster.status(wish.asked).membership;
            cluster.change_if(wish.asked, &target, wish.only_if_unchanged.then_some(&now));
        }
        Verb::Transfer(node, to) if up(cluster, node) => {
            cluster.transfer(node, to);
        }
        Verb::ForgetLeader(node) if up(cluster, node) => cluster.step(node, Event::ForgetLeader),
        Verb::TakeSnapshot(node) if up(cluster, node) => {
            if let Some(event) = cluster.host_mut(node).take_snapshot() {
                cluster.step(node, event);
            }
        }
        Verb::HoldSnapshots(node) => cluster.hold_snapshots(node),
        Verb::SnapshotJob(node) if !cluster.host(node).snapshot_jobs.is_empty() => {
            cluster.snapshot_job(node);
        }
        Verb::ReleaseSnapshots(node) => cluster.release_snapshots(node),
        Verb::LoseState(node) if up(cluster, node) && has_state_elsewhere(cluster, node) => {
            lose_state(cluster, node);
        }
        _ => {}
    }
}

/// Whether all the others have their state. Two nodes without might have the newest logs, and then
/// nobody could lead.
fn has_state_elsewhere(cluster: &Cluster, node: u64) -> bool {
    cluster.nodes().into_iter().filter(|other| *other != node).all(|other| {
        let host = cluster.host(other);
        host.raft.is_none() || host.has_state
    })
}

fn lose_state(cluster: &mut Cluster, node: u64) {
    let host = cluster.host_mut(node);
    host.machine.clear();
    host.applies.clear();
    host.has_state = false;
    cluster.step(node, Event::StateLost);
}

/// Lets the leaders' hosts take the snapshots that they are asked for, until all have their state.
fn restore_states(cluster: &mut Cluster) {
    cluster.repair();
    for _ in 0..20 {
        if cluster.nodes().into_iter().all(|node| cluster.host(node).has_state) {
            return;
        }
        cluster.run(2 * ELECTION);
        for node in cluster.nodes() {
            let host = cluster.host_mut(node);
            let wanted = host.notices.contains(&Notice::SnapshotWanted);
            host.notices.clear();
            if wanted && let Some(event) = host.take_snapshot() {
                cluster.step(node, event);
            }
        }
    }
}

fn play(mut cluster: Cluster, verbs: Vec<Verb>) {
    for node in cluster.nodes() {
        cluster.host_mut(node).keeps_machine = node % 2 == 0;
    }
    let (mut reads, mut changes) = (Vec::new(), Vec::new());
    for (command, verb) in verbs.into_iter().enumerate() {
        // A crash takes the requests of its node along, and with them what they were told.
        let complete = newest_complete(&cluster);
        let before = newest_request(&cluster);
        act(&mut cluster, verb.clone(), command);
        match (newest_request(&cluster).filter(|newest| before < Some(*newest)), verb) {
            (Some(read), Verb::Read(_)) => reads.push((read, complete)),
            (Some(change), Verb::Change(wish)) => changes.push((change, wish)),
            _ => {}
        }
    }
    restore_states(&mut cluster);
    cluster.settle();
    for (read, complete) in reads {
        check_read(&cluster, read, complete);
    }
    for (change, wish) in changes {
        check_change(&cluster, change, wish);
    }
    let leader = cluster.leaders()[0];
    assert!(!cluster.status(leader).membership.is_joint(), "the joint configuration is left");
}

fn newest_request(cluster: &Cluster) -> Option<RequestId> {
    cluster.world.requests.last_key_value().map(|(request, _)| *request)
}

/// The last place that any client knows to be committed.
fn newest_complete(cluster: &Cluster) -> u64 {
    let place = |(_, (_, answer)): (&RequestId, &(u64, Option<Outcome>))| match answer {
        Some(Outcome::Committed { index, .. } | Outcome::Readable { index }) => Some(index.get()),
        _ => None,
    };
    cluster.world.requests.iter().filter_map(place).max().unwrap_or(0)
}

/// A read sees everything that was complete when it began.
fn check_read(cluster: &Cluster, read: RequestId, complete: u64) {
    if let Some((_, Some(Outcome::Readable { index }))) = cluster.world.requests.get(&read) {
        assert!(index.get() >= complete, "{read:?} at {index}, but {complete} was complete");
    }
}

/// A change that was answered with a place is in force there.
fn check_change(cluster: &Cluster, change: RequestId, wish: Wish) {
    if let Some((_, Some(Outcome::Committed { index, .. }))) = cluster.world.requests.get(&change) {
        let committed = cluster.world.committed();
        let before = committed.iter().filter(|entry| entry.index <= *index);
        let newest = before.rev().find_map(|entry| match &entry.payload {
            Payload::Membership(members) => Some(Membership::clone(members)),
            _ => None,
        });
        let target = wish.target(cluster.nodes().len() as u64);
        assert_eq!(newest.unwrap_or_else(|| voters(&[1, 2, 3])), target, "{change:?} at {index}");
    }
}

/// Three members, and more nodes that may become members.
fn with_guests(guests: u64, adjust: fn(Config) -> Config) -> Cluster {
    let mut cluster = Cluster::with(3, adjust);
    (4..4 + guests).for_each(|guest| cluster.join(guest, adjust));
    // Without a leader little can change.
    cluster.run(3 * ELECTION);
    cluster
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

/// Everything is compacted at once, and snapshots go in many pieces.
fn forgetful(config: Config) -> Config {
    config
        .compaction_margin(0)
        .max_snapshot_chunk_bytes(16)
        .max_in_flight_snapshot_bytes(48)
        .max_cached_bytes(100)
}

/// No two nodes agree on what to keep or how much may be under way.
fn diverse(node: u64, config: Config) -> Config {
    let n = node as usize;
    config
        .compaction_margin(node - 1)
        .max_snapshot_chunk_bytes(8 * n)
        .max_in_flight_snapshot_bytes(60 / n)
        .pre_vote(node != 2)
}

proptest! {
    #[test]
    fn nodes_that_forget_much_stay_safe_and_recover(
        verbs in prop::collection::vec(any_verb_or_snapshot(3), 0..150)
    ) {
        play(Cluster::with(3, forgetful), verbs);
    }

    #[test]
    fn nodes_with_different_settings_stay_safe_and_recover(
        verbs in prop::collection::vec(any_verb_or_snapshot(5), 0..150)
    ) {
        play(Cluster::each(5, diverse), verbs);
    }

    #[test]
    fn nodes_that_write_at_once_stay_safe_and_recover(
        verbs in prop::collection::vec(any_verb_or_snapshot(3), 0..150)
    ) {
        let mut cluster = Cluster::with(3, forgetful);
        [1, 3].into_iter().for_each(|node| cluster.write_at_once(node));
        play(cluster, verbs);
    }

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

    #[test]
    fn a_cluster_whose_members_change_stays_safe_and_recovers(
        verbs in prop::collection::vec(any_verb_of_changing_members(6), 0..120)
    ) {
        play(with_guests(3, |config| config.compaction_margin(1)), verbs);
    }

    #[test]
    fn a_cluster_whose_members_change_stays_safe_and_recovers_with_tiny_limits(
        verbs in prop::collection::vec(any_verb_of_changing_members(5), 0..120)
    ) {
        play(with_guests(2, |config| tiny(config).max_append_entries(1).max_unpersisted_bytes(3000).compaction_margin(1)), verbs);
    }

    #[test]
    fn a_cluster_whose_members_change_stays_safe_and_recovers_without_pre_vote(
        verbs in prop::collection::vec(any_verb_of_changing_members(5), 0..120)
    ) {
        play(with_guests(2, |config| config.pre_vote(false)), verbs);
    }

    /// Nobody's clock runs ahead here: leases rest on clocks.
    #[test]
    fn reads_by_lease_see_what_was_complete_while_members_and_leaders_change(
        verbs in prop::collection::vec(any_verb_of_changing_members(5), 0..160)
    ) {
        let keeps_time = |verb: &Verb| !matches!(verb, Verb::Timeout(_));
        let verbs = verbs.into_iter().filter(keeps_time).collect();
        play(with_guests(2, |config| config.read_leases(1000)), verbs);
    }
}
