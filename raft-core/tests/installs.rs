//! Snapshots from a leader, as the node sees it that receives them. Rows named R, C and U are those
//! of the project's lists of known bugs, corner cases and wishes.

mod common;

use common::*;
use raft_core::{Body, Event, LogPosition, Message, Notice, Outcome, Refusal, RoleKind, Snapshot};

/// Node 1 of three, which keeps no entries behind a snapshot.
fn follower() -> Lone {
    Lone::with(3, |config| config.compaction_margin(0).max_in_flight_snapshot_bytes(8))
}

/// The entries 1 to 4 of term 2.
const FOUR: [(u64, &str); 4] = [(2, ""), (2, "a"), (2, "b"), (2, "c")];

fn sent_by(node: u64, items: &[(u64, &str)]) -> (Snapshot, bytes::Bytes) {
    assert_ne!(node, 1, "node 1 receives it");
    snapshot_of(items, "{1 2 3}")
}

fn all_of(snapshot: &(Snapshot, bytes::Bytes), sequence: u64) -> Body {
    chunk(snapshot, 0, snapshot.1.len(), sequence)
}

/// What the answers acknowledge, as last and durable index.
fn acks(sent: &[Message]) -> Vec<(u64, u64)> {
    sent.iter().filter_map(accepted_of).collect()
}

fn arrived(sent: &[Message]) -> Vec<(u64, u64, bool)> {
    sent.iter().filter_map(arrived_of).collect()
}

#[test]
fn a_snapshot_takes_the_place_of_a_log_that_ends_before_it() {
    let mut node = follower();
    node.hears(2, 1, append(at(0, 0), &[(1, "x")], 0));
    let snapshot = sent_by(2, &FOUR);
    let sent = node.hears(2, 2, all_of(&snapshot, 1));
    assert_eq!(acks(&sent), [(4, 4)]);
    assert_eq!((node.log(1), node.applied(1), node.commit(1)), (String::new(), "a b c".into(), 4));
    node.hears(2, 2, append(at(4, 2), &[(2, "d")], 5));
    assert_eq!((node.log(1), node.applied(1)), ("2:d".into(), "a b c d".into()));
}

#[test]
fn one_byte_at_a_time_is_enough() {
    let mut node = follower();
    let snapshot = sent_by(2, &FOUR);
    for offset in 0..snapshot.1.len() {
        let sent = node.hears(2, 2, chunk(&snapshot, offset, 1, offset as u64 + 1));
        let now = offset as u64 + 1;
        if now < snapshot.0.size {
            assert_eq!(arrived(&sent), [(now, now, false)]);
        } else {
            assert_eq!(acks(&sent), [(4, 4)]);
        }
    }
    assert_eq!((node.applied(1), node.host(1).snapshots_begun), ("a b c".into(), 1));
}

/// A state machine that is empty has a snapshot of no bytes. The question for it is all of it.
#[test]
fn a_snapshot_without_bytes_is_complete_at_once() {
    let mut node = follower();
    node.hold_machine(1);
    node.hold_snapshots(1);
    let empty = Snapshot { size: 0, checksum: 0, ..sent_by(2, &FOUR).0 };
    let question = || chunk(&(empty.clone(), bytes::Bytes::new()), 0, 0, 1);
    assert_eq!(acks(&node.hears(2, 2, question())), []);
    assert_eq!(acks(&node.hears(2, 2, question())), []);
    node.release_snapshots(1);
    assert_eq!(acks(&node.sent()), [(4, 4)]);
    assert_eq!((node.status(1).base, node.host(1).disk.snapshots()), (index(4), 1));
}

