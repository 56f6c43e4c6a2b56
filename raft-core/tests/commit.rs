//! Commit: what is decided, when, and that it stays so. Rows named R and C are those of the
//! project's lists of known bugs and corner cases.

mod common;

use common::*;
use raft_core::{Config, Message, Outcome};

/// The history of the paper's figure 8: node 1 has written `two` in term 2, on itself and on node
/// 2; node 5 has led term 3 and written there for itself only; node 1 leads again, in term 4, and
/// has told nobody. Messages carry one entry.
fn figure_8() -> Cluster {
    let mut cluster = Cluster::with(5, |config| config.max_append_entries(1));
    cluster.elect(2);
    cluster.run(HEARTBEAT);
    cluster.elect(1);
    cluster.lose(|_| true);
    cluster.propose(1, "two");
    cluster.deliver(|message| message.to == id(2));
    cluster.lose(|_| true);
    cluster.crash(1);
    cluster.isolate(2);
    cluster.elect_silently(5);
    cluster.crash(5);
    cluster.heal();
    cluster.restart(1);
    cluster.elect_silently(1);
    let logs: Vec<_> = (1..=5).map(|node| cluster.log(node)).collect();
    assert_eq!(logs, ["1: 2: 2:two 4:", "1: 2: 2:two", "1: 2:", "1: 2:", "1: 2: 3:"]);
    cluster
}

/// Delivers all but entries of the leader's own term, so that only those of earlier terms spread.
fn spread_old_entries_only(cluster: &mut Cluster) {
    let newest = cluster.status(1).term;
    let is_new = |message: &Message| {
        let last = append_of(message).and_then(|append| append.entries.last());
        last.is_some_and(|entry| entry.term == newest)
    };
    cluster.tick(HEARTBEAT);
    while cluster.deliver(|message| !is_new(message)) > 0 {}
    cluster.lose(|_| true);
}

/// R019, C34: an entry of an earlier term on a majority is not yet committed, and may go.
#[test]
fn figure_8_an_old_entry_on_a_majority_is_not_committed_by_counting() {
    // The leader of term 4 sends the old entry by itself, since a message carries one only.
    let mut node = Lone::with(5, |config| config.max_append_entries(1));
    node.hears(2, 2, append(at(0, 0), &[(1, ""), (2, "two")], 1));
    node.hears(5, 3, vote_reply(false));
    node.lead();
    assert_eq!((node.term(1), node.log(1)), (4, "1: 2:two 4:".into()));
    node.hears(2, 4, accepted(2, 2));
    node.hears(3, 4, accepted(2, 2));
    assert_eq!(node.commit(1), 1, "three of five hold entry 2, but not by an entry of term 4");
    // Now the other leader overwrites it, and nothing is contradicted.
    node.hears(5, 5, append(at(1, 1), &[(3, "three"), (5, "")], 3));
    assert_eq!(node.log(1), "1: 3:three 5:");
    assert_eq!(node.applied(1), "three");
}

/// R019, second half: with an entry of its own term behind it the old one is safe.
#[test]
fn figure_8_an_old_entry_is_committed_with_one_of_the_new_term_behind_it() {
    let mut cluster = figure_8();
    cluster.run(HEARTBEAT);
    assert_eq!((cluster.log(3), cluster.commit(1)), ("1: 2: 2:two 4:".into(), 4));
    cluster.crash(1);
    cluster.restart(5);
    for _ in 0..5 {
        cluster.lose_patience(5);
        cluster.timeout(5);
        cluster.deliver_all();
        assert!(!cluster.leads(5), "its log is not up to date");
    }
    cluster.settle();
    assert_eq!(cluster.applied(5), "two");
}

/// R019, first half: as long as it is not committed, the old entry may be overwritten.
#[test]
fn figure_8_an_old_entry_on_a_majority_may_still_be_overwritten() {
    let mut cluster = figure_8();
    spread_old_entries_only(&mut cluster);
    assert_eq!((cluster.log(3), cluster.log(4)), ("1: 2: 2:two".into(), "1: 2: 2:two".into()));
    assert_eq!(cluster.matched(1, 3), 3);
    assert_eq!(cluster.commit(1), 0, "the new term has committed nothing");
    cluster.crash(1);
    cluster.restart(5);
    cluster.elect(5);
    cluster.settle();
    assert_eq!(cluster.log(1), "1: 2: 3: 5:");
}

/// R020: an old entry below does not keep those of the own term from committing.
#[test]
fn entries_of_earlier_terms_commit_together_with_the_first_of_the_new_one() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a"), (1, "b")], 0));
    node.lead();
    node.hears(2, 2, accepted(3, 3));
    assert_eq!((node.commit(1), node.applied(1)), (3, "a b".into()));
}

/// R021: a leader that knows less does not take the commit back.
#[test]
fn the_commit_never_falls() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a"), (1, "b")], 2));
    node.hears(3, 2, append(at(2, 1), &[(2, "")], 1));
    node.hears(3, 2, append(at(2, 1), &[], 0));
    assert_eq!(node.commit(1), 2);
}

/// R026, C36: a follower commits what the message has shown to match, not what its log holds.
#[test]
fn a_follower_commits_only_what_has_been_matched() {
    let mut node = Lone::of(3);
    let tail: Vec<(u64, &str)> = (1..=10).map(|_| (1, "x")).collect();
    node.hears(2, 1, append(at(0, 0), &tail, 0));
    node.hears(3, 2, append(at(9, 1), &[], 9));
    assert_eq!(node.commit(1), 9);
    // A commit beyond the message's own entries contradicts the protocol.
    node.hears(3, 2, append(at(9, 1), &[], 11));
    assert_eq!((node.commit(1), node.status(1).dropped.malformed), (9, 1));
}

