//! Leaving a cluster, and asking for changes from afar. Rows named R and C are those of the
//! project's lists of known bugs and corner cases.

mod common;

use common::*;
use raft_core::{
    Body, Config, ControlResult, Message, Notice, Outcome, Refusal, RequestId, RoleKind,
};

fn led_by_one(size: u64) -> Cluster {
    led_by_one_with(size, |config| config)
}

fn led_by_one_with(size: u64, adjust: fn(Config) -> Config) -> Cluster {
    let mut cluster = Cluster::with(size, adjust);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster
}

fn is_committed(cluster: &Cluster, request: RequestId) -> bool {
    matches!(cluster.outcome(request), Some(Outcome::Committed { .. }))
}

fn refusal(cluster: &Cluster, request: RequestId) -> Option<Refusal> {
    match cluster.outcome(request) {
        Some(Outcome::Refused { reason, .. }) => Some(reason),
        _ => None,
    }
}

const fn is_request(message: &Message) -> bool {
    matches!(message.body, Body::Control { .. })
}

const fn is_answer(message: &Message) -> bool {
    matches!(message.body, Body::ControlReply { .. })
}

const fn is_timeout_now(message: &Message) -> bool {
    matches!(message.body, Body::TimeoutNow)
}

/// How often a configuration was written.
fn times(cluster: &Cluster, node: u64, text: &str) -> usize {
    cluster.log(node).matches(&format!(":{text}")).count()
}

/// Whether a node knows that it is no member, waits for nothing and says nothing.
fn knows_that_it_left(cluster: &Cluster, node: u64) -> bool {
    let told = cluster.host(node).notices.iter().rev().find_map(|notice| match notice {
        Notice::Membership(members) => Some(!members.contains(id(node))),
        _ => None,
    });
    let waits = cluster.host(node).raft.as_ref().is_some_and(|raft| raft.deadline().is_some());
    told == Some(true) && !waits && cluster.role(node) == RoleKind::Follower
}

#[test]
fn a_removed_node_learns_of_it_and_falls_silent() {
    let mut cluster = led_by_one(3);
    cluster.change(1, &voters(&[1, 2]));
    cluster.run(3 * ELECTION);
    assert!(knows_that_it_left(&cluster, 3), "{:?}", cluster.host(3).notices);
    assert_eq!(cluster.status(1).peers.len(), 1, "the leader has stopped speaking to it");
    cluster.run(10 * ELECTION);
    assert_eq!((cluster.leaders(), cluster.term(1)), (vec![1], 1));
    cluster.settle();
}

/// C64: whoever is to be removed need not be there, and is told when it comes back soon.
#[test]
fn an_unreachable_node_is_removed_and_told_later() {
    let mut cluster = led_by_one(3);
    cluster.isolate(3);
    let change = cluster.change(1, &voters(&[1, 2]));
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, change));
    cluster.run(5 * ELECTION);
    cluster.heal();
    cluster.run(3 * ELECTION);
    assert!(knows_that_it_left(&cluster, 3));
    assert_eq!((cluster.leaders(), cluster.term(1)), (vec![1], 1));
    cluster.settle();
}

/// C61: while one of two voters can't be reached, even its own removal can't be committed. After
/// the removal it is needed for nothing.
#[test]
fn one_of_two_voters_leaves_and_the_other_goes_on_alone() {
    let mut cluster = led_by_one(2);
    cluster.isolate(2);
    let change = cluster.change(1, &voters(&[1]));
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.outcome(change), None);
    cluster.heal();
    cluster.run(2 * HEARTBEAT);
    assert!(is_committed(&cluster, change));
    cluster.crash(2);
    let write = cluster.propose(1, "x");
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, write));
    assert_eq!(cluster.leaders(), [1]);
    cluster.settle();
}