/// U48: whatever a leader sends, no more than a window of it waits for the disk.
#[test]
fn chunks_beyond_the_window_are_dropped() {
    let mut node = follower();
    let snapshot = sent_by(2, &FOUR);
    node.hold_snapshots(1);
    for (n, offset) in (0..30).step_by(5).enumerate() {
        let sent = node.hears(2, 2, chunk(&snapshot, offset, 5, n as u64 + 1));
        let taken = offset < 10;
        assert_eq!(node.host(1).snapshot_jobs.len(), if taken { n + 1 } else { 2 });
        assert_eq!(arrived(&sent), [(10, 0, false)][usize::from(taken)..]);
    }
    node.snapshot_job(1);
    assert_eq!(arrived(&node.sent()), [(10, 5, true)], "which makes room for one");
    node.hears(2, 2, chunk(&snapshot, 10, 5, 9));
    assert_eq!(node.host(1).snapshot_jobs.len(), 2);
    node.release_snapshots(1);
    let rest = node.hears(2, 2, chunk(&snapshot, 15, 1000, 10));
    assert_eq!(acks(&rest), [(4, 4)], "one that is too large still comes if nothing waits");
}

/// Pieces come twice, too late, too early, and across the end of what has arrived.
#[test]
fn only_the_piece_that_continues_what_has_arrived_is_taken() {
    let mut node = follower();
    let snapshot = sent_by(2, &FOUR);
    for (n, (offset, length, expected)) in [
        (0, 0, (0, 0, false)),
        (5, 5, (0, 0, true)),
        (0, 5, (5, 5, false)),
        (0, 5, (5, 5, false)),
        (3, 5, (5, 5, false)),
        (6, 5, (5, 5, true)),
        (5, 0, (5, 5, false)),
        (5, 5, (10, 10, false)),
    ]
    .into_iter()
    .enumerate()
    {
        let sent = node.hears(2, 2, chunk(&snapshot, offset, length, n as u64 + 1));
        assert_eq!(arrived(&sent), [expected], "{length} bytes from {offset} on");
    }
    node.hears(2, 2, chunk(&snapshot, 10, 1000, 20));
    assert_eq!(node.applied(1), "a b c");
}

#[test]
fn a_corrupt_snapshot_is_refused_counted_and_asked_for_again() {
    let mut node = follower();
    let good = sent_by(2, &FOUR);
    let mut rotten = good.clone();
    rotten.1 = good.1.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>().into();
    node.hears(2, 2, chunk(&rotten, 0, 5, 1));
    let sent = node.hears(2, 2, chunk(&rotten, 5, 1000, 2));
    assert_eq!(arrived(&sent), [(0, 0, true)]);
    assert_eq!(node.status(1).dropped.corrupt_snapshots, 1);
    assert_eq!((node.host(1).disk.snapshots(), node.status(1).base), (0, index(0)));
    assert_eq!(acks(&node.hears(2, 2, all_of(&good, 3))), [(4, 4)]);
    assert_eq!(node.applied(1), "a b c");
}

/// R046, C71: a snapshot says when its entries were made, not what the term is.
#[test]
fn a_snapshot_of_an_older_term_does_not_lower_the_term() {
    let mut node = follower();
    node.hears(3, 6, vote(at(9, 2)));
    let snapshot = sent_by(3, &FOUR);
    node.hears(3, 6, all_of(&snapshot, 1));
    let status = node.status(1);
    assert_eq!((status.term, status.vote, status.base), (term(6), Some(id(3)), index(4)));
    node.restart(1);
    let status = node.status(1);
    assert_eq!((status.term, status.vote, status.base), (term(6), Some(id(3)), index(4)));
}

/// R047, C68: what is there already is acknowledged, and changes nothing.
#[test]
fn a_snapshot_older_than_the_commit_is_answered_with_what_is_there() {
    let mut node = follower();
    let items: Vec<(u64, &str)> = FOUR.into_iter().chain([(2, "d"), (2, "e"), (2, "f")]).collect();
    node.hears(2, 2, append(at(0, 0), &items, 6));
    let late = sent_by(2, &FOUR);
    assert_eq!(acks(&node.hears(2, 2, all_of(&late, 9))), [(6, 6)]);
    node.take_snapshot(1);
    assert_eq!(node.log(1), "2:f");
    assert_eq!(acks(&node.hears(2, 2, all_of(&late, 10))), [(6, 6)], "compacted by now");
    assert_eq!((node.log(1), node.applied(1)), ("2:f".into(), "a b c d e".into()));
    assert_eq!(node.host(1).snapshots_begun, 0);
}

