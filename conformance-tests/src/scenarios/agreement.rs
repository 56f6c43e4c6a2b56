//! Part B of the labs: agreement on a log.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use raft_node::core::{RoleKind, Term};

use crate::cluster::{CallId, Cluster};
use crate::lab::Lab;

/// Commands take the places 1, 2, 3, and nothing hides between them.
pub fn basic_agree_2b<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    for ordinal in 1..=3 {
        let early = lab.count(ordinal);
        lab.demand(early == 0, || format!("command {ordinal} applied before it was proposed"));
        let size = lab.size();
        let place = lab.agree(size, true);
        lab.demand(place == ordinal, || format!("command {ordinal} is at place {place}"));
    }
    lab.end();
}

/// Each command is sent to each peer about once.
pub fn rpc_bytes_2b<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    let size = lab.size();
    lab.agree(size, true);
    let before = lab.cluster.traffic().bytes;
    let mut proposed = 0;
    for ordinal in 2..=11 {
        let command = lab.fresh_of(5000);
        proposed += command.len() as u64;
        let place = lab.agree_on(&command, size, false);
        lab.demand(place == ordinal, || format!("command {ordinal} is at place {place}"));
    }
    let sent = lab.cluster.traffic().bytes - before;
    let limit = size as u64 * proposed + 50_000;
    lab.demand(sent <= limit, || format!("{sent} bytes sent for {proposed}, limit {limit}"));
    lab.end();
}

/// Agreement goes on without one follower and stops without two.
pub fn follower_failure_2b<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    lab.agree(3, true);
    let leader = lab.one_leader();
    let cut = lab.after(leader, 1);
    lab.disconnect([cut]);
    lab.agree(2, true);
    lab.sleep(1.0);
    let last = lab.agree(2, true);
    let leader = lab.one_leader();
    let others = [lab.after(leader, 1), lab.after(leader, 2)];
    lab.disconnect(others);
    let (call, _) = lab.propose(leader);
    let refused = lab.cluster.answer(call);
    lab.demand(refused.is_none(), || format!("a leader that was just cut off said {refused:?}"));
    lab.sleep(2.0);
    let applied = lab.count(last + 1);
    lab.demand(applied == 0, || format!("{applied} nodes applied without a majority"));
    lab.end();
}

/// Agreement survives the loss of the leader and stops when the second is lost too.
pub fn leader_failure_2b<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    lab.agree(3, true);
    let first = lab.one_leader();
    lab.disconnect([first]);
    lab.agree(2, true);
    lab.sleep(1.0);
    let last = lab.agree(2, true);
    let second = lab.one_leader();
    lab.disconnect([second]);
    for node in 0..lab.size() {
        lab.propose(node);
    }
    lab.sleep(2.0);
    let applied = lab.count(last + 1);
    lab.demand(applied == 0, || format!("{applied} nodes applied without a majority"));
    lab.end();
}

/// A follower that was away catches up and takes part again.
pub fn fail_agree_2b<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    lab.agree(3, true);
    let leader = lab.one_leader();
    let away = lab.after(leader, 1);
    lab.disconnect([away]);
    lab.agree(2, true);
    lab.agree(2, true);
    lab.sleep(1.0);
    lab.agree(2, true);
    lab.agree(2, true);
    lab.connect([away]);
    lab.agree(3, true);
    lab.sleep(1.0);
    lab.agree(3, true);
    lab.end();
}

/// Three of five are away: nothing commits. What was proposed meanwhile survives or is lost, and
/// its proposer is told the truth.
pub fn fail_no_agree_2b<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    lab.agree(5, true);
    let leader = lab.one_leader();
    let away = [1, 2, 3].map(|steps| lab.after(leader, steps));
    lab.disconnect(away);
    let (call, _) = lab.propose(leader);
    let refused = lab.cluster.answer(call);
    lab.demand(refused.is_none(), || format!("a leader that was just cut off said {refused:?}"));
    lab.sleep(2.0);
    let applied = lab.count(2);
    lab.demand(applied == 0, || format!("{applied} nodes applied without a majority"));
    lab.connect(away);
    lab.one_leader();
    for ordinal in 2..=3 {
        let place = lab.agree(5, true);
        // One more if what was proposed to the minority has survived, and as many as were tried
        // again.
        let most = lab.proposals();
        lab.demand((ordinal..=most).contains(&place), || {
            format!("command {ordinal} is at place {place}, of {most}")
        });
    }
    lab.end();
}

/// Proposals made at the same time all get their place.
pub fn concurrent_starts_2b<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    let same_term = (0..5).any(|_| {
        let leader = lab.one_leader();
        let term = lab.cluster.role(leader);
        let mut proposed = vec![lab.propose(leader)];
        proposed.extend((0..5).map(|_| lab.propose(leader)));
        let all = lab.until(5.0, |lab| {
            proposed.iter().all(|(call, _)| matches!(lab.cluster.answer(*call), Some(Ok(_))))
        });
        let steady = lab.cluster.role(leader) == term;
        if steady {
            lab.demand(all, || "a steady leader did not commit six proposals".into());
            for (_, command) in &proposed {
                let place = lab.cluster.oracle(|oracle| oracle.ordinal_of(command, 0));
                lab.demand(place.is_some(), || "answered, but nobody has applied it".into());
                let size = lab.size();
                let everywhere = lab.applied(place.unwrap_or_default(), size);
                lab.demand(everywhere, || "not applied everywhere".into());
            }
        }
        steady
    });
    lab.demand(same_term, || "the term changed too often".into());
    lab.end();
}

