//! Changes of membership: from any members to any others, whatever goes wrong on the way. Rows
//! named R and C are those of the project's lists of known bugs and corner cases.

mod common;

use std::sync::Arc;

use common::*;
use raft_core::{
    Body, Control, ControlResult, Event, Membership, Message, Notice, Outcome, Refusal, RequestId,
    RoleKind, Snapshot, SnapshotChunk,
};

/// Nodes 1 to `size` are members and node 1 leads; nodes 4 to 6 are there and blank.
fn led_by_one(size: u64) -> Cluster {
    let mut cluster = Cluster::new(size);
    (size + 1..=6).for_each(|guest| cluster.join(guest, |config| config));
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

fn change_to(text: &str) -> Control {
    Control::ChangeMembership { target: members(text).into(), only_if: None }
}

fn answers(sent: &[Message]) -> Vec<ControlResult> {
    let answer = |message: &Message| match message.body {
        Body::ControlReply { result, .. } => Some(result),
        _ => None,
    };
    sent.iter().filter_map(answer).collect()
}

#[test]
fn one_request_makes_any_nodes_the_members() {
    let targets =
        ["{1 2 3 4}", "{1 2}", "{2}", "{4}", "{4 5 6}", "{1 4 5}", "{1 2 + 3}", "{2 3 4 + 1 5}"];
    for target in targets {
        let mut cluster = led_by_one(3);
        cluster.propose(1, "before");
        let change = cluster.change(1, &members(target));
        cluster.propose(1, "during");
        cluster.run(3 * ELECTION);
        assert!(is_committed(&cluster, change), "{target}: {:?}", cluster.outcome(change));
        let leader = cluster.leaders()[0];
        assert_eq!(cluster.members(leader), target);
        assert!(members(target).is_voter(id(leader)), "{target}: {leader} leads");
        let write = cluster.propose(leader, "after");
        cluster.settle();
        assert!(is_committed(&cluster, write), "{target}");
    }
}

/// Small changes take the way of large ones, and learners come and go in one step.
#[test]
fn every_change_of_voters_goes_through_a_joint_configuration() {
    let mut cluster = led_by_one(3);
    cluster.change(1, &members("{1 2 3 4}"));
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.log(1), "1: 1:{1 2 3 + 4} 1:{1 2 3 4 | 1 2 3} 1:{1 2 3 4}");
    cluster.change(1, &members("{1 2 3 4 + 5}"));
    cluster.run(HEARTBEAT);
    assert!(cluster.log(1).ends_with("1:{1 2 3 4} 1:{1 2 3 4 + 5}"));
    cluster.settle();
}

/// R062, C25: a configuration counts from the moment that it is in the log.
#[test]
fn a_configuration_is_in_force_before_it_is_committed() {
    let mut node = Lone::with(3, |config| config.pre_vote(false));
    node.hears(2, 1, append(at(0, 0), &[(1, ""), (1, "{1 2 3 4 5}")], 0));
    assert_eq!((node.members(1), node.commit(1)), ("{1 2 3 4 5}".into(), 0));
    node.timeout(1);
    let asked: Vec<u64> = node.sent().iter().map(|message| message.to.get()).collect();
    assert_eq!(asked, [2, 3, 4, 5]);
    node.hears(2, 2, vote_reply(true));
    assert_eq!(node.role(1), RoleKind::Candidate, "two of five");
    node.hears(5, 2, vote_reply(true));
    assert_eq!(node.role(1), RoleKind::Leader);
}

/// R066, R135, C53: with or without a snapshot, before and after a restart.
#[test]
fn a_configuration_that_is_overwritten_is_rolled_back() {
    for (snapshot, restart) in [(false, false), (true, false), (true, true)] {
        let mut node = Lone::of(3);
        node.hears(2, 1, append(at(0, 0), &[(1, "x"), (1, "{1 2 3 + 4}")], 2));
        if snapshot {
            node.take_snapshot(1);
        }
        node.hears(2, 1, append(at(2, 1), &[(1, "{1 4 | 1 2 3}"), (1, "y")], 2));
        assert_eq!(node.members(1), "{1 4 | 1 2 3}");
        if restart {
            node.restart(1);
            assert_eq!(node.members(1), "{1 4 | 1 2 3}", "C57");
        }
        node.hears(3, 2, append(at(2, 1), &[(2, "")], 3));
        assert_eq!(node.members(1), "{1 2 3 + 4}");
        let told = node.host(1).notices.iter().rev().find_map(|notice| match notice {
            Notice::Membership(members) => Some(show_members(members)),
            _ => None,
        });
        assert_eq!(told.as_deref(), Some("{1 2 3 + 4}"), "observers are told of the way back");
        assert_eq!(node.applied(1), "x {1 2 3 + 4}");
    }
}