/// C68: a log that has the last entry of the snapshot has all of it, so it is committed.
#[test]
fn a_snapshot_that_the_log_contains_only_raises_the_commit() {
    let mut node = follower();
    let items: Vec<(u64, &str)> = FOUR.into_iter().chain([(2, "tail")]).collect();
    node.hears(2, 2, append(at(0, 0), &items, 1));
    let sent = node.hears(2, 2, chunk(&sent_by(2, &FOUR), 0, 3, 9));
    assert_eq!((acks(&sent), node.commit(1)), (vec![(4, 4)], 4));
    assert_eq!((node.log(1), node.applied(1)), ("2: 2:a 2:b 2:c 2:tail".into(), "a b c".into()));
    assert_eq!(node.host(1).snapshots_begun, 0);
}

/// R050, C76: no snapshot undoes what is committed.
#[test]
fn a_snapshot_that_contradicts_a_committed_entry_is_dropped() {
    let mut node = follower();
    let items = [(2, ""), (2, "A"), (2, "B"), (2, "C")];
    node.hears(2, 4, append(at(0, 0), &items, 3));
    let other_term = sent_by(2, &[(3, ""), (3, "a")]);
    // Its last entry lies behind the committed ones and is older than they are.
    let too_old = sent_by(2, &[(1, ""), (1, "a"), (1, "b"), (1, "c"), (1, "d")]);
    for (n, contradiction) in [other_term, too_old].into_iter().enumerate() {
        assert_eq!(node.hears(2, 4, all_of(&contradiction, 9)), []);
        assert_eq!(node.status(1).dropped.malformed, n as u64 + 1);
        assert_eq!((node.log(1), node.applied(1)), ("2: 2:A 2:B 2:C".into(), "A B".into()));
    }
    assert_eq!(node.host(1).snapshots_begun, 0);
}

/// R050, C76: nor does one that no leader can have.
#[test]
fn a_snapshot_that_makes_no_sense_is_dropped() {
    let mut node = follower();
    let (sound, bytes) = sent_by(2, &FOUR);
    let with = |position| Snapshot { position, ..sound.clone() };
    let far = LogPosition { index: raft_core::LogIndex::MAX, ..sound.position };
    let half = LogPosition { index: index(far.index.get() / 2), ..far };
    let senseless = [
        with(at(0, 0)),
        with(at(4, 3)),
        with(far),
        with(half),
        Snapshot { size: 3, ..sound.clone() },
        Snapshot { membership: std::sync::Arc::default(), ..sound.clone() },
    ];
    for (n, snapshot) in senseless.into_iter().enumerate() {
        assert_eq!(node.hears(2, 2, chunk(&(snapshot, bytes.clone()), 0, 9, 1)), []);
        assert_eq!(node.status(1).dropped.malformed, n as u64 + 1);
    }
    assert_eq!(node.status(1).last, index(0));
}

/// R049, C69: a log that contradicts the snapshot's last entry goes, with all that follows.
#[test]
fn a_log_that_contradicts_the_snapshot_is_dropped_whole() {
    let items = [(1, ""), (1, "x"), (1, "y"), (1, "z"), (1, "tail"), (1, "{1 2}")];
    let mut node = follower();
    node.hears(3, 1, append(at(0, 0), &items, 1));
    assert_eq!(node.members(1), "{1 2}");
    let snapshot = sent_by(2, &[(1, ""), (2, "a"), (2, "b"), (2, "c")]);
    node.hears(2, 2, all_of(&snapshot, 1));
    assert_eq!((node.log(1), node.status(1).last), (String::new(), index(4)));
    assert_eq!(node.members(1), "{1 2 3}");
    node.restart(1);
    assert_eq!((node.log(1), node.status(1).last), (String::new(), index(4)));
}

