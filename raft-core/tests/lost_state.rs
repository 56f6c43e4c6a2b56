//! Nodes whose state machine is lost and whose log is not. Rows named C are those of the project's
//! list of corner cases.

mod common;

use common::*;
use raft_core::{
    AppendReply, Body, Config, Event, HardState, Instant, LogIndex, Membership, Message, Notice,
    Outcome, Output, Raft, Refusal, RequestId, Restored, Snapshot, StoredLog, TermStart,
};

fn propose(cluster: &mut Cluster, leader: u64, commands: &[&str]) {
    cluster.propose_all(leader, commands);
    cluster.deliver_all();
}

/// The host finds its state machine damaged.
fn lose_state(cluster: &mut Cluster, node: u64) {
    let host = cluster.host_mut(node);
    host.machine.clear();
    host.applies.clear();
    cluster.step(node, Event::StateLost);
}

fn is_snapshot_wanted(cluster: &Cluster, node: u64) -> bool {
    cluster.host(node).notices.contains(&Notice::SnapshotWanted)
}

/// The index from which on a message asks for a snapshot.
fn wanted(sent: &[Message]) -> Vec<Option<u64>> {
    let of = |message: &Message| match &message.body {
        Body::AppendReply(AppendReply { needs_snapshot, .. }) => {
            Some(needs_snapshot.map(LogIndex::get))
        }
        _ => None,
    };
    sent.iter().filter_map(of).collect()
}

fn all_of(snapshot: &(Snapshot, bytes::Bytes), sequence: u64) -> Body {
    chunk(snapshot, 0, snapshot.1.len(), sequence)
}

#[test]
fn a_follower_gets_its_state_back_and_keeps_its_log() {
    let mut cluster = Cluster::with(3, |config| config.compaction_margin(2));
    cluster.elect(1);
    propose(&mut cluster, 1, &["a", "b", "c"]);
    cluster.take_snapshot(1);
    propose(&mut cluster, 1, &["d", "e"]);
    cluster.run(HEARTBEAT);
    lose_state(&mut cluster, 3);
    assert_eq!((cluster.applied(3), cluster.status(3).applied), (String::new(), index(0)));
    cluster.run(2 * HEARTBEAT);
    assert_eq!(
        (cluster.applied(3), cluster.log(3)),
        ("a b c d e".into(), "1:b 1:c 1:d 1:e".into())
    );
    assert_eq!((cluster.host(3).snapshots_begun, is_snapshot_wanted(&cluster, 1)), (1, false));
    cluster.settle();
}

/// The leader's snapshot is older than what the follower's log begins with, or there is none.
#[test]
fn a_leader_without_a_usable_snapshot_asks_its_host_for_one() {
    for has_older in [false, true] {
        let mut cluster = Cluster::with(3, |config| config.compaction_margin(0));
        cluster.elect(1);
        propose(&mut cluster, 1, &["a"]);
        if has_older {
            cluster.take_snapshot(1);
        }
        propose(&mut cluster, 1, &["b"]);
        cluster.run(HEARTBEAT);
        cluster.take_snapshot(3);
        lose_state(&mut cluster, 3);
        cluster.run(2 * HEARTBEAT);
        assert!(is_snapshot_wanted(&cluster, 1));
        assert_eq!((cluster.applied(3), cluster.host(3).snapshots_begun), (String::new(), 0));
        cluster.take_snapshot(1);
        cluster.run(2 * HEARTBEAT);
        assert_eq!((cluster.applied(3), cluster.host(3).snapshots_begun), ("a b".into(), 1));
        cluster.settle();
    }
}

