//! Elections: votes, pre-votes and terms. Rows named R and C
//! are those of the project's lists of known bugs and corner cases.

mod common;

use std::time::Duration;

use common::*;
use raft_core::{Body, Event, HardState, Notice, Outcome, RoleKind, Term};

#[test]
fn three_nodes_elect_a_leader_and_all_know_it() {
    let mut cluster = Cluster::new(3);
    cluster.elect(2);
    for node in 1..=3 {
        assert_eq!(cluster.status(node).leader, Some(id(2)));
        assert_eq!(cluster.term(node), 1);
    }
    cluster.settle();
}

/// R001: a grant of an old term is not counted in a new one.
#[test]
fn a_late_grant_of_an_old_term_is_not_counted() {
    let mut cluster = Cluster::with(3, |config| config.pre_vote(false));
    cluster.timeout(1);
    cluster.deliver(|m| is_vote(m) && m.to == id(2));
    let late = cluster.lose(is_vote_reply);
    assert_eq!(late.len(), 1, "node 2 has granted");
    cluster.lose(|_| true);
    cluster.timeout(1);
    cluster.lose(|_| true);
    late.into_iter().for_each(|message| cluster.receive(message));
    assert_eq!(cluster.role(1), RoleKind::Candidate);
    assert_eq!(cluster.status(1).dropped.stale, 1);

    cluster.timeout(3);
    cluster.timeout(3);
    cluster.deliver_all();
    assert_eq!(cluster.leaders(), [3]);
    cluster.settle();
}

/// R002: two copies of one grant are one grant.
#[test]
fn a_grant_that_arrives_twice_counts_once() {
    let mut node = Lone::with(5, |config| config.pre_vote(false));
    node.timeout(1);
    node.hears(2, 1, vote_reply(true));
    node.hears(2, 1, vote_reply(true));
    assert_eq!(node.role(1), RoleKind::Candidate);
    node.hears(3, 1, vote_reply(true));
    assert_eq!(node.role(1), RoleKind::Leader);
}

#[test]
fn a_pre_vote_that_arrives_twice_counts_once() {
    let mut node = Lone::of(5);
    node.timeout(1);
    assert_eq!(node.sent().len(), 4);
    node.hears(2, 1, pre_vote_reply(true));
    assert_eq!(node.role(1), RoleKind::Follower, "a newer term ends the campaign");
    node.timeout(1);
    node.sent();
    node.hears(2, 1, pre_vote_reply(true));
    node.hears(2, 1, pre_vote_reply(true));
    assert_eq!(node.role(1), RoleKind::PreCandidate);
    node.hears(3, 1, pre_vote_reply(true));
    assert_eq!(node.role(1), RoleKind::Candidate);
}

/// The votes of strangers neither count nor pile up in memory.
#[test]
fn grants_of_nodes_that_are_no_voters_change_nothing() {
    let mut node =
        Lone::among(voters(&[1, 2, 3]).learner(id(9), ""), |config| config.pre_vote(false));
    node.timeout(1);
    node.sent();
    let before = node.host(1).raft.clone();
    for stranger in 9..30 {
        assert_eq!(node.hears(stranger, 1, vote_reply(true)), []);
    }
    assert_eq!(node.role(1), RoleKind::Candidate);
    assert_eq!(node.host(1).raft, before);
}

/// R004: the vote is taken at once, whatever the disk does.
#[test]
fn two_candidates_that_ask_before_the_disk_has_answered_get_one_vote() {
    let mut node = Lone::of(3);
    node.hold_disk(1);
    assert_eq!(node.hears(2, 7, vote(at(0, 0))), []);
    assert_eq!(node.hears(3, 7, vote(at(5, 6))), []);
    node.persist(1);
    let replies = node.sent();
    assert_eq!(replies, [message(1, 2, 7, vote_reply(true)), message(1, 3, 7, vote_reply(false)),]);
}

/// R004: who has lost an election has voted in it, for itself.
#[test]
fn a_candidate_that_follows_the_leader_of_its_term_has_still_voted() {
    let mut node = Lone::of(3);
    node.timeout(1);
    node.hears(2, 0, pre_vote_reply(true));
    let term = node.term(1);
    node.hears(2, term, append(at(0, 0), &[], 0));
    let status = node.status(1);
    assert_eq!((status.leader, status.vote), (Some(id(2)), Some(id(1))));
    node.restart(1);
    let refused = [message(1, 3, term, vote_reply(false))];
    assert_eq!(node.hears(3, term, vote(at(5, 1))), refused);
}