/// R065, C58: the snapshot's configuration is in force, whatever the log said behind its index or
/// before it, and whether this node is a member or not.
#[test]
fn the_configuration_of_the_snapshot_is_in_force() {
    for in_force in ["{2 3}", "{1 2 3 + 4}", "{2 3 | 1 2 + 1}"] {
        let mut node = follower();
        node.hears(2, 1, append(at(0, 0), &[(1, ""), (1, "{1 2 3 | 1 2}"), (1, "x")], 0));
        node.hears(2, 2, all_of(&snapshot_of(&FOUR, in_force), 1));
        assert_eq!(node.members(1), in_force);
        let told = node.host(1).notices.iter().rev().find_map(|notice| match notice {
            Notice::Membership(members) => Some(show_members(members)),
            _ => None,
        });
        assert_eq!(told.as_deref(), Some(in_force));
        assert_eq!(node.status(1).leader, Some(id(2)), "it goes on to follow");
        node.hears(2, 2, append(at(4, 2), &[(2, "d")], 5));
        assert_eq!(node.applied(1), "a b c d");
    }
}

/// The same inputs give the same outputs, whether or not two equal configurations share memory.
#[test]
fn a_configuration_that_says_the_same_is_no_news() {
    let mut node = follower();
    node.hears(2, 2, append(at(0, 0), &[(1, ""), (2, "{1 2 3}")], 2));
    node.hears(2, 2, all_of(&sent_by(2, &FOUR), 1));
    assert_eq!((node.members(1).as_str(), node.applied(1).as_str()), ("{1 2 3}", "a b c"));
    let told = |notice: &&Notice| matches!(notice, Notice::Membership(_));
    assert_eq!(node.host(1).notices.iter().filter(told).count(), 0);
}

/// C58: a node that is no member by the snapshot takes it in, and is no candidate ever after.
#[test]
fn a_node_that_a_snapshot_leaves_out_does_not_campaign() {
    let mut node = follower();
    node.hears(2, 2, all_of(&snapshot_of(&FOUR, "{2 3}"), 1));
    for _ in 0..2 {
        node.tick(50 * ELECTION);
        assert_eq!(node.sent(), []);
        assert_eq!((node.role(1), node.term(1)), (RoleKind::Follower, 2));
        node.restart(1);
        assert_eq!(node.members(1), "{2 3}");
    }
}

/// R049, C8: the snapshot is durable, the write that makes room for it is lost.
#[test]
fn a_crash_between_the_snapshot_and_the_write_of_the_log_loses_nothing() {
    let logs: [&[(u64, &str)]; 3] =
        [&[], &[(1, ""), (1, "x")], &[(1, ""), (1, "x"), (1, "y"), (1, "z"), (1, "tail")]];
    for keeps_machine in [false, true] {
        for log in logs {
            let mut node = follower();
            node.host_mut(1).keeps_machine = keeps_machine;
            node.hears(3, 1, append(at(0, 0), log, 0));
            node.hold_disk(1);
            let snapshot = sent_by(2, &FOUR);
            node.hears(2, 2, all_of(&snapshot, 1));
            assert_eq!(node.host(1).disk.newest_snapshot().as_ref(), Some(&snapshot.0));
            assert_eq!(node.status(1).durable, index(4));
            node.restart(1);
            let status = node.status(1);
            assert_eq!((status.base, status.last, status.commit), (index(4), index(4), index(4)));
            assert_eq!(status.term, term(2), "the log is never ahead of the term");
            // And once more before anything is written.
            node.restart(1);
            node.release_disk(1);
            node.wake(1);
            assert_eq!((node.log(1), node.applied(1)), (String::new(), "a b c".into()));
            assert_eq!(node.host(1).disk.begin_after, at(4, 2));
            node.hears(2, 2, append(at(4, 2), &[(2, "d")], 5));
            assert_eq!((node.log(1), node.applied(1)), ("2:d".into(), "a b c d".into()));
        }
    }
}

#[test]
fn a_crash_before_the_snapshot_is_complete_leaves_the_log_as_it_was() {
    let mut node = follower();
    node.hears(3, 1, append(at(0, 0), &[(1, ""), (1, "x")], 1));
    let snapshot = sent_by(2, &FOUR);
    node.hears(2, 2, chunk(&snapshot, 0, 20, 1));
    node.restart(1);
    assert_eq!((node.log(1), node.status(1).base), ("1: 1:x".into(), index(0)));
    let sent = node.hears(2, 2, chunk(&snapshot, 20, 20, 2));
    assert_eq!(arrived(&sent), [(0, 0, true)], "the beginning is gone");
    node.hears(2, 2, all_of(&snapshot, 3));
    assert_eq!(node.applied(1), "a b c");
}

