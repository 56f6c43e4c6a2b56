//! What a node takes in is bounded, and under any load nobody is passed over.

use std::sync::mpsc::channel;
use std::time::Instant as RealInstant;

use bytes::Bytes;
use raft_node::RequestError;
use raft_node::core::{Body, Entries, Entry, LogIndex, Payload, Refusal, RoleKind, Term};

use crate::rig::{
    Answer, Disk, ELECTION, HEARTBEAT, Machine, PATIENCE, Rig, answer, append, is_open, settings,
};

const OVERLOADED: RequestError =
    RequestError::Refused { reason: Refusal::Overloaded, leader: None };

#[test]
fn requests_beyond_the_limit_are_refused_at_once_and_find_room_again_later() {
    let machine = Machine::default();
    let mut rig = Rig::alone(
        settings(1).configure(|config| config.max_pending_requests(4)),
        &Disk::default(),
        &machine,
    );
    machine.gate.shut();
    // Wherever they are: in the mailbox, in the core, with the state machine.
    let first = [rig.propose("a"), rig.propose("b")];
    rig.turn_until(|rig| rig.status().commit == rig.status().last);
    machine.gate.wait_for_visitor();
    let second = [rig.propose("c"), rig.read("d")];
    assert_eq!(answer(&rig.propose("e")), Err(OVERLOADED));
    assert_eq!(answer(&rig.read("f")), Err(OVERLOADED));
    assert_eq!(rig.status().role, RoleKind::Leader, "an overloaded node still says how it is");
    machine.gate.open();
    let mut waiting: Vec<Answer> = first.into_iter().chain(second).collect();
    rig.turn_until(|_| {
        waiting.retain(|waiting| match waiting.try_recv() {
            Ok(answered) => answered.is_err(),
            Err(_) => true,
        });
        waiting.is_empty()
    });
    let again = rig.propose("g");
    rig.turn_until(|_| !is_open(&again));
    assert_eq!(machine.commands(), ["a", "b", "c", "g"]);
}

#[test]
fn whoever_is_answered_may_ask_again_at_once() {
    let mut rig = Rig::alone(
        settings(1).configure(|config| config.max_pending_requests(1)),
        &Disk::default(),
        &Machine::default(),
    );
    let (answers, answered) = channel();
    let client = rig.client.clone();
    rig.client.propose("a".into(), move |_| {
        client.propose("b".into(), move |result| answers.send(result).unwrap());
    });
    rig.turn_until(|_| match answered.try_recv() {
        Ok(result) => {
            assert_eq!(result.unwrap(), "b");
            true
        }
        Err(_) => false,
    });
}

#[test]
fn what_is_asked_about_the_node_has_room_of_its_own_and_is_bounded_too() {
    let mut rig = Rig::alone(
        settings(1).configure(|config| config.max_pending_requests(1)),
        &Disk::default(),
        &Machine::default(),
    );
    let write = rig.propose("a");
    assert_eq!(answer(&rig.propose("b")), Err(OVERLOADED));
    let (answer, answered) = channel();
    for _ in 0..2000 {
        let answer = answer.clone();
        rig.client.snapshot(move |result| answer.send(result).unwrap());
    }
    let refused: Vec<_> = answered.try_iter().collect();
    assert_eq!(refused, vec![Err(OVERLOADED); 2000 - 1024]);
    rig.client.state_lost();
    rig.client.forget_leader();
    let mut answers = 0;
    rig.turn_until(|_| {
        answers += answered.try_iter().count();
        answers == 1024
    });
    rig.turn_until(|_| !is_open(&write));
    rig.client.snapshot(move |result| answer.send(result).unwrap());
    rig.turn_until(|_| answered.try_recv().is_ok_and(|result| result != Err(OVERLOADED)));
}

#[test]
fn messages_beyond_the_limit_are_dropped_and_counted() {
    let mut rig = Rig::start(settings(3), &Disk::default(), &Machine::default());
    for sequence in 1..=10_000 {
        rig.client.deliver(append(1, sequence, Entries::empty()));
    }
    let status = rig.node_status();
    assert_eq!(status.dropped_messages, 10_000 - 8192);
    assert_eq!(status.raft.leader, Some(crate::rig::PEER));
}

