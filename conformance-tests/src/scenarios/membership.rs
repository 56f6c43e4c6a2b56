//! Nodes come and go while clients with sessions never stop (dissertation, chapters 3.10 and 4).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use raft_node::core::RoleKind;

use crate::cluster::{Cluster, Members, Setup};
use crate::lab::Lab;
use crate::scenarios::load::{Keys, Load};

const EVERY: u64 = 10;
const CLIENTS: usize = 3;
/// A change is made within so many election timeouts, with all attempts.
const PATIENCE: f64 = 40.0;

fn begin<C: Cluster>(cluster: C, founders: usize) -> (Lab<C>, Load) {
    let setup = Setup {
        founders: Some(founders),
        snapshot_every: Some(EVERY),
        sessions: true,
        ..Setup::default()
    };
    (Lab::begin_with(cluster, setup), Load::new(CLIENTS, Keys::Shared(2)))
}

/// The last checks of every scenario here.
fn end<C: Cluster>(mut lab: Lab<C>, mut load: Load) {
    load.makes_progress(&mut lab, 2);
    load.settle(&mut lab);
    lab.end();
}

/// Whether the node knows exactly these members.
fn knows<C: Cluster>(lab: &mut Lab<C>, node: usize, voters: &[usize], learners: &[usize]) -> bool {
    let wanted = Members { voters: voters.to_vec(), learners: learners.to_vec(), joint: false };
    lab.cluster.members(node).is_some_and(|members| members == wanted)
}

/// What each node believes, for the report of a failure.
fn views<C: Cluster>(lab: &mut Lab<C>) -> String {
    let mut views = String::new();
    for node in 0..lab.size() {
        let (role, members) = (lab.cluster.role(node), lab.cluster.members(node));
        let length = lab.cluster.log_length(node);
        views += &format!("node {node}: {role:?}, {members:?}, {length:?} entries\n");
    }
    views
}

/// Makes these the members, through one running node after another, and waits until all of them
/// that run know it.
#[track_caller]
fn change<C: Cluster>(lab: &mut Lab<C>, load: &mut Load, voters: &[usize], learners: &[usize]) {
    let (mut node, mut call) = (voters[0], None);
    let mut failures = Vec::new();
    let done = load.until(lab, PATIENCE, |lab| {
        let id = *call.get_or_insert_with(|| lab.cluster.change_membership(node, voters, learners));
        match lab.cluster.answer(id) {
            None => return false,
            Some(Ok(_)) => return true,
            Some(Err(error)) => failures.push((node, error)),
        }
        // Another node may know better; and a change that is under way may be this one.
        (node, call) = (lab.after(node, 1), None);
        false
    });
    let views = views(lab);
    lab.demand(done, || {
        format!("the members did not become {voters:?}; asked {node} after {failures:?}\n{views}")
    });
    let known = load.until(lab, PATIENCE, |lab| {
        voters
            .iter()
            .chain(learners)
            .all(|node| !lab.cluster.is_running(*node) || knows(lab, *node, voters, learners))
    });
    lab.demand(known, || format!("not all of {voters:?} and {learners:?} know that they are it"));
}

/// Waits until all these have applied whatever anybody has.
#[track_caller]
fn all_apply<C: Cluster>(lab: &mut Lab<C>, load: &mut Load, nodes: &[usize]) {
    load.settle(lab);
    let place = lab.agree(nodes.len(), true);
    let caught_up = lab.until(PATIENCE, |lab| {
        let counts = |node: &usize| lab.cluster.oracle(|oracle| oracle.applied_by(*node));
        nodes.iter().map(counts).all(|count| count >= place)
    });
    lab.demand(caught_up, || format!("not all of {nodes:?} have caught up"));
}

#[track_caller]
fn leader_among<C: Cluster>(lab: &mut Lab<C>, load: &mut Load, nodes: &[usize]) -> usize {
    let mut leader = None;
    let found = load.until(lab, PATIENCE, |lab| {
        leader = lab.leader_now().filter(|node| nodes.contains(node));
        leader.is_some()
    });
    lab.demand(found, || format!("none of {nodes:?} leads"));
    leader.unwrap_or_default()
}

/// A cluster of one becomes one of three, and then of five.
pub fn grow_from_one_to_five<C: Cluster>(cluster: C) {
    let (mut lab, mut load) = begin(cluster, 1);
    load.makes_progress(&mut lab, 2);
    change(&mut lab, &mut load, &[0, 1, 2], &[]);
    all_apply(&mut lab, &mut load, &[0, 1, 2]);
    change(&mut lab, &mut load, &[0, 1, 2, 3, 4], &[]);
    all_apply(&mut lab, &mut load, &[0, 1, 2, 3, 4]);
    // All votes count: two of five may go, whoever they are.
    let leader = leader_among(&mut lab, &mut load, &[0, 1, 2, 3, 4]);
    let other = lab.after(leader, 1);
    lab.disconnect([leader, other]);
    load.makes_progress(&mut lab, 2);
    lab.connect([leader, other]);
    all_apply(&mut lab, &mut load, &[0, 1, 2, 3, 4]);
    end(lab, load);
}