/// R027, C37: an unmatched tail is not committed by a heartbeat.
#[test]
fn a_heartbeat_commits_nothing_of_a_divergent_tail() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.isolate(1);
    cluster.propose_all(1, &["old", "old"]);
    cluster.elect(2);
    cluster.propose_all(2, &["new", "new"]);
    cluster.deliver_all();
    cluster.heal();
    cluster.wake(2);
    cluster.tick(HEARTBEAT);
    cluster.deliver(|message| is_append(message) && !has_entries(message));
    assert_eq!(cluster.commit(1), 1);
    cluster.settle();
    assert_eq!(cluster.applied(1), "new new");
}

/// R012: what a leader has committed stays in its log when it is deposed.
#[test]
fn a_deposed_leader_keeps_what_it_has_committed() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let request = cluster.propose(1, "x");
    cluster.deliver(|message| message.to == id(2));
    cluster.deliver(|message| message.from == id(2));
    cluster.deliver(|message| message.to == id(2));
    cluster.deliver(|message| message.from == id(2));
    cluster.lose(|_| true);
    assert!(matches!(cluster.outcome(request), Some(Outcome::Committed { .. })));
    cluster.isolate(1);
    cluster.elect(2);
    cluster.settle();
    assert_eq!((cluster.log(1), cluster.log(3)), ("1: 1:x 2:".into(), "1: 1:x 2:".into()));
}

/// R038a: a lone voter has committed nothing before its own disk has it.
#[test]
fn a_lone_voter_commits_only_what_is_on_its_disk() {
    let mut cluster = Cluster::new(1);
    cluster.elect(1);
    cluster.hold_disk(1);
    let request = cluster.propose(1, "x");
    assert_eq!((cluster.commit(1), cluster.outcome(request)), (1, None));
    cluster.release_disk(1);
    assert_eq!(cluster.commit(1), 2);
    cluster.settle();
}

/// C11: the others may commit what this leader has not yet written itself.
#[test]
fn a_leader_may_commit_what_only_its_followers_have_on_their_disks() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.hold_disk(1);
    let request = cluster.propose(1, "x");
    cluster.deliver_all();
    assert_eq!((cluster.commit(1), cluster.status(1).durable), (2, index(1)));
    assert!(matches!(cluster.outcome(request), Some(Outcome::Committed { .. })));
    assert_eq!(cluster.applied(1), "", "its state machine waits for its own disk");
    cluster.release_disk(1);
    assert_eq!(cluster.applied(1), "x");
    cluster.settle();
}

/// R038b, R038c: entries in memory do not count, neither the leader's nor a follower's.
#[test]
fn entries_in_memory_count_for_nothing() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    (1..=3).for_each(|node| cluster.hold_disk(node));
    cluster.propose(1, "x");
    cluster.run(3 * HEARTBEAT);
    assert_eq!(cluster.commit(1), 1, "heartbeats are answered, but with what is durable");
    cluster.release_disk(2);
    cluster.deliver_all();
    assert_eq!(cluster.commit(1), 1, "one disk of three");
    cluster.release_disk(1);
    assert_eq!(cluster.commit(1), 2);
    cluster.settle();
}

/// C45: a follower that lacks nothing but the commit hears of it with the next heartbeat.
#[test]
fn a_follower_that_lags_only_in_the_commit_hears_of_it() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.propose(1, "x");
    cluster.deliver_all();
    assert_eq!((cluster.commit(1), cluster.commit(2)), (2, 1));
    cluster.run(HEARTBEAT);
    assert_eq!((cluster.commit(2), cluster.commit(3)), (2, 2));
    cluster.settle();
}

/// C35: where a log does not reach there is no term, and term zero matches nothing.
#[test]
fn a_place_beyond_the_log_never_matches() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a")], 1));
    let reply = node.hears(2, 1, append(at(2, 1), &[(1, "c")], 3));
    assert_eq!(reply, [message(1, 2, 1, rejected(2, at(1, 1)))]);
    assert_eq!((node.log(1), node.commit(1)), ("1:a".into(), 1));
}

/// Learners get everything and decide nothing.
#[test]
fn a_learner_does_not_count_for_a_commit() {
    let settings = |n: u64| -> Settings {
        let founders = voters(&[1, 2, 3]).learner(id(4), "").learner(id(5), "");
        Settings::new(founders, move |seed| Config::new(id(n), seed))
    };
    let mut cluster = Cluster::of((1..=5).map(settings));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.isolate(2);
    cluster.isolate(3);
    cluster.propose(1, "x");
    cluster.run(HEARTBEAT);
    assert_eq!((cluster.log(4), cluster.commit(1)), ("1: 1:x".into(), 1));
    cluster.run(5 * ELECTION);
    assert!(!cluster.leads(1), "learners are no quorum to stay in touch with");
    cluster.settle();
}

/// R001, R108: a late acknowledgement of an earlier term says nothing about this one, in which the
/// follower's log may be another.
#[test]
fn an_acknowledgement_of_an_earlier_term_does_not_count() {
    let mut node = Lone::of(3);
    node.lead();
    node.hears(2, 4, rejected(0, at(0, 0)));
    node.lead();
    assert_eq!((node.term(1), node.log(1)), (5, "1: 5:".into()));
    node.hears(2, 1, accepted(2, 2));
    assert_eq!((node.matched(1, 2), node.commit(1)), (0, 0));
    node.hears(2, 5, accepted(2, 2));
    assert_eq!((node.matched(1, 2), node.commit(1)), (2, 2));
}