/// The uncommitted entries of an old leader are overwritten.
pub fn rejoin_2b<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    lab.agree(3, true);
    let first = lab.one_leader();
    lab.disconnect([first]);
    let stranded: Vec<_> = (0..3).map(|_| lab.propose(first)).collect();
    lab.agree(2, true);
    let second = lab.one_leader();
    lab.disconnect([second]);
    lab.connect([first]);
    lab.agree(2, true);
    lab.connect([second]);
    lab.agree(3, true);
    for (call, command) in stranded {
        let place = lab.cluster.oracle(|oracle| oracle.ordinal_of(&command, 0));
        let answer = lab.cluster.answer(call);
        lab.demand(place.is_none() && !matches!(answer, Some(Ok(_))), || {
            format!("a command of a deposed leader: place {place:?}, answer {answer:?}")
        });
    }
    lab.end();
}

/// Long divergent logs are brought together in few round trips.
pub fn backup_2b<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    lab.agree(5, true);
    let first = lab.one_leader();
    let with_first = lab.after(first, 1);
    let rest = [2, 3, 4].map(|steps| lab.after(first, steps));
    lab.disconnect(rest);
    for _ in 0..50 {
        lab.propose(first);
    }
    lab.sleep(0.5);
    lab.disconnect([first, with_first]);
    lab.connect(rest);
    for _ in 0..lab.rounds(50) {
        lab.agree(3, true);
    }

    let second = lab.one_leader();
    let other = if second == rest[0] { rest[1] } else { rest[0] };
    lab.disconnect([other]);
    for _ in 0..50 {
        lab.propose(second);
    }
    lab.sleep(0.5);
    lab.disconnect(0..5);
    lab.connect([first, with_first, other]);
    in_few_requests(&mut lab, 3);
    for _ in 0..lab.rounds(50) {
        lab.agree(3, true);
    }
    lab.connect(0..5);
    in_few_requests(&mut lab, 5);
    lab.end();
}

/// Agreement among nodes whose logs differ in fifty entries and more. Two of them have to take them
/// back, so one request for each entry would be a hundred.
fn in_few_requests<C: Cluster>(lab: &mut Lab<C>, replicas: usize) {
    let before = lab.cluster.traffic().requests;
    lab.agree(replicas, true);
    let requests = lab.cluster.traffic().requests - before;
    lab.demand(requests <= 100, || format!("{requests} requests to bring logs together"));
}

/// Elections, agreement and idleness cost few messages.
pub fn count_2b<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    let leader = lab.one_leader();
    let election = lab.cluster.traffic().requests;
    lab.demand((1..=30).contains(&election), || format!("{election} requests for one election"));

    let steady = (0..5).any(|_| few_requests_for_ten(&mut lab, leader));
    lab.demand(steady, || "the term changed too often".into());

    lab.sleep(1.0);
    let before = lab.cluster.traffic().requests;
    lab.sleep(1.0);
    let idle = lab.cluster.traffic().requests - before;
    lab.demand(idle <= 3 * 20, || format!("{idle} requests in one idle election timeout"));
    lab.end();
}

/// Commits ten commands; says whether the term was steady, and then counts the requests.
fn few_requests_for_ten<C: Cluster>(lab: &mut Lab<C>, leader: usize) -> bool {
    let leads = |lab: &mut Lab<C>| -> Option<Term> {
        lab.cluster.role(leader).filter(|(role, _)| *role == RoleKind::Leader).map(|(_, term)| term)
    };
    let Some(term) = leads(lab) else { return false };
    let before = lab.cluster.traffic().requests;
    let calls: Vec<CallId> = (0..12).map(|_| lab.propose(leader).0).collect();
    let all = lab.until(5.0, |lab| {
        calls.iter().take(10).all(|call| matches!(lab.cluster.answer(*call), Some(Ok(_))))
    });
    let requests = lab.cluster.traffic().requests - before;
    if leads(lab) != Some(term) {
        return false;
    }
    lab.demand(all, || "a steady leader did not commit ten commands".into());
    let places: Vec<usize> =
        calls.iter().take(10).filter_map(|call| lab.place(*call)?.ok()).collect();
    let consecutive = places.len() == 10 && places.is_sorted_by(|one, next| one + 1 == *next);
    lab.demand(consecutive, || format!("ten commands took the places {places:?}"));
    let limit = (10 + 1 + 3) * 3;
    lab.demand(requests <= limit, || {
        format!("{requests} requests for ten commands, limit {limit}")
    });
    true
}