/// C24: the answer may have been lost, so the same candidate gets the same vote again.
#[test]
fn a_candidate_that_asks_again_gets_the_same_vote_again() {
    let mut node = Lone::of(3);
    let granted = [message(1, 2, 7, vote_reply(true))];
    assert_eq!(node.hears(2, 7, vote(at(0, 0))), granted);
    assert_eq!(node.hears(2, 7, vote(at(0, 0))), granted);
    node.restart(1);
    assert_eq!(node.hears(2, 7, vote(at(0, 0))), granted);
    assert_eq!(node.hears(3, 7, vote(at(0, 0))), [message(1, 3, 7, vote_reply(false))]);
}

/// R010, R011: the last term decides, then the length; equal logs are good enough.
#[test]
fn a_vote_goes_to_logs_that_are_at_least_as_up_to_date() {
    let cases = [
        (at(2, 2), true),
        (at(1, 3), true),
        (at(3, 2), true),
        (at(9, 1), false),
        (at(1, 2), false),
        (at(0, 0), false),
    ];
    for (last, granted) in cases {
        let mut node = Lone::of(3);
        node.hears(3, 2, append(at(0, 0), &[(1, "x"), (2, "y")], 0));
        node.restart(1);
        let reply = node.hears(2, 5, vote(last));
        assert_eq!(reply, [message(1, 2, 5, vote_reply(granted))], "{last:?}");
        let reply = node.hears(2, 6, pre_vote(last));
        assert_eq!(reply, [message(1, 2, 6, pre_vote_reply(granted))], "{last:?}");
    }
}

/// R014: a candidate has one term, and entries of an older one are refused with it.
#[test]
fn a_candidate_refuses_entries_of_an_older_term() {
    let mut node = Lone::with(3, |config| config.pre_vote(false));
    node.hears(2, 194, vote(at(0, 0)));
    node.timeout(1);
    assert_eq!(node.term(1), 195);
    node.sent();
    let reply = node.hears(2, 185, append(at(0, 0), &[(185, "x")], 1));
    assert_eq!(reply, [message(1, 2, 195, rejected(0, at(0, 0)))]);
    assert_eq!(node.log(1), "");
    assert_eq!(node.role(1), RoleKind::Candidate);
}

/// R015, C27: a hopeless candidate of ever higher terms does not keep the node with the newest log
/// from winning.
#[test]
fn a_node_that_refuses_hopeless_candidates_gets_its_own_turn() {
    let mut node = Lone::of(3);
    node.hears(3, 1, append(at(0, 0), &[(1, "x")], 0));
    node.tick(ELECTION);
    for of_term in 2..12 {
        let mut said = node.hears(2, of_term, vote(at(0, 0)));
        assert_eq!(said[0], message(1, 2, of_term, vote_reply(false)));
        node.tick(HEARTBEAT);
        said.extend(node.sent());
        if said.iter().any(is_pre_vote) {
            break;
        }
    }
    // Twice the election timeout is the longest patience, and no refusal has renewed it.
    assert_eq!(node.role(1), RoleKind::PreCandidate);
    let of_term = node.term(1);
    node.hears(3, of_term, pre_vote_reply(true));
    node.hears(3, of_term + 1, vote_reply(true));
    assert_eq!((node.leads(1), node.term(1)), (true, of_term + 1));
}

/// R017, C31: a clock that runs out while the vote is on its way to the disk begins no second
/// campaign.
#[test]
fn a_slow_disk_makes_a_lone_voter_neither_campaign_twice_nor_wait_for_ever() {
    let mut cluster = Cluster::new(1);
    cluster.hold_disk(1);
    cluster.timeout(1);
    cluster.tick(20 * ELECTION);
    assert_eq!(cluster.writes(1).len(), 1);
    cluster.release_disk(1);
    assert!(cluster.leads(1));
    assert_eq!(cluster.term(1), 1);
    cluster.settle();
}

#[test]
fn a_disk_slower_than_the_election_timeout_still_lets_a_candidate_win() {
    let mut cluster = Cluster::new(3);
    cluster.hold_disk(1);
    cluster.timeout(1);
    cluster.deliver_all();
    assert_eq!(cluster.role(1), RoleKind::Candidate);
    cluster.host_mut(1).clock = cluster.host(1).clock.plus(5 * ELECTION);
    cluster.wake(1);
    cluster.persist(1);
    cluster.deliver_all();
    assert!(cluster.leads(1));
    assert_eq!(cluster.term(1), 1);
}