/// C13: a write that a snapshot has overtaken vouches for nothing that it did not write.
#[test]
fn a_write_in_flight_may_complete_after_the_snapshot() {
    let mut node = follower();
    node.hears(3, 1, append(at(0, 0), &[(1, "")], 0));
    node.hold_disk(1);
    let tail = [(1, "x"), (1, "y"), (1, "z"), (1, "t"), (1, "u")];
    node.hears(3, 1, append(at(1, 1), &tail, 0));
    node.hears(2, 2, all_of(&sent_by(2, &FOUR), 1));
    node.hears(2, 2, append(at(4, 2), &[(2, "d"), (2, "e")], 6));
    // The entries, the term, what the snapshot does to the log, and what follows it.
    assert_eq!(node.writes(1).len(), 4);
    for durable in [4, 4, 4, 6] {
        assert!(acks(&node.sent()).iter().all(|(_, durable)| *durable <= 4));
        node.persist_oldest(1);
        assert_eq!(node.status(1).durable, index(durable));
    }
    assert_eq!(acks(&node.sent()).last(), Some(&(6, 6)));
    node.release_disk(1);
    assert_eq!((node.log(1), node.applied(1)), ("2:d 2:e".into(), "a b c d e".into()));
}

/// C14: the second begins before the first is written, and is not mixed with it.
#[test]
fn a_second_snapshot_takes_the_place_of_an_incomplete_one() {
    let mut node = follower();
    node.hold_snapshots(1);
    let first = sent_by(2, &FOUR);
    let second = sent_by(2, &[(2, ""), (2, "a"), (2, "b"), (2, "c"), (2, "d")]);
    node.hears(2, 2, chunk(&first, 0, 5, 1));
    let sent = node.hears(2, 2, chunk(&second, 0, 0, 2));
    assert_eq!(arrived(&sent), [(0, 0, false)]);
    node.hears(2, 2, chunk(&second, 0, 5, 3));
    assert_eq!(node.hears(2, 2, chunk(&first, 5, 5, 1)), [], "a late piece of the first");
    node.hears(2, 2, chunk(&second, 5, 1000, 4));
    node.release_snapshots(1);
    assert_eq!((node.applied(1), node.status(1).base), ("a b c d".into(), index(5)));
    assert_eq!(node.host(1).disk.snapshots(), 1);
}

/// C14: the second is complete before the first is in the state machine.
#[test]
fn a_second_snapshot_may_come_while_the_first_is_being_restored() {
    let mut node = follower();
    node.hold_machine(1);
    node.hears(2, 2, all_of(&sent_by(2, &FOUR), 1));
    node.hears(2, 2, all_of(&sent_by(2, &[(2, ""), (2, "a"), (2, "b"), (2, "c"), (2, "d")]), 2));
    assert_eq!(node.host(1).disk.snapshots(), 2, "the first is still in use");
    node.apply_oldest(1);
    assert_eq!((node.status(1).applied, node.host(1).disk.snapshots()), (index(0), 2));
    node.apply_oldest(1);
    assert_eq!((node.status(1).applied, node.host(1).disk.snapshots()), (index(5), 1));
    node.hears(2, 2, append(at(5, 2), &[(2, "e")], 6));
    node.release_machine(1);
    assert_eq!(node.applied(1), "a b c d e");
}

/// What the state machine was given before a snapshot does not count after it.
#[test]
fn entries_that_were_being_applied_when_the_snapshot_came_count_for_nothing() {
    let mut node = follower();
    node.hold_machine(1);
    node.hears(2, 2, append(at(0, 0), &FOUR[..3], 3));
    node.hears(2, 2, all_of(&sent_by(2, &FOUR), 2));
    node.apply_oldest(1);
    assert_eq!(node.status(1).applied, index(0));
    node.release_machine(1);
    assert_eq!((node.status(1).applied, node.applied(1)), (index(4), "a b c".into()));
}

