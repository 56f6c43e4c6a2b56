//! The node and its snapshots: its own, those that it sends and those that it is sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use raft_node::core::{
    Append, AppendReply, AppendResult, Body, Entries, Entry, LogIndex, LogPosition, Membership,
    Message, NodeId, Payload, Snapshot, SnapshotChunk, SnapshotReply, Term,
};
use raft_node::{
    NoSnapshot, NodeError, RequestError, Settings, SnapshotPolicy, SnapshotStore, StoreError,
};

use crate::rig::{
    Answer, Broken, Disk, ELECTION, HEARTBEAT, ME, Machine, PEER, Rig, append, is_open, settings,
};

/// The third node, which says only what a test has it say.
const LATE: NodeId = NodeId::new(3);

fn with_policy(voters: u64, policy: SnapshotPolicy) -> Settings {
    settings(voters).snapshots(policy).configure(|config| config.compaction_margin(0))
}

/// Waits for the answers while the node has its turns.
fn answered(rig: &mut Rig, answers: impl IntoIterator<Item = Answer>) {
    for waiting in answers {
        let mut result = None;
        rig.turn_until(|_| {
            result = waiting.try_recv().ok();
            result.is_some()
        });
        result.unwrap().unwrap();
    }
}

fn propose(rig: &mut Rig, commands: u64) {
    let answers: Vec<_> = (0..commands).map(|n| rig.propose(format!("command {n}"))).collect();
    answered(rig, answers);
}

/// Asks for a snapshot and waits for the answer.
fn snapshot(rig: &mut Rig) -> Result<Bytes, RequestError> {
    let waiting = rig.snapshot();
    let mut result = None;
    rig.turn_until(|_| {
        result = waiting.try_recv().ok();
        result.is_some()
    });
    result.unwrap()
}

#[test]
fn a_snapshot_follows_after_so_many_entries_and_the_log_begins_behind_it() {
    let policy = SnapshotPolicy::NEVER.entries(10);
    let (disk, machine) = (Disk::default(), Machine::default());
    let mut rig = Rig::alone(with_policy(1, policy), &disk, &machine);
    // The leader's first entry counts too.
    propose(&mut rig, 8);
    assert_eq!(rig.status().snapshot, LogIndex::ZERO);
    propose(&mut rig, 1);
    rig.turn_until(|rig| rig.status().snapshot.get() == 10);
    assert_eq!(rig.status().base.get(), 10);
    propose(&mut rig, 9);
    assert_eq!(rig.status().snapshot.get(), 10, "nine are not yet ten");
    propose(&mut rig, 1);
    rig.turn_until(|rig| rig.status().snapshot.get() == 20);
    rig.stop().join();

    let rebuilt = Machine::default();
    let mut rig = Rig::alone(with_policy(1, policy), &disk, &rebuilt);
    rig.turn_until(|rig| rig.status().applied == rig.status().last);
    assert_eq!(rebuilt.commands(), machine.commands());
}

#[test]
fn a_snapshot_follows_after_so_many_bytes() {
    let policy = SnapshotPolicy::NEVER.bytes(10_000);
    let mut rig = Rig::alone(with_policy(1, policy), &Disk::default(), &Machine::default());
    let small = rig.propose("small");
    answered(&mut rig, [small]);
    assert_eq!(rig.status().snapshot, LogIndex::ZERO);
    let large = rig.propose(vec![0; 10_000]);
    answered(&mut rig, [large]);
    rig.turn_until(|rig| rig.status().snapshot.get() == 3);
}

#[test]
fn without_a_policy_a_snapshot_is_taken_only_on_request() {
    let disk = Disk::default();
    let mut rig = Rig::alone(with_policy(1, SnapshotPolicy::NEVER), &disk, &Machine::default());
    propose(&mut rig, 100);
    assert_eq!(rig.status().snapshot, LogIndex::ZERO);
    assert_eq!(snapshot(&mut rig), Ok(Bytes::new()));
    assert_eq!(rig.status().snapshot.get(), 101);
    // It is good for as long as nothing else was applied.
    assert_eq!(snapshot(&mut rig), Ok(Bytes::new()));
    assert_eq!(rig.status().snapshot.get(), 101);
    propose(&mut rig, 1);
    assert_eq!(snapshot(&mut rig), Ok(Bytes::new()));
    assert_eq!(rig.status().snapshot.get(), 102);
}

#[test]
fn a_policy_of_nothing_is_none() {
    let policy = SnapshotPolicy::default().entries(0).bytes(0);
    assert_eq!(policy, SnapshotPolicy::NEVER);
    let mut rig = Rig::alone(with_policy(1, policy), &Disk::default(), &Machine::default());
    propose(&mut rig, 100);
    assert!(!rig.go_on(), "there is nothing to do");
    assert_eq!(rig.status().snapshot, LogIndex::ZERO);
}