/// R065, R133: the configuration of a snapshot takes the place of what is not committed.
#[test]
fn a_snapshot_replaces_a_configuration_that_is_not_committed() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, ""), (1, "{1 2}")], 1));
    assert_eq!(node.members(1), "{1 2}");
    let machine = entries(1, &[(1, ""), (2, ""), (2, "{1 2 3 4}"), (2, "x")]);
    let data = pack(&machine);
    let snapshot = Snapshot {
        position: at(4, 2),
        membership: Arc::new(members("{1 2 3 4}")),
        size: data.len() as u64,
        checksum: crc32fast::hash(&data),
    };
    let chunk = SnapshotChunk { snapshot, offset: 0, data, sequence: 1 };
    node.hears(4, 2, Body::SnapshotChunk(Box::new(chunk)));
    assert_eq!((node.members(1), node.commit(1)), ("{1 2 3 4}".into(), 4));
    assert_eq!(node.status(1).leader, Some(id(4)), "a leader that was unknown before");
    node.hears(4, 2, append(at(4, 2), &[(2, "y")], 5));
    assert_eq!(node.applied(1), "{1 2 3 4} x y");
}

/// R064, I12: votes and acknowledgements take a majority of each half.
#[test]
fn a_joint_configuration_takes_two_majorities() {
    let mut node = Lone::with(3, |config| config.pre_vote(false));
    node.hears(2, 1, append(at(0, 0), &[(1, ""), (1, "{1 4 5 | 1 2 3}")], 0));
    node.timeout(1);
    node.sent();
    for voter in [4, 5] {
        node.hears(voter, 2, vote_reply(true));
        assert_eq!(node.role(1), RoleKind::Candidate, "no majority of the old voters");
    }
    node.hears(3, 2, vote_reply(true));
    assert_eq!(node.role(1), RoleKind::Leader);
    for old in [2, 3] {
        node.hears(old, 2, accepted(3, 3));
        assert_eq!(node.commit(1), 0, "no majority of the new voters");
    }
    node.hears(5, 2, accepted(3, 3));
    assert_eq!(node.commit(1), 3);
    assert_eq!(node.members(1), "{1 4 5}", "what comes next is in force at once");
}

/// R061 (all three), C54: two leaders that change the membership side by side.
#[test]
fn changes_of_an_old_and_a_new_leader_do_not_commit_side_by_side() {
    let variants =
        [("{1 2 3 4 5}", "{2 3 4}"), ("{1 2 3 4 5}", "{1 2 3 4 6}"), ("{1 3 4}", "{2 3 4}")];
    for (first, second) in variants {
        let mut cluster = led_by_one(4);
        cluster.partition(&[1, 5]);
        cluster.change(1, &members(first));
        cluster.run(HEARTBEAT);
        assert_ne!(cluster.members(1), "{1 2 3 4}", "on its way at node 1");
        cluster.elect(2);
        let change = cluster.change(2, &members(second));
        cluster.run(HEARTBEAT);
        assert!(is_committed(&cluster, change), "{second}: {:?}", cluster.outcome(change));
        cluster.crash(2);
        cluster.heal();
        cluster.partition(&[1, 4, 5]);
        cluster.run(10 * ELECTION);
        assert!(!cluster.leads(1) && !cluster.leads(5), "{first}, {second}");
        cluster.settle();
        assert_eq!(cluster.members(cluster.leaders()[0]), second);
    }
}