/// Whether it has lost its state or not: it is one of those that keep the log.
#[test]
fn a_follower_without_state_acknowledges_entries() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a")], 1));
    lose_state(&mut node, 1);
    let sent = node.hears(2, 1, append(at(1, 1), &[(1, "b")], 2));
    assert_eq!(sent.iter().filter_map(accepted_of).collect::<Vec<_>>(), [(2, 2)]);
    assert_eq!(wanted(&sent), [Some(0)]);
    assert_eq!(
        (node.log(1), node.applied(1), node.commit(1)),
        ("1:a 1:b".into(), String::new(), 2)
    );
    let sent = node.hears(2, 1, append(at(5, 1), &[], 2));
    assert_eq!(wanted(&sent), [Some(0)], "a refusal says so too");
    node.hears(2, 1, all_of(&snapshot_of(&[(1, "a")], "{1 2 3}"), 2));
    assert_eq!(node.applied(1), "a b");
    assert_eq!(wanted(&node.hears(2, 1, append(at(2, 1), &[], 2))), [None]);
}

/// Nobody knows when there will be a state again, so the reader had better ask somebody else.
#[test]
fn a_read_at_a_node_without_state_is_refused() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    propose(&mut cluster, 1, &["a"]);
    cluster.run(HEARTBEAT);
    cluster.hold_machine(3);
    propose(&mut cluster, 1, &["b"]);
    let confirmed = cluster.read(3);
    cluster.run(HEARTBEAT);
    lose_state(&mut cluster, 3);
    cluster.host_mut(3).slow_machine = false;
    let later = cluster.read(3);
    for read in [confirmed, later] {
        let reason = match cluster.outcome(read) {
            Some(Outcome::Refused { reason, .. }) => reason,
            other => unreachable!("{other:?}"),
        };
        assert_eq!(reason, Refusal::NoLeader);
    }
    cluster.take_snapshot(1);
    cluster.run(2 * HEARTBEAT);
    let read = cluster.read(3);
    cluster.run(HEARTBEAT);
    assert!(matches!(cluster.outcome(read), Some(Outcome::Readable { .. })));
    cluster.settle();
}

/// It can neither serve reads nor take snapshots.
#[test]
fn a_leader_that_loses_its_state_hands_over_and_gets_a_snapshot() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    propose(&mut cluster, 1, &["a", "b"]);
    cluster.run(HEARTBEAT);
    lose_state(&mut cluster, 1);
    cluster.run(3 * HEARTBEAT);
    let leader = cluster.leaders()[0];
    assert_ne!(leader, 1);
    cluster.run(2 * HEARTBEAT);
    assert!(is_snapshot_wanted(&cluster, leader));
    cluster.take_snapshot(leader);
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.applied(1), "a b");
    cluster.settle();
}

/// Two of three have lost their state: the third is the one to lead.
#[test]
fn a_leader_without_state_hands_over_to_the_one_that_has_its_own() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    propose(&mut cluster, 1, &["a"]);
    cluster.run(HEARTBEAT);
    lose_state(&mut cluster, 2);
    cluster.run(HEARTBEAT);
    lose_state(&mut cluster, 1);
    cluster.run(3 * HEARTBEAT);
    assert_eq!(cluster.leaders(), [3]);
    cluster.take_snapshot(3);
    cluster.run(3 * HEARTBEAT);
    cluster.settle();
}

/// The node's own snapshots are newer than the one that it gets.
#[test]
fn an_older_snapshot_of_the_leader_takes_the_place_of_the_nodes_own() {
    let mut node = Lone::with(3, |config| config.compaction_margin(3));
    let items = [(1, "a"), (1, "b"), (1, "c"), (1, "d"), (1, "e")];
    node.hears(2, 1, append(at(0, 0), &items, 5));
    node.take_snapshot(1);
    assert_eq!(node.log(1), "1:c 1:d 1:e");
    lose_state(&mut node, 1);
    let too_old = snapshot_of(&items[..1], "{1 2 3}");
    let sent = node.hears(2, 1, all_of(&too_old, 2));
    assert_eq!((wanted(&sent), node.host(1).snapshots_begun), (vec![Some(2)], 0));
    let older = snapshot_of(&items[..3], "{1 2 3}");
    let sent = node.hears(2, 1, all_of(&older, 3));
    assert_eq!((wanted(&sent), sent.iter().find_map(accepted_of)), (vec![None], Some((3, 3))));
    assert_eq!((node.applied(1), node.log(1)), ("a b c d e".into(), "1:c 1:d 1:e".into()));
    assert_eq!(node.host(1).disk.newest_snapshot(), Some(older.0));
    node.restart(1);
    node.wake(1);
    assert_eq!((node.applied(1), node.status(1).commit), ("a b c".into(), index(3)));
    node.hears(2, 1, append(at(5, 1), &[], 5));
    assert_eq!(node.applied(1), "a b c d e");
}