/// What a machine has applied in earlier lives is not applied again, and counts all the same.
#[test]
fn entries_count_towards_the_next_snapshot_across_restarts() {
    let (disk, policy) = (Disk::default(), SnapshotPolicy::NEVER.entries(10));
    let machine = Machine { persistent: true, ..Machine::default() };
    let mut rig = Rig::alone(with_policy(1, policy), &disk, &machine);
    propose(&mut rig, 4);
    rig.stop().join();
    let mut rig = Rig::alone(with_policy(1, policy), &disk, &machine);
    propose(&mut rig, 4);
    rig.turn_until(|rig| rig.status().snapshot.get() == 10);
}

#[test]
fn a_snapshot_that_has_failed_is_tried_again_after_a_tenth_of_the_policy() {
    let (disk, policy) = (Disk::default(), SnapshotPolicy::NEVER.entries(20));
    let mut rig = Rig::alone(with_policy(1, policy), &disk, &Machine::default());
    disk.snapshots.fail_at(Broken::Complete);
    propose(&mut rig, 19);
    rig.turn_until(|rig| rig.node_status().snapshot_failure.is_some());
    disk.snapshots.fail_at(None);
    propose(&mut rig, 1);
    assert!(rig.node_status().snapshot_failure.is_some(), "not at once");
    propose(&mut rig, 1);
    rig.turn_until(|rig| rig.status().snapshot.get() == 22);
    assert_eq!(rig.node_status().snapshot_failure, None);
}

#[test]
fn no_snapshot_is_reported_where_there_is_none() {
    let refused = |why| Err(RequestError::NoSnapshot(why));
    let mut rig = Rig::start(settings(3), &Disk::default(), &Machine::default());
    assert_eq!(snapshot(&mut rig), refused(NoSnapshot::NothingApplied));

    // A node that was added has the log from its first entry on, and nothing of the founders.
    let mut rig = Rig::start(settings(0), &Disk::default(), &Machine::default());
    rig.client.deliver(committed_entry());
    rig.turn_until(|rig| rig.status().applied.get() == 1);
    assert_eq!(snapshot(&mut rig), refused(NoSnapshot::MembersUnknown));
}

#[test]
fn nobody_waits_for_a_snapshot_of_a_state_that_is_lost() {
    let disk = Disk::default();
    let mut rig = Rig::alone(settings(1), &disk, &Machine::default());
    propose(&mut rig, 1);
    disk.snapshots.gate.shut();
    let waiting = [rig.snapshot(), rig.snapshot()];
    rig.turn_until(|_| disk.snapshots.gate.has_visitor());
    let late = rig.snapshot();
    rig.go_on();
    rig.client.state_lost();
    rig.go_on();
    let refused = Err(RequestError::NoSnapshot(NoSnapshot::StateLost));
    for waiting in waiting.iter().chain([&late]) {
        assert_eq!(crate::rig::answer(waiting), refused);
    }
    assert_eq!(snapshot(&mut rig), refused);
    disk.snapshots.gate.open();
}

/// Nobody would notice that it is damaged when the node starts from it.
#[test]
fn a_snapshot_never_becomes_complete_when_its_state_was_lost_meanwhile() {
    let disk = Disk::default();
    let mut rig = Rig::alone(settings(1), &disk, &Machine::default());
    propose(&mut rig, 1);
    disk.snapshots.flushing.shut();
    let waiting = rig.snapshot();
    rig.turn_until(|_| disk.snapshots.flushing.has_visitor());
    rig.client.state_lost();
    rig.go_on();
    drop(waiting);
    let threads = rig.stop();
    disk.snapshots.flushing.open();
    threads.join();
    let mut rig = Rig::start(settings(1), &disk, &Machine::default());
    assert_eq!(rig.status().snapshot, LogIndex::ZERO);
}

#[test]
fn a_snapshot_of_a_state_that_is_lost_is_given_up_before_it_has_its_name() {
    let disk = Disk::default();
    let mut rig = Rig::alone(settings(1), &disk, &Machine::default());
    propose(&mut rig, 1);
    disk.snapshots.flushing.shut();
    let waiting = rig.snapshot();
    rig.turn_until(|_| disk.snapshots.flushing.has_visitor());
    rig.client.state_lost();
    rig.go_on();
    disk.snapshots.flushing.open();
    rig.turn_until(|rig| rig.node_status().snapshot_failure.is_some());
    assert!(crate::rig::answer(&waiting).is_err());
    assert_eq!(disk.snapshots.memory.newest().unwrap(), None);
    assert!(disk.snapshots.removed.lock().unwrap().is_empty(), "there was nothing to remove");
}

