//! Snapshots of a node's own, what they let it forget, and what it must still know. Rows named R, C
//! and U are those of the project's lists of known bugs, corner cases and wishes.

mod common;

use std::sync::Arc;

use common::*;
use raft_core::{
    Config, ConfigError, Event, Inconsistency, LogPosition, Membership, Outcome, Output, Raft,
    Restored, Snapshot, StoredLog, TermStart,
};

/// Voters that keep no entries behind a snapshot.
fn thrifty(size: u64) -> Cluster {
    Cluster::with(size, |config| config.compaction_margin(0))
}

/// As many commands as there are letters.
fn commands(letters: &str) -> Vec<String> {
    letters.chars().map(String::from).collect()
}

fn propose(cluster: &mut Cluster, letters: &str) {
    let commands = commands(letters);
    cluster.propose_all(1, &commands.iter().map(String::as_str).collect::<Vec<_>>());
    cluster.deliver_all();
}

fn base_and_last(cluster: &Cluster, node: u64) -> (u64, u64) {
    let status = cluster.status(node);
    (status.base.get(), status.last.get())
}

/// A node with such a log and snapshot on its disk.
fn restore(log: StoredLog, snapshot: Option<Snapshot>, applied: u64) -> Result<Raft, ConfigError> {
    let restored = Restored { log, snapshot, applied: index(applied) };
    Raft::new(Config::new(id(1), 1), restored, raft_core::Instant::ORIGIN)
}

/// A snapshot without bytes.
fn covering(position: LogPosition) -> Snapshot {
    Snapshot { position, ..Snapshot::initial(voters(&[1, 2, 3])) }
}

/// What a disk holds: the log behind a position, with the first index of each term.
fn stored(of_term: u64, begin_after: LogPosition, terms: &[(u64, u64)], last: u64) -> StoredLog {
    let start = |(first, of): &(u64, u64)| TermStart { first: index(*first), term: term(*of) };
    StoredLog {
        hard_state: raft_core::HardState { term: term(of_term), vote: None },
        begin_after,
        terms: terms.iter().map(start).collect(),
        last: index(last),
        memberships: Vec::new(),
    }
}

#[test]
fn a_snapshot_makes_room_in_the_log() {
    let mut cluster = thrifty(1);
    cluster.timeout(1);
    propose(&mut cluster, "abc");
    cluster.take_snapshot(1);
    assert_eq!((cluster.log(1), base_and_last(&cluster, 1)), (String::new(), (4, 4)));
    assert_eq!(cluster.status(1).snapshot, index(4));
    propose(&mut cluster, "d");
    assert_eq!(cluster.log(1), "1:d");
    cluster.settle();
}

/// R147: what a follower may be behind by, stays.
#[test]
fn as_many_entries_as_the_margin_says_stay_behind_the_snapshot() {
    let mut cluster = Cluster::with(3, |config| config.compaction_margin(3));
    cluster.elect(1);
    propose(&mut cluster, "abcdef");
    cluster.take_snapshot(1);
    assert_eq!(cluster.log(1), "1:d 1:e 1:f");
    cluster.isolate(3);
    propose(&mut cluster, "ghi");
    cluster.take_snapshot(1);
    assert_eq!(cluster.log(1), "1:g 1:h 1:i");
    cluster.heal();
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.applied(3), "a b c d e f g h i");
    assert_eq!(cluster.host(3).snapshots_begun, 0, "it was within the margin");
    cluster.settle();
}

#[test]
fn a_log_shorter_than_the_margin_is_kept_whole() {
    let mut cluster = Cluster::new(1);
    cluster.timeout(1);
    propose(&mut cluster, "abc");
    cluster.take_snapshot(1);
    assert_eq!(base_and_last(&cluster, 1), (0, 4));
    cluster.restart(1);
    cluster.settle();
    assert_eq!(cluster.applied(1), "a b c");
}

