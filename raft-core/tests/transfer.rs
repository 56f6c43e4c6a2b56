//! Transfers of leadership, priorities, and leaders that step down by themselves. Rows named R and
//! C are those of the project's lists of known bugs and corner cases.

mod common;

use common::*;
use raft_core::{Body, Config, Event, Membership, Message, Outcome, Refusal, RequestId, RoleKind};

fn led_by_one(size: u64) -> Cluster {
    led_by_one_with(size, |config| config)
}

fn led_by_one_with(size: u64, adjust: fn(Config) -> Config) -> Cluster {
    let mut cluster = Cluster::with(size, adjust);
    cluster.run(3 * ELECTION);
    if cluster.leaders() != [1] {
        let leader = cluster.leaders()[0];
        cluster.transfer(leader, Some(1));
        cluster.deliver_all();
    }
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.leaders(), [1]);
    cluster
}

/// A cluster whose founders have these priorities.
fn with_priorities(priorities: &[u32]) -> Cluster {
    let founders = (1..).zip(priorities).fold(Membership::new(), |members, (node, priority)| {
        members.voter(id(node), "").prefer(id(node), *priority)
    });
    let settings = |node| Settings::new(founders.clone(), move |seed| Config::new(id(node), seed));
    Cluster::of((1..=priorities.len() as u64).map(settings))
}

fn refusal(cluster: &Cluster, request: RequestId) -> Option<Refusal> {
    match cluster.outcome(request) {
        Some(Outcome::Refused { reason, .. }) => Some(reason),
        _ => None,
    }
}

fn transferred(leader: u64, of_term: u64) -> Option<Outcome> {
    Some(Outcome::Transferred { leader: id(leader), term: term(of_term) })
}

fn is_committed(cluster: &Cluster, request: RequestId) -> bool {
    matches!(cluster.outcome(request), Some(Outcome::Committed { .. }))
}

const fn is_timeout_now(message: &Message) -> bool {
    matches!(message.body, Body::TimeoutNow)
}

/// R141, C33: with every setting, without a moment's waiting, and nobody's clock has to run out.
#[test]
fn leadership_goes_to_the_node_that_was_named() {
    let settings: [fn(Config) -> Config; 4] = [
        |config| config,
        |config| config.pre_vote(false),
        |config| config.check_quorum(false),
        |config| config.read_leases(0),
    ];
    for adjust in settings {
        let mut cluster = led_by_one_with(5, adjust);
        for to in [4, 2, 1] {
            let term = cluster.term(1);
            let leader = cluster.leaders()[0];
            let transfer = cluster.transfer(leader, Some(to));
            cluster.deliver_all();
            assert_eq!(cluster.outcome(transfer), transferred(to, term + 1));
            assert_eq!(cluster.leaders(), [to]);
        }
        let write = cluster.propose(1, "x");
        cluster.settle();
        assert!(is_committed(&cluster, write));
    }
}

#[test]
fn a_transfer_may_be_asked_for_anywhere() {
    let mut cluster = led_by_one(3);
    let term = cluster.term(1);
    let to_itself = cluster.transfer(2, Some(2));
    cluster.deliver_all();
    assert_eq!(cluster.outcome(to_itself), transferred(2, term + 1));
    let to_another = cluster.transfer(1, Some(3));
    cluster.deliver_all();
    assert_eq!(cluster.outcome(to_another), transferred(3, term + 2));
    let to_the_leader = [1, 3].map(|node| cluster.transfer(node, Some(3)));
    for transfer in to_the_leader {
        assert_eq!(cluster.outcome(transfer), transferred(3, term + 2), "it leads already");
    }
    cluster.settle();
}

/// Without a name it is the most important voter, and of equals the one with the longest log.
#[test]
fn without_a_name_leadership_goes_to_the_best_voter() {
    let mut cluster = led_by_one(4);
    cluster.isolate(4);
    cluster.isolate(2);
    cluster.propose(1, "x");
    cluster.run(HEARTBEAT);
    cluster.heal();
    cluster.transfer(1, None);
    cluster.deliver_all();
    assert_eq!(cluster.leaders(), [3]);
    cluster.settle();

    let founders = Membership::clone(&with_priorities(&[9, 0, 7, 8]).status(1).membership);
    let mut node = Lone::among(founders, |config| config);
    node.lead();
    for from in 2..=4 {
        node.hears(from, 1, accepted(1, 1));
    }
    node.transfer(1, None);
    let told: Vec<_> = node.sent().into_iter().filter(is_timeout_now).map(|it| it.to).collect();
    assert_eq!(told, [id(4)]);
}