/// C4, C72: a new term and its leader's entries come while chunks are being written.
#[test]
fn a_new_leader_goes_on_with_appends_or_with_the_same_snapshot() {
    let mut node = follower();
    node.hold_snapshots(1);
    let snapshot = sent_by(2, &FOUR);
    node.hears(2, 2, chunk(&snapshot, 0, 5, 70));
    assert_eq!(node.hears(2, 4, vote(at(9, 3))), [message(1, 2, 4, vote_reply(true))]);
    node.snapshot_job(1);
    assert_eq!(node.sent(), [], "nobody is there to be told");
    let rejected = node.hears(3, 5, append_numbered(1, at(6, 5), &[(5, "x")], 4));
    assert_eq!(rejected.len(), 1);
    let sent = node.hears(3, 5, chunk(&snapshot, 0, 0, 2));
    assert_eq!(arrived(&sent), [(5, 5, false)]);
    node.hears(3, 5, chunk(&snapshot, 5, 1000, 3));
    node.release_snapshots(1);
    assert_eq!(acks(&node.sent()), [(4, 4)]);
    assert_eq!((node.applied(1), node.host(1).snapshots_begun), ("a b c".into(), 1));
}

/// C4: a write that began in one term and is done in another is as good.
#[test]
fn a_snapshot_whose_last_piece_is_written_after_a_vote_in_a_newer_term_is_installed() {
    let mut node = follower();
    node.hold_snapshots(1);
    node.hears(2, 2, all_of(&sent_by(2, &FOUR), 1));
    assert_eq!(node.hears(2, 4, vote(at(9, 3))), [message(1, 2, 4, vote_reply(true))]);
    node.snapshot_job(1);
    assert_eq!((node.applied(1), node.commit(1), node.term(1)), ("a b c".into(), 4, 4));
    node.release_snapshots(1);
    node.restart(1);
    assert_eq!((node.commit(1), node.term(1)), (4, 4), "it is there after a restart");
}

/// The number in an answer says which message of *this* leader has arrived. One that an earlier
/// leader gave would be taken for a proof of something that never happened.
#[test]
fn an_answer_never_repeats_the_number_of_another_leaders_message() {
    let number = |sent: &[Message]| -> Vec<u64> {
        let of = |message: &Message| match &message.body {
            Body::SnapshotReply(reply) => Some(reply.sequence),
            Body::AppendReply(reply) => Some(reply.sequence),
            _ => None,
        };
        sent.iter().filter_map(of).collect()
    };
    let mut node = follower();
    let snapshot = sent_by(2, &FOUR);
    node.hold_snapshots(1);
    node.hears(2, 2, chunk(&snapshot, 0, 5, 70));
    node.hears(3, 3, append_numbered(1, at(6, 3), &[], 4));
    node.snapshot_job(1);
    assert_eq!(number(&node.sent()), [0], "it has sent nothing of this snapshot");
    assert_eq!(number(&node.hears(3, 3, chunk(&snapshot, 0, 0, 2))), [2]);
    node.hears(3, 3, chunk(&snapshot, 5, 1000, 3));
    node.release_snapshots(1);
    assert_eq!(number(&node.sent()), [3]);
}

/// R056: a candidate that hears of a leader follows it, snapshot or not.
#[test]
fn a_candidate_takes_a_snapshot_of_its_term() {
    let mut node = Lone::with(3, |config| config.pre_vote(false));
    node.timeout(1);
    assert_eq!((node.role(1), node.term(1)), (RoleKind::Candidate, 1));
    let snapshot = sent_by(2, &[(1, ""), (1, "a")]);
    node.hears(2, 1, all_of(&snapshot, 1));
    assert_eq!((node.role(1), node.status(1).leader), (RoleKind::Follower, Some(id(2))));
    assert_eq!(node.applied(1), "a");
}