/// R061, C52, C54: not even when the log of the new leader ends with a committed configuration.
#[test]
fn a_new_leader_changes_nothing_before_it_has_committed() {
    let mut cluster = led_by_one(3);
    cluster.elect_silently(2);
    let change = cluster.change(2, &members("{1 2}"));
    assert_eq!(refusal(&cluster, change), Some(Refusal::ChangeInProgress));
    cluster.run(HEARTBEAT);
    let change = cluster.change(2, &members("{1 2}"));
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, change));
    cluster.settle();
}

/// R063, C55: whoever leads next finishes a joint configuration, once.
#[test]
fn a_new_leader_leaves_the_joint_configuration_of_the_old_one() {
    for joint_is_committed in [false, true] {
        let mut cluster = led_by_one(4);
        cluster.change(1, &members("{1 2 3}"));
        cluster.deliver(is_append);
        if joint_is_committed {
            cluster.deliver(is_append_reply);
            assert_eq!(cluster.members(1), "{1 2 3}");
        }
        cluster.lose(|_| true);
        cluster.crash(1);
        assert_eq!(cluster.members(2), "{1 2 3 | 1 2 3 4}");
        cluster.elect(2);
        cluster.propose(2, "x");
        cluster.run(HEARTBEAT);
        assert_eq!(cluster.log(2), "1: 1:{1 2 3 | 1 2 3 4} 2: 2:{1 2 3} 2:x");
        cluster.settle();
    }
}

/// C55: neither limits nor a change of leaders on the way can swallow a step.
#[test]
fn tiny_limits_and_transfers_do_not_stop_a_change() {
    let tiny = |config: raft_core::Config| {
        config
            .max_append_entries(1)
            .max_in_flight_messages(1)
            .max_uncommitted_bytes(1)
            .max_unpersisted_bytes(1)
            .max_pending_requests(2)
            .max_applying_bytes(1)
            .max_cached_bytes(0)
    };
    let mut cluster = Cluster::with(3, tiny);
    [4, 5].into_iter().for_each(|guest| cluster.join(guest, tiny));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.change(1, &members("{3 4 5}"));
    for to in [2, 3, 1, 2] {
        for _ in 0..4 {
            cluster.deliver(|_| true);
        }
        if let [leader] = cluster.leaders()[..] {
            cluster.propose(leader, "x");
            cluster.transfer(leader, Some(to));
        }
        cluster.run(HEARTBEAT);
    }
    cluster.run(3 * ELECTION);
    let leader = cluster.leaders()[0];
    if cluster.members(leader) != "{3 4 5}" {
        assert!(!cluster.status(leader).membership.is_joint());
        cluster.change(leader, &members("{3 4 5}"));
    }
    cluster.settle();
    assert_eq!(cluster.members(3), "{3 4 5}");
}

/// R078, C52.
#[test]
fn a_second_change_is_refused_while_one_is_under_way() {
    let mut cluster = led_by_one(3);
    cluster.isolate(4);
    let first = cluster.change(1, &members("{1 2 3 4}"));
    for target in ["{1 2}", "{1 2 3 4}", "{1 2 3}"] {
        let second = cluster.change(1, &members(target));
        assert_eq!(refusal(&cluster, second), Some(Refusal::ChangeInProgress));
        cluster.run(HEARTBEAT);
    }
    assert_eq!(cluster.outcome(first), None, "node 4 has not caught up");
    cluster.heal();
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, first));
    let third = cluster.change(1, &members("{1 2}"));
    cluster.settle();
    assert!(is_committed(&cluster, third));
}

/// R073: a voter that is not there is no voter yet.
#[test]
fn a_cluster_stays_writable_while_a_dead_node_is_added() {
    let mut cluster = led_by_one(1);
    cluster.crash(2);
    let change = cluster.change(1, &members("{1 2}"));
    for _ in 0..12 {
        let write = cluster.propose(1, "x");
        cluster.run(ELECTION);
        assert!(is_committed(&cluster, write));
    }
    assert_eq!(refusal(&cluster, change), Some(Refusal::NotCaughtUp { id: id(2) }));
    assert_eq!(cluster.members(1), "{1 + 2}");
    let back = cluster.change(1, &members("{1}"));
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, back));
    cluster.settle();
}