/// The very snapshot that the node has itself.
#[test]
fn a_snapshot_that_the_node_has_already_is_written_and_restored_again() {
    let mut node = Lone::with(3, |config| config.compaction_margin(0));
    let items = [(1, "a"), (1, "b")];
    node.hears(2, 1, append(at(0, 0), &items, 2));
    node.take_snapshot(1);
    let same = node.host(1).disk.newest_snapshot().unwrap();
    let sent = snapshot_of(&items, "{1 2 3}");
    assert_eq!(same, sent.0);
    node.host_mut(1).disk.spoil_snapshots();
    lose_state(&mut node, 1);
    // The transfer breaks off and begins anew: the one on the disk must not be dropped with it.
    node.hears(2, 1, chunk(&sent, 0, 5, 2));
    node.hears(2, 1, chunk(&snapshot_of(&[(1, "a"), (1, "b"), (1, "c")], "{1 2 3}"), 0, 5, 3));
    assert_eq!(node.host(1).disk.newest_snapshot(), Some(same));
    node.hears(2, 1, all_of(&sent, 4));
    assert_eq!((node.applied(1), node.host(1).disk.snapshots()), ("a b".into(), 1));
}

/// The second loss comes while the first is being repaired.
#[test]
fn state_may_be_lost_again_during_the_restoration() {
    let mut node = Lone::of(3);
    let items = [(1, "a"), (1, "b"), (1, "c")];
    node.hears(2, 1, append(at(0, 0), &items, 3));
    lose_state(&mut node, 1);
    node.hold_machine(1);
    let snapshot = snapshot_of(&items[..2], "{1 2 3}");
    node.hears(2, 1, all_of(&snapshot, 2));
    lose_state(&mut node, 1);
    node.step(1, Event::Applied(index(2)));
    assert_eq!(node.status(1).applied, index(0), "said of the state that is lost");
    let sent = node.hears(2, 1, append(at(3, 1), &[], 3));
    assert_eq!(wanted(&sent), [Some(0)]);
    node.hears(2, 1, all_of(&snapshot, 3));
    node.release_machine(1);
    assert_eq!((node.applied(1), node.status(1).applied), ("a b c".into(), index(3)));
}

/// A restart restores from the node's own snapshot, as always.
#[test]
fn a_restarted_node_does_not_remember_that_its_state_was_lost() {
    let mut node = Lone::with(3, |config| config.compaction_margin(0));
    node.hears(2, 1, append(at(0, 0), &[(1, "a"), (1, "b")], 2));
    node.take_snapshot(1);
    lose_state(&mut node, 1);
    node.restart(1);
    node.wake(1);
    assert_eq!(node.applied(1), "a b");
    assert_eq!(wanted(&node.hears(2, 1, append(at(2, 1), &[], 2))), [None]);
}

/// The log of the node without state is the newest, and with it there is a majority: it leads for
/// long enough to hand its log over.
#[test]
fn a_majority_with_a_node_without_state_elects_a_leader() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    propose(&mut cluster, 1, &["a"]);
    cluster.run(HEARTBEAT);
    cluster.crash(3);
    cluster.propose(1, "b");
    cluster.lose(|_| true);
    lose_state(&mut cluster, 1);
    cluster.run(10 * ELECTION);
    assert_eq!(cluster.leaders(), [2]);
    cluster.take_snapshot(2);
    cluster.run(3 * HEARTBEAT);
    assert_eq!(cluster.applied(1), "a b");
    cluster.settle();
}