/// What is not on this node's disk is not applied, so no snapshot covers it, and it is not
/// compacted away, be it committed or not.
#[test]
fn a_snapshot_of_what_is_not_applied_is_refused() {
    let mut node = Lone::with(3, |config| config.compaction_margin(0));
    node.hears(2, 1, append(at(0, 0), &[(1, "a"), (1, "b")], 2));
    node.hold_disk(1);
    node.hears(2, 1, append(at(2, 1), &[(1, "c")], 3));
    assert_eq!(node.applied(1), "a b");
    let position = at(3, 1);
    let snapshot = Snapshot { position, ..covering(position) };
    node.step(1, Event::SnapshotTaken(snapshot.clone()));
    assert_eq!(node.status(1).base, index(0));
    node.release_disk(1);
    // The host was told to drop that one, and may yet do so.
    node.step(1, Event::SnapshotTaken(snapshot.clone()));
    assert_eq!(node.status(1).base, index(0));
    node.step(1, Event::SnapshotTaken(Snapshot { checksum: 1, ..snapshot }));
    assert_eq!(node.status(1).base, index(3));
}

#[test]
fn a_snapshot_of_what_is_not_committed_is_refused() {
    let mut node = Lone::with(3, |config| config.compaction_margin(0));
    node.hears(2, 1, append(at(0, 0), &[(1, "a"), (1, "b")], 1));
    let raft = node.host(1).raft.as_ref().unwrap();
    assert_eq!(raft.describe_snapshot(index(2)), None);
    assert_eq!(raft.describe_snapshot(index(1)).map(|(position, _)| position), Some(at(1, 1)));
    for position in [at(2, 1), at(1, 2), at(9, 1)] {
        node.step(1, Event::SnapshotTaken(covering(position)));
        assert_eq!(node.status(1).snapshot, index(0), "{position:?}");
    }
    assert_eq!(node.status(1).dropped.stale, 3);
}

#[test]
fn an_older_snapshot_is_dropped_when_a_newer_one_is_taken() {
    let mut cluster = thrifty(1);
    cluster.timeout(1);
    propose(&mut cluster, "a");
    cluster.take_snapshot(1);
    propose(&mut cluster, "b");
    cluster.take_snapshot(1);
    assert_eq!(cluster.host(1).disk.snapshots(), 1);
    let newest = cluster.host(1).disk.newest_snapshot().unwrap();
    cluster.step(1, Event::SnapshotTaken(newest.clone()));
    assert_eq!(cluster.host(1).disk.newest_snapshot(), Some(newest), "said twice");
    cluster.settle();
}

/// R010: how new a log is does not depend on whether its last entry is there.
#[test]
fn a_vote_compares_with_the_last_entry_even_if_that_is_compacted() {
    let mut node = Lone::with(3, |config| config.compaction_margin(0));
    node.hears(2, 2, append(at(0, 0), &[(1, "a"), (1, "b"), (2, "c")], 3));
    node.take_snapshot(1);
    assert_eq!(base_and_last(&node, 1), (3, 3));
    for of_term in [3, 4] {
        node.tick(3 * ELECTION);
        node.sent();
        for last in [at(2, 2), at(9, 1)] {
            let expected = message(1, 3, of_term, vote_reply(false));
            assert_eq!(node.hears(3, of_term, vote(last)), [expected], "{last:?}");
        }
        node.restart(1);
    }
    assert_eq!(node.hears(3, 5, vote(at(3, 2))), [message(1, 3, 5, vote_reply(true))]);
}

/// R028, C44: what is compacted was committed, so every leader agrees on it.
#[test]
fn a_late_append_of_compacted_entries_changes_nothing() {
    let mut node = Lone::with(3, |config| config.compaction_margin(1));
    let items = [(1, "a"), (1, "b"), (1, "c"), (1, "d")];
    node.hears(2, 1, append(at(0, 0), &items, 3));
    node.take_snapshot(1);
    assert_eq!(base_and_last(&node, 1), (2, 4));
    for (prev, items, last) in
        [(at(0, 0), &items[..1], 1), (at(1, 1), &items[1..2], 2), (at(0, 0), &items[..], 4)]
    {
        let reply = node.hears(2, 1, append(prev, items, 1));
        assert_eq!(reply.iter().filter_map(accepted_of).collect::<Vec<_>>(), [(last, last)]);
        assert_eq!((node.log(1), node.applied(1)), ("1:c 1:d".into(), "a b c".into()));
    }
}