/// A node that answers and gets nothing to its disk blocks later changes no longer than a dead one.
#[test]
fn a_new_voter_whose_disk_hangs_does_not_block_changes_for_ever() {
    let mut cluster = led_by_one(3);
    cluster.change(1, &members("{1 2 3 + 4}"));
    cluster.run(HEARTBEAT);
    cluster.hold_disk(4);
    cluster.propose(1, "x");
    let change = cluster.change(1, &members("{1 2 3 4}"));
    cluster.run(9 * ELECTION);
    let heard = cluster.status(1).peers.iter().map(|peer| peer.heard).min().unwrap();
    assert!(cluster.host(1).clock.since(heard) < ELECTION, "node 4 answers");
    assert_eq!(cluster.outcome(change), None);
    cluster.run(2 * ELECTION);
    assert_eq!(refusal(&cluster, change), Some(Refusal::NotCaughtUp { id: id(4) }));
    let back = cluster.change(1, &members("{1 2 3}"));
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, back));
    cluster.settle();
}

/// The dissertation, section 4.2.1: a new voter gets ten rounds, and the last one counts too.
#[test]
fn a_new_voter_has_caught_up_when_one_of_ten_rounds_is_quick() {
    for quick in [10, 11] {
        let mut node = Lone::of(3);
        node.lead();
        let heard = |node: &mut Lone, last| {
            for from in [2, 3] {
                node.hears(from, 1, accepted(last, last));
            }
        };
        heard(&mut node, 1);
        let change = node.change(1, &members("{1 2 3 4}"));
        heard(&mut node, 2);
        for round in 1..=quick {
            node.propose(1, "x");
            if round < quick {
                for _ in 0..2 {
                    node.tick(ELECTION / 4 * 3);
                    heard(&mut node, round + 2);
                }
            }
            node.hears(4, 1, accepted(round + 1, round + 1));
        }
        let expected = if quick == 10 { None } else { Some(Refusal::NotCaughtUp { id: id(4) }) };
        assert_eq!(refusal(&node, change), expected);
        assert_eq!(node.members(1) == "{1 2 3 4 | 1 2 3}", quick == 10, "{}", node.members(1));
    }
}

/// R142: a new voter catches up from a snapshot like any other node.
#[test]
fn a_blank_node_that_needs_a_snapshot_becomes_a_voter() {
    let settings = |config: raft_core::Config| config.compaction_margin(0);
    let mut cluster = Cluster::with(3, settings);
    cluster.join(4, settings);
    cluster.tick(10 * ELECTION);
    assert_eq!(cluster.host(4).raft.as_ref().unwrap().deadline(), None, "it waits to be added");
    let early = cluster.change(4, &members("{4}"));
    assert_eq!(refusal(&cluster, early), Some(Refusal::NoLeader));
    cluster.elect(1);
    cluster.propose_all(1, &["x"; 20]);
    cluster.run(HEARTBEAT);
    cluster.take_snapshot(1);
    let change = cluster.change(1, &members("{1 2 3 4}"));
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, change));
    assert_eq!((cluster.members(4), cluster.host(4).snapshots_begun), ("{1 2 3 4}".into(), 1));
    cluster.settle();
}

/// R076: a snapshot alone may be all that a learner needs: not even its own configuration follows.
#[test]
fn a_learner_that_lacks_nothing_behind_a_snapshot_becomes_a_voter() {
    let settings = |config: raft_core::Config| config.compaction_margin(0);
    let mut cluster = Cluster::with(3, settings);
    cluster.join(4, settings);
    cluster.isolate(4);
    cluster.elect(1);
    cluster.propose_all(1, &["x"; 20]);
    let change = cluster.change(1, &members("{1 2 3 4}"));
    cluster.run(HEARTBEAT);
    cluster.take_snapshot(1);
    assert_eq!((cluster.log(1), cluster.members(1)), (String::new(), "{1 2 3 + 4}".into()));
    assert_eq!(cluster.outcome(change), None, "it waits for the learner");
    cluster.heal();
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.host(4).snapshots_begun, 1);
    assert_eq!(cluster.log(1), "1:{1 2 3 4 | 1 2 3} 1:{1 2 3 4}", "nothing else came after it");
    assert!(is_committed(&cluster, change));
    cluster.settle();
}

