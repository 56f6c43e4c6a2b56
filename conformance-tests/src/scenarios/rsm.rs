//! The labs' tests of a replicated state machine that is spoken to directly (2025): each increment
//! of their counter is a command here, and the oracle counts.

use bytes::Bytes;

use crate::cluster::{CallId, Cluster, Setup};
use crate::lab::Lab;

const EVERY: u64 = 20;

/// Increments are answered one after the other and reach all replicas.
pub fn basic_4a<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    increment(&mut lab, 10, 3);
    lab.end();
}

/// Increments at the same time are all counted.
pub fn concurrent_4a<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    let leader = lab.one_leader();
    let calls: Vec<_> = (0..50).map(|_| lab.propose(leader)).collect();
    all_answered(&mut lab, &calls, 10.0);
    for (call, command) in &calls {
        let answer = lab.cluster.answer(*call);
        lab.demand(matches!(answer, Some(Ok(_))), || format!("a steady leader said {answer:?}"));
        lab.truly_answered(*call, command);
    }
    let everywhere = lab.applied(50, 3);
    lab.demand(everywhere, || "some replica does not count 50".into());
    let commands = lab.commands();
    lab.demand(commands == 50, || format!("counted {commands}, not 50"));
    lab.end();
}

/// Two replicas count on without their leader, and the third catches up.
pub fn leader_failure_4a<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    lab.agree(3, true);
    let leader = lab.one_leader();
    lab.disconnect([leader]);
    let place = lab.agree(2, true);
    lab.connect([leader]);
    let caught_up = lab.applied(place, 3);
    lab.demand(caught_up, || "the old leader did not catch up".into());
    lab.end();
}

/// What a leader was given after it had been cut off is never counted, and everybody who gave it
/// is told so in time.
pub fn leader_partition_4a<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    lab.agree(3, true);
    let leader = lab.one_leader();
    let sides: Vec<bool> = (0..3).map(|node| node == leader).collect();
    lab.cluster.partition(&sides);
    let calls: Vec<_> = (0..100).map(|_| lab.propose(leader)).collect();
    lab.sleep(0.01);
    let inside = lab.after(leader, 1);
    let counted = lab.until(10.0, |lab| {
        let (call, command) = lab.propose(inside);
        lab.until(1.0, |lab| lab.cluster.answer(call).is_some());
        matches!(lab.cluster.answer(call), Some(Ok(_))) && {
            lab.truly_answered(call, &command);
            true
        }
    });
    lab.demand(counted, || "the majority does not count on".into());
    let success = calls.iter().find(|(call, _)| matches!(lab.cluster.answer(*call), Some(Ok(_))));
    lab.demand(success.is_none(), || "a leader without a majority counted".into());
    lab.cluster.heal();
    all_answered(&mut lab, &calls, 3.0);
    lab.agree(3, true);
    for (call, command) in &calls {
        let answer = lab.cluster.answer(*call);
        let place = lab.cluster.oracle(|oracle| oracle.ordinal_of(command, 0));
        lab.demand(place.is_none() && !matches!(answer, Some(Ok(_))), || {
            format!("a command of a deposed leader: place {place:?}, answer {answer:?}")
        });
    }
    lab.end();
}

/// After a restart of all nodes everything is counted again, once.
pub fn restart_replay_4a<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    restart_and_count(&mut lab);
    lab.end();
}

/// Nobody is left waiting by a shutdown.
pub fn shutdown_4a<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    let leader = lab.one_leader();
    let calls: Vec<_> = (0..100).map(|_| lab.propose(leader)).collect();
    lab.sleep(0.02);
    lab.crash_all();
    all_answered(&mut lab, &calls, 11.0);
    lab.end();
}

/// Nobody who was cut off by a shutdown is answered with what others did after it.
pub fn restart_submit_4a<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    restart_and_count(&mut lab);
    let leader = lab.one_leader();
    let calls: Vec<_> = (0..100).map(|_| lab.propose(leader)).collect();
    lab.sleep(0.02);
    lab.crash_all();
    lab.sleep(1.0);
    lab.start_all();
    lab.agree(3, true);
    all_answered(&mut lab, &calls, 1.0);
    for (call, command) in &calls {
        lab.truly_answered(*call, command);
    }
    lab.end();
}

/// The same from snapshots, with short logs.
pub fn snapshot_4c<C: Cluster>(cluster: C) {
    let mut lab =
        Lab::begin_with(cluster, Setup { snapshot_every: Some(EVERY), ..Setup::default() });
    restart_and_count(&mut lab);
    lab.logs_shrink_to(2 * EVERY);
    lab.end();
}

/// Counts one by one, each on `replicas` nodes.
fn increment<C: Cluster>(lab: &mut Lab<C>, count: u64, replicas: usize) {
    for _ in 0..count {
        let before = lab.commands();
        let place = lab.agree(replicas, true);
        lab.demand(place > before, || format!("counted {place} after {before}"));
    }
}

fn restart_and_count<C: Cluster>(lab: &mut Lab<C>) {
    let count = lab.rounds(100).max(2 * EVERY);
    increment(lab, count, 3);
    let before = lab.commands();
    lab.crash_all();
    lab.sleep(1.0);
    lab.start_all();
    let place = lab.agree(3, true);
    lab.demand(place > before, || format!("counted {place} after {before}"));
    for node in 0..3 {
        let counted = lab.cluster.oracle(|oracle| oracle.applied_by(node));
        lab.demand(counted >= place, || format!("node {node} counts {counted}, not {place}"));
    }
}

fn all_answered<C: Cluster>(lab: &mut Lab<C>, calls: &[(CallId, Bytes)], timeouts: f64) {
    let answered = lab
        .until(timeouts, |lab| calls.iter().all(|(call, _)| lab.cluster.answer(*call).is_some()));
    lab.demand(answered, || "somebody was never answered".into());
}
