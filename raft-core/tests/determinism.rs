//! Determinism: the same inputs give the same outputs, and time and buffers are what they seem.
//! Rows named R and C are those of the project's lists of known bugs and corner cases.

mod common;

use std::hash::{DefaultHasher, Hash, Hasher};

use common::*;
use raft_core::{Config, Event, Input, Instant, Output, Raft, Restored};

fn node(seed: u64) -> Raft {
    let config = Config::new(id(1), seed);
    Raft::new(config, Restored::founding(voters(&[1, 2, 3])), Instant::ORIGIN)
        .expect("sound settings")
}

fn hash(raft: &Raft) -> u64 {
    let mut hasher = DefaultHasher::new();
    raft.hash(&mut hasher);
    hasher.finish()
}

fn at_millis(millis: u64, event: Event) -> Input {
    event.at(Instant::from_nanos(millis * 1_000_000))
}

/// The inputs of a follower's life, with entries, votes and requests.
fn life() -> Vec<Input> {
    let hears = |from, of_term, body| Event::Receive(message(from, 1, of_term, body));
    vec![
        at_millis(10, hears(2, 1, append(at(0, 0), &[(1, ""), (1, "x")], 1))),
        at_millis(20, Event::Propose(vec![proposal(1, "y")])),
        at_millis(30, Event::Read(raft_core::RequestId::new(2))),
        at_millis(40, hears(3, 1, vote(at(0, 0)))),
        at_millis(2500, Event::Wake),
        at_millis(2600, hears(3, 4, append(at(1, 1), &[(4, "")], 2))),
        at_millis(9000, Event::Wake),
    ]
}

/// Two runs of one script are the same, output by output.
#[test]
fn the_same_inputs_give_the_same_outputs_and_the_same_state() {
    let (mut left, mut right) = (node(7), node(7));
    for input in life() {
        assert_eq!(left.step(input.clone()), right.step(input));
        assert_eq!(left, right);
        assert_eq!(hash(&left), hash(&right));
    }
}

/// R114.
#[test]
fn another_seed_gives_other_timeouts() {
    let deadlines: std::collections::BTreeSet<_> =
        (0..50).map(|seed| node(seed).deadline()).collect();
    assert!(deadlines.len() > 45);
    let span = |deadline: &Option<Instant>| deadline.unwrap().since(Instant::ORIGIN);
    assert!(deadlines.iter().all(|d| (ELECTION..2 * ELECTION).contains(&span(d))));
}

#[test]
fn a_clone_goes_its_own_way() {
    let mut original = node(7);
    let copy = original.clone();
    let _ = original.step(at_millis(5000, Event::Wake));
    assert_ne!(original, copy);
    assert_eq!(copy, node(7));
}

/// What a host hands in is never changed behind its back, nor what it was given (C15).
#[test]
fn entries_that_were_handed_out_do_not_change_when_the_log_is_cut() {
    let mut raft = node(7);
    let first = Event::Receive(message(2, 1, 1, append(at(0, 0), &[(1, "a"), (1, "b")], 0)));
    let outputs = raft.step(at_millis(1, first));
    let written = |outputs: &[Output]| {
        outputs.iter().find_map(|output| match output {
            Output::Persist(write) => Some(write.entries.clone()),
            _ => None,
        })
    };
    let entries = written(&outputs).unwrap();
    let cut = Event::Receive(message(3, 1, 2, append(at(1, 1), &[(2, "B")], 0)));
    let outputs = raft.step(at_millis(2, cut));
    assert_eq!(show(entries.iter()), "1:a 1:b");
    assert_eq!(show(written(&outputs).unwrap().iter()), "2:B");
}

#[test]
fn stepping_into_a_buffer_gives_the_same_outputs_behind_what_is_there() {
    let (mut one, mut other) = (node(7), node(7));
    let mut buffer = Vec::new();
    let mut expected = Vec::new();
    for input in life() {
        expected.extend(one.step(input.clone()));
        other.step_into(input, &mut buffer);
        assert_eq!(buffer, expected);
    }
    assert_eq!(one, other);
}