/// R133, R134, C63: what a snapshot says of the members is all of the truth, each time.
#[test]
fn members_survive_snapshots_restarts_and_installs() {
    let settings = |config: raft_core::Config| config.compaction_margin(0);
    let mut cluster = Cluster::with(3, settings);
    cluster.join(4, settings);
    cluster.elect(1);
    cluster.isolate(3);
    cluster.propose(1, "x");
    cluster.run(HEARTBEAT);
    cluster.take_snapshot(1);
    cluster.change(1, &members("{1 2 3 4}"));
    cluster.run(HEARTBEAT);
    cluster.take_snapshot(1);
    cluster.propose(1, "y");
    cluster.run(HEARTBEAT);
    cluster.take_snapshot(1);
    cluster.restart(1);
    assert_eq!(cluster.members(1), "{1 2 3 4}");
    cluster.heal();
    cluster.elect(1);
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.members(3), "{1 2 3 4}");
    cluster.propose(1, "z");
    cluster.settle();
}

/// A node that was added knows only the configurations that came after the founders.
#[test]
fn a_snapshot_never_says_that_there_are_no_members() {
    let mut node = Lone::among(members("{}"), |config| config);
    node.hears(2, 1, append(at(0, 0), &[(1, ""), (1, "x"), (1, "{2 3 + 1}")], 2));
    let raft = node.host(1).raft.as_ref().unwrap();
    assert_eq!((raft.describe_snapshot(index(2)), node.applied(1)), (None, "x".into()));
    node.hears(2, 1, append(at(3, 1), &[], 3));
    let described = node.host(1).raft.as_ref().unwrap().describe_snapshot(index(3));
    assert_eq!(described.map(|(_, members)| show_members(&members)), Some("{2 3 + 1}".into()));
}

/// C60: commits and reads that waited for somebody who is gone.
#[test]
fn a_smaller_quorum_commits_and_confirms_what_the_larger_one_had_not() {
    let mut node = Lone::of(4);
    node.lead();
    [2, 3].into_iter().for_each(|from| drop(node.hears(from, 1, accepted(1, 1))));
    node.change(1, &members("{1 2 3}"));
    let write = node.propose(1, "x");
    node.hears(2, 1, accepted(3, 3));
    let read = node.read(1);
    let sequence = node.sent().iter().filter_map(append_of).map(|it| it.sequence).max().unwrap();
    node.hears(2, 1, accepted_numbered(sequence, 3, 3));
    assert_eq!((node.outcome(write), node.outcome(read)), (None, None), "two of four");
    node.hold_disk(1);
    node.hears(3, 1, accepted(2, 2));
    assert_eq!(node.members(1), "{1 2 3}");
    assert!(is_committed(&node, write), "two of three");
    assert_eq!(node.outcome(read), Some(Outcome::Readable { index: index(1) }));
}

/// R074: and no leader is bothered with it.
#[test]
fn members_without_a_voter_are_refused() {
    let mut cluster = led_by_one(3);
    for node in [1, 2] {
        let learners = Membership::new().learner(id(1), "").learner(id(2), "");
        for target in [members("{}"), learners, members("{1 2 | 1 2 3}")] {
            let change = cluster.change(node, &target);
            assert_eq!(refusal(&cluster, change), Some(Refusal::NoVoters));
        }
        let long = voters(&[1, 2]).learner(id(3), "x".repeat(2 << 20));
        let change = cluster.change(node, &long);
        assert!(matches!(refusal(&cluster, change), Some(Refusal::TooLarge { .. })));
    }
    assert_eq!(cluster.under_way().filter(|it| matches!(it.body, Body::Control { .. })).count(), 0);
    cluster.settle();
    assert_eq!(cluster.log(1), "1:");
}

/// On the way to the target its new voters are learners beside those that it takes away.
#[test]
fn a_change_whose_first_step_is_too_large_is_refused() {
    let mut cluster = Cluster::with(3, |config| config.max_command_bytes(1000));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let long = "x".repeat(600);
    let learner = cluster.change(1, &voters(&[1, 2, 3]).learner(id(4), &*long));
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, learner));
    let change = cluster.change(1, &voters(&[1, 2, 3]).voter(id(5), &*long));
    assert!(matches!(refusal(&cluster, change), Some(Refusal::TooLarge { .. })));
    let fewer = cluster.change(1, &voters(&[1, 2, 3]));
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, fewer));
}

