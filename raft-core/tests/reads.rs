//! Reads: linearizable on every node, without a log write. Rows named R and C are those of the
//! project's lists of known bugs and corner cases.

mod common;

use common::*;
use raft_core::{Body, Event, Message, Outcome, Refusal, RequestId};

const fn readable(at_index: u64) -> Option<Outcome> {
    match raft_core::LogIndex::new(at_index) {
        Some(index) => Some(Outcome::Readable { index }),
        None => None,
    }
}

fn refused(leader: Option<u64>) -> Option<Outcome> {
    let leader = leader.map(id);
    Some(Outcome::Refused { reason: Refusal::NoLeader, leader })
}

fn is_question(message: &Message) -> bool {
    matches!(message.body, Body::ReadIndex { .. })
}

fn is_answer(message: &Message) -> bool {
    matches!(message.body, Body::ReadIndexReply { .. })
}

#[test]
fn a_read_is_served_on_the_leader_and_on_followers_without_a_log_write() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, "x");
    cluster.run(HEARTBEAT);
    let reads: Vec<_> = (1..=3).map(|node| cluster.read(node)).collect();
    cluster.deliver_all();
    for read in reads {
        assert_eq!(cluster.outcome(read), readable(2));
    }
    assert_eq!(cluster.log(1), "1: 1:x");
    cluster.settle();
}

/// R079: a leader that was deposed behind its back does not answer.
#[test]
fn a_leader_that_is_cut_off_answers_no_read() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.isolate(1);
    cluster.elect(2);
    cluster.propose(2, "new");
    cluster.deliver_all();
    let read = cluster.read(1);
    assert!(cluster.leads(1), "it still believes in itself");
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.outcome(read), None);
    cluster.heal();
    cluster.run(3 * HEARTBEAT);
    assert!(matches!(cluster.outcome(read), Some(Outcome::Refused { .. })));
    cluster.settle();
}

/// R081, R082, C77: before its first commit a leader does not know what is committed.
#[test]
fn a_new_leader_answers_reads_only_after_its_first_commit() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.propose(1, "x");
    cluster.deliver_all();
    assert_eq!((cluster.commit(1), cluster.commit(2)), (2, 1), "node 2 has x but not its commit");
    cluster.elect_silently(2);
    cluster.hold_disk(1);
    cluster.hold_disk(3);
    let read = cluster.read(2);
    cluster.run(3 * HEARTBEAT);
    assert_eq!(cluster.outcome(read), None, "confirmed as the leader, but it knows too little");
    let remote = cluster.read(3);
    cluster.run(3 * HEARTBEAT);
    assert_eq!(cluster.outcome(remote), None, "nor does it tell a follower more");
    cluster.release_disk(3);
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.outcome(read), readable(3));
    assert_eq!(cluster.outcome(remote), readable(3));
    assert_eq!(cluster.applied(2), "x");
    cluster.settle();
}

/// What is committed must be applied before it can be read.
#[test]
fn a_read_waits_for_the_state_machine_of_its_own_node() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.hold_machine(1);
    cluster.hold_machine(2);
    cluster.propose(1, "x");
    cluster.run(HEARTBEAT);
    let (first, second) = (cluster.read(1), cluster.read(2));
    cluster.deliver_all();
    assert_eq!((cluster.outcome(first), cluster.outcome(second)), (None, None));
    cluster.release_machine(1);
    assert_eq!((cluster.outcome(first), cluster.outcome(second)), (readable(2), None));
    cluster.release_machine(2);
    assert_eq!(cluster.outcome(second), readable(2));
    cluster.settle();
}

/// R080, R130, C78: an answer to a message that was sent before the read began proves nothing.
#[test]
fn an_answer_to_an_older_message_does_not_confirm_a_read() {
    let mut node = Lone::of(3);
    node.lead();
    node.hears(2, 1, accepted(1, 1));
    node.sent();
    node.tick(HEARTBEAT);
    let numbers = |sent: &[Message]| -> Vec<u64> {
        sent.iter().filter_map(append_of).map(|append| append.sequence).collect()
    };
    let before = numbers(&node.sent());
    let read = node.read(1);
    let after = numbers(&node.sent());
    assert!(before.iter().max() < after.iter().min(), "{before:?}, {after:?}");
    for old in before {
        node.hears(2, 1, accepted_numbered(old, 1, 1));
        node.hears(3, 1, accepted_numbered(old, 1, 1));
    }
    assert_eq!(node.outcome(read), None);
    node.hears(2, 1, accepted_numbered(after[0], 1, 1));
    assert_eq!(node.outcome(read), readable(1));
}

/// A refusal of entries is a confirmation all the same: it comes from a follower of this term.
#[test]
fn a_peer_whose_log_differs_confirms_reads_too() {
    let mut node = Lone::of(3);
    node.lead();
    node.hears(2, 1, accepted(1, 1));
    node.sent();
    let read = node.read(1);
    let sequence = append_of(&node.sent()[0]).unwrap().sequence;
    let result = raft_core::AppendResult::Rejected { prev: index(1), hint: at(0, 0) };
    node.hears(
        3,
        1,
        Body::AppendReply(raft_core::AppendReply { sequence, result, needs_snapshot: None }),
    );
    assert_eq!(node.outcome(read), readable(1));
}