/// An acknowledgement of an earlier step is not overwritten by that of a later one.
#[test]
fn a_buffer_that_was_not_emptied_keeps_what_is_in_it() {
    let mut raft = node(7);
    let mut buffer = Vec::new();
    let hears = |prev, entry| Event::Receive(message(2, 1, 1, append(prev, &[(1, entry)], 0)));
    raft.step_into(at_millis(1, hears(at(0, 0), "a")), &mut buffer);
    raft.step_into(at_millis(2, hears(at(1, 1), "b")), &mut buffer);
    let tickets: Vec<_> = buffer
        .drain(..)
        .filter_map(|output| match output {
            Output::Persist(write) => Some(write.ticket),
            _ => None,
        })
        .collect();
    for ticket in &tickets {
        raft.step_into(at_millis(3, Event::Persisted(*ticket)), &mut buffer);
    }
    let acks = buffer.iter().filter_map(|output| match output {
        Output::Send(message) => accepted_of(message),
        _ => None,
    });
    assert_eq!(acks.collect::<Vec<_>>(), [(1, 1), (2, 2)]);
}

#[test]
fn time_that_runs_backward_stands_still() {
    let (mut steady, mut jumping) = (node(7), node(7));
    let now = steady.deadline().unwrap();
    assert_eq!(steady.step(Event::Wake.at(now)), jumping.step(Event::Wake.at(now)));
    let reply = || Event::Receive(message(2, 1, 1, vote_reply(false)));
    assert_eq!(steady.step(reply().at(now)), jumping.step(reply().at(Instant::ORIGIN)));
    assert_eq!(steady, jumping);
}

#[test]
fn waking_up_early_changes_nothing() {
    let mut raft = node(7);
    let deadline = raft.deadline().unwrap();
    let just_before = Instant::from_nanos(deadline.as_nanos() - 1);
    for at in [Instant::ORIGIN, Instant::from_nanos(5), just_before, just_before] {
        assert_eq!(raft.step(Event::Wake.at(at)), []);
        assert_eq!(raft.deadline(), Some(deadline));
    }
    assert_ne!(raft.step(Event::Wake.at(deadline)), []);
}

/// A node that has slept through its deadline campaigns once, not once for each missed timeout.
#[test]
fn being_late_by_hours_costs_one_campaign() {
    let mut raft = node(7);
    let hours = Instant::from_nanos(10_000_000_000_000);
    let outputs = raft.step(Event::Wake.at(hours));
    let sent = outputs.iter().filter(|output| matches!(output, Output::Send(_))).count();
    assert_eq!(sent, 2);
    assert!(raft.deadline().unwrap() > hours);
    assert_eq!(raft.step(Event::Wake.at(hours)), []);
}

#[test]
fn a_leader_that_was_late_sends_one_heartbeat_and_finds_its_rhythm_again() {
    let mut cluster = Cluster::with(3, |config| config.check_quorum(false));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let late = cluster.host(1).clock.plus(1000 * HEARTBEAT);
    cluster.host_mut(1).clock = late;
    cluster.wake(1);
    assert_eq!(cluster.under_way().filter(|message| is_append(message)).count(), 2);
    let deadline = cluster.host(1).raft.as_ref().unwrap().deadline().unwrap();
    assert_eq!(deadline.since(late), HEARTBEAT);
}

/// The end of time is far away, and not a reason to crash.
#[test]
fn the_end_of_time_is_survived() {
    let end = Instant::from_nanos(u64::MAX);
    let mut raft = node(7);
    for _ in 0..10 {
        let _ = raft.step(Event::Wake.at(end));
    }
    let huge = std::time::Duration::MAX;
    let config = Config::new(id(1), 1)
        .election_timeout(huge)
        .heartbeat_interval(huge / 4)
        .outcome_timeout(huge);
    let mut raft = Raft::new(config, Restored::founding(voters(&[1])), end).unwrap();
    let _ = raft.step(Event::Wake.at(end));
}