#[test]
fn only_another_voter_can_take_over() {
    let mut cluster = led_by_one(3);
    cluster.join(4, |config| config);
    cluster.change(1, &members("{1 2 3 + 4}"));
    cluster.run(HEARTBEAT);
    for to in [4, 9] {
        for node in [1, 2] {
            let transfer = cluster.transfer(node, Some(to));
            cluster.deliver_all();
            assert_eq!(refusal(&cluster, transfer), Some(Refusal::NoSuchVoter), "{to}");
        }
    }
    assert!(cluster.leads(1));
    cluster.settle();
    let mut alone = led_by_one(1);
    let transfer = alone.transfer(1, None);
    assert_eq!(refusal(&alone, transfer), Some(Refusal::NoSuchVoter));
    let write = alone.propose(1, "x");
    assert!(is_committed(&alone, write));
    let mut cluster = Cluster::new(3);
    let transfer = cluster.transfer(1, Some(2));
    assert_eq!(refusal(&cluster, transfer), Some(Refusal::NoLeader));
    cluster.settle();
}

/// The target gets the rest of the log first, and nothing new comes in between (C83).
#[test]
fn the_target_catches_up_while_proposals_are_refused() {
    let mut cluster = led_by_one(3);
    cluster.isolate(3);
    cluster.propose_all(1, &["a", "b"]);
    cluster.run(HEARTBEAT);
    let transfer = cluster.transfer(1, Some(3));
    assert!(!cluster.under_way().any(is_timeout_now), "node 3 lacks two entries");
    let at_leader = cluster.propose(1, "c");
    let at_follower = cluster.propose(2, "d");
    let change = cluster.change(1, &voters(&[1, 2]));
    cluster.deliver_all();
    for request in [at_leader, at_follower, change] {
        assert_eq!(refusal(&cluster, request), Some(Refusal::Transferring));
    }
    cluster.heal();
    let before = cluster.term(1);
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.outcome(transfer), transferred(3, before + 1));
    let write = cluster.propose(1, "e");
    cluster.settle();
    assert!(is_committed(&cluster, write));
    assert_eq!(cluster.applied(3), "a b e", "R146: refused is refused");
}

/// R115, C83: a target that is dead costs an election timeout, not the leadership.
#[test]
fn a_transfer_that_takes_too_long_is_given_up() {
    let mut cluster = led_by_one(3);
    cluster.crash(3);
    let before = cluster.term(1);
    let transfers = [cluster.transfer(1, Some(3)), cluster.transfer(2, Some(3))];
    cluster.run(ELECTION / 2);
    let early = cluster.propose(1, "x");
    assert_eq!(refusal(&cluster, early), Some(Refusal::Transferring));
    cluster.run(ELECTION);
    for transfer in transfers {
        assert_eq!(refusal(&cluster, transfer), Some(Refusal::TransferFailed));
    }
    let late = cluster.propose(1, "y");
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, late));
    assert_eq!((cluster.leaders(), cluster.term(1)), (vec![1], before));
    cluster.settle();
    assert_eq!(cluster.applied(3), "y");
}

#[test]
fn a_new_target_takes_the_place_of_the_old_one() {
    let mut cluster = led_by_one(3);
    cluster.isolate(3);
    let first = cluster.transfer(1, Some(3));
    cluster.run(HEARTBEAT);
    let before = cluster.term(1);
    let wrong = cluster.transfer(1, Some(7));
    assert_eq!(refusal(&cluster, wrong), Some(Refusal::NoSuchVoter));
    assert_eq!(cluster.outcome(first), None, "a request that makes no sense ends no other");
    let second = cluster.transfer(1, Some(2));
    assert_eq!(refusal(&cluster, first), Some(Refusal::TransferFailed));
    cluster.deliver_all();
    assert_eq!(cluster.outcome(second), transferred(2, before + 1));
    cluster.settle();
}

