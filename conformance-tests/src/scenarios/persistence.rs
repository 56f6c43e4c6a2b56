//! Part C of the labs: crashes, restarts and bad networks.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use raft_node::core::RoleKind;

use crate::cluster::{Cluster, Network};
use crate::lab::Lab;

const UNRELIABLE: Network = Network { unreliable: true, long_reordering: false };

/// Log, term and vote survive the restart of one node and of all.
pub fn persist_1_2c<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    lab.agree(3, true);
    for node in 0..3 {
        lab.cluster.crash(node);
    }
    for node in 0..3 {
        lab.cluster.start(node);
        lab.cluster.connect(node);
    }
    lab.agree(3, true);

    let leader = lab.one_leader();
    lab.restart(leader);
    lab.agree(3, true);

    let leader = lab.one_leader();
    lab.disconnect([leader]);
    let place = lab.agree(2, true);
    lab.restart(leader);
    let caught_up = lab.applied(place, 3);
    lab.demand(caught_up, || "the restarted node did not catch up".into());

    let follower = lab.one_leader();
    let follower = lab.after(follower, 1);
    lab.disconnect([follower]);
    lab.agree(2, true);
    lab.restart(follower);
    lab.agree(3, true);
    lab.end();
}

/// What one majority committed reaches the next through the disk of the one node in both.
pub fn persist_2_2c<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    for _ in 0..lab.rounds(5) {
        lab.agree(5, true);
        let leader = lab.one_leader();
        let [one, two, three, four] = [1, 2, 3, 4].map(|steps| lab.after(leader, steps));
        lab.disconnect([one, two]);
        lab.agree(3, true);
        lab.disconnect([leader, three, four]);
        lab.restart(one);
        lab.restart(two);
        // Two of five can't commit.
        lab.sleep(1.0);
        lab.restart(three);
        lab.agree(3, true);
        lab.connect([four, leader]);
    }
    lab.agree(5, true);
    lab.end();
}

/// The log of a restarted leader wins over that of a node that missed a commit.
pub fn persist_3_2c<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    lab.agree(3, true);
    let leader = lab.one_leader();
    let [one, two] = [1, 2].map(|steps| lab.after(leader, steps));
    lab.disconnect([two]);
    lab.agree(2, true);
    lab.cluster.crash(leader);
    lab.cluster.crash(one);
    lab.connect([two]);
    lab.cluster.start(leader);
    lab.connect([leader]);
    lab.agree(2, true);
    lab.cluster.start(one);
    lab.connect([one]);
    lab.agree(3, true);
    lab.end();
}

/// Leaders crash at the worst moments; no committed entry is ever replaced (paper, figure 8).
pub fn figure_8_2c<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    lab.agree(1, true);
    let mut alive: BTreeSet<usize> = (0..5).collect();
    for _ in 0..lab.rounds(1000) {
        let mut leader = None;
        for node in alive.clone() {
            lab.propose(node);
            if lab.cluster.role(node).is_some_and(|(role, _)| role == RoleKind::Leader) {
                leader = Some(node);
            }
        }
        short_or_long_pause(&mut lab);
        if let Some(leader) = leader {
            lab.cluster.crash(leader);
            alive.remove(&leader);
        }
        if alive.len() < 3 {
            let node = lab.cluster.random(5) as usize;
            if alive.insert(node) {
                lab.cluster.start(node);
                lab.connect([node]);
            }
        }
    }
    for node in 0..5 {
        if alive.insert(node) {
            lab.cluster.start(node);
            lab.connect([node]);
        }
    }
    lab.agree(5, true);
    lab.end();
}

/// One time in ten up to half a timeout, else next to nothing.
fn short_or_long_pause<C: Cluster>(lab: &mut Lab<C>) {
    let span = if lab.cluster.random(10) == 0 { 500 } else { 13 };
    let thousandths = lab.cluster.random(span);
    lab.sleep(thousandths as f64 / 1000.0);
}

/// Agreement goes on when a tenth of all messages is lost, on what is proposed alone and on what is
/// proposed at the same time.
pub fn unreliable_agree_2c<C: Cluster>(mut cluster: C) {
    cluster.set_network(UNRELIABLE);
    let mut lab = Lab::begin(cluster);
    for _ in 0..lab.rounds(49) {
        let leader = lab.leader_now().unwrap_or_default();
        let together: Vec<_> = (0..4).map(|_| lab.propose(leader)).collect();
        lab.agree(1, true);
        for (call, command) in together {
            let answered = lab.until(10.0, |lab| lab.cluster.answer(call).is_some());
            lab.demand(answered, || "a proposal was never answered".into());
            if !matches!(lab.cluster.answer(call), Some(Ok(_))) {
                lab.agree_on(&command, 1, true);
            }
        }
    }
    lab.cluster.set_network(Network::default());
    lab.agree(5, true);
    lab.end();
}

/// Figure 8 with cut links in place of crashes, on a network that loses and reorders.
pub fn figure_8_unreliable_2c<C: Cluster>(mut cluster: C) {
    cluster.set_network(UNRELIABLE);
    let mut lab = Lab::begin(cluster);
    lab.agree(1, true);
    let rounds = lab.rounds(1000);
    for round in 0..rounds {
        if round == rounds / 5 {
            lab.cluster.set_network(Network { unreliable: true, long_reordering: true });
        }
        let mut leader = None;
        for node in 0..5 {
            lab.propose(node);
            let leads = lab.cluster.role(node).is_some_and(|(role, _)| role == RoleKind::Leader);
            if leads && lab.cluster.is_connected(node) {
                leader = Some(node);
            }
        }
        short_or_long_pause(&mut lab);
        if let Some(leader) = leader
            && lab.cluster.random(2) == 0
        {
            lab.disconnect([leader]);
        }
        let connected = (0..5).filter(|node| lab.cluster.is_connected(*node)).count();
        if connected < 3 {
            let node = lab.cluster.random(5) as usize;
            lab.connect([node]);
        }
    }
    lab.connect(0..5);
    lab.agree(5, true);
    lab.end();
}

/// Clients propose while nodes come and go: what a client saw succeed is in the final log.
pub fn reliable_churn_2c<C: Cluster>(cluster: C) {
    churn(cluster, Network::default());
}

/// The same on a network that loses messages.
pub fn unreliable_churn_2c<C: Cluster>(cluster: C) {
    churn(cluster, UNRELIABLE);
}

fn churn<C: Cluster>(mut cluster: C, network: Network) {
    cluster.set_network(network);
    let mut lab = Lab::begin(cluster);
    for _ in 0..lab.rounds(20) {
        if lab.cluster.random(1000) < 200 {
            let node = lab.cluster.random(5) as usize;
            lab.disconnect([node]);
        }
        if lab.cluster.random(1000) < 500 {
            let node = lab.cluster.random(5) as usize;
            if !lab.cluster.is_running(node) {
                lab.cluster.start(node);
            }
            lab.connect([node]);
        }
        if lab.cluster.random(1000) < 200 {
            let node = lab.cluster.random(5) as usize;
            if lab.cluster.is_running(node) {
                lab.cluster.crash(node);
            }
        }
        for _ in 0..7 {
            propose_everywhere(&mut lab);
            lab.sleep(0.1);
        }
    }
    lab.sleep(1.0);
    lab.cluster.set_network(Network::default());
    lab.start_all();
    lab.agree(5, true);
    lab.end();
}

fn propose_everywhere<C: Cluster>(lab: &mut Lab<C>) {
    for node in 0..lab.size() {
        if lab.cluster.is_running(node) {
            lab.propose(node);
        }
    }
}