/// One node after the other is replaced by a new one, until none of the founders is left.
pub fn replace_every_node<C: Cluster>(cluster: C) {
    let (mut lab, mut load) = begin(cluster, 3);
    let mut members = [0, 1, 2];
    for place in 0..3 {
        load.makes_progress(&mut lab, 1);
        members[place] = 3 + place;
        let mut voters = members;
        voters.sort_unstable();
        change(&mut lab, &mut load, &voters, &[]);
        lab.cluster.crash(place);
    }
    all_apply(&mut lab, &mut load, &[3, 4, 5]);
    end(lab, load);
}

/// A learner receives everything, counts for nothing, and becomes a voter (R142).
pub fn learner_becomes_a_voter<C: Cluster>(cluster: C) {
    let (mut lab, mut load) = begin(cluster, 2);
    change(&mut lab, &mut load, &[0, 1], &[2]);
    all_apply(&mut lab, &mut load, &[0, 1, 2]);
    // Two of three nodes are there, but only one of two voters.
    lab.disconnect([1]);
    lab.sleep(3.0);
    lab.no_leader();
    lab.connect([1]);
    change(&mut lab, &mut load, &[0, 1, 2], &[]);
    lab.disconnect([1]);
    load.makes_progress(&mut lab, 2);
    lab.connect([1]);
    all_apply(&mut lab, &mut load, &[0, 1, 2]);
    end(lab, load);
}

/// A leader that is removed sees to it that another one leads (R070).
pub fn remove_the_leader<C: Cluster>(cluster: C) {
    let (mut lab, mut load) = begin(cluster, 3);
    load.makes_progress(&mut lab, 1);
    let leader = leader_among(&mut lab, &mut load, &[0, 1, 2]);
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    change(&mut lab, &mut load, &others, &[]);
    leader_among(&mut lab, &mut load, &others);
    load.makes_progress(&mut lab, 2);
    lab.sleep(2.0);
    let role = lab.cluster.role(leader);
    let leads = role.is_some_and(|(role, _)| role == RoleKind::Leader);
    lab.demand(!leads, || "a node that was removed still leads".into());
    all_apply(&mut lab, &mut load, &others);
    end(lab, load);
}

/// A node is added whose log would begin before the logs of the others do: it needs a snapshot
/// (R076).
pub fn add_a_node_that_is_far_behind<C: Cluster>(cluster: C) {
    let (mut lab, mut load) = begin(cluster, 3);
    while lab.commands() < 5 * EVERY as usize {
        load.makes_progress(&mut lab, 2);
    }
    load.settle(&mut lab);
    lab.logs_shrink_to(2 * EVERY);
    change(&mut lab, &mut load, &[0, 1, 2, 3], &[]);
    all_apply(&mut lab, &mut load, &[0, 1, 2, 3]);
    // It goes on from the snapshot after a restart too.
    lab.restart(3);
    all_apply(&mut lab, &mut load, &[0, 1, 2, 3]);
    end(lab, load);
}

/// A node that was removed while it was away comes back and disturbs nobody, restarted or not
/// (R069).
pub fn removed_node_comes_back<C: Cluster>(cluster: C) {
    let (mut lab, mut load) = begin(cluster, 4);
    load.makes_progress(&mut lab, 1);
    let leader = leader_among(&mut lab, &mut load, &[0, 1, 2, 3]);
    let away = lab.after(leader, 1);
    lab.disconnect([away]);
    let others: Vec<usize> = (0..4).filter(|node| *node != away).collect();
    change(&mut lab, &mut load, &others, &[]);
    leader_among(&mut lab, &mut load, &others);
    let reign = lab.cluster.role(leader);
    lab.connect([away]);
    load.run(&mut lab, 3.0);
    lab.restart(away);
    load.run(&mut lab, 3.0);
    let later = lab.cluster.role(leader);
    lab.demand(reign == later, || format!("the leader was {reign:?} and is {later:?}"));
    all_apply(&mut lab, &mut load, &others);
    end(lab, load);
}