/// R069, C20: a node that was removed long ago and does not know it, with and without pre-vote.
#[test]
fn a_removed_node_that_returns_late_disturbs_nobody() {
    let settings: [fn(Config) -> Config; 2] = [|config| config, |config| config.pre_vote(false)];
    for adjust in settings {
        let mut cluster = led_by_one_with(3, adjust);
        cluster.isolate(3);
        cluster.change(1, &voters(&[1, 2]));
        cluster.run(20 * ELECTION);
        assert_eq!(cluster.members(3), "{1 2 3}", "it was not told");
        cluster.heal();
        for _ in 0..10 {
            let write = cluster.propose(1, "x");
            cluster.run(ELECTION);
            assert!(is_committed(&cluster, write));
        }
        assert_eq!((cluster.leaders(), cluster.term(1)), (vec![1], 1));
        assert!(!cluster.leads(3), "votes of nodes that are no members would not count");
    }
}

/// The leader that removed a node may be gone before it could tell.
#[test]
fn the_next_leader_tells_a_removed_node_too() {
    let mut cluster = led_by_one(3);
    cluster.isolate(3);
    let change = cluster.change(1, &members("{2}"));
    cluster.run(2 * ELECTION);
    assert!(is_committed(&cluster, change) && cluster.leads(2), "node 1 has handed over");
    cluster.heal();
    cluster.run(2 * ELECTION);
    assert!(knows_that_it_left(&cluster, 3) && knows_that_it_left(&cluster, 1));
    cluster.settle();
}

/// R068: a learner has no voice, however long it was away.
#[test]
fn a_learner_that_returns_has_not_campaigned() {
    let mut cluster = led_by_one_with(3, |config| config.pre_vote(false));
    cluster.change(1, &members("{1 2 + 3}"));
    cluster.run(HEARTBEAT);
    cluster.isolate(3);
    cluster.run(10 * ELECTION);
    assert_eq!((cluster.role(3), cluster.term(3)), (RoleKind::Follower, 1));
    cluster.heal();
    cluster.run(3 * ELECTION);
    assert_eq!((cluster.leaders(), cluster.term(1)), (vec![1], 1));
    cluster.settle();
}

/// R070, C56, C59: it leads until its removal is committed, by the others alone.
#[test]
fn a_leader_that_leaves_does_not_count_itself() {
    for target in ["{2 3}", "{2 3 + 1}"] {
        let mut node = Lone::of(3);
        node.lead();
        node.hears(2, 1, accepted(1, 1));
        let change = node.change(1, &members(target));
        [2, 3].into_iter().for_each(|from| drop(node.hears(from, 1, accepted(2, 2))));
        assert_eq!((node.members(1), node.commit(1)), (target.into(), 2));
        node.hears(2, 1, accepted(3, 3));
        assert_eq!((node.commit(1), node.outcome(change)), (2, None), "one of two");
        assert!(node.leads(1));
        node.sent();
        let sent = node.hears(3, 1, accepted(3, 3));
        assert!(is_committed(&node, change));
        assert_eq!(sent.iter().filter(|it| is_timeout_now(it)).count(), 1, "it hands over");
        let write = node.propose(1, "x");
        assert_eq!(refusal(&node, write), Some(Refusal::Transferring), "C92");
    }
}

/// Nobody has to wait for an election timeout.
#[test]
fn a_leader_that_leaves_is_followed_at_once() {
    for target in ["{2 3}", "{2 3 + 1}", "{2}"] {
        let mut cluster = led_by_one(3);
        let change = cluster.change(1, &members(target));
        cluster.deliver_all();
        let leaders = cluster.leaders();
        assert!(leaders == [2] || leaders == [3], "{target}: {leaders:?}");
        assert!(is_committed(&cluster, change));
        let write = cluster.propose(leaders[0], "x");
        cluster.settle();
        assert!(is_committed(&cluster, write));
        assert_eq!(cluster.applied(1).contains('x'), target.contains('1'));
    }
}

