//! A node whose disk or state machine fails stops, says why, and lies to nobody.

use std::sync::atomic::Ordering;
use std::time::Duration;

use raft_node::core::{
    Body, ConfigError, Entries, Entry, LogIndex, LogPosition, Message, Payload, Term,
};
use raft_node::{LogStore, MemoryLog, NodeError, RequestError, StoreError};

use crate::host::{
    Disk, ELECTION, ME, Machine, PEER, Rig, Trouble, answer, append, is_open, settings,
};

fn term(number: u64) -> Term {
    Term::new(number).unwrap()
}

/// Takes the words of the disk that fails, and what was sent before the node stopped.
fn stops_for_its_disk(mut host: Rig) -> Vec<Message> {
    let why = host.turn_until_stopped().unwrap_err();
    assert!(matches!(&why, NodeError::Store(StoreError::Other(text)) if text == "no such luck"));
    host.node.close().join();
    host.sent.try_iter().collect()
}

/// R007: a follower whose vote does not get to the disk gives none, and its term is nobody's
/// business.
#[test]
fn a_failed_write_of_a_vote_stops_the_node_before_anybody_hears_of_it() {
    let disk = Disk::default();
    let host = Rig::start(settings(3), &disk, &Machine::default());
    *disk.trouble.lock().unwrap() = Some(Trouble::Fails);
    let body = Body::Vote { last: LogPosition::default(), transfer: false };
    host.client.deliver(Message { from: PEER, to: ME, term: term(5), body });
    assert_eq!(stops_for_its_disk(host), []);
}

/// R007: the same for the vote of a candidate for itself.
#[test]
fn a_failed_write_of_a_candidates_own_vote_stops_it_before_it_asks_for_others() {
    let disk = Disk::default();
    let mut host = Rig::start(settings(3), &disk, &Machine::default());
    host.now = host.now.plus(2 * ELECTION);
    let mut asked = Vec::new();
    host.turn_until(|host| {
        asked.extend(host.sent.try_iter());
        !asked.is_empty()
    });
    assert!(asked.iter().all(|message| matches!(message.body, Body::PreVote { .. })), "{asked:?}");
    *disk.trouble.lock().unwrap() = Some(Trouble::Fails);
    host.peer_answers(asked);
    assert_eq!(stops_for_its_disk(host), []);
}

/// R091: a follower whose log does not get to the disk acknowledges nothing, and does not go on in
/// silence.
#[test]
fn a_follower_whose_log_store_fails_stops_and_acknowledges_nothing() {
    let disk = Disk::default();
    let mut host = Rig::start(settings(3), &disk, &Machine::default());
    host.client.deliver(append(1, 1, Entries::empty()));
    host.turn_until(|host| host.sent.try_iter().next().is_some());
    *disk.trouble.lock().unwrap() = Some(Trouble::Fails);
    let index = LogIndex::new(1).unwrap();
    let entry = Entry { term: term(1), index, payload: Payload::Noop };
    host.client.deliver(append(1, 2, Entries::new(vec![entry]).unwrap()));
    assert_eq!(stops_for_its_disk(host), []);
}

/// C9, R089: after a failed write nobody knows what is on the disk.
#[test]
fn a_failed_write_stops_the_node_and_no_command_is_reported_as_applied() {
    let disk = Disk::default();
    let mut host = Rig::leader_of_three(&disk, &Machine::default());
    *disk.trouble.lock().unwrap() = Some(Trouble::Fails);
    let read = host.read("a");
    let proposal = host.propose("b");
    let stopped = host.turn_until_stopped();
    let why = stopped.unwrap_err();
    assert!(matches!(&why, NodeError::Store(StoreError::Other(text)) if text == "no such luck"));
    let late = host.propose("c");
    host.node.close().join();
    assert_eq!(answer(&proposal), Err(RequestError::Unknown));
    assert_eq!(answer(&read), Err(RequestError::Stopped));
    assert_eq!(answer(&late), Err(RequestError::Stopped));
}

/// R091.
#[test]
fn a_store_that_panics_stops_the_node_although_nothing_else_happens() {
    let disk = Disk::default();
    let mut host = Rig::alone(settings(1), &disk, &Machine::default());
    *disk.trouble.lock().unwrap() = Some(Trouble::Panics);
    let proposal = host.propose("a");
    let why = host.turn_until_stopped().unwrap_err();
    assert_eq!(why.to_string(), "the log store panicked: the disk fell off");
    host.node.close().join();
    assert_eq!(answer(&proposal), Err(RequestError::Unknown));
}