/// R028: an `Append` that begins in what is compacted may bring something new at its end.
#[test]
fn an_append_from_within_the_compacted_part_brings_what_follows() {
    let mut node = Lone::with(3, |config| config.compaction_margin(0));
    node.hears(2, 1, append(at(0, 0), &[(1, "a"), (1, "b")], 2));
    node.take_snapshot(1);
    node.hears(2, 1, append(at(1, 1), &[(1, "b"), (1, "c")], 3));
    assert_eq!((node.log(1), node.applied(1)), ("1:c".into(), "a b c".into()));
    node.hears(2, 1, append(at(1, 1), &[(1, "b"), (1, "X")], 3));
    node.hears(3, 2, append(at(0, 0), &[(1, "a"), (2, "B"), (2, "C"), (2, "D")], 4));
    assert_eq!(node.log(1), "1:c", "what contradicts the snapshot or the commit is dropped");
    assert_eq!(node.status(1).dropped.malformed, 1);
}

/// R102: the log is empty, and goes on where it was.
#[test]
fn a_node_restarts_with_nothing_but_a_snapshot() {
    let mut cluster = thrifty(3);
    cluster.elect(1);
    propose(&mut cluster, "abc");
    cluster.run(HEARTBEAT);
    (1..=3).for_each(|node| cluster.take_snapshot(node));
    (1..=3).for_each(|node| cluster.crash(node));
    (1..=3).for_each(|node| cluster.restart(node));
    for node in 1..=3 {
        assert_eq!((base_and_last(&cluster, node), cluster.commit(node)), ((4, 4), 4));
    }
    cluster.elect(2);
    assert_eq!(cluster.applied(2), "a b c", "restored without a word from anybody");
    assert_eq!(cluster.log(2), "2:", "behind the entry of term 1 that only the snapshot knows");
    cluster.settle();
}

/// The state machine is behind the snapshot, level with it, or ahead of it.
#[test]
fn the_state_machine_is_restored_at_the_start_only_if_it_is_behind() {
    let log = || stored(1, at(2, 1), &[(3, 1)], 6);
    for (applied, restored) in [(0, true), (2, true), (3, true), (4, false), (5, false)] {
        let mut raft = restore(log(), Some(covering(at(4, 1))), applied).unwrap();
        let status = raft.status();
        assert_eq!((status.commit, status.applied), (index(applied.max(4)), index(applied)));
        assert_eq!(raft.deadline() == Some(raft_core::Instant::ORIGIN), restored, "at once");
        let outputs = raft.step(Event::Wake.at(raft_core::Instant::ORIGIN));
        let restores = outputs.iter().filter(|output| matches!(output, Output::Restore(_)));
        assert_eq!(restores.count(), usize::from(restored), "applied {applied}");
    }
}

/// A node that is restored from its snapshot applies what follows it, once.
#[test]
fn a_restarted_state_machine_gets_the_snapshot_and_then_the_log() {
    let mut cluster = Cluster::with(1, |config| config.compaction_margin(2));
    cluster.timeout(1);
    propose(&mut cluster, "abc");
    cluster.take_snapshot(1);
    propose(&mut cluster, "de");
    cluster.crash(1);
    cluster.hold_machine(1);
    cluster.restart(1);
    cluster.timeout(1);
    let waiting = cluster.host(1).applies.iter();
    let restores = waiting.filter(|it| matches!(it, Apply::Restore(_)));
    assert_eq!(restores.count(), 1);
    cluster.release_machine(1);
    assert_eq!(cluster.applied(1), "a b c d e");
    cluster.settle();
}

#[test]
fn a_log_that_begins_behind_all_snapshots_is_refused() {
    let missing = |begin_after| {
        ConfigError::Inconsistent(Inconsistency::SnapshotMissing {
            begin_after: index(begin_after),
        })
    };
    let log = || stored(2, at(4, 2), &[], 4);
    assert_eq!(restore(log(), None, 4).err(), Some(missing(4)));
    assert_eq!(restore(log(), Some(covering(at(3, 1))), 4).err(), Some(missing(4)));
    assert!(restore(log(), Some(covering(at(4, 2))), 4).is_ok());
}

