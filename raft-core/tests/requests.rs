//! Requests: each has one answer, and no answer is a lie. Rows named R and C are those of the
//! project's lists of known bugs and corner cases.

mod common;

use common::*;
use raft_core::{Body, Event, Message, Outcome, Refusal};

fn committed(of_term: u64, at_index: u64) -> Option<Outcome> {
    Some(Outcome::Committed { term: term(of_term), index: index(at_index) })
}

fn is_proposal(message: &Message) -> bool {
    matches!(message.body, Body::Propose { .. })
}

fn is_proposal_reply(message: &Message) -> bool {
    matches!(message.body, Body::ProposeReply { .. })
}

#[test]
fn a_proposal_is_answered_with_its_place() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let requests = cluster.propose_all(1, &["a", "b"]);
    cluster.deliver_all();
    assert_eq!(cluster.outcome(requests[0]), committed(1, 2));
    assert_eq!(cluster.outcome(requests[1]), committed(1, 3));
    cluster.settle();
}

#[test]
fn a_proposal_at_a_follower_is_answered_there_without_waiting_for_a_heartbeat() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let requests = cluster.propose_all(3, &["a", "b"]);
    cluster.deliver_all();
    assert_eq!(cluster.outcome(requests[0]), committed(1, 2));
    assert_eq!(cluster.outcome(requests[1]), committed(1, 3));
    assert_eq!(cluster.applied(3), "a b");
    cluster.settle();
}

#[test]
fn a_proposal_without_a_leader_is_refused() {
    let mut cluster = Cluster::new(3);
    let refusal = Some(Outcome::Refused { reason: Refusal::NoLeader, leader: None });
    let request = cluster.propose(1, "x");
    assert_eq!(cluster.outcome(request), refusal);
    cluster.timeout(1);
    let request = cluster.propose(1, "x");
    assert_eq!(cluster.outcome(request), refusal);
    cluster.settle();
    assert_eq!(cluster.applied(1), "");
}

#[test]
fn proposing_nothing_does_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let before = cluster.host(1).raft.clone();
    cluster.step(1, Event::Propose(Vec::new()));
    assert_eq!(cluster.host(1).raft, before);
    cluster.step(2, Event::Propose(Vec::new()));
    assert_eq!(cluster.world.bag.len(), 0);
}

/// R035: a leader that steps down does not answer before it is decided.
#[test]
fn a_deposed_leader_says_lost_when_its_entry_is_overwritten() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.isolate(1);
    let request = cluster.propose(1, "old");
    cluster.elect(2);
    cluster.propose(2, "new");
    cluster.deliver_all();
    cluster.heal();
    assert_eq!(cluster.outcome(request), None);
    cluster.run(5 * HEARTBEAT);
    assert_eq!(cluster.outcome(request), Some(Outcome::Lost));
    cluster.settle();
    assert_eq!(cluster.applied(1), "new");
}

/// R035: and it says committed when the next leader has taken the entry over.
#[test]
fn a_deposed_leader_says_committed_when_the_next_leader_commits_its_entry() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let request = cluster.propose(1, "x");
    cluster.deliver(|message| message.to == id(2));
    cluster.lose(|_| true);
    cluster.isolate(1);
    cluster.elect(2);
    assert_eq!(cluster.outcome(request), None);
    cluster.heal();
    cluster.run(3 * HEARTBEAT);
    assert_eq!(cluster.outcome(request), committed(1, 2));
    cluster.settle();
}

/// R121, R129: another command at the same index is not this one's success.
#[test]
fn the_answer_of_another_command_at_the_same_index_is_not_given() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.isolate(1);
    let old = cluster.propose_all(1, &["a", "b", "c"]);
    cluster.elect(2);
    let new = cluster.propose_all(2, &["A", "B", "C"]);
    cluster.deliver_all();
    cluster.heal();
    cluster.run(5 * HEARTBEAT);
    assert_eq!(cluster.outcome(new[0]), committed(2, 3));
    for request in old {
        assert_eq!(cluster.outcome(request), Some(Outcome::Lost));
    }
    cluster.settle();
    assert_eq!(cluster.applied(1), "A B C");
}

/// R119: nobody waits for ever at a leader that has lost its majority.
#[test]
fn proposals_at_an_isolated_leader_end_as_unknown() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.isolate(1);
    let request = cluster.propose(1, "x");
    cluster.run(5 * ELECTION);
    assert_eq!(cluster.outcome(request), Some(Outcome::Unknown));
    assert_eq!(cluster.status(1).pending_requests, 0);
    cluster.settle();
}

/// R119: nor at a follower whose leader is gone.
#[test]
fn proposals_at_a_follower_whose_leader_is_gone_end_as_unknown() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.crash(1);
    let request = cluster.propose(3, "x");
    cluster.tick(ELECTION - HEARTBEAT);
    assert_eq!(cluster.outcome(request), None);
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.outcome(request), Some(Outcome::Unknown));
    cluster.settle();
}