#[test]
fn an_error_that_the_state_swallows_is_a_failed_snapshot() {
    let (disk, machine) = (Disk::default(), Machine::default());
    let mut rig = Rig::alone(settings(1), &disk, &machine);
    propose(&mut rig, 1);
    machine.careless.store(true, Ordering::Relaxed);
    disk.snapshots.fail_at(Broken::Write);
    assert_eq!(snapshot(&mut rig), Err(RequestError::NoSnapshot(NoSnapshot::Failed)));
    assert_eq!(rig.node_status().snapshot_failure.as_deref(), Some("broken: Write"));
    assert_eq!(rig.status().snapshot, LogIndex::ZERO);
}

/// R055: what is applied while a snapshot is written counts for the next one.
#[test]
fn a_snapshot_that_became_due_during_another_follows_without_another_command() {
    let policy = SnapshotPolicy::NEVER.entries(5);
    let disk = Disk::default();
    let mut rig = Rig::alone(with_policy(1, policy), &disk, &Machine::default());
    disk.snapshots.gate.shut();
    // The leader's first entry counts too.
    propose(&mut rig, 4);
    rig.turn_until(|_| disk.snapshots.gate.has_visitor());
    propose(&mut rig, 10);
    assert_eq!(rig.status().snapshot, LogIndex::ZERO);
    disk.snapshots.gate.open();
    rig.turn_until(|rig| rig.status().snapshot.get() == 15);
    assert_eq!(rig.status().base.get(), 15, "the log is short again");
}

/// R055, C74: a snapshot that has begun may not have what a request after it must find in it.
#[test]
fn a_request_during_a_snapshot_is_answered_by_the_next_one() {
    let disk = Disk::default();
    let mut rig = Rig::alone(with_policy(1, SnapshotPolicy::NEVER), &disk, &Machine::default());
    propose(&mut rig, 1);
    disk.snapshots.gate.shut();
    let first = rig.snapshot();
    rig.turn_until(|_| disk.snapshots.gate.has_visitor());
    propose(&mut rig, 1);
    let second = rig.snapshot();
    rig.go_on();
    assert!(is_open(&first) && is_open(&second));
    disk.snapshots.gate.open();
    answered(&mut rig, [first, second]);
    assert_eq!(rig.status().snapshot.get(), 3);
}

#[test]
fn a_slow_snapshot_keeps_neither_commands_nor_heartbeats_waiting() {
    let (disk, machine) = (Disk::default(), Machine::default());
    let mut rig = Rig::leader_of(with_policy(3, SnapshotPolicy::NEVER), &disk, &machine);
    disk.snapshots.gate.shut();
    let waiting = rig.snapshot();
    rig.turn_until(|_| disk.snapshots.gate.has_visitor());
    for beat in 0..30 {
        rig.now = rig.now.plus(HEARTBEAT);
        let write = rig.propose(format!("during {beat}"));
        rig.turn_until(|rig| {
            rig.peer_agrees();
            !is_open(&write)
        });
    }
    assert!(is_open(&waiting));
    disk.snapshots.gate.open();
    answered(&mut rig, [waiting]);
}

/// The log keeps what the snapshot would have had, so nothing is lost.
#[test]
fn a_snapshot_that_can_not_be_written_is_reported_and_tried_again() {
    let disk = Disk::default();
    let mut rig =
        Rig::alone(with_policy(1, SnapshotPolicy::NEVER.entries(5)), &disk, &Machine::default());
    for broken in [Broken::Create, Broken::Write, Broken::Complete] {
        disk.snapshots.fail_at(broken);
        let before = rig.status().snapshot;
        propose(&mut rig, 5);
        rig.turn_until(|rig| rig.node_status().snapshot_failure.is_some());
        let why = rig.node_status().snapshot_failure.unwrap();
        assert_eq!(why, format!("broken: {broken:?}"));
        assert_eq!(snapshot(&mut rig), Err(RequestError::NoSnapshot(NoSnapshot::Failed)));
        assert_eq!(rig.status().snapshot, before, "nothing has become of it");

        disk.snapshots.fail_at(None);
        propose(&mut rig, 5);
        rig.turn_until(|rig| rig.status().snapshot > before);
        assert_eq!(rig.node_status().snapshot_failure, None);
    }
}