/// R050: both are said to be committed, so one of them is damaged.
#[test]
fn a_log_that_begins_with_another_entry_than_the_snapshot_ends_with_is_refused() {
    let log = || stored(3, at(4, 2), &[(5, 3)], 6);
    for contradiction in [at(4, 1), at(4, 3), at(5, 1), at(9, 1)] {
        let refused = restore(log(), Some(covering(contradiction)), 0).err();
        let missing = Inconsistency::SnapshotMissing { begin_after: index(4) };
        assert_eq!(refused, Some(ConfigError::Inconsistent(missing)), "{contradiction:?}");
    }
    let further = restore(log(), Some(covering(at(9, 2))), 0).unwrap();
    assert_eq!((further.status().base, further.status().last), (index(9), index(9)));
}

/// R050: a state machine that has applied more than the snapshot covers has done so from a log
/// that agreed with it.
#[test]
fn a_state_machine_beyond_a_snapshot_that_contradicts_the_log_is_refused() {
    let log = || stored(3, at(0, 0), &[(1, 1)], 6);
    let beyond = Inconsistency::AppliedBeyondLog { applied: index(5), last: index(4) };
    let refused = restore(log(), Some(covering(at(4, 2))), 5).err();
    assert_eq!(refused, Some(ConfigError::Inconsistent(beyond)));
    assert!(restore(log(), Some(covering(at(4, 2))), 4).is_ok(), "restored before the crash");
}

/// R135: the configuration before is that of the snapshot.
#[test]
fn a_truncated_configuration_gives_way_to_that_of_the_snapshot() {
    let mut node = Lone::with(3, |config| config.compaction_margin(0));
    node.hears(2, 1, append(at(0, 0), &[(1, "{1 2}"), (1, "a")], 2));
    node.take_snapshot(1);
    node.hears(2, 1, append(at(2, 1), &[(1, "{1 2 | 1 2 3}"), (1, "b")], 2));
    assert_eq!(node.members(1), "{1 2 | 1 2 3}");
    node.restart(1);
    assert_eq!(node.members(1), "{1 2 | 1 2 3}");
    node.hears(3, 2, append(at(2, 1), &[(2, "c")], 2));
    assert_eq!((node.members(1), node.log(1)), ("{1 2}".into(), "2:c".into()));
    node.restart(1);
    assert_eq!(node.members(1), "{1 2}");
}

/// R134, C63: each snapshot has the configuration in force at its last entry.
#[test]
fn a_snapshot_carries_the_configuration_in_force_at_its_last_entry() {
    let mut node = Lone::with(3, |config| config.compaction_margin(0));
    let items = [(1, "a"), (1, "{1 2 3 + 4}"), (1, "b"), (1, "{1 2 3 4}")];
    node.hears(2, 1, append(at(0, 0), &items, 1));
    let mut at_snapshot = Vec::new();
    for commit in 1..=4 {
        node.hears(2, 1, append(at(4, 1), &[], commit));
        node.take_snapshot(1);
        let snapshot = node.host(1).disk.newest_snapshot().unwrap();
        at_snapshot.push(show_members(&snapshot.membership));
        assert_eq!(node.members(1), "{1 2 3 4}", "the newest one is in force");
    }
    assert_eq!(at_snapshot, ["{1 2 3}", "{1 2 3 + 4}", "{1 2 3 + 4}", "{1 2 3 4}"]);
    node.restart(1);
    assert_eq!((node.members(1), base_and_last(&node, 1)), ("{1 2 3 4}".into(), (4, 4)));
}

/// R134: members that were added before the first snapshot, and between the two.
#[test]
fn members_outlive_two_snapshots_and_a_restart() {
    let mut cluster = thrifty(3);
    cluster.elect(1);
    for (node, target) in [(4, "{1 2 3 + 4}"), (5, "{1 2 3 + 4 5}")] {
        cluster.join(node, |config| config.compaction_margin(0));
        let request = cluster.change(1, &members(target));
        cluster.run(HEARTBEAT);
        assert!(matches!(cluster.outcome(request), Some(Outcome::Committed { .. })));
        propose(&mut cluster, "a");
        cluster.run(HEARTBEAT);
        cluster.nodes().into_iter().for_each(|node| cluster.take_snapshot(node));
    }
    for node in cluster.nodes() {
        cluster.restart(node);
        assert_eq!(cluster.members(node), "{1 2 3 + 4 5}", "node {node}");
    }
    cluster.settle();
}

