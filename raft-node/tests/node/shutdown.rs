//! Whoever waits when a node stops is told so, once, and truthfully.

use std::sync::mpsc::channel;

use raft_node::core::{Body, Entries, LogPosition, Message, RoleKind, Term};
use raft_node::{RequestError, Turn};

use crate::rig::{Disk, ELECTION, ME, Machine, PEER, Rig, answer, append, is_open, settings};

#[test]
fn requests_that_were_never_looked_at_are_certainly_not_applied() {
    let machine = Machine::default();
    let rig = Rig::alone(settings(1), &Disk::default(), &machine);
    let (proposal, read) = (rig.propose("a"), rig.read("b"));
    let threads = rig.stop();
    assert_eq!(answer(&proposal), Err(RequestError::Stopped));
    assert_eq!(answer(&read), Err(RequestError::Stopped));
    threads.join();
    assert!(machine.commands().is_empty());
}

#[test]
fn the_outcome_of_a_proposal_in_the_log_is_unknown_and_a_read_is_only_unanswered() {
    let mut rig = Rig::leader_of_three(&Disk::default(), &Machine::default());
    let (proposal, read) = (rig.propose("a"), rig.read("b"));
    rig.go_on();
    assert!(is_open(&proposal) && is_open(&read));
    rig.stop().join();
    assert_eq!(answer(&proposal), Err(RequestError::Unknown));
    assert_eq!(answer(&read), Err(RequestError::Stopped));
}

/// R123.
#[test]
fn a_node_that_is_only_dropped_answers_everybody_too() {
    let mut rig = Rig::leader_of_three(&Disk::default(), &Machine::default());
    let in_core = rig.propose("a");
    rig.go_on();
    let in_mailbox = rig.propose("b");
    drop(rig);
    assert_eq!(answer(&in_core), Err(RequestError::Unknown));
    assert_eq!(answer(&in_mailbox), Err(RequestError::Stopped));
}

#[test]
fn a_stopping_node_waits_for_one_slow_command_and_not_for_all_that_are_queued() {
    let machine = Machine::default();
    let mut rig = Rig::alone(settings(1), &Disk::default(), &machine);
    machine.gate.shut();
    let begun = rig.propose("begun");
    let queued: Vec<_> = (0..10).map(|n| rig.propose(format!("queued {n}"))).collect();
    rig.turn_until(|rig| rig.status().commit == rig.status().last);
    let later = rig.propose("in a later batch");
    let read = rig.read("question");
    rig.turn_until(|rig| rig.status().commit == rig.status().last);
    machine.gate.wait_for_visitor();

    let threads = rig.stop();
    machine.gate.open();
    threads.join();
    assert_eq!(answer(&begun).unwrap(), "begun");
    for answered in queued.iter().chain([&later]) {
        assert_eq!(answer(answered), Err(RequestError::Unknown));
    }
    assert_eq!(answer(&read), Err(RequestError::Stopped));
    assert_eq!(machine.commands(), ["begun"]);
}

#[test]
fn a_stopped_node_answers_at_once() {
    let mut rig = Rig::alone(settings(1), &Disk::default(), &Machine::default());
    let client = rig.client.clone();
    client.stop();
    assert!(matches!(rig.turn(), Turn::Stopped(Ok(()))));
    rig.node.close().join();

    let (answers, answered) = channel();
    let (proposed, read, status) = (answers.clone(), answers.clone(), answers);
    client.propose("a".into(), move |result| proposed.send(result).unwrap());
    client.read("b".into(), move |result| read.send(result).unwrap());
    client.status(move |result| status.send(result.map(|_| "a status".into())).unwrap());
    let answers: Vec<_> = answered.iter().collect();
    assert_eq!(answers, vec![Err(RequestError::Stopped); 3]);
    // Nothing to see, but it must not be kept either.
    client.deliver(append(9, 1, Entries::empty()));
    client.stop();
}

#[test]
fn a_stop_is_not_delayed_by_a_full_mailbox() {
    let rig = Rig::alone(settings(1), &Disk::default(), &Machine::default());
    let answers: Vec<_> = (0..5000).map(|_| rig.propose("a")).collect();
    rig.stop().join();
    for answered in &answers {
        assert_eq!(answer(answered), Err(RequestError::Stopped));
    }
}

/// Says whether the node has told the peer to stand for election.
fn hands_over(rig: &Rig) -> bool {
    rig.sent.try_iter().any(|message| message.to == PEER && message.body == Body::TimeoutNow)
}

#[test]
fn a_leader_that_is_asked_to_stop_hands_over_and_stops_when_somebody_else_stands_for_election() {
    let mut rig = Rig::leader_of_three(&Disk::default(), &Machine::default());
    rig.turn_until(|rig| {
        rig.peer_agrees();
        let status = rig.status();
        status.peers.iter().any(|peer| peer.id == PEER && peer.matched == status.last)
    });
    rig.client.stop();
    rig.turn_until(|rig| hands_over(rig));
    let refused = rig.propose("too late");
    rig.go_on();
    assert!(answer(&refused).unwrap_err().is_certain(), "no new command is taken in");
    let last = LogPosition { index: rig.status().last, term: Term::new(1).unwrap() };
    let vote = Body::Vote { last, transfer: true };
    let term = Term::new(2).unwrap();
    rig.client.deliver(Message { from: PEER, to: ME, term, body: vote });
    rig.turn_until_stopped().unwrap();
}

#[test]
fn a_leader_that_nobody_relieves_stops_after_an_election_timeout() {
    let mut rig = Rig::leader_of_three(&Disk::default(), &Machine::default());
    let waiting = rig.propose("a");
    rig.go_on();
    rig.client.stop();
    rig.go_on();
    rig.now = rig.now.plus(ELECTION / 2);
    rig.go_on();
    assert!(is_open(&waiting));
    rig.now = rig.now.plus(ELECTION / 2);
    rig.turn_until_stopped().unwrap();
    rig.node.close().join();
    assert_eq!(answer(&waiting), Err(RequestError::Unknown));
}

#[test]
fn a_follower_and_a_node_without_others_stop_at_once() {
    let mut rig = Rig::start(settings(3), &Disk::default(), &Machine::default());
    rig.client.deliver(append(1, 1, Entries::empty()));
    rig.turn_until(|rig| rig.status().leader == Some(PEER));
    rig.client.stop();
    assert!(matches!(rig.turn(), Turn::Stopped(Ok(()))));

    let mut rig = Rig::alone(settings(1), &Disk::default(), &Machine::default());
    assert_eq!(rig.status().role, RoleKind::Leader);
    rig.client.stop();
    assert!(matches!(rig.turn(), Turn::Stopped(Ok(()))));
}

#[test]
fn a_leader_that_is_killed_or_asked_twice_hands_nothing_over() {
    let mut rig = Rig::leader_of_three(&Disk::default(), &Machine::default());
    rig.client.kill();
    assert!(matches!(rig.turn(), Turn::Stopped(Ok(()))));
    assert!(!hands_over(&rig));

    let mut rig = Rig::leader_of_three(&Disk::default(), &Machine::default());
    rig.client.stop();
    rig.go_on();
    rig.client.kill();
    assert!(matches!(rig.turn(), Turn::Stopped(Ok(()))));
}