/// Grants can't come before the candidate's own vote is durable, because nobody was asked.
#[test]
fn grants_that_come_before_the_question_are_not_counted() {
    let mut node = Lone::with(3, |config| config.pre_vote(false));
    node.hold_disk(1);
    node.timeout(1);
    node.hears(2, 1, vote_reply(true));
    node.hears(3, 1, vote_reply(true));
    assert_eq!(node.role(1), RoleKind::Candidate);
    node.release_disk(1);
    node.hears(3, 1, vote_reply(true));
    assert_eq!(node.role(1), RoleKind::Leader);
}

/// C3: the own vote of a lost election does not count in the next one.
#[test]
fn a_late_own_vote_counts_only_in_its_own_election() {
    let mut node = Lone::with(3, |config| config.pre_vote(false));
    node.hold_disk(1);
    node.timeout(1);
    node.hears(2, 2, vote(at(0, 0)));
    node.timeout(1);
    assert_eq!((node.term(1), node.role(1)), (3, RoleKind::Candidate));
    node.persist_oldest(1);
    node.persist_oldest(1);
    assert_eq!(node.sent(), [message(1, 2, 2, vote_reply(true))].get(1..).unwrap());
    assert_eq!(node.role(1), RoleKind::Candidate);
    node.persist_oldest(1);
    assert_eq!(node.sent().len(), 2, "now the votes of term 3 are asked for");
    node.hears(2, 3, vote_reply(true));
    assert_eq!(node.role(1), RoleKind::Leader);
}

/// R016, C51: a leader that restarts is a follower, and its term is over for it.
#[test]
fn a_leader_that_restarts_never_writes_in_its_old_term_again() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.isolate(1);
    cluster.hold_disk(1);
    cluster.propose(1, "lost");
    cluster.restart(1);
    assert_eq!(cluster.role(1), RoleKind::Follower);
    assert_eq!(cluster.commit(1), 0);
    cluster.release_disk(1);
    cluster.heal();
    cluster.elect(1);
    assert_eq!(cluster.term(1), 2);
    let write = cluster.propose(1, "kept");
    cluster.settle();
    let place = Outcome::Committed { term: term(2), index: index(3) };
    assert_eq!(cluster.outcome(write), Some(place));
    assert_eq!(cluster.log(2), "1: 2: 2:kept");
}

/// R018: a term far beyond belief is refused, and the node stays usable.
#[test]
fn a_message_of_an_unbelievable_term_is_dropped() {
    let mut node = Lone::of(3);
    let forged = [Term::MAX.get(), Term::MAX.get() - 1, 1 << 41];
    for body in [
        vote(at(0, 0)),
        pre_vote(at(0, 0)),
        vote_reply(false),
        append(at(0, 0), &[], 0),
        accepted(0, 0),
    ] {
        for term in forged {
            assert_eq!(node.hears(2, term, body.clone()), []);
        }
    }
    assert_eq!(node.term(1), 0);
    assert_eq!(node.status(1).dropped.malformed, 15);
    node.lead();
}

#[test]
fn a_node_at_the_end_of_all_terms_follows_but_never_campaigns() {
    let mut node = Lone::of(3);
    let last = Term::MAX.get() - 1;
    node.host_mut(1).disk.hard_state = HardState { term: term(last - 2), vote: None };
    node.restart(1);
    node.hears(2, last, append(at(0, 0), &[(last, "x")], 0));
    assert_eq!(node.log(1), format!("{last}:x"));
    node.tick(10 * ELECTION);
    assert_eq!(node.role(1), RoleKind::Follower);
    assert_eq!(node.term(1), last);
    assert_eq!(node.sent(), []);
    assert_eq!(node.host(1).raft.as_ref().unwrap().deadline(), None);
    let reply = node.hears(2, last, append(at(1, last), &[], 1));
    assert_eq!(accepted_of(&reply[0]), Some((1, 1)));
}

/// R009, C32: a refusal with a newer term moves the term and nothing else.
#[test]
fn a_refusal_of_a_newer_term_is_not_taken_for_a_vote() {
    let mut node = Lone::with(3, |config| config.pre_vote(false));
    node.timeout(1);
    node.hears(2, 9, vote_reply(false));
    let status = node.status(1);
    assert_eq!((status.term.get(), status.vote, status.role), (9, None, RoleKind::Follower));
    node.hears(2, 9, vote_reply(true));
    assert_eq!(node.role(1), RoleKind::Follower);
}