/// C9.
#[test]
fn a_failed_load_stops_the_node() {
    let (disk, machine) = (Disk::default(), Machine::default());
    let mut host = Rig::alone(settings(1), &disk, &machine);
    let proposal = host.propose("a");
    host.turn_until(|_| proposal.try_recv().is_ok());
    host.stop().join();

    // The new leader has to load what it applies.
    disk.trouble_with_loads.store(true, Ordering::Relaxed);
    let mut host = Rig::start(settings(1), &disk, &machine);
    host.now = host.now.plus(2 * ELECTION);
    let why = host.turn_until_stopped().unwrap_err();
    assert!(matches!(&why, NodeError::Store(StoreError::Other(text)) if text == "unreadable"));
    host.node.close().join();
}

#[test]
fn a_state_machine_that_panics_stops_the_node_with_its_words() {
    let machine = Machine::default();
    let mut host = Rig::alone(settings(1), &Disk::default(), &machine);
    machine.gate.shut();
    let good = host.propose("good");
    let bad = host.propose("panic, please");
    let after = host.propose("after");
    host.turn_until(|host| host.status().commit == host.status().last);
    let read = host.read("a");
    machine.gate.open();
    let why = host.turn_until_stopped().unwrap_err();
    assert!(
        matches!(&why, NodeError::StateMachinePanicked(text) if text == "can't do panic, please"),
        "{why:?}"
    );
    host.node.close().join();
    assert_eq!(answer(&good).unwrap(), "good");
    assert_eq!(answer(&bad), Err(RequestError::Unknown));
    assert_eq!(answer(&after), Err(RequestError::Unknown));
    assert_eq!(answer(&read), Err(RequestError::Stopped));
    assert_eq!(machine.commands(), ["good"]);
}

#[test]
fn a_state_machine_that_is_ahead_of_its_log_does_not_start() {
    let (disk, machine) = (Disk::default(), Machine { persistent: true, ..Machine::default() });
    machine.log.lock().unwrap().push((raft_node::core::LogIndex::new(3).unwrap(), "x".into()));
    let refused = Rig::try_start(&settings(1), &disk, &machine);
    assert!(matches!(refused, Err(NodeError::Config(ConfigError::Inconsistent(_)))));
}

/// R072: the log's directory is deleted or not mounted, that of the snapshots is still there.
#[test]
fn a_node_that_has_lost_its_log_does_not_start_on_its_snapshots() {
    let (mut disk, machine) = (Disk::default(), Machine::default());
    let mut host = Rig::alone(settings(1), &disk, &machine);
    let proposal = host.propose("a");
    host.turn_until(|_| !is_open(&proposal));
    let snapshot = host.snapshot();
    host.turn_until(|_| !is_open(&snapshot));
    host.stop().join();

    disk.log = MemoryLog::new();
    let refused = Rig::try_start(&settings(1), &disk, &machine);
    assert!(matches!(refused, Err(NodeError::NoIdentity)));
    assert!(disk.log.metadata().unwrap().is_empty(), "nothing was written");
}

#[test]
fn settings_that_make_no_sense_leave_no_trace_on_the_storage() {
    let (mut disk, machine) = (Disk::default(), Machine::default());
    let too_long = settings(1).peer(ME, "a".repeat(2000));
    let refused = Rig::try_start(&too_long, &disk, &machine);
    assert!(matches!(refused, Err(NodeError::AddressTooLong { id, .. }) if id == ME));
    let senseless = settings(3).election_timeout(Duration::ZERO);
    let refused = Rig::try_start(&senseless, &disk, &machine);
    assert!(matches!(refused, Err(NodeError::Config(_))));
    assert!(disk.log.metadata().unwrap().is_empty());
    Rig::alone(settings(1), &disk, &machine).stop().join();
}

#[test]
fn a_callback_that_panics_does_the_node_no_harm() {
    let mut host = Rig::alone(settings(1), &Disk::default(), &Machine::default());
    host.client.propose("a".into(), |_| panic!("a client's own affair"));
    host.client.status(|_| panic!("another one's"));
    let after = host.propose("b");
    host.turn_until(|_| !is_open(&after));
    host.stop().join();
}