#[test]
fn a_leader_takes_no_snapshot_of_its_own_term() {
    let mut node = follower();
    node.lead();
    let items = [(1, ""), (1, "a"), (1, "b")];
    assert_eq!(node.hears(2, 1, all_of(&sent_by(2, &items), 1)), []);
    assert!(node.leads(1));
    assert_eq!((node.status(1).dropped.malformed, node.status(1).last), (1, index(1)));
    node.hears(2, 2, all_of(&sent_by(2, &items), 1));
    assert_eq!((node.role(1), node.applied(1)), (RoleKind::Follower, "a b".into()));
}

/// R051: the place of the proposal is covered, and nobody knows by what.
#[test]
fn proposals_of_a_deposed_leader_end_when_a_snapshot_covers_them() {
    let mut node = follower();
    node.lead();
    let requests = node.propose_all(1, &["x", "y", "z", "w"]);
    let snapshot = sent_by(2, &FOUR);
    node.hears(2, 2, all_of(&snapshot, 1));
    let outcomes: Vec<_> = requests.iter().map(|request| node.outcome(*request)).collect();
    let unknown = Some(Outcome::Unknown);
    // The last of them was at the index of the snapshot's end, whose term is known, or beyond it.
    assert_eq!(outcomes, [unknown, unknown, Some(Outcome::Lost), None]);
    node.tick(2 * ELECTION);
    assert_eq!(node.outcome(requests[3]), unknown);
    assert_eq!(node.applied(1), "a b c");
}

/// A read may wait for an index that comes with a snapshot; a proposal is passed on meanwhile.
#[test]
fn reads_and_proposals_at_a_node_that_receives_a_snapshot_are_answered() {
    let mut node = follower();
    node.hold_machine(1);
    let snapshot = sent_by(2, &FOUR);
    node.hears(2, 2, chunk(&snapshot, 0, 5, 1));
    let (read, write) = (node.read(1), node.propose(1, "w"));
    let sent = node.sent();
    let question = sent.iter().find_map(|message| match message.body {
        Body::ReadIndex { sequence } => Some(sequence),
        _ => None,
    });
    let batch = sent.iter().find_map(|message| match message.body {
        Body::Propose { batch, .. } => Some(batch),
        _ => None,
    });
    let (sequence, batch) = (question.expect("a question"), batch.expect("a batch"));
    node.hears(2, 2, Body::ReadIndexReply { sequence, index: index(4) });
    node.hears(2, 2, Body::ProposeReply { batch, result: Err(Refusal::Overloaded) });
    assert!(matches!(node.outcome(write), Some(Outcome::Refused { .. })));
    node.hears(2, 2, chunk(&snapshot, 5, 1000, 2));
    assert_eq!(node.outcome(read), None, "not before the state machine is restored");
    node.release_machine(1);
    assert_eq!(node.outcome(read), Some(Outcome::Readable { index: index(4) }));
}

/// The log has caught up by itself. What arrived of the snapshot is of no use.
#[test]
fn a_snapshot_that_the_log_overtakes_is_given_up() {
    let mut node = follower();
    node.hold_snapshots(1);
    let snapshot = sent_by(2, &FOUR);
    node.hears(2, 2, chunk(&snapshot, 0, 1000, 1));
    node.hears(3, 3, append(at(0, 0), &FOUR, 4));
    assert_eq!(node.host(1).snapshot_jobs.len(), 0, "it is not written either");
    node.step(
        1,
        Event::SnapshotWritten { through: snapshot.0.size, attempt: 1, snapshot: snapshot.0 },
    );
    assert_eq!((node.log(1), node.applied(1)), ("2: 2:a 2:b 2:c".into(), "a b c".into()));
    assert_eq!((node.status(1).snapshot, node.host(1).disk.snapshots()), (index(0), 0));
}

/// C26: whoever becomes the leader needs no snapshot.
#[test]
fn a_new_leader_gives_up_what_it_receives() {
    let mut node = follower();
    let snapshot = sent_by(2, &FOUR);
    node.hears(2, 2, chunk(&snapshot, 0, 5, 1));
    node.tick(3 * ELECTION);
    node.sent();
    node.lead();
    node.step(
        1,
        Event::SnapshotWritten { through: snapshot.0.size, attempt: 1, snapshot: snapshot.0 },
    );
    assert_eq!((node.status(1).base, node.status(1).last), (index(0), index(1)));
}