/// R130: a deposed leader never answers, whatever comes in late.
#[test]
fn a_read_that_was_refused_is_not_answered_again() {
    let mut node = Lone::of(3);
    node.lead();
    node.hears(2, 1, accepted(1, 1));
    let read = node.read(1);
    let sequence =
        node.sent().iter().filter_map(append_of).map(|append| append.sequence).max().unwrap();
    node.hears(2, 2, vote_reply(false));
    assert_eq!(node.outcome(read), refused(None));
    node.hears(2, 1, accepted_numbered(sequence, 1, 1));
    node.hears(3, 1, accepted_numbered(sequence, 1, 1));
    assert_eq!(node.outcome(read), refused(None));
}

/// One round serves all the reads that wait for it, and a second one those that came meanwhile.
#[test]
fn a_thousand_reads_cost_two_rounds() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let before = cluster.world.appends;
    let reads: Vec<_> = (0..1000).map(|_| cluster.read(1)).collect();
    cluster.deliver_all();
    assert!(reads.iter().all(|read| cluster.outcome(*read) == readable(1)));
    assert_eq!(cluster.world.appends - before, 4);
    cluster.settle();
}

#[test]
fn a_thousand_reads_on_a_follower_cost_two_questions() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let reads: Vec<_> = (0..1000).map(|_| cluster.read(3)).collect();
    let mut questions = 0;
    for _ in 0..20 {
        questions += cluster.under_way().filter(|message| is_question(message)).count();
        cluster.deliver(|_| true);
    }
    assert_eq!(questions, 2);
    assert!(reads.iter().all(|read| cluster.outcome(*read) == readable(1)));
    cluster.settle();
}

/// A read that begins after the question was sent is not served with its answer.
#[test]
fn a_followers_read_waits_for_a_question_that_was_sent_after_it_began() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let early = cluster.read(3);
    cluster.deliver(is_question);
    cluster.deliver(|message| is_append(message) && message.to == id(2));
    cluster.deliver(is_append_reply);
    let answer = cluster.lose(is_answer);
    assert_eq!(answer.len(), 1);
    cluster.propose(1, "new");
    cluster.deliver(|message| message.to != id(3));
    cluster.deliver(|message| message.to != id(3));
    let late = cluster.read(3);
    answer.into_iter().for_each(|message| cluster.receive(message));
    assert_eq!((cluster.outcome(early), cluster.outcome(late)), (readable(1), None));
    cluster.deliver_all();
    assert_eq!(cluster.outcome(late), readable(2));
    cluster.settle();
}

/// C79: an answer to a question of an earlier following does not pass for one to a later.
#[test]
fn a_late_answer_to_an_older_question_confirms_nothing() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "")], 1));
    node.read(1);
    let sent = node.sent();
    let Body::ReadIndex { sequence } = sent[0].body else { unreachable!("{sent:?}") };
    node.timeout(1);
    node.sent();
    node.hears(2, 1, append(at(1, 1), &[], 1));
    let read = node.read(1);
    let stale = Body::ReadIndexReply { sequence, index: index(1) };
    node.hears(2, 1, stale.clone());
    assert_eq!(node.outcome(read), None);
    node.hears(3, 1, Body::ReadIndexReply { sequence: sequence + 1, index: index(1) });
    assert_eq!(node.outcome(read), None, "node 3 is not the leader");
    node.hears(2, 1, Body::ReadIndexReply { sequence: sequence + 1, index: index(1) });
    assert_eq!(node.outcome(read), readable(1));
    node.hears(2, 1, stale);
}

/// The numbers of one life of a node mean nothing to the next.
#[test]
fn an_answer_to_a_question_from_before_a_restart_confirms_nothing() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "")], 1));
    node.read(1);
    let old = node.sent();
    let Body::ReadIndex { sequence } = old[0].body else { unreachable!("{old:?}") };
    node.restart(1);
    node.hears(2, 1, append(at(1, 1), &[], 1));
    let read = node.read(1);
    node.hears(2, 1, Body::ReadIndexReply { sequence, index: index(1) });
    assert_eq!(node.outcome(read), None);
}

/// A question or its answer may be lost.
#[test]
fn a_lost_question_and_a_lost_answer_are_made_up_for() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let read = cluster.read(3);
    assert_eq!(cluster.lose(is_question).len(), 1);
    cluster.tick(HEARTBEAT);
    assert_eq!(cluster.deliver(is_question), 1, "asked again");
    while cluster.deliver(|message| !is_answer(message)) > 0 {}
    assert_eq!(cluster.lose(is_answer).len(), 1);
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.outcome(read), readable(1));
    cluster.settle();
}