/// C83: the change began before the transfer.
#[test]
fn a_transfer_to_a_node_that_is_removed_is_given_up() {
    let mut cluster = led_by_one(3);
    cluster.join(4, |config| config);
    cluster.hold_disk(4);
    cluster.change(1, &voters(&[1, 2, 4]));
    cluster.run(HEARTBEAT);
    cluster.isolate(3);
    cluster.propose(1, "x");
    cluster.run(HEARTBEAT);
    let transfer = cluster.transfer(1, Some(3));
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.outcome(transfer), None);
    cluster.release_disk(4);
    cluster.run(HEARTBEAT);
    assert_eq!(refusal(&cluster, transfer), Some(Refusal::TransferFailed));
    let write = cluster.propose(1, "y");
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, write) && cluster.leads(1));
    assert_eq!(cluster.members(1), "{1 2 4}");
    cluster.settle();
}

/// C85: with the new leader's first entry it is known what became of them.
#[test]
fn proposals_in_flight_end_truly() {
    let mut cluster = led_by_one(3);
    let before: Vec<_> = [1, 2].map(|node| cluster.propose(node, &format!("n{node}"))).into();
    cluster.deliver(|message| !is_append(message));
    let transfer = cluster.transfer(1, Some(2));
    let term = cluster.term(1);
    cluster.deliver_all();
    assert_eq!(cluster.outcome(transfer), transferred(2, term + 1));
    cluster.settle();
    for (request, command) in before.into_iter().zip(["n1", "n2"]) {
        let applied = cluster.applied(1).contains(command);
        match cluster.outcome(request) {
            Some(Outcome::Committed { .. }) => assert!(applied, "{command}"),
            Some(Outcome::Refused { .. } | Outcome::Lost) => assert!(!applied, "{command}"),
            other => assert_eq!(other, Some(Outcome::Unknown), "{command}"),
        }
    }
}

/// The message that is lost is said again, and the answer of the old leader is lost with it.
#[test]
fn a_lost_wish_is_repeated_with_the_next_heartbeat() {
    let mut cluster = led_by_one(3);
    let before = cluster.term(1);
    let transfer = cluster.transfer(1, Some(2));
    assert_eq!(cluster.lose(is_timeout_now).len(), 1);
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.outcome(transfer), transferred(2, before + 1));
    cluster.settle();
}

/// A leader that does not hear who comes next gives up asking, and does not guess.
#[test]
fn a_transfer_whose_end_nobody_sees_ends_as_unknown() {
    let mut node = Lone::of(3);
    node.lead();
    [2, 3].into_iter().for_each(|from| drop(node.hears(from, 1, accepted(1, 1))));
    let transfer = node.transfer(1, Some(2));
    node.hears(2, 2, Body::Vote { last: at(1, 1), transfer: true });
    assert_eq!((node.term(1), node.outcome(transfer)), (2, None));
    node.tick(ELECTION);
    assert_eq!(node.outcome(transfer), Some(Outcome::Unknown));
    node.hears(2, 2, append(at(1, 1), &[(2, "")], 1));
    assert_eq!(node.outcome(transfer), Some(Outcome::Unknown), "one answer");
}

/// A follower that loses sight of the leader for a moment does not know yet how the transfer ends.
#[test]
fn a_leader_that_is_found_again_in_its_term_may_still_hand_over() {
    let mut cluster = led_by_one(3);
    let before = cluster.term(1);
    cluster.cut(1, 3);
    cluster.propose(1, "x");
    cluster.deliver_all();
    let transfer = cluster.transfer(2, Some(3));
    cluster.deliver_all();
    cluster.step(2, Event::ForgetLeader);
    cluster.run(HEARTBEAT);
    assert_eq!((cluster.status(2).leader, cluster.outcome(transfer)), (Some(id(1)), None));
    cluster.heal();
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.outcome(transfer), transferred(3, before + 1));
    cluster.settle();
}

