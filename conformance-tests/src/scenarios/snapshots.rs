//! Part D of the labs: snapshots, and logs that do not grow for ever.

use alloc::format;

use crate::cluster::{Cluster, Network, Setup};
use crate::lab::Lab;

/// A snapshot follows after so many entries, as in the labs.
const EVERY: u64 = 10;
/// How long a log may be once everything is applied: what came since the last snapshot, and as
/// much while that was written.
const LOG_LIMIT: u64 = 2 * EVERY;

const UNRELIABLE: Network = Network { unreliable: true, long_reordering: false };

/// How the victim of a round goes away, and on which network.
#[derive(Clone, Copy, Default)]
struct Faults {
    disconnect: bool,
    crash: bool,
    unreliable: bool,
}

/// Logs are cut, and places go on.
pub fn snapshot_basic_2d<C: Cluster>(cluster: C) {
    install(cluster, Faults::default());
}

/// A node that was cut off catches up from a snapshot.
pub fn snapshot_install_2d<C: Cluster>(cluster: C) {
    install(cluster, Faults { disconnect: true, ..Faults::default() });
}

/// The same on a network that loses messages.
pub fn snapshot_install_unreliable_2d<C: Cluster>(cluster: C) {
    install(cluster, Faults { disconnect: true, unreliable: true, ..Faults::default() });
}

/// A node that crashed restarts from its own snapshot and catches up from another one.
pub fn snapshot_install_crash_2d<C: Cluster>(cluster: C) {
    install(cluster, Faults { crash: true, ..Faults::default() });
}

/// The same on a network that loses messages.
pub fn snapshot_install_un_crash_2d<C: Cluster>(cluster: C) {
    install(cluster, Faults { crash: true, unreliable: true, ..Faults::default() });
}

fn begin<C: Cluster>(cluster: C) -> Lab<C> {
    Lab::begin_with(cluster, Setup { snapshot_every: Some(EVERY), ..Setup::default() })
}

/// In each round one node is away while the others go on for more than a snapshot, and then has to
/// catch up.
fn install<C: Cluster>(mut cluster: C, faults: Faults) {
    cluster.set_network(Network { unreliable: faults.unreliable, long_reordering: false });
    let mut lab = begin(cluster);
    lab.agree(3, true);
    let mut leader = lab.one_leader();
    let absent = faults.disconnect || faults.crash;
    for round in 0..lab.rounds(30) {
        let next = lab.after(leader, 1);
        // The node that is given the burst is a follower now and then.
        let (victim, sender) = if round % 3 == 1 { (leader, next) } else { (next, leader) };
        if faults.disconnect {
            lab.disconnect([victim]);
        }
        if faults.crash {
            lab.cluster.crash(victim);
        }
        if absent {
            lab.agree(2, true);
        }
        for _ in 0..EVERY + lab.cluster.random(EVERY) {
            lab.propose(sender);
        }
        lab.agree(if absent { 2 } else { 3 }, true);
        lab.logs_shrink_to(LOG_LIMIT);
        if absent {
            lab.start_all();
            lab.agree(3, true);
            leader = lab.one_leader();
        }
    }
    lab.logs_shrink_to(LOG_LIMIT);
    let installs = lab.cluster.oracle(|oracle| oracle.installs());
    lab.demand(installs > 0 || !absent, || "nobody caught up from a snapshot".into());
    lab.end();
}

/// Places do not go back when all nodes restart from snapshots.
pub fn snapshot_all_crash_2d<C: Cluster>(cluster: C) {
    all_crash(cluster, Network::default());
}

/// The same on a network that loses messages.
pub fn snapshot_all_crash_unreliable_2d<C: Cluster>(cluster: C) {
    all_crash(cluster, UNRELIABLE);
}

fn all_crash<C: Cluster>(mut cluster: C, network: Network) {
    cluster.set_network(network);
    let mut lab = begin(cluster);
    lab.agree(3, true);
    for _ in 0..lab.rounds(5).max(3) {
        for _ in 0..EVERY / 2 + lab.cluster.random(EVERY) {
            lab.agree(3, true);
        }
        let before = lab.agree(3, true);
        lab.crash_all();
        lab.start_all();
        let after = lab.agree(3, true);
        lab.demand(after > before, || format!("place {after} was given after {before}"));
    }
    lab.logs_shrink_to(LOG_LIMIT);
    lab.end();
}

/// What a node writes after its restart does not replace a good snapshot by an empty one (R102).
pub fn snapshot_init_2d<C: Cluster>(cluster: C) {
    init(cluster, Network::default());
}

/// The same on a network that loses messages.
pub fn snapshot_init_unreliable_2d<C: Cluster>(cluster: C) {
    init(cluster, UNRELIABLE);
}

fn init<C: Cluster>(mut cluster: C, network: Network) {
    cluster.set_network(network);
    let mut lab = begin(cluster);
    for _ in 0..=EVERY {
        lab.agree(3, true);
    }
    lab.logs_shrink_to(EVERY);
    lab.crash_all();
    lab.start_all();
    // Has everybody write something that is no snapshot.
    lab.agree(3, true);
    lab.crash_all();
    lab.start_all();
    lab.agree(3, true);
    lab.logs_shrink_to(LOG_LIMIT);
    lab.end();
}

/// Without a policy a log is cut when an operator asks for a snapshot, node by node, and a node
/// that was away then catches up from it.
pub fn snapshot_on_request<C: Cluster>(cluster: C) {
    const COMMANDS: u64 = 30;
    let mut lab = Lab::begin(cluster);
    lab.agree(3, true);
    let leader = lab.one_leader();
    let away = lab.after(leader, 1);
    lab.disconnect([away]);
    for _ in 0..COMMANDS {
        lab.agree(2, true);
    }
    let before = lab.longest_log();
    lab.demand(before > COMMANDS, || format!("a log of {before} entries was cut by itself"));
    for node in (0..3).filter(|node| *node != away) {
        let call = lab.cluster.snapshot(node);
        let answered = lab.until(5.0, |lab| lab.cluster.answer(call).is_some());
        let answer = lab.cluster.answer(call);
        lab.demand(answered && matches!(answer, Some(Ok(_))), || format!("{answer:?}"));
    }
    lab.connect([away]);
    lab.agree(3, true);
    let installs = lab.cluster.oracle(|oracle| oracle.installs());
    lab.demand(installs > 0, || "nobody caught up from the snapshot".into());
    lab.crash_all();
    lab.start_all();
    lab.agree(3, true);
    lab.end();
}