#[test]
fn a_forwarded_proposal_that_is_lost_ends_as_unknown() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let request = cluster.propose(3, "x");
    assert_eq!(cluster.lose(is_proposal).len(), 1);
    cluster.run(2 * ELECTION);
    assert_eq!(cluster.outcome(request), Some(Outcome::Unknown));
    cluster.settle();
    assert_eq!(cluster.applied(1), "");
}

/// Unknown is the truth when the answer is lost: the command may well be applied.
#[test]
fn a_forwarded_proposal_whose_answer_is_lost_ends_as_unknown_and_is_applied() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let request = cluster.propose(3, "x");
    cluster.deliver(is_proposal);
    assert_eq!(cluster.lose(is_proposal_reply).len(), 1);
    cluster.run(2 * ELECTION);
    assert_eq!(cluster.outcome(request), Some(Outcome::Unknown));
    cluster.settle();
    assert_eq!(cluster.applied(3), "x");
}

/// An answer that comes after the waiting has ended changes nothing.
#[test]
fn a_late_answer_does_not_answer_twice() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let request = cluster.propose(3, "x");
    cluster.deliver(is_proposal);
    let late = cluster.lose(is_proposal_reply);
    cluster.run(2 * ELECTION);
    late.into_iter().for_each(|message| cluster.receive(message));
    assert_eq!(cluster.outcome(request), Some(Outcome::Unknown));
    cluster.settle();
}

/// R120, R146: the network may repeat a message, but not a command.
#[test]
fn a_forwarded_proposal_that_arrives_twice_is_appended_once() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.propose(3, "x");
    let copies = cluster.lose(is_proposal);
    cluster.receive(copies[0].clone());
    cluster.receive(copies[0].clone());
    cluster.deliver_all();
    cluster.propose(3, "y");
    cluster.deliver_all();
    cluster.receive(copies[0].clone());
    cluster.settle();
    assert_eq!(cluster.applied(2), "x y");
}

/// R120: a late copy of a proposal to an earlier leader is not for the present one.
#[test]
fn a_forwarded_proposal_of_an_earlier_term_is_not_appended() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let request = cluster.propose(3, "x");
    let copy = cluster.lose(is_proposal).remove(0);
    cluster.receive(copy.clone());
    cluster.deliver_all();
    assert_eq!(cluster.outcome(request), committed(1, 2));
    cluster.elect(2);
    cluster.elect(1);
    cluster.receive(copy);
    cluster.settle();
    assert_eq!(cluster.applied(2), "x");
}

/// R146: refused means certainly not applied, even if the refused message comes again later.
#[test]
fn a_forwarded_proposal_that_was_refused_is_never_appended() {
    let mut cluster = Cluster::with(3, |config| config.max_uncommitted_bytes(1));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let first = cluster.propose(1, "first");
    let held_back = cluster.lose(|_| true);
    let request = cluster.propose(3, "x");
    let copy = cluster.lose(is_proposal).remove(0);
    cluster.receive(copy.clone());
    cluster.deliver(is_proposal_reply);
    let refusal = Outcome::Refused { reason: Refusal::Overloaded, leader: Some(id(1)) };
    assert_eq!(cluster.outcome(request), Some(refusal));
    held_back.into_iter().for_each(|message| cluster.receive(message));
    cluster.deliver_all();
    assert_eq!(cluster.outcome(first), committed(1, 2));
    cluster.receive(copy);
    cluster.settle();
    assert_eq!(cluster.applied(3), "first");
}

/// R122: what a follower passes on goes one hop.
#[test]
fn a_node_that_does_not_lead_passes_nothing_on() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[], 0));
    assert_eq!(node.hears(3, 1, propose(batch(7, 1), &["x"])), []);
    assert_eq!(node.status(1).dropped.not_leader, 1);
}

/// C92: nor does a node that has just been deposed claim to know what became of a batch.
#[test]
fn a_deposed_leader_does_not_answer_forwarded_proposals() {
    let mut node = Lone::of(3);
    node.lead();
    node.hears(2, 2, vote_reply(false));
    assert_eq!(node.hears(3, 2, propose(batch(7, 1), &["x"])), []);
    assert_eq!(node.log(1), "1:");
}

/// A stranger is not served, and neither is a batch without commands.
#[test]
fn a_batch_of_a_stranger_or_without_commands_is_not_appended() {
    let mut node = Lone::of(3);
    node.lead();
    assert_eq!(node.hears(9, 1, propose(batch(7, 1), &["x"])), []);
    let reply = node.hears(2, 1, propose(batch(7, 2), &[]));
    let refusal = Body::ProposeReply { batch: batch(7, 2), result: Err(Refusal::Overloaded) };
    assert_eq!(reply, [message(1, 2, 1, refusal)]);
    assert_eq!(node.log(1), "1:");
}