/// A leader without a majority changes nothing, the others can, and all agree in the end.
pub fn change_during_a_partition<C: Cluster>(cluster: C) {
    let (mut lab, mut load) = begin(cluster, 5);
    load.makes_progress(&mut lab, 1);
    let leader = leader_among(&mut lab, &mut load, &[0, 1, 2, 3, 4]);
    let with_leader = lab.after(leader, 1);
    let sides: Vec<bool> = (0..5).map(|node| node == leader || node == with_leader).collect();
    let majority: Vec<usize> = (0..5).filter(|node| !sides[*node]).collect();
    let mut pair = [leader, with_leader];
    pair.sort_unstable();
    lab.cluster.partition(&sides);
    let vain = lab.cluster.change_membership(leader, &pair, &[]);
    load.run(&mut lab, 3.0);
    let answer = lab.cluster.answer(vain);
    lab.demand(!matches!(answer, Some(Ok(_))), || "a minority has made itself a cluster".into());

    let grown: Vec<usize> = (0..5).filter(|node| *node != with_leader).collect();
    change_within(&mut lab, &mut load, &majority, &grown);
    lab.cluster.heal();
    let healed = load.until(&mut lab, PATIENCE, |lab| {
        grown.iter().all(|node| knows(lab, *node, &grown, &[]))
            && lab.cluster.answer(vain).is_some()
    });
    lab.demand(healed, || "not all came to the same members after the partition".into());
    let answer = lab.cluster.answer(vain);
    lab.demand(!matches!(answer, Some(Ok(_))), || "two changes at once were both made".into());
    all_apply(&mut lab, &mut load, &grown);
    end(lab, load);
}

/// Asks only those nodes, and waits only for them.
#[track_caller]
fn change_within<C: Cluster>(lab: &mut Lab<C>, load: &mut Load, asked: &[usize], voters: &[usize]) {
    let (mut turn, mut call) = (0, None);
    let done = load.until(lab, PATIENCE, |lab| {
        let node = asked[turn % asked.len()];
        let id = *call.get_or_insert_with(|| lab.cluster.change_membership(node, voters, &[]));
        match lab.cluster.answer(id) {
            Some(Ok(_)) => return true,
            Some(Err(_)) => (turn, call) = (turn + 1, None),
            None => {}
        }
        false
    });
    lab.demand(done, || format!("a majority did not change its members to {voters:?}"));
}

/// The leadership goes round, again and again, while clients go on (R141).
pub fn transfer_under_load<C: Cluster>(cluster: C) {
    let (mut lab, mut load) = begin(cluster, 3);
    load.makes_progress(&mut lab, 1);
    for _ in 0..lab.rounds(30).max(4) {
        let leader = leader_among(&mut lab, &mut load, &[0, 1, 2]);
        let to = lab.after(leader, 1);
        let mut call = None;
        let done = load.until(&mut lab, PATIENCE, |lab| {
            let from = lab.after(to, 1);
            let id = *call.get_or_insert_with(|| lab.cluster.transfer(from, Some(to)));
            match lab.cluster.answer(id) {
                Some(Ok(_)) => return true,
                Some(Err(_)) => call = None,
                None => {}
            }
            false
        });
        lab.demand(done, || format!("node {to} did not come to lead"));
        leader_among(&mut lab, &mut load, &[0, 1, 2]);
    }
    all_apply(&mut lab, &mut load, &[0, 1, 2]);
    end(lab, load);
}

/// All nodes are restarted, one after the other, and each leader hands over first: that leaves the
/// cluster without a leader for less long than the crash of one leader does.
pub fn rolling_restart<C: Cluster>(cluster: C) {
    let (mut lab, mut load) = begin(cluster, 3);
    load.makes_progress(&mut lab, 2);
    // On a machine that is busy with other things one crash may be noticed late, and one handover
    // may fail.
    let crashed = outages(&mut lab, &mut load, C::crash);
    let stopped = outages(&mut lab, &mut load, C::stop);
    lab.demand(stopped[1] * 3 < crashed[1], || {
        format!("no leader for {crashed:?} steps after crashes, {stopped:?} after graceful stops")
    });
    end(lab, load);
}

/// For how many steps nobody leads when the leader ends, three times, ascending.
fn outages<C: Cluster>(lab: &mut Lab<C>, load: &mut Load, end: fn(&mut C, usize)) -> [u64; 3] {
    let mut outages = [0; 3];
    for outage in &mut outages {
        let leader = leader_among(lab, load, &[0, 1, 2]);
        end(&mut lab.cluster, leader);
        *outage = leaderless(lab, load);
        lab.start_all();
        all_apply(lab, load, &[0, 1, 2]);
    }
    outages.sort_unstable();
    outages
}

/// For how many steps nobody leads.
fn leaderless<C: Cluster>(lab: &mut Lab<C>, load: &mut Load) -> u64 {
    let mut steps = 0;
    let found = load.until(lab, PATIENCE, |lab| {
        steps += 1;
        lab.leader_now().is_some()
    });
    lab.demand(found, || "no leader".into());
    steps
}
