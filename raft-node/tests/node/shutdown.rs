//! Whoever waits when a node stops is told so, once, and truthfully.

use std::sync::mpsc::channel;

use raft_node::RequestError;

use crate::host::{Disk, Host, Machine, answer, config, is_open};

#[test]
fn requests_that_were_never_looked_at_are_certainly_not_applied() {
    let machine = Machine::default();
    let host = Host::alone(config(1), &Disk::default(), &machine);
    let (proposal, read) = (host.propose("a"), host.read("b"));
    let threads = host.stop();
    assert_eq!(answer(&proposal), Err(RequestError::Stopped));
    assert_eq!(answer(&read), Err(RequestError::Stopped));
    threads.join();
    assert!(machine.commands().is_empty());
}

#[test]
fn the_outcome_of_a_proposal_in_the_log_is_unknown_and_a_read_is_only_unanswered() {
    let mut host = Host::leader_of_three(&Disk::default(), &Machine::default());
    let (proposal, read) = (host.propose("a"), host.read("b"));
    host.go_on();
    assert!(is_open(&proposal) && is_open(&read));
    host.stop().join();
    assert_eq!(answer(&proposal), Err(RequestError::Unknown));
    assert_eq!(answer(&read), Err(RequestError::Stopped));
}

#[test]
fn a_node_that_is_only_dropped_answers_everybody_too() {
    let mut host = Host::leader_of_three(&Disk::default(), &Machine::default());
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
    let mut host = Host::alone(config(1), &Disk::default(), &machine);
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
    let mut host = Host::alone(config(1), &Disk::default(), &Machine::default());
    let client = host.client.clone();
    client.stop();
    assert!(matches!(host.turn(), raft_node::Turn::Stopped(Ok(()))));
    host.node.close().join();

    let (answers, answered) = channel();
    let (proposed, read) = (answers.clone(), answers.clone());
    client.propose("a".into(), move |result| proposed.send(result).unwrap());
    client.read("b".into(), move |result| read.send(result).unwrap());
    client.status(move |_| answers.send(Ok("a status".into())).unwrap());
    let answers: Vec<_> = answered.iter().collect();
    assert_eq!(answers, [Err(RequestError::Stopped), Err(RequestError::Stopped)]);
    // Nothing to see, but it must not be kept either.
    client.deliver(crate::host::append(9, 1, raft_node::core::Entries::empty()));
    client.stop();
}

#[test]
fn a_stop_is_not_delayed_by_a_full_mailbox() {
    let host = Host::alone(config(1), &Disk::default(), &Machine::default());
    let answers: Vec<_> = (0..5000).map(|_| host.propose("a")).collect();
    host.stop().join();
    for answered in &answers {
        assert_eq!(answer(answered), Err(RequestError::Stopped));
    }
}