/// C33, R115, R075: only a voter that follows the sender heeds it, and once.
#[test]
fn a_wish_that_comes_late_twice_or_astray_is_ignored() {
    let mut node = Lone::of(3);
    assert_eq!(node.hears(2, 1, Body::TimeoutNow), [], "no leader is known");
    node.hears(2, 2, append(at(0, 0), &[], 0));
    assert_eq!(node.hears(3, 2, Body::TimeoutNow), [], "not from the leader");
    assert_eq!(node.hears(2, 1, Body::TimeoutNow), [], "of an old term");
    assert_eq!((node.role(1), node.term(1)), (RoleKind::Follower, 2));
    let sent = node.hears(2, 2, Body::TimeoutNow);
    let vote = |to| message(1, to, 3, Body::Vote { last: at(0, 0), transfer: true });
    assert_eq!(sent, [vote(2), vote(3)], "no pre-vote");
    assert_eq!(node.hears(2, 2, Body::TimeoutNow), [], "a candidate");
    assert_eq!(node.hears(2, 3, Body::TimeoutNow), [], "a candidate, in its own term");
    node.hears(3, 3, vote_reply(true));
    node.sent();
    for of_term in [2, 3] {
        assert_eq!(node.hears(2, of_term, Body::TimeoutNow), [], "a leader");
    }
    assert_eq!((node.role(1), node.term(1)), (RoleKind::Leader, 3));

    let mut node = Lone::among(voters(&[2, 3]).learner(id(1), ""), |config| config);
    node.hears(2, 1, append(at(0, 0), &[], 0));
    assert_eq!(node.hears(2, 1, Body::TimeoutNow), [], "a learner");
    assert_eq!((node.role(1), node.term(1)), (RoleKind::Follower, 1));
}

/// C84: what the old leader still says has no weight, and the old leader steps down for it.
#[test]
fn an_append_of_the_old_leader_does_not_stop_the_candidate() {
    let mut cluster = led_by_one(3);
    cluster.transfer(1, Some(2));
    cluster.tick(HEARTBEAT);
    let late = cluster.lose(|message| is_append(message) && message.to == id(2));
    assert_eq!((late.len(), late[0].term), (1, term(cluster.term(1))));
    cluster.deliver(is_timeout_now);
    late.into_iter().for_each(|message| cluster.receive(message));
    assert_eq!(cluster.role(2), RoleKind::Candidate);
    cluster.deliver_all();
    assert_eq!(cluster.leaders(), [2]);
    cluster.settle();
}

/// The followers heed the wish of their leader, although they hear it.
#[test]
fn a_candidate_that_the_leader_wants_needs_no_silence() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[], 0));
    assert_eq!(node.hears(3, 2, vote(at(0, 0))), []);
    let wanted = Body::Vote { last: at(0, 0), transfer: true };
    assert_eq!(node.hears(3, 2, wanted), [message(1, 3, 2, vote_reply(true))]);
}

/// The preferred node leads whenever it can.
#[test]
fn the_node_of_the_highest_priority_leads_in_the_end() {
    let mut cluster = with_priorities(&[0, 5, 3]);
    cluster.elect(1);
    cluster.run(3 * ELECTION);
    assert_eq!(cluster.leaders(), [2]);
    let before = cluster.term(2);
    cluster.run(30 * ELECTION);
    assert_eq!(cluster.term(2), before, "and stays");
    cluster.crash(2);
    cluster.run(5 * ELECTION);
    assert_eq!(cluster.leaders(), [3]);
    cluster.restart(2);
    cluster.run(3 * ELECTION);
    assert_eq!(cluster.leaders(), [2]);
    cluster.settle();
}

/// C30.
#[test]
fn equal_priorities_leave_the_leader_in_peace() {
    let mut cluster = with_priorities(&[4, 4, 0]);
    for leader in [1, 2] {
        cluster.elect(leader);
        let before = cluster.term(leader);
        cluster.run(30 * ELECTION);
        assert_eq!((cluster.leaders(), cluster.term(leader)), (vec![leader], before));
    }
    cluster.settle();
}

/// C30: a priority is no log.
#[test]
fn a_preferred_node_with_a_shorter_log_waits_for_the_rest_of_it() {
    let mut cluster = with_priorities(&[0, 5, 0]);
    cluster.elect(1);
    cluster.isolate(2);
    cluster.propose(1, "x");
    cluster.run(HEARTBEAT);
    cluster.heal();
    cluster.crash(1);
    cluster.timeout(2);
    cluster.deliver_all();
    assert_ne!(cluster.role(2), RoleKind::Leader);
    cluster.run(10 * ELECTION);
    assert_eq!(cluster.leaders(), [2], "by way of node 3");
    assert_eq!(cluster.applied(2), "x");
    cluster.settle();
}