#[test]
fn a_state_that_panics_while_it_is_written_is_a_failed_snapshot() {
    let machine = Machine::default();
    let mut rig = Rig::alone(settings(1), &Disk::default(), &machine);
    propose(&mut rig, 1);
    machine.panics_frozen.store(true, Ordering::Relaxed);
    assert!(snapshot(&mut rig).is_err());
    assert_eq!(rig.node_status().snapshot_failure.as_deref(), Some("frozen stiff"));
    machine.panics_frozen.store(false, Ordering::Relaxed);
    assert_eq!(snapshot(&mut rig), Ok(Bytes::new()));
}

#[test]
fn a_node_that_stops_gives_up_the_snapshot_that_it_writes() {
    let disk = Disk::default();
    let mut rig = Rig::alone(settings(1), &disk, &Machine::default());
    propose(&mut rig, 1);
    disk.snapshots.gate.shut();
    let waiting = rig.snapshot();
    rig.turn_until(|_| disk.snapshots.gate.has_visitor());
    let threads = rig.stop();
    disk.snapshots.gate.open();
    threads.join();
    assert_eq!(crate::rig::answer(&waiting), Err(RequestError::Stopped));
    let mut rig = Rig::start(settings(1), &disk, &Machine::default());
    assert_eq!(rig.status().snapshot, LogIndex::ZERO);
}

/// A leader whose log begins behind a snapshot, and a third node that needs it: ends when the
/// leader has to read it.
fn leader_of_a_node_far_behind(disk: &Disk) -> Rig {
    let settings = with_policy(3, SnapshotPolicy::NEVER);
    let mut rig = Rig::leader_of(settings, disk, &Machine::default());
    let write = rig.propose("a");
    rig.turn_until(|rig| {
        rig.peer_agrees();
        !is_open(&write)
    });
    assert_eq!(snapshot(&mut rig), Ok(Bytes::new()));
    rig.turn_until(|rig| rig.status().base == rig.status().last);
    rig
}

fn say(rig: &Rig, body: Body) {
    let term = Term::new(1).unwrap();
    rig.client.deliver(Message { from: LATE, to: ME, term, body });
}

/// Has the third node answer what it is sent: that it has nothing.
fn late_has_nothing(rig: &Rig) -> Vec<SnapshotChunk> {
    let mut chunks = Vec::new();
    for message in rig.sent.try_iter().filter(|message| message.to == LATE) {
        match message.body {
            Body::Append(append) => {
                let hint = LogPosition::default();
                let result = AppendResult::Rejected { prev: append.prev.index, hint };
                let sequence = append.sequence;
                let reply = AppendReply { sequence, result, needs_snapshot: None };
                say(rig, Body::AppendReply(reply));
            }
            Body::SnapshotChunk(chunk) => {
                let reply = SnapshotReply {
                    sequence: chunk.sequence,
                    position: chunk.snapshot.position,
                    checksum: chunk.snapshot.checksum,
                    received: 0,
                    written: 0,
                    gap: false,
                };
                say(rig, Body::SnapshotReply(reply));
                chunks.push(*chunk);
            }
            _ => {}
        }
    }
    chunks
}

#[test]
fn a_follower_that_is_far_behind_is_sent_the_snapshot() {
    let disk = Disk::default();
    let mut rig = leader_of_a_node_far_behind(&disk);
    let mut sent = Vec::new();
    rig.turn_until(|rig| {
        rig.now = rig.now.plus(HEARTBEAT / 2);
        sent.extend(late_has_nothing(rig).into_iter().filter(|chunk| !chunk.data.is_empty()));
        !sent.is_empty()
    });
    assert_eq!(sent[0].snapshot.size, sent[0].data.len() as u64);
    assert_eq!(sent[0].snapshot.checksum, crc32fast::hash(&sent[0].data));
}

/// R104: a leader that can't read its snapshot does not go on as if nothing was.
#[test]
fn a_snapshot_that_can_not_be_read_stops_the_node() {
    let disk = Disk::default();
    let mut rig = leader_of_a_node_far_behind(&disk);
    disk.snapshots.fail_at(Broken::Read);
    let why = rig.turn_until_stopped_with(|rig| {
        rig.now = rig.now.plus(HEARTBEAT / 2);
        late_has_nothing(rig);
    });
    assert!(
        matches!(&why, Err(NodeError::Store(StoreError::Other(text))) if text == "broken: Read")
    );
}

/// A snapshot of a state machine that has seen nothing, for a node whose log is empty.
fn from_leader() -> Message {
    let membership = Arc::new(Membership::of_voters([ME, PEER, LATE]));
    let term = Term::new(1).unwrap();
    let position = LogPosition { index: LogIndex::new(7).unwrap(), term };
    let snapshot = Snapshot { position, membership, size: 0, checksum: 0 };
    let chunk = SnapshotChunk { snapshot, offset: 0, data: Bytes::new(), sequence: 2 };
    Message { from: PEER, to: ME, term, body: Body::SnapshotChunk(Box::new(chunk)) }
}

