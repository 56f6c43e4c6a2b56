//! A node whose disk or state machine fails stops, says why, and lies to nobody.

use std::sync::atomic::Ordering;
use std::time::Duration;

use raft_node::core::{
    Body, ConfigError, Entries, Entry, LogIndex, LogPosition, Message, Payload, Term,
};
use raft_node::{LogStore, MemoryLog, NodeError, RequestError, StoreError};

use crate::rig::{
    Disk, ELECTION, ME, Machine, PEER, Rig, Trouble, answer, append, is_open, settings,
};

fn term(number: u64) -> Term {
    Term::new(number).unwrap()
}

/// Takes the words of the disk that fails, and what was sent before the node stopped.
fn stops_for_its_disk(mut rig: Rig) -> Vec<Message> {
    let why = rig.turn_until_stopped().unwrap_err();
    assert!(matches!(&why, NodeError::Store(StoreError::Other(text)) if text == "no such luck"));
    rig.node.close().join();
    rig.sent.try_iter().collect()
}

/// R007: a follower whose vote does not get to the disk gives none, and its term is nobody's
/// business.
#[test]
fn a_failed_write_of_a_vote_stops_the_node_before_anybody_hears_of_it() {
    let disk = Disk::default();
    let rig = Rig::start(settings(3), &disk, &Machine::default());
    *disk.trouble.lock().unwrap() = Some(Trouble::Fails);
    let body = Body::Vote { last: LogPosition::default(), transfer: false };
    rig.client.deliver(Message { from: PEER, to: ME, term: term(5), body });
    assert_eq!(stops_for_its_disk(rig), []);
}

/// R007: the same for the vote of a candidate for itself.
#[test]
fn a_failed_write_of_a_candidates_own_vote_stops_it_before_it_asks_for_others() {
    let disk = Disk::default();
    let mut rig = Rig::start(settings(3), &disk, &Machine::default());
    rig.now = rig.now.plus(2 * ELECTION);
    let mut asked = Vec::new();
    rig.turn_until(|rig| {
        asked.extend(rig.sent.try_iter());
        !asked.is_empty()
    });
    assert!(asked.iter().all(|message| matches!(message.body, Body::PreVote { .. })), "{asked:?}");
    *disk.trouble.lock().unwrap() = Some(Trouble::Fails);
    rig.peer_answers(asked);
    assert_eq!(stops_for_its_disk(rig), []);
}

/// R091: a follower whose log does not get to the disk acknowledges nothing, and does not go on in
/// silence.
#[test]
fn a_follower_whose_log_store_fails_stops_and_acknowledges_nothing() {
    let disk = Disk::default();
    let mut rig = Rig::start(settings(3), &disk, &Machine::default());
    rig.client.deliver(append(1, 1, Entries::empty()));
    rig.turn_until(|rig| rig.sent.try_iter().next().is_some());
    *disk.trouble.lock().unwrap() = Some(Trouble::Fails);
    let index = LogIndex::new(1).unwrap();
    let entry = Entry { term: term(1), index, payload: Payload::Noop };
    rig.client.deliver(append(1, 2, Entries::new(vec![entry]).unwrap()));
    assert_eq!(stops_for_its_disk(rig), []);
}

/// C9, R089: after a failed write nobody knows what is on the disk.
#[test]
fn a_failed_write_stops_the_node_and_no_command_is_reported_as_applied() {
    let disk = Disk::default();
    let mut rig = Rig::leader_of_three(&disk, &Machine::default());
    *disk.trouble.lock().unwrap() = Some(Trouble::Fails);
    let read = rig.read("a");
    let proposal = rig.propose("b");
    let stopped = rig.turn_until_stopped();
    let why = stopped.unwrap_err();
    assert!(matches!(&why, NodeError::Store(StoreError::Other(text)) if text == "no such luck"));
    let late = rig.propose("c");
    rig.node.close().join();
    assert_eq!(answer(&proposal), Err(RequestError::Unknown));
    assert_eq!(answer(&read), Err(RequestError::Stopped));
    assert_eq!(answer(&late), Err(RequestError::Stopped));
}

/// R091.
#[test]
fn a_store_that_panics_stops_the_node_although_nothing_else_happens() {
    let disk = Disk::default();
    let mut rig = Rig::alone(settings(1), &disk, &Machine::default());
    *disk.trouble.lock().unwrap() = Some(Trouble::Panics);
    let proposal = rig.propose("a");
    let why = rig.turn_until_stopped().unwrap_err();
    assert_eq!(why.to_string(), "the log store panicked: the disk fell off");
    rig.node.close().join();
    assert_eq!(answer(&proposal), Err(RequestError::Unknown));
}

/// C9.
#[test]
fn a_failed_load_stops_the_node() {
    let (disk, machine) = (Disk::default(), Machine::default());
    let mut rig = Rig::alone(settings(1), &disk, &machine);
    let proposal = rig.propose("a");
    rig.turn_until(|_| proposal.try_recv().is_ok());
    rig.stop().join();

    // The new leader has to load what it applies.
    disk.trouble_with_loads.store(true, Ordering::Relaxed);
    let mut rig = Rig::start(settings(1), &disk, &machine);
    rig.now = rig.now.plus(2 * ELECTION);
    let why = rig.turn_until_stopped().unwrap_err();
    assert!(matches!(&why, NodeError::Store(StoreError::Other(text)) if text == "unreadable"));
    rig.node.close().join();
}

#[test]
fn a_state_machine_that_panics_stops_the_node_with_its_words() {
    let machine = Machine::default();
    let mut rig = Rig::alone(settings(1), &Disk::default(), &machine);
    machine.gate.shut();
    let good = rig.propose("good");
    let bad = rig.propose("panic, please");
    let after = rig.propose("after");
    rig.turn_until(|rig| rig.status().commit == rig.status().last);
    let read = rig.read("a");
    machine.gate.open();
    let why = rig.turn_until_stopped().unwrap_err();
    assert!(
        matches!(&why, NodeError::StateMachinePanicked(text) if text == "can't do panic, please"),
        "{why:?}"
    );
    rig.node.close().join();
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
    let mut rig = Rig::alone(settings(1), &disk, &machine);
    let proposal = rig.propose("a");
    rig.turn_until(|_| !is_open(&proposal));
    let snapshot = rig.snapshot();
    rig.turn_until(|_| !is_open(&snapshot));
    rig.stop().join();

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
    let mut rig = Rig::alone(settings(1), &Disk::default(), &Machine::default());
    rig.client.propose("a".into(), |_| panic!("a client's own affair"));
    rig.client.status(|_| panic!("another one's"));
    let after = rig.propose("b");
    rig.turn_until(|_| !is_open(&after));
    rig.stop().join();
}