/// Whether the others are there and do not campaign, or are cut off.
#[test]
fn a_leader_that_leaves_and_can_not_hand_over_leaves_all_the_same() {
    let mut node = Lone::of(3);
    node.lead();
    [2, 3].into_iter().for_each(|from| drop(node.hears(from, 1, accepted(1, 1))));
    node.change(1, &members("{2 3}"));
    for beat in 0..15 {
        let last = node.status(1).last.get();
        [2, 3].into_iter().for_each(|from| drop(node.hears(from, 1, accepted(last, last))));
        assert!(beat > 9 || node.leads(1), "it gives the others an election timeout");
        node.tick(HEARTBEAT);
    }
    assert_eq!((node.role(1), node.members(1)), (RoleKind::Follower, "{2 3}".into()));

    let mut cluster = led_by_one(3);
    cluster.change(1, &members("{2 3}"));
    let mut steps = 0..10;
    while !cluster.under_way().any(is_timeout_now) && steps.next().is_some() {
        cluster.deliver(|_| true);
    }
    assert_eq!(cluster.lose(is_timeout_now).len(), 1);
    cluster.lose(|_| true);
    cluster.isolate(1);
    cluster.run(2 * ELECTION);
    assert_eq!(cluster.role(1), RoleKind::Follower);
    assert!(knows_that_it_left(&cluster, 1));
    cluster.run(3 * ELECTION);
    assert_eq!(cluster.leaders().len(), 1);
    cluster.settle();
}

/// C28: the only log with which a change can be finished may be that of a node which it removes.
#[test]
fn a_removed_voter_with_the_newest_log_leads_once_more() {
    let mut cluster = led_by_one(4);
    cluster.change(1, &voters(&[1, 2, 3]));
    cluster.deliver(is_append);
    cluster.deliver(is_append_reply);
    cluster.deliver(|message| is_append(message) && message.to == id(4));
    cluster.lose(|_| true);
    cluster.crash(1);
    assert_eq!(cluster.members(4), "{1 2 3}");
    assert_eq!(cluster.members(2), "{1 2 3 | 1 2 3 4}");
    cluster.run(10 * ELECTION);
    assert_eq!((cluster.members(2), times(&cluster, 2, "{1 2 3}")), ("{1 2 3}".into(), 1));
    let leaders = cluster.leaders();
    assert!(leaders == [2] || leaders == [3], "{leaders:?}");
    assert!(knows_that_it_left(&cluster, 4));
    cluster.settle();
}

/// R071: the nodes differ in what they think who the members are.
#[test]
fn a_leader_emerges_when_a_removal_is_half_done() {
    for reached in [&[][..], &[2], &[3], &[4], &[2, 3], &[2, 4], &[2, 3, 4]] {
        let mut cluster = led_by_one(4);
        cluster.change(1, &voters(&[1, 2, 3]));
        cluster.deliver(|message| is_append(message) && reached.contains(&message.to.get()));
        cluster.lose(|_| true);
        cluster.crash(1);
        cluster.run(10 * ELECTION);
        assert_eq!(cluster.leaders().len(), 1, "{reached:?}");
        cluster.settle();
    }
}

/// R143: a leader that some follower has never heard of.
#[test]
fn a_follower_that_missed_a_change_follows_the_new_member() {
    let mut cluster = led_by_one(3);
    cluster.join(4, |config| config);
    cluster.isolate(3);
    cluster.change(1, &voters(&[1, 2, 3, 4]));
    cluster.run(HEARTBEAT);
    cluster.transfer(1, Some(4));
    cluster.deliver_all();
    cluster.heal();
    cluster.run(ELECTION);
    assert_eq!(cluster.status(3).leader, Some(id(4)));
    assert_eq!(cluster.members(3), "{1 2 3 4}");
    cluster.settle();
}

/// Each message of a forwarded change is lost once, and each comes twice.
#[test]
fn a_change_asked_at_a_follower_is_made_and_answered_once() {
    let mut cluster = led_by_one(3);
    let change = cluster.change(3, &members("{1 2 + 3}"));
    assert_eq!(cluster.lose(is_request).len(), 1);
    cluster.run(ELECTION / 2);
    assert!(is_committed(&cluster, change), "asked again");

    let change = cluster.change(3, &voters(&[1, 2, 3]));
    let request = cluster.lose(is_request).remove(0);
    cluster.receive(request.clone());
    cluster.receive(request.clone());
    while cluster.deliver(|message| !is_answer(message)) > 0 {}
    let answer = cluster.lose(is_answer);
    assert_eq!((answer.len(), cluster.outcome(change)), (1, None));
    cluster.run(ELECTION / 2);
    assert!(is_committed(&cluster, change), "answered again");
    cluster.receive(request);
    answer.into_iter().for_each(|message| cluster.receive(message));
    cluster.settle();
    assert_eq!((times(&cluster, 1, "{1 2 3}"), times(&cluster, 1, "{1 2 + 3}")), (1, 1));
}