#[test]
fn a_forwarded_proposal_is_lost_when_its_place_is_overwritten() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let request = cluster.propose(3, "x");
    cluster.deliver(is_proposal);
    cluster.deliver(is_proposal_reply);
    cluster.lose(|_| true);
    cluster.isolate(1);
    cluster.elect(2);
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.outcome(request), Some(Outcome::Lost));
    cluster.settle();
    assert_eq!(cluster.applied(3), "");
}

/// The answer of the leader may be overtaken by the entries and their commit.
#[test]
fn an_answer_that_comes_after_the_commit_is_told_at_once() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let request = cluster.propose(3, "x");
    cluster.deliver(is_proposal);
    let reply = cluster.lose(is_proposal_reply);
    cluster.run(2 * HEARTBEAT);
    assert_eq!((cluster.commit(3), cluster.outcome(request)), (2, None));
    reply.into_iter().for_each(|message| cluster.receive(message));
    assert_eq!(cluster.outcome(request), committed(1, 2));
    cluster.settle();
}

/// An answer that can't come from an honest leader is not believed.
#[test]
fn an_answer_that_names_the_place_before_the_log_is_ignored() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a")], 1));
    let request = node.propose(1, "x");
    let sent = node.sent();
    let Body::Propose { batch, .. } = sent[0].body else { unreachable!("{sent:?}") };
    node.hears(2, 1, Body::ProposeReply { batch, result: Ok(index(0)) });
    assert_eq!(node.outcome(request), None);
}

#[test]
fn answers_that_are_for_somebody_else_are_ignored() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a")], 1));
    let request = node.propose(1, "x");
    let sent = node.sent();
    let Body::Propose { batch: mine, .. } = sent[0].body else { unreachable!("{sent:?}") };
    let reply = |batch| Body::ProposeReply { batch, result: Err(Refusal::Overloaded) };
    node.hears(3, 1, reply(mine));
    node.hears(2, 1, reply(batch(mine.incarnation + 1, mine.sequence)));
    node.hears(2, 1, reply(batch(mine.incarnation, mine.sequence + 1)));
    assert_eq!(node.outcome(request), None);
    node.hears(2, 1, reply(mine));
    assert!(matches!(node.outcome(request), Some(Outcome::Refused { .. })));
}

/// Nor is an answer to the life before a restart.
#[test]
fn an_answer_to_a_batch_from_before_a_restart_is_ignored() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a")], 1));
    node.propose(1, "old");
    let sent = node.sent();
    let Body::Propose { batch, .. } = sent[0].body else { unreachable!("{sent:?}") };
    node.restart(1);
    node.hears(2, 1, append(at(1, 1), &[], 1));
    let request = node.propose(1, "new");
    node.hears(2, 1, Body::ProposeReply { batch, result: Ok(index(1)) });
    assert_eq!(node.outcome(request), None);
}

/// C49: a leader that becomes one again still knows whom to answer.
#[test]
fn a_leader_that_is_elected_again_answers_what_it_was_asked_before() {
    let mut cluster = Cluster::with(3, |config| config.outcome_timeout(10 * ELECTION));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let request = cluster.propose(1, "x");
    cluster.lose(|_| true);
    cluster.receive(message(2, 1, 5, vote_reply(false)));
    assert!(!cluster.leads(1));
    cluster.elect(1);
    assert_eq!(cluster.outcome(request), committed(1, 2));
    cluster.settle();
}

/// C49: and a commit that comes after the waiting has ended does not answer again.
#[test]
fn a_commit_after_the_waiting_has_ended_does_not_answer_twice() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.isolate(1);
    let request = cluster.propose(1, "x");
    cluster.run(5 * ELECTION);
    assert_eq!(cluster.outcome(request), Some(Outcome::Unknown));
    cluster.settle();
    assert_eq!(cluster.outcome(request), Some(Outcome::Unknown));
}

/// Every request has one answer in a cluster in which everything goes wrong; `settle` counts.
#[test]
fn every_request_is_answered_once_whatever_happens() {
    let mut cluster = Cluster::new(5);
    for round in 0..60_u64 {
        let node = round * 7 % 5 + 1;
        match round % 6 {
            0 => cluster.isolate(node),
            2 => cluster.heal(),
            4 => cluster.partition(&[node, node % 5 + 1]),
            5 => {
                cluster.heal();
                cluster.lose(|message| message.to.get() % 2 == round % 2);
            }
            _ => {}
        }
        for node in 1..=5 {
            cluster.propose_all(node, &["a", "b"]);
            cluster.read(node);
        }
        cluster.tick(HEARTBEAT);
        cluster.lose(|message| is_append(message) && message.from.get() == round % 5);
        cluster.run(ELECTION * (round as u32 % 4) / 2);
    }
    cluster.settle();
}