/// The first entry of a leader's log, committed.
fn committed_entry() -> Message {
    let (term, index) = (Term::new(1).unwrap(), LogIndex::new(1).unwrap());
    let entry = Entry { term, index, payload: Payload::Command("a".into()) };
    let entries = Entries::new(vec![entry]).unwrap();
    let prev = LogPosition::default();
    let append = Append { prev, entries, commit: index, sequence: 1 };
    Message { from: PEER, to: ME, term, body: Body::Append(append) }
}

/// The state is lost in the last moment, and restored from a newer snapshot before the node gets to
/// know that its own is complete.
#[test]
fn a_snapshot_of_a_lost_state_is_dropped_when_a_newer_one_has_overtaken_it() {
    let disk = Disk::default();
    let mut rig = Rig::start(settings(3), &disk, &Machine::default());
    rig.client.deliver(committed_entry());
    rig.turn_until(|rig| rig.status().applied.get() == 1);
    disk.snapshots.completing.shut();
    let waiting = rig.snapshot();
    rig.turn_until(|_| disk.snapshots.completing.has_visitor());
    rig.client.state_lost();
    rig.client.deliver(from_leader());
    rig.turn_until(|rig| rig.status().applied.get() == 7);
    disk.snapshots.completing.open();
    let own = LogPosition { index: LogIndex::new(1).unwrap(), term: Term::new(1).unwrap() };
    rig.turn_until(|_| disk.snapshots.removed.lock().unwrap().contains(&own));
    assert!(crate::rig::answer(&waiting).is_err());
}

#[test]
fn a_snapshot_of_the_leader_takes_the_place_of_the_state() {
    let (disk, machine) = (Disk::default(), Machine::default());
    let mut rig = Rig::start(settings(3), &disk, &machine);
    rig.client.deliver(append(1, 1, raft_node::core::Entries::empty()));
    rig.client.deliver(from_leader());
    rig.turn_until(|rig| rig.status().applied.get() == 7);
    assert_eq!(rig.status().base.get(), 7);
    rig.stop().join();
    let mut rig = Rig::start(settings(3), &disk, &machine);
    assert_eq!(rig.status().snapshot.get(), 7, "it is there after a restart");
}

/// R091.
#[test]
fn a_snapshot_that_can_not_be_taken_in_stops_the_node() {
    let disk = Disk::default();
    let mut rig = Rig::start(settings(3), &disk, &Machine::default());
    disk.snapshots.fail_at(Broken::Receive);
    rig.client.deliver(from_leader());
    let why = rig.turn_until_stopped();
    assert!(
        matches!(&why, Err(NodeError::Store(StoreError::Other(text))) if text == "broken: Receive")
    );
}

#[test]
fn a_state_machine_that_makes_no_sense_of_a_snapshot_stops_the_node() {
    let (disk, machine) = (Disk::default(), Machine::default());
    let mut rig = Rig::start(settings(3), &disk, &machine);
    machine.puzzled.store(true, Ordering::Relaxed);
    rig.client.deliver(from_leader());
    let why = rig.turn_until_stopped();
    assert!(
        matches!(&why, Err(NodeError::Restore(why)) if why.to_string() == "this makes no sense"),
        "{why:?}"
    );
    rig.node.close().join();

    // And so it goes at every start, until somebody mends the machine.
    let mut rig = Rig::start(settings(3), &disk, &machine);
    assert!(matches!(rig.turn_until_stopped(), Err(NodeError::Restore(_))));
    rig.node.close().join();
    machine.puzzled.store(false, Ordering::Relaxed);
    let mut rig = Rig::start(settings(3), &disk, &machine);
    rig.turn_until(|rig| rig.status().applied.get() == 7);
}

#[test]
fn a_snapshot_that_can_not_be_opened_stops_the_node_at_its_start() {
    let disk = Disk::default();
    let mut rig = Rig::alone(settings(1), &disk, &Machine::default());
    propose(&mut rig, 1);
    assert_eq!(snapshot(&mut rig), Ok(Bytes::new()));
    rig.stop().join();
    disk.snapshots.fail_at(Broken::Open);
    let mut rig = Rig::start(settings(1), &disk, &Machine::default());
    rig.now = rig.now.plus(2 * ELECTION);
    let why = rig.turn_until_stopped();
    assert!(
        matches!(&why, Err(NodeError::Store(StoreError::Other(text))) if text == "broken: Open")
    );
}