/// Only the leader that was asked can say how it ended, and only to the one that asked.
#[test]
fn an_answer_that_is_for_somebody_else_is_ignored() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "")], 1));
    let change = node.change(1, &voters(&[1, 2]));
    let Body::Control { batch: asked, .. } = node.sent()[0].body else { unreachable!("asked") };
    let answer = |batch| Body::ControlReply { batch, result: ControlResult::Committed(at(1, 1)) };
    node.hears(3, 1, answer(asked));
    node.hears(2, 1, answer(batch(asked.incarnation + 1, asked.sequence)));
    node.hears(2, 1, answer(batch(asked.incarnation, asked.sequence + 1)));
    assert_eq!(node.outcome(change), None);
    node.hears(2, 1, answer(asked));
    assert!(is_committed(&node, change));
    node.hears(2, 1, answer(asked));
}

/// A request is under way for as long as it takes, and is not made again when it is repeated.
#[test]
fn a_change_that_takes_long_is_asked_again_and_answered_at_the_end() {
    let mut cluster = led_by_one(3);
    cluster.join(4, |config| config);
    cluster.isolate(4);
    let change = cluster.change(3, &voters(&[1, 2, 3, 4]));
    let other = cluster.change(3, &voters(&[1, 2, 3]));
    cluster.run(5 * ELECTION);
    assert_eq!((cluster.outcome(change), cluster.outcome(other)), (None, None));
    cluster.heal();
    cluster.run(ELECTION);
    assert!(is_committed(&cluster, change) && is_committed(&cluster, other));
    assert_eq!(times(&cluster, 1, "{1 2 3 + 4}"), 1);
    cluster.settle();
}

/// R129, R146, C49: what became of a change is not known when its leader is gone, and never
/// guessed.
#[test]
fn a_change_whose_leader_is_lost_ends_as_unknown() {
    let mut cluster = led_by_one(3);
    cluster.isolate(1);
    let at_leader = cluster.change(1, &voters(&[1, 2]));
    let at_follower = cluster.change(2, &voters(&[1, 2]));
    cluster.run(HEARTBEAT);
    cluster.elect(3);
    cluster.propose(3, "x");
    cluster.run(3 * ELECTION);
    assert_eq!(cluster.outcome(at_leader), Some(Outcome::Unknown));
    assert_eq!(cluster.outcome(at_follower), Some(Outcome::Unknown));
    cluster.heal();
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.members(1), "{1 2 3}", "C53");
    cluster.settle();
}

/// A node takes a bounded number of such requests, and those that it takes are all answered.
#[test]
fn many_requests_at_a_follower_are_dealt_with_one_after_the_other() {
    let mut cluster = led_by_one(3);
    let targets = ["{1 2 + 3}", "{1 2 3}"].map(members);
    let changes: Vec<_> = (0..20).map(|n| cluster.change(3, &targets[n % 2])).collect();
    cluster.run(ELECTION);
    let refused = changes.iter().filter(|it| refusal(&cluster, **it) == Some(Refusal::Overloaded));
    assert_eq!(refused.count(), 4);
    assert_eq!(changes.iter().filter(|it| is_committed(&cluster, **it)).count(), 16);
    assert_eq!(times(&cluster, 1, "{1 2 + 3}"), 8);
    cluster.settle();
}

/// A node that is removed while it waits for an answer gets one.
#[test]
fn a_node_that_asks_for_its_own_removal_is_answered() {
    let mut cluster = led_by_one(3);
    let change = cluster.change(3, &voters(&[1, 2]));
    cluster.run(5 * ELECTION);
    assert!(is_committed(&cluster, change));
    let late = cluster.change(3, &voters(&[1]));
    assert_eq!(refusal(&cluster, late), Some(Refusal::NoLeader));
    cluster.settle();
}