/// R127: memory is bounded in bytes too, since a message may be large.
#[test]
fn large_messages_beyond_the_limit_are_dropped_and_counted() {
    let mut rig = Rig::start(settings(3), &Disk::default(), &Machine::default());
    let entry = Entry {
        term: Term::new(1).unwrap(),
        index: LogIndex::new(1).unwrap(),
        payload: Payload::Command(Bytes::from(vec![0; 1 << 20])),
    };
    let large = Entries::new(vec![entry]).unwrap();
    for sequence in 1..=100 {
        rig.client.deliver(append(1, sequence, large.clone()));
    }
    let dropped = rig.node_status().dropped_messages;
    assert!((30..100).contains(&dropped), "{dropped}");
    rig.client.deliver(append(2, 1, Entries::empty()));
    let status = rig.node_status();
    assert_eq!(status.dropped_messages, dropped, "what was taken out has made room");
    assert_eq!(status.raft.term.get(), 2);
}

/// R124: however many requests wait, each turn takes what peers have said.
#[test]
fn a_flood_of_requests_does_not_keep_messages_waiting() {
    let mut rig = Rig::start(settings(3), &Disk::default(), &Machine::default());
    rig.client.deliver(append(1, 1, Entries::empty()));
    // An answer comes when the new term is durable.
    rig.turn_until(|rig| rig.sent.try_iter().count() > 0);
    let mut answers = Vec::new();
    for sequence in 2..20 {
        answers.extend((0..3000).map(|_| rig.propose("a")));
        rig.client.deliver(append(1, sequence, Entries::empty()));
        assert!(rig.go_on(), "more requests wait than one turn takes");
        let answered = rig.sent.try_iter().any(
            |message| matches!(message.body, Body::AppendReply(reply) if reply.sequence == sequence),
        );
        assert!(answered, "heartbeat {sequence} is answered in the turn in which it came");
    }
}

/// R124: and each turn takes what disk and state machine have done, so commands get through.
#[test]
fn a_flood_of_requests_does_not_keep_completions_waiting() {
    let mut rig = Rig::alone(settings(1), &Disk::default(), &Machine::default());
    let first = rig.propose("first");
    let give_up = RealInstant::now() + PATIENCE;
    let mut answers = Vec::new();
    while is_open(&first) {
        assert!(RealInstant::now() < give_up, "the first command is stuck");
        // Refusals for overload are as good: the mailbox is full then.
        answers.extend((0..1500).map(|_| rig.read("a")));
        assert!(rig.go_on(), "more requests wait than one turn takes");
    }
}

/// R124: timers get their turn as well.
#[test]
fn a_flood_of_requests_does_not_delay_heartbeats() {
    let mut rig = Rig::leader_of_three(&Disk::default(), &Machine::default());
    let mut answers = Vec::new();
    for beat in 1..=5 {
        rig.now = rig.now.plus(HEARTBEAT);
        answers.extend((0..3000).map(|_| rig.propose("a")));
        assert!(rig.go_on(), "more requests wait than one turn takes");
        let spoken = rig.sent.try_iter().filter(|m| m.to.get() == 3).count();
        assert!(spoken > 0, "nothing was said at beat {beat}");
    }
}

#[test]
fn a_flood_of_messages_does_not_delay_the_answer_to_a_client() {
    let mut rig = Rig::start(settings(3), &Disk::default(), &Machine::default());
    for sequence in 1..=2000 {
        rig.client.deliver(append(1, sequence, Entries::empty()));
    }
    let (answer, answered) = channel();
    rig.client.status(move |status| answer.send(status.is_ok()).unwrap());
    assert!(rig.go_on(), "more messages wait than one turn takes");
    assert_eq!(answered.try_recv(), Ok(true));
}

/// Nobody waits for a timer when the next message for a slow follower is due at once.
#[test]
fn work_that_is_due_at_once_needs_no_timer() {
    let settings = settings(2).configure(|config| config.max_append_entries(1));
    let mut rig = Rig::start(settings, &Disk::default(), &Machine::default());
    rig.now = rig.now.plus(2 * ELECTION);
    rig.turn_until(|rig| {
        rig.peer_agrees();
        rig.status().role == RoleKind::Leader
    });
    rig.turn_until(|rig| {
        rig.peer_agrees();
        rig.status().commit == rig.status().last
    });
    let answers: Vec<_> = (0..5).map(|_| rig.propose("a")).collect();
    let mut turns = 1;
    while rig.go_on() {
        turns += 1;
        assert!(turns < 10);
    }
    assert_eq!(rig.sent.try_iter().count(), 5, "one entry in each message");
    drop(answers);
}