/// U51: a snapshot before the first configuration in the log has that of the founding.
#[test]
fn a_snapshot_without_configurations_in_its_range_has_the_founders() {
    let mut cluster = thrifty(3);
    cluster.elect(1);
    propose(&mut cluster, "a");
    cluster.take_snapshot(1);
    let snapshot = cluster.host(1).disk.newest_snapshot().unwrap();
    assert_eq!(show_members(&snapshot.membership), "{1 2 3}");
    cluster.settle();
}

/// R039, C70: everything in flight is lost, and meanwhile the leader forgets it.
#[test]
fn a_follower_behind_the_compacted_part_is_sent_the_snapshot() {
    let mut cluster =
        Cluster::with(3, |config| config.compaction_margin(0).max_in_flight_messages(2));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    for letter in ["a", "b", "c", "d"] {
        cluster.propose(1, letter);
        cluster.lose(|message| message.to == id(3));
        cluster.deliver_all();
    }
    cluster.take_snapshot(1);
    let late = cluster.lose(|_| true);
    assert!(
        late.iter()
            .filter(|it| is_append(it))
            .all(|it| { append_of(it).is_some_and(|append| append.prev.index == index(5)) })
    );
    cluster.run(2 * HEARTBEAT);
    assert_eq!((cluster.applied(3), cluster.host(3).snapshots_begun), ("a b c d".into(), 1));
    cluster.settle();
}

/// C16: an answer of the log store that a compaction has overtaken.
#[test]
fn a_load_that_a_compaction_overtakes_is_harmless() {
    let mut cluster = Cluster::with(3, |config| config.compaction_margin(0).max_cached_bytes(0));
    cluster.elect(1);
    cluster.isolate(3);
    propose(&mut cluster, "abc");
    cluster.hold_loads(1);
    cluster.heal();
    // The probe finds the place, and what follows has to be loaded.
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.host(1).loads.len(), 1);
    cluster.take_snapshot(1);
    assert_eq!(cluster.log(1), "");
    cluster.release_loads(1);
    cluster.run(2 * HEARTBEAT);
    assert_eq!((cluster.applied(3), cluster.host(3).snapshots_begun), ("a b c".into(), 1));
    cluster.settle();
}

/// A learner that joins gets the snapshot alone, and its configuration with it.
#[test]
fn a_new_node_is_brought_in_by_a_snapshot() {
    let mut cluster = thrifty(1);
    cluster.timeout(1);
    propose(&mut cluster, "abc");
    cluster.take_snapshot(1);
    cluster.join(2, |config| config.compaction_margin(0));
    cluster.change(1, &members("{1 + 2}"));
    cluster.run(HEARTBEAT);
    assert_eq!((cluster.applied(2), cluster.host(2).snapshots_begun), ("a b c {1 + 2}".into(), 1));
    let request = cluster.change(1, &members("{1 2}"));
    cluster.run(5 * HEARTBEAT);
    assert!(matches!(cluster.outcome(request), Some(Outcome::Committed { .. })));
    cluster.restart(2);
    assert_eq!(cluster.members(2), "{1 2}");
    cluster.settle();
}

/// A node without members and without a snapshot waits, and takes what it is given.
#[test]
fn an_empty_membership_is_no_reason_to_refuse_a_snapshot() {
    let mut node = Lone::among(Membership::new(), |config| config);
    let sent = snapshot_of(&[(1, "a"), (2, "b")], "{2 3 + 1}");
    node.hears(2, 2, chunk(&sent, 0, 1000, 1));
    assert_eq!((node.members(1), node.applied(1)), ("{2 3 + 1}".into(), "a b".into()));
    assert_eq!(node.host(1).disk.newest_snapshot(), Some(sent.0));
    let kept = Arc::clone(&node.status(1).membership);
    node.restart(1);
    assert_eq!(node.status(1).membership, kept);
}
