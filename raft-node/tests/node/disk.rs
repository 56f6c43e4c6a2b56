//! The way of writes and loads to the disk.

use raft_node::core::{LogIndex, RoleKind};

use crate::rig::{Disk, DiskCall, ELECTION, Machine, Rig, answer, is_open, settings};

fn index(index: u64) -> LogIndex {
    LogIndex::new(index).unwrap()
}

/// One sync for everything that came while the disk was busy with the last one.
#[test]
fn writes_that_queue_up_behind_a_busy_disk_become_one() {
    let disk = Disk::default();
    let mut rig = Rig::alone(settings(1), &disk, &Machine::default());
    disk.calls.lock().unwrap().clear();
    disk.gate.shut();
    let mut answers = vec![rig.propose("first")];
    rig.go_on();
    disk.gate.wait_for_visitor();
    for _ in 0..20 {
        answers.push(rig.propose("behind"));
        rig.go_on();
    }
    assert!(answers.iter().all(is_open), "nothing is durable yet");
    disk.gate.open();
    rig.turn_until(|_| {
        answers.retain(is_open);
        answers.is_empty()
    });
    assert_eq!(*disk.calls.lock().unwrap(), [DiskCall::Append(1), DiskCall::Append(20)]);
}

/// A load must see the writes before it, and a write after it must wait its turn.
#[test]
fn a_load_keeps_its_place_between_writes() {
    let (disk, machine) = (Disk::default(), Machine::default());
    let mut rig = Rig::alone(settings(1), &disk, &machine);
    for command in ["a", "b", "c"] {
        let answered = rig.propose(command);
        rig.turn_until(|_| !is_open(&answered));
    }
    rig.stop().join();
    machine.log.lock().unwrap().clear();

    // After the restart every entry is loaded by itself, each when the one before is applied.
    machine.gate.shut();
    let mut rig =
        Rig::start(settings(1).configure(|config| config.max_applying_bytes(1)), &disk, &machine);
    rig.now = rig.now.plus(2 * ELECTION);
    rig.turn_until(|_| machine.gate.has_visitor());
    rig.turn_until(|rig| rig.status().unpersisted_bytes == 0);
    disk.calls.lock().unwrap().clear();
    disk.gate.shut();
    let mut answers = vec![rig.propose("w")];
    rig.go_on();
    disk.gate.wait_for_visitor();
    answers.push(rig.propose("x"));
    rig.go_on();
    let applied = rig.status().applied;
    machine.gate.open();
    rig.turn_until(|rig| rig.status().applied > applied);
    answers.push(rig.propose("y"));
    rig.go_on();
    disk.gate.open();
    rig.turn_until(|_| {
        answers.retain(is_open);
        answers.is_empty()
    });
    let calls = disk.calls.lock().unwrap();
    let (write, load) = (DiskCall::Append(1), DiskCall::Load(applied.next().next()));
    assert_eq!(calls[..4], [write, write, load, write], "{calls:?}");
    assert_eq!(machine.commands(), ["a", "b", "c", "w", "x", "y"]);
}

#[test]
fn what_was_acknowledged_is_applied_again_after_a_restart() {
    let (disk, machine) = (Disk::default(), Machine::default());
    let mut rig = Rig::alone(settings(1), &disk, &machine);
    let answered = rig.propose("a");
    rig.turn_until(|_| !is_open(&answered));
    rig.stop().join();

    let rebuilt = Machine::default();
    let mut rig = Rig::alone(settings(1), &disk, &rebuilt);
    let read = rig.read("question");
    let mut answered = None;
    rig.turn_until(|_| {
        answered = read.try_recv().ok();
        answered.is_some()
    });
    assert_eq!(answered.unwrap().unwrap(), "question");
    assert_eq!(*rebuilt.log.lock().unwrap(), [(index(2), "a".into())]);
    assert_eq!(rebuilt.commands(), machine.commands());
    rig.stop().join();
}

/// C31: nor does the candidate count it before.
#[test]
fn a_vote_is_on_the_disk_before_anybody_hears_of_it() {
    let disk = Disk::default();
    disk.gate.shut();
    let mut rig = Rig::start(settings(1), &disk, &Machine::default());
    rig.now = rig.now.plus(2 * ELECTION);
    rig.go_on();
    disk.gate.wait_for_visitor();
    assert_eq!(rig.status().role, RoleKind::Candidate);
    let early = rig.propose("a");
    rig.go_on();
    assert!(answer(&early).unwrap_err().is_certain(), "a candidate refuses");
    disk.gate.open();
    rig.turn_until(|rig| rig.status().role == RoleKind::Leader);
}