/// A voter that starts again, with "a" and "b" in a log of which it keeps nothing in memory. Returns
/// it with the outputs of the step in which it is elected.
fn restarted() -> (Raft, Vec<Output>) {
    let config = Config::new(id(1), 1).max_cached_bytes(0);
    let log = StoredLog {
        hard_state: HardState { term: term(1), vote: Some(id(1)) },
        terms: vec![TermStart { first: index(1), term: term(1) }],
        last: index(2),
        ..StoredLog::default()
    };
    let restored = Restored { log, ..Restored::founding(Membership::of_voters([id(1)])) };
    let mut raft = Raft::new(config, restored, Instant::ORIGIN).expect("a sound log");
    let now = raft.deadline().unwrap_or_default();
    let mut outputs = Vec::new();
    let mut events = vec![Event::Wake];
    while !events.is_empty() {
        outputs.clear();
        raft.step_all(now, events.drain(..), &mut outputs);
        let ticket = outputs.iter().find_map(|output| match output {
            Output::Persist(write) => Some(write.ticket),
            _ => None,
        });
        events.extend(ticket.map(Event::Persisted));
    }
    (raft, outputs)
}

fn step_all(raft: &mut Raft, events: Vec<Event>) -> Vec<Output> {
    let (now, mut outputs) = (raft.deadline().unwrap_or_default(), Vec::new());
    raft.step_all(now, events, &mut outputs);
    outputs
}

/// A host that gathers events must not be told to give the lost state's entries to the empty machine
/// that has taken its place.
#[test]
fn entries_that_come_with_the_loss_of_the_state_are_not_applied() {
    let (mut raft, asked) = restarted();
    assert!(asked.iter().any(|output| matches!(output, Output::Load { .. })), "{asked:?}");
    let loaded = Event::Loaded { from: index(1), entries: entries(1, &[(1, "a"), (1, "b")]) };
    let mut other = raft.clone();
    let applies = |outputs: &[Output]| outputs.iter().any(|it| matches!(it, Output::Apply(_)));
    assert!(applies(&step_all(&mut other, vec![loaded.clone()])));
    assert!(!applies(&step_all(&mut raft, vec![loaded, Event::StateLost])));
}

/// The state machine that applied them is gone, and the one that takes its place is not there yet.
#[test]
fn entries_that_were_applied_before_the_loss_do_not_count_when_the_snapshot_arrives() {
    let mut node = Lone::of(3);
    node.hears(2, 2, append(at(0, 0), &[(1, "a"), (1, "b"), (1, "c")], 3));
    lose_state(&mut node, 1);
    node.hold_snapshots(1);
    let snapshot = snapshot_of(&[(1, "a"), (1, "b"), (1, "c")], "{1 2 3}");
    node.hears(2, 2, all_of(&snapshot, 1));
    let host = node.host_mut(1);
    let written = host.snapshot_job().expect("a piece to write");
    let raft = host.raft.as_mut().expect("it runs");
    let outputs = step_all(raft, vec![written, Event::Applied(index(2))]);
    assert!(outputs.iter().any(|output| matches!(output, Output::Restore(_))), "{outputs:?}");
    assert_eq!(raft.status().applied, index(0));
}

/// Its state machine had got as far as the read needs, and is gone.
#[test]
fn a_read_that_could_be_served_as_the_state_is_lost_is_refused() {
    let (mut raft, _) = restarted();
    let first = Event::Loaded { from: index(1), entries: entries(1, &[(1, "a"), (1, "b")]) };
    step_all(&mut raft, vec![first, Event::Read(RequestId::new(7))]);
    let rest = Event::Loaded { from: index(3), entries: entries(3, &[(2, "")]) };
    step_all(&mut raft, vec![rest]);
    let mut other = raft.clone();
    let outcomes = |outputs: Vec<Output>| -> Vec<Outcome> {
        let outcome = |output| match output {
            Output::Done { outcome, .. } => Some(outcome),
            _ => None,
        };
        outputs.into_iter().filter_map(outcome).collect()
    };
    let applied = Event::Applied(index(3));
    let served = outcomes(step_all(&mut other, vec![applied.clone()]));
    assert_eq!(served, [Outcome::Readable { index: index(3) }]);
    let refused = outcomes(step_all(&mut raft, vec![applied, Event::StateLost]));
    assert!(
        matches!(refused[..], [Outcome::Refused { reason: Refusal::NoLeader, .. }]),
        "{refused:?}"
    );
}
