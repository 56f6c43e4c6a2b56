//! The labs' tests of a replicated state machine that is spoken to directly (2025): each increment
//! of their counter is a command here, and the oracle counts.

use alloc::format;
use alloc::vec::Vec;

use crate::cluster::{CallId, Cluster, Setup};
use crate::lab::Lab;

const EVERY: u64 = 20;
const LOG_LIMIT: u64 = 2 * EVERY;

/// Increments are answered one after the other, with the count, and reach all replicas.
pub fn basic_4a<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    for _ in 0..10 {
        increment(&mut lab);
    }
    count_is_exact(&mut lab);
    lab.end();
}

/// Increments at the same time are all counted.
pub fn concurrent_4a<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    let leader = lab.one_leader();
    let calls: Vec<_> = (0..50).map(|_| lab.propose(leader).0).collect();
    all_answered(&mut lab, &calls, 10.0);
    for call in &calls {
        let answer = lab.place(*call);
        lab.demand(matches!(answer, Some(Ok(_))), || format!("a steady leader said {answer:?}"));
    }
    count_is_exact(&mut lab);
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
        let (call, _) = lab.propose(inside);
        lab.until(1.0, |lab| lab.cluster.answer(call).is_some());
        matches!(lab.cluster.answer(call), Some(Ok(_)))
    });
    lab.demand(counted, || "the majority does not count on".into());
    let success = calls.iter().find(|(call, _)| matches!(lab.cluster.answer(*call), Some(Ok(_))));
    lab.demand(success.is_none(), || "a leader without a majority counted".into());
    lab.cluster.heal();
    let stranded: Vec<CallId> = calls.iter().map(|(call, _)| *call).collect();
    all_answered(&mut lab, &stranded, 3.0);
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
    restart_and_count(&mut lab, |_| ());
    lab.end();
}

/// Nobody is left waiting by a crash of all nodes, and nobody is told anything wrong.
pub fn shutdown_4a<C: Cluster>(cluster: C) {
    shut_down(cluster, Lab::crash_all);
}

/// The same when an operator stops one node after the other, and each hands over what it leads.
pub fn graceful_shutdown_4a<C: Cluster>(cluster: C) {
    shut_down(cluster, |lab| (0..lab.size()).for_each(|node| lab.cluster.stop(node)));
}

fn shut_down<C: Cluster>(cluster: C, stop_all: impl FnOnce(&mut Lab<C>)) {
    let mut lab = Lab::begin(cluster);
    let leader = lab.one_leader();
    let calls: Vec<_> = (0..100).map(|_| lab.propose(leader).0).collect();
    lab.sleep(0.02);
    stop_all(&mut lab);
    all_answered(&mut lab, &calls, 11.0);
    // What they were told has to be true of what comes back.
    lab.start_all();
    lab.agree(3, true);
    count_is_exact(&mut lab);
    lab.end();
}

/// Nobody who was cut off by a shutdown is answered with what others did after it.
pub fn restart_submit_4a<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    restart_and_count(&mut lab, |_| ());
    let leader = lab.one_leader();
    let calls: Vec<_> = (0..100).map(|_| lab.propose(leader).0).collect();
    lab.sleep(0.02);
    lab.crash_all();
    lab.sleep(1.0);
    lab.start_all();
    lab.agree(3, true);
    all_answered(&mut lab, &calls, 1.0);
    count_is_exact(&mut lab);
    lab.end();
}

/// The same from snapshots, with short logs before and after.
pub fn snapshot_4c<C: Cluster>(cluster: C) {
    let mut lab =
        Lab::begin_with(cluster, Setup { snapshot_every: Some(EVERY), ..Setup::default() });
    restart_and_count(&mut lab, |lab| lab.logs_shrink_to(LOG_LIMIT));
    lab.logs_shrink_to(LOG_LIMIT);
    lab.end();
}

/// Counts one more, and demands that the answer is the count. Tries again when an attempt comes to
/// nothing.
fn increment<C: Cluster>(lab: &mut Lab<C>) {
    let mut place = None;
    let counted = lab.until(10.0, |lab| {
        let Some(leader) = lab.leader_now() else { return false };
        let (call, _) = lab.propose(leader);
        lab.until(2.0, |lab| lab.cluster.answer(call).is_some());
        place = lab.place(call).and_then(Result::ok);
        place.is_some()
    });
    lab.demand(counted, || "an increment came to nothing again and again".into());
    let (place, count) = (place.unwrap_or_default(), lab.proposed());
    lab.demand(count.contains(&place), || format!("answered {place}, the count is in {count:?}"));
}

/// Waits until all replicas have the same count, which is that of all increments.
fn count_is_exact<C: Cluster>(lab: &mut Lab<C>) {
    let total = lab.commands();
    let count = lab.proposed();
    lab.demand(count.contains(&total), || format!("counted {total}, the count is in {count:?}"));
    let everywhere = lab.applied(total, 3);
    lab.demand(everywhere, || format!("some replica does not count {total}"));
    let after = lab.commands();
    lab.demand(after == total, || format!("counted {after} after {total}, by nobody"));
}

/// Counts, restarts all nodes and counts on. `before` looks at the nodes before they go.
fn restart_and_count<C: Cluster>(lab: &mut Lab<C>, before: impl FnOnce(&mut Lab<C>)) {
    for _ in 0..lab.rounds(100).max(2 * EVERY) {
        increment(lab);
    }
    count_is_exact(lab);
    before(lab);
    lab.crash_all();
    lab.sleep(1.0);
    lab.start_all();
    increment(lab);
    count_is_exact(lab);
}

fn all_answered<C: Cluster>(lab: &mut Lab<C>, calls: &[CallId], timeouts: f64) {
    let answered =
        lab.until(timeouts, |lab| calls.iter().all(|call| lab.cluster.answer(*call).is_some()));
    lab.demand(answered, || "somebody was never answered".into());
}