/// C22: a grant for the candidacy of a term is of no use in the pre-vote after it.
#[test]
fn grants_of_a_vote_and_of_a_pre_vote_are_not_mixed_up() {
    let mut node = Lone::of(3);
    node.timeout(1);
    node.hears(2, 0, pre_vote_reply(true));
    assert_eq!((node.role(1), node.term(1)), (RoleKind::Candidate, 1));
    node.hears(2, 1, pre_vote_reply(true));
    assert_eq!(node.role(1), RoleKind::Candidate, "a pre-vote is no vote");
    node.timeout(1);
    assert_eq!(
        (node.role(1), node.term(1)),
        (RoleKind::PreCandidate, 1),
        "R110d: asks first again"
    );
    node.hears(2, 1, vote_reply(true));
    assert_eq!(node.role(1), RoleKind::PreCandidate, "a vote of the lost election is no pre-vote");
}

/// R109: a pre-vote leaves no trace at the node that grants it.
#[test]
fn a_pre_vote_changes_nothing_at_the_node_that_is_asked() {
    let mut node = Lone::of(3);
    node.hears(3, 4, vote_reply(false));
    node.tick(ELECTION / 2);
    let before = node.host(1).raft.clone();
    let reply = node.hears(2, 4, pre_vote(at(0, 0)));
    assert_eq!(reply, [message(1, 2, 4, pre_vote_reply(true))]);
    let deadline = |raft: &Option<raft_core::Raft>| raft.as_ref().unwrap().deadline();
    assert_eq!(deadline(&node.host(1).raft), deadline(&before));
    assert_eq!(node.status(1), before.unwrap().status());
}

/// R143: a leader that the local configuration does not know is a leader all the same.
#[test]
fn a_leader_that_is_not_in_the_configuration_is_followed() {
    let mut node = Lone::of(3);
    let reply = node.hears(9, 3, append(at(0, 0), &[(3, "x")], 1));
    assert_eq!(accepted_of(&reply[0]), Some((1, 1)));
    assert_eq!(node.status(1).leader, Some(id(9)));
    assert_eq!(node.applied(1), "x");
}

/// C23: who asks for a vote knows best whether this node is a voter.
#[test]
fn a_learner_votes_when_asked_but_never_campaigns() {
    let mut node = Lone::among(voters(&[2, 3]).learner(id(1), ""), |config| config);
    node.tick(10 * ELECTION);
    assert_eq!((node.role(1), node.term(1)), (RoleKind::Follower, 0));
    assert_eq!(node.host(1).raft.as_ref().unwrap().deadline(), None);
    node.receive(message(2, 1, 1, vote(at(0, 0))));
    assert_eq!(node.lose(|_| true), [message(1, 2, 1, vote_reply(true))]);
    node.receive(message(2, 1, 1, append(at(0, 0), &[], 0)));
    node.tick(10 * ELECTION);
    assert_eq!((node.role(1), node.status(1).leader), (RoleKind::Follower, None));
}

#[test]
fn observers_are_told_of_each_role_term_and_leader() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let is = |role, of_term, leader: Option<u64>| Notice::Leadership {
        role,
        term: term(of_term),
        leader: leader.map(id),
    };
    assert_eq!(
        cluster.host(1).notices,
        [
            is(RoleKind::PreCandidate, 0, None),
            is(RoleKind::Candidate, 1, None),
            is(RoleKind::Leader, 1, Some(1)),
        ]
    );
    let follows =
        |leader, of_term| is(RoleKind::Follower, of_term, (leader != 0).then_some(leader));
    assert_eq!(cluster.host(2).notices, [follows(0, 1), follows(1, 1)]);
    cluster.elect(2);
    assert_eq!(cluster.host(1).notices[3..], [follows(2, 2)]);
}

/// Nothing ever happens by itself on a cluster of one node that has nothing to do.
#[test]
fn an_idle_leader_without_peers_waits_for_nothing() {
    let mut cluster = Cluster::new(1);
    cluster.elect(1);
    assert_eq!(cluster.host(1).raft.as_ref().unwrap().deadline(), None);
    cluster.propose(1, "x");
    assert_eq!(cluster.host(1).raft.as_ref().unwrap().deadline(), None);
    cluster.tick(Duration::from_secs(1_000_000));
    assert_eq!((cluster.leads(1), cluster.term(1)), (true, 1));
}

/// A message for another node, or from a node with the receiver's own name, is dropped.
#[test]
fn messages_that_went_astray_are_dropped_and_counted() {
    let mut node = Lone::of(3);
    node.step(1, Event::Receive(message(2, 3, 5, vote(at(0, 0)))));
    node.step(1, Event::Receive(message(1, 1, 5, vote(at(0, 0)))));
    node.step(1, Event::Receive(message(2, 1, 0, Body::Vote { last: at(0, 0), transfer: false })));
    assert_eq!((node.sent(), node.term(1)), (vec![], 0));
    assert_eq!(node.status(1).dropped.malformed, 3);
}
