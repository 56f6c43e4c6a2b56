//! Whoever waits when a node stops is told so, once, and truthfully.

use std::sync::mpsc::channel;

use raft_node::core::{Body, Entries, LogPosition, Message, RoleKind, Term};
use raft_node::{RequestError, Turn};

use crate::host::{Disk, ELECTION, ME, Machine, PEER, Rig, answer, append, is_open, settings};

#[test]
fn requests_that_were_never_looked_at_are_certainly_not_applied() {
    let machine = Machine::default();
    let host = Rig::alone(settings(1), &Disk::default(), &machine);
    let (proposal, read) = (host.propose("a"), host.read("b"));
    let threads = host.stop();
    assert_eq!(answer(&proposal), Err(RequestError::Stopped));
    assert_eq!(answer(&read), Err(RequestError::Stopped));
    threads.join();
    assert!(machine.commands().is_empty());
}

#[test]
fn the_outcome_of_a_proposal_in_the_log_is_unknown_and_a_read_is_only_unanswered() {
    let mut host = Rig::leader_of_three(&Disk::default(), &Machine::default());
    let (proposal, read) = (host.propose("a"), host.read("b"));
    host.go_on();
    assert!(is_open(&proposal) && is_open(&read));
    host.stop().join();
    assert_eq!(answer(&proposal), Err(RequestError::Unknown));
    assert_eq!(answer(&read), Err(RequestError::Stopped));
}

/// R123.
#[test]
fn a_node_that_is_only_dropped_answers_everybody_too() {
    let mut host = Rig::leader_of_three(&Disk::default(), &Machine::default());
    let in_core = host.propose("a");
    host.go_on();
    let in_mailbox = host.propose("b");
    drop(host);
    assert_eq!(answer(&in_core), Err(RequestError::Unknown));
    assert_eq!(answer(&in_mailbox), Err(RequestError::Stopped));
}

#[test]
fn a_stopping_node_waits_for_one_slow_command_and_not_for_all_that_are_queued() {
    let machine = Machine::default();
    let mut host = Rig::alone(settings(1), &Disk::default(), &machine);
    machine.gate.shut();
    let begun = host.propose("begun");
    let queued: Vec<_> = (0..10).map(|n| host.propose(format!("queued {n}"))).collect();
    host.turn_until(|host| host.status().commit == host.status().last);
    let later = host.propose("in a later batch");
    let read = host.read("question");
    host.turn_until(|host| host.status().commit == host.status().last);
    machine.gate.wait_for_visitor();

    let threads = host.stop();
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
    let mut host = Rig::alone(settings(1), &Disk::default(), &Machine::default());
    let client = host.client.clone();
    client.stop();
    assert!(matches!(host.turn(), Turn::Stopped(Ok(()))));
    host.node.close().join();

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
    let host = Rig::alone(settings(1), &Disk::default(), &Machine::default());
    let answers: Vec<_> = (0..5000).map(|_| host.propose("a")).collect();
    host.stop().join();
    for answered in &answers {
        assert_eq!(answer(answered), Err(RequestError::Stopped));
    }
}

/// Says whether the node has told the peer to stand for election.
fn hands_over(host: &Rig) -> bool {
    host.sent.try_iter().any(|message| message.to == PEER && message.body == Body::TimeoutNow)
}

#[test]
fn a_leader_that_is_asked_to_stop_hands_over_and_stops_when_somebody_else_stands_for_election() {
    let mut host = Rig::leader_of_three(&Disk::default(), &Machine::default());
    host.turn_until(|host| {
        host.peer_agrees();
        let status = host.status();
        status.peers.iter().any(|peer| peer.id == PEER && peer.matched == status.last)
    });
    host.client.stop();
    host.turn_until(|host| hands_over(host));
    let refused = host.propose("too late");
    host.go_on();
    assert!(answer(&refused).unwrap_err().is_certain(), "no new command is taken in");
    let last = LogPosition { index: host.status().last, term: Term::new(1).unwrap() };
    let vote = Body::Vote { last, transfer: true };
    let term = Term::new(2).unwrap();
    host.client.deliver(Message { from: PEER, to: ME, term, body: vote });
    host.turn_until_stopped().unwrap();
}

#[test]
fn a_leader_that_nobody_relieves_stops_after_an_election_timeout() {
    let mut host = Rig::leader_of_three(&Disk::default(), &Machine::default());
    let waiting = host.propose("a");
    host.go_on();
    host.client.stop();
    host.go_on();
    host.now = host.now.plus(ELECTION / 2);
    host.go_on();
    assert!(is_open(&waiting));
    host.now = host.now.plus(ELECTION / 2);
    host.turn_until_stopped().unwrap();
    host.node.close().join();
    assert_eq!(answer(&waiting), Err(RequestError::Unknown));
}

#[test]
fn a_follower_and_a_node_without_others_stop_at_once() {
    let mut host = Rig::start(settings(3), &Disk::default(), &Machine::default());
    host.client.deliver(append(1, 1, Entries::empty()));
    host.turn_until(|host| host.status().leader == Some(PEER));
    host.client.stop();
    assert!(matches!(host.turn(), Turn::Stopped(Ok(()))));

    let mut host = Rig::alone(settings(1), &Disk::default(), &Machine::default());
    assert_eq!(host.status().role, RoleKind::Leader);
    host.client.stop();
    assert!(matches!(host.turn(), Turn::Stopped(Ok(()))));
}

#[test]
fn a_leader_that_is_killed_or_asked_twice_hands_nothing_over() {
    let mut host = Rig::leader_of_three(&Disk::default(), &Machine::default());
    host.client.kill();
    assert!(matches!(host.turn(), Turn::Stopped(Ok(()))));
    assert!(!hands_over(&host));

    let mut host = Rig::leader_of_three(&Disk::default(), &Machine::default());
    host.client.stop();
    host.go_on();
    host.client.kill();
    assert!(matches!(host.turn(), Turn::Stopped(Ok(()))));
}