/// A question that comes twice is answered, and harms nobody.
#[test]
fn a_repeated_question_is_harmless() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let read = cluster.read(3);
    let question = cluster.lose(is_question).remove(0);
    for _ in 0..3 {
        cluster.receive(question.clone());
    }
    cluster.deliver_all();
    assert_eq!(cluster.outcome(read), readable(1));
    cluster.receive(question);
    cluster.settle();
}

/// R083, C79: reads that wait for a leader are refused when it is gone, once each.
#[test]
fn reads_end_when_the_leader_is_lost() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let (at_leader, at_follower) = {
        cluster.isolate(1);
        (cluster.read(1), cluster.read(3))
    };
    cluster.run(5 * ELECTION);
    assert_eq!(cluster.outcome(at_leader), refused(None));
    assert!(matches!(cluster.outcome(at_follower), Some(Outcome::Refused { .. })));
    cluster.settle();
}

/// A read whose index this node has not heard of ends when the leader that named it is gone.
#[test]
fn a_confirmed_read_beyond_the_known_commit_ends_with_its_leader() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, ""), (1, "x")], 1));
    let read = node.read(1);
    let sent = node.sent();
    let Body::ReadIndex { sequence } = sent[0].body else { unreachable!("{sent:?}") };
    node.hears(2, 1, Body::ReadIndexReply { sequence, index: index(2) });
    assert_eq!(node.outcome(read), None);
    node.hears(3, 2, append(at(1, 1), &[(2, "")], 1));
    assert_eq!(node.outcome(read), refused(None));
}

#[test]
fn a_read_without_a_leader_is_refused_at_once() {
    let mut cluster = Cluster::new(3);
    let read = cluster.read(1);
    assert_eq!(cluster.outcome(read), refused(None));
    cluster.timeout(1);
    let read = cluster.read(1);
    assert_eq!(cluster.outcome(read), refused(None));
    cluster.settle();
}

#[test]
fn a_lone_voter_answers_reads_at_once() {
    let mut cluster = Cluster::new(1);
    cluster.elect(1);
    cluster.propose(1, "x");
    let read = cluster.read(1);
    assert_eq!(cluster.outcome(read), readable(2));
    cluster.settle();
}

/// Learners follow the same rule as every follower (C82).
#[test]
fn a_learner_serves_reads_at_a_confirmed_index() {
    let settings = |n: u64| -> Settings {
        let founders = voters(&[1, 2]).learner(id(3), "");
        Settings::new(founders, move |seed| raft_core::Config::new(id(n), seed))
    };
    let mut cluster = Cluster::of((1..=3).map(settings));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.propose(1, "x");
    cluster.deliver_all();
    let read = cluster.read(3);
    cluster.deliver_all();
    assert_eq!((cluster.outcome(read), cluster.applied(3)), (readable(2), "x".into()));
    cluster.settle();
}

/// A stranger's question is not worth a round.
#[test]
fn a_question_of_a_stranger_is_ignored() {
    let mut node = Lone::of(3);
    node.lead();
    node.hears(2, 1, accepted(1, 1));
    let before = node.host(1).raft.clone();
    assert_eq!(node.hears(9, 1, Body::ReadIndex { sequence: 7 }), []);
    assert_eq!(node.host(1).raft, before);
}

/// A node that has just stepped down leaves questions to the next leader.
#[test]
fn a_question_to_a_node_that_does_not_lead_is_counted_and_dropped() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[], 0));
    assert_eq!(node.hears(3, 1, Body::ReadIndex { sequence: 7 }), []);
    assert_eq!(node.status(1).dropped.not_leader, 1);
}

/// R082: the history of stale reads in one script. Every read sees all that was written before
/// it.
#[test]
fn no_read_misses_a_write_that_was_complete_before_it_began() {
    let mut cluster = Cluster::new(5);
    let mut written: Vec<(RequestId, String)> = Vec::new();
    let mut reads: Vec<(RequestId, u64)> = Vec::new();
    for round in 0..40_u64 {
        let cut_off = round % 5 + 1;
        cluster.heal();
        if round % 3 == 0 {
            cluster.isolate(cut_off);
        }
        let at_node = (round * 3) % 5 + 1;
        written.push((cluster.propose(at_node, &format!("c{round}")), format!("c{round}")));
        for node in 1..=5 {
            let known = |(request, _): &&(RequestId, String)| match cluster.outcome(*request) {
                Some(Outcome::Committed { index, .. }) => Some(index.get()),
                _ => None,
            };
            let complete = written.iter().filter_map(|write| known(&write)).max().unwrap_or(0);
            reads.push((cluster.read(node), complete));
        }
        cluster.run(ELECTION / 3 * 2);
    }
    let served = |(read, complete): &(RequestId, u64)| match cluster.outcome(*read) {
        Some(Outcome::Readable { index }) => {
            assert!(index.get() >= *complete, "{read:?} at {index}, but {complete} was complete");
            true
        }
        _ => false,
    };
    assert!(reads.iter().filter(|read| served(read)).count() > 50);
    cluster.step(1, Event::Wake);
    cluster.settle();
}