#[test]
fn a_change_on_a_condition_is_made_only_if_the_condition_holds() {
    let mut cluster = led_by_one(3);
    let basis = voters(&[1, 2, 3]);
    let first = cluster.change_if(1, &members("{1 2}"), Some(&basis));
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, first));
    let second = cluster.change_if(2, &members("{1 2 3}"), Some(&basis));
    cluster.run(HEARTBEAT);
    assert_eq!(refusal(&cluster, second), Some(Refusal::MembershipChanged));
    let third = cluster.change_if(2, &members("{1 2 3}"), Some(&voters(&[1, 2])));
    cluster.run(HEARTBEAT);
    assert!(is_committed(&cluster, third));
    cluster.settle();
}

/// R142: learners come before voters, and they get everything.
#[test]
fn a_learner_gets_the_log_and_is_not_counted() {
    let mut cluster = led_by_one(3);
    cluster.change(1, &members("{1 2 3 + 4 5}"));
    cluster.run(HEARTBEAT);
    cluster.partition(&[1, 4, 5]);
    let write = cluster.propose(1, "x");
    cluster.run(HEARTBEAT);
    assert_eq!((cluster.outcome(write), cluster.log(4)), (None, "1: 1:{1 2 3 + 4 5} 1:x".into()));
    cluster.settle();
}

/// A change that is made already is an entry like any other: its commit proves that whoever answers
/// still leads.
#[test]
fn a_change_that_changes_nothing_is_answered_when_it_is_committed() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    for node in [1, 2] {
        let change = cluster.change(node, &voters(&[1, 2, 3]));
        cluster.run(HEARTBEAT);
        assert!(is_committed(&cluster, change), "{node}: {:?}", cluster.outcome(change));
    }
    cluster.partition(&[1]);
    let change = cluster.change(1, &voters(&[1, 2, 3]));
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.outcome(change), None, "a leader that is cut off can't know");
    cluster.heal();
    cluster.settle();
}

/// R146: what was refused is never carried out, be it from a life before a restart.
#[test]
fn a_request_that_comes_again_late_is_not_carried_out_again() {
    let mut node = Lone::of(3);
    node.lead();
    let ask = |sequence, incarnation, target| Body::Control {
        batch: batch(incarnation, sequence),
        control: change_to(target),
    };
    let refused = [ControlResult::Refused(Refusal::ChangeInProgress)];
    let sent = node.hears(2, 1, ask(1, 7, "{1 2}"));
    assert_eq!(answers(&sent), refused, "nothing of this term is committed");
    let sent = node.hears(2, 1, ask(1, 8, "{1 2}"));
    assert_eq!(answers(&sent), refused);
    let sent = node.hears(2, 1, ask(5, 8, "{1 2}"));
    assert_eq!(answers(&sent), refused);
    node.hears(2, 1, accepted(1, 1));
    for (sequence, incarnation) in [(1, 7), (1, 8), (4, 8), (5, 8)] {
        node.hears(2, 1, ask(sequence, incarnation, "{1 2}"));
    }
    assert_eq!(node.log(1), "1:", "nothing is written");
    let sent = node.hears(2, 1, ask(6, 8, "{1 2}"));
    assert_eq!((answers(&sent), node.members(1)), (vec![], "{1 2 | 1 2 3}".into()));
    node.hears(3, 1, ask(1, 7, "{1 3}"));
    assert_eq!(node.members(1), "{1 2 | 1 2 3}", "I12");
}

/// Messages that wait for the disk have less room when there are fewer members.
#[test]
fn messages_that_wait_for_the_disk_stay_within_a_limit_that_shrinks() {
    let mut node = Lone::with(6, |config| config.max_held_messages(1));
    node.hold_disk(1);
    for from in [2, 3, 4, 5, 6, 2, 3, 4, 5] {
        node.hears(from, 1, vote(at(0, 0)));
    }
    assert_eq!(node.status(1).held_messages, 7);
    node.hears(2, 1, append(at(0, 0), &[(1, "{1 2}")], 0));
    assert_eq!(node.status(1).held_messages, 3 + 1, "besides the acknowledgement");
    node.step(1, Event::Wake);
}