/// C30: what such a node costs is bounded, whether it is gone, comes and goes, or can't be elected.
#[test]
fn a_preferred_node_that_can_not_lead_does_not_stop_the_others() {
    for trouble in ["gone", "comes and goes", "has a slow disk"] {
        let mut cluster = with_priorities(&[0, 5, 0]);
        cluster.elect(1);
        let mut committed = 0;
        for round in 0..40 {
            match trouble {
                "gone" => cluster.isolate(2),
                "comes and goes" if round % 3 == 0 => cluster.isolate(2),
                "comes and goes" => cluster.heal(),
                // It is told to stand for election, and can't write down its vote.
                _ if cluster.under_way().any(is_timeout_now) => cluster.hold_disk(2),
                _ => cluster.release_disk(2),
            }
            let leader = cluster.leaders().first().copied().unwrap_or(1);
            let write = cluster.propose(leader, "x");
            cluster.run(ELECTION / 2 - HEARTBEAT / 2);
            cluster.tick(HEARTBEAT / 2);
            committed += usize::from(is_committed(&cluster, write));
        }
        assert!(committed >= 20, "{trouble}: {committed} of 40");
        cluster.settle();
    }
}

/// C30: a preferred node that answers and does not take over costs a tenth of the time.
#[test]
fn a_preferred_node_that_does_not_take_over_is_asked_rarely() {
    let founders = Membership::clone(&with_priorities(&[0, 5, 0]).status(1).membership);
    let mut node = Lone::among(founders, |config| config);
    node.lead();
    let mut refused = 0;
    for n in 1..=330 {
        let write = node.propose(1, "x");
        refused += usize::from(refusal(&node, write) == Some(Refusal::Transferring));
        let last = node.status(1).last.get();
        [2, 3].into_iter().for_each(|from| drop(node.hears(from, 1, accepted(last, last))));
        node.tick(HEARTBEAT);
        assert!(node.leads(1), "{n}");
    }
    assert!((10..=50).contains(&refused), "{refused} of 330");
}

/// R107: the others are not as badly off.
#[test]
fn a_leader_whose_disk_hangs_makes_room_for_another() {
    let mut cluster = led_by_one(3);
    cluster.hold_disk(1);
    let write = cluster.propose(1, "x");
    cluster.run(4 * ELECTION);
    assert!(cluster.leads(1), "a slow disk is no dead disk");
    assert!(is_committed(&cluster, write), "the others have it on theirs");
    cluster.run(5 * ELECTION);
    assert_eq!(cluster.role(1), RoleKind::Follower);
    let leaders = cluster.leaders();
    assert!(leaders == [2] || leaders == [3], "{leaders:?}");
    let write = cluster.propose(leaders[0], "y");
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, write));
    cluster.settle();
}

/// R107: a node that can't keep a vote asks for none, even if a leader wants it to.
#[test]
fn a_node_whose_disk_hangs_does_not_campaign_until_it_answers() {
    let mut node = Lone::of(3);
    node.lead();
    node.hears(2, 1, accepted(1, 1));
    node.hold_disk(1);
    node.propose(1, "x");
    for _ in 0..6 {
        node.tick(ELECTION);
        [2, 3].into_iter().for_each(|from| drop(node.hears(from, 1, accepted(1, 1))));
    }
    assert_eq!((node.role(1), node.term(1)), (RoleKind::Follower, 1));
    node.sent();
    node.tick(20 * ELECTION);
    assert_eq!(node.sent(), []);
    node.hears(2, 1, Body::TimeoutNow);
    assert_eq!((node.role(1), node.term(1)), (RoleKind::Follower, 1));
    node.release_disk(1);
    node.tick(2 * ELECTION);
    assert!(node.sent().iter().any(is_pre_vote));
}

/// R107.
#[test]
fn a_lone_node_leads_again_when_its_disk_answers() {
    let mut cluster = led_by_one(1);
    cluster.hold_disk(1);
    let write = cluster.propose(1, "x");
    cluster.run(10 * ELECTION);
    assert_eq!(
        (cluster.role(1), cluster.outcome(write)),
        (RoleKind::Follower, Some(Outcome::Unknown))
    );
    let read = cluster.read(1);
    assert_eq!(refusal(&cluster, read), Some(Refusal::NoLeader));
    cluster.release_disk(1);
    cluster.step(1, Event::Wake);
    cluster.settle();
    assert_eq!((cluster.leads(1), cluster.applied(1)), (true, "x".into()));
}
