//! The node and its state machine.

use raft_node::core::{Notice, RoleKind};

use crate::rig::{Disk, HEARTBEAT, ME, Machine, Rig, answer, is_open, settings};

#[test]
fn a_slow_state_machine_delays_no_heartbeat() {
    let machine = Machine::default();
    let mut rig = Rig::leader_of_three(&Disk::default(), &machine);
    machine.gate.shut();
    let slow = rig.propose("slow");
    rig.turn_until(|rig| {
        rig.peer_agrees();
        rig.status().commit == rig.status().last
    });
    machine.gate.wait_for_visitor();
    rig.sent.try_iter().for_each(drop);
    for beat in 1..=30 {
        rig.now = rig.now.plus(HEARTBEAT);
        rig.go_on();
        let heard: Vec<_> = rig.sent.try_iter().collect();
        assert_eq!(heard.len(), 2, "both peers hear beat {beat}: {heard:?}");
        rig.peer_answers(heard);
        rig.go_on();
    }
    assert!(is_open(&slow));
    machine.gate.open();
    assert_eq!(answer(&slow).unwrap(), "slow");
}

/// R098.
#[test]
fn a_state_machine_that_keeps_its_state_is_given_every_command_once() {
    let disk = Disk::default();
    let machine = Machine { persistent: true, ..Machine::default() };
    for life in 0..3 {
        let mut rig = Rig::alone(settings(1), &disk, &machine);
        for command in ["a", "b"] {
            let answered = rig.propose(format!("{command}{life}"));
            rig.turn_until(|_| !is_open(&answered));
        }
        rig.stop().join();
    }
    assert_eq!(machine.commands(), ["a0", "b0", "a1", "b1", "a2", "b2"]);
    let log = machine.log.lock().unwrap();
    assert!(log.is_sorted_by(|before, after| before.0 < after.0), "{log:?}");
}

#[test]
fn a_read_sees_the_writes_that_were_committed_before_it() {
    let machine = Machine::default();
    let mut rig = Rig::alone(settings(1), &Disk::default(), &machine);
    machine.gate.shut();
    let write = rig.propose("a");
    rig.turn_until(|rig| rig.status().commit == rig.status().last);
    let read = rig.read("count");
    rig.go_on();
    machine.gate.wait_for_visitor();
    assert!(is_open(&write) && is_open(&read), "the write is committed and not yet applied");
    machine.gate.open();
    let mut count = None;
    rig.turn_until(|_| {
        count = read.try_recv().ok();
        count.is_some()
    });
    assert_eq!(count.unwrap().unwrap(), "1");
}

#[test]
fn observers_hear_the_term_at_the_start_and_every_change() {
    let disk = Disk::default();
    let rig = Rig::alone(settings(1), &disk, &Machine::default());
    let notices: Vec<Notice> = rig.notices.try_iter().collect();
    let leadership = |notice: &Notice| match notice {
        Notice::Leadership { role, term, leader } => Some((*role, term.get(), leader.is_some())),
        Notice::Membership(_) | Notice::SnapshotWanted => None,
    };
    let steps: Vec<_> = notices.iter().filter_map(leadership).collect();
    assert_eq!(steps.first(), Some(&(RoleKind::Follower, 0, false)));
    assert_eq!(steps.last(), Some(&(RoleKind::Leader, 1, true)));
    assert!(steps.contains(&(RoleKind::Candidate, 1, false)), "{steps:?}");
    let members = notices.iter().find_map(|notice| match notice {
        Notice::Membership(members) => Some(members.voters().to_vec()),
        _ => None,
    });
    assert_eq!(members.as_deref(), Some(&[ME][..]));
    rig.stop().join();

    let rig = Rig::start(settings(1), &disk, &Machine::default());
    let first = rig.notices.try_iter().next();
    assert_eq!(first.as_ref().and_then(leadership), Some((RoleKind::Follower, 1, false)));
}
