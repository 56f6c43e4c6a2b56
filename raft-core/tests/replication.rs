//! Replication: how logs become equal, and what it costs. Rows named R and C are those of the
//! project's lists of known bugs and corner cases.

mod common;

use std::time::Duration;

use common::*;
use raft_core::{Body, ControlResult, Event, Message, SnapshotReply};

/// How many entries a message carries.
fn count(message: &Message) -> usize {
    append_of(message).map_or(0, |append| append.entries.len())
}

#[test]
fn a_proposal_reaches_every_log_and_every_state_machine() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, "x");
    cluster.run(HEARTBEAT);
    for node in 1..=3 {
        assert_eq!((cluster.log(node), cluster.applied(node)), ("1: 1:x".into(), "x".into()));
    }
    cluster.settle();
}

/// R024, C38: a late message does not cut what came after it.
#[test]
fn a_late_or_short_append_does_not_truncate_a_matching_log() {
    let mut node = Lone::of(3);
    let items = [(1, "a"), (1, "b"), (1, "c"), (1, "d"), (1, "e")];
    node.hears(2, 1, append(at(0, 0), &items, 4));
    for late in [
        append(at(0, 0), &[], 0),
        append(at(0, 0), &items[..2], 0),
        append(at(1, 1), &items[1..3], 2),
        append(at(0, 0), &items, 4),
    ] {
        let reply = node.hears(2, 1, late.clone());
        let Body::Append(late) = late else { unreachable!("made above") };
        let last = late.prev.index.get() + late.entries.len() as u64;
        assert_eq!(accepted_of(&reply[0]), Some((last, last)));
        assert_eq!(node.log(1), "1:a 1:b 1:c 1:d 1:e");
        assert_eq!(node.commit(1), 4);
    }
}

/// C38: what matches stays, what contradicts goes, and all that follows it.
#[test]
fn a_conflict_cuts_from_the_first_contradiction_on() {
    let mut node = Lone::of(3);
    node.hears(2, 2, append(at(0, 0), &[(1, "a"), (1, "b"), (2, "c"), (2, "d")], 0));
    node.hears(3, 4, append(at(1, 1), &[(1, "b"), (3, "C")], 0));
    assert_eq!(node.log(1), "1:a 1:b 3:C");
    assert_eq!(node.status(1).last, index(3));
}

/// C39: a leader that contradicts a committed entry is not obeyed, and it is not worth a crash.
#[test]
fn a_committed_entry_is_never_overwritten() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a"), (1, "b")], 2));
    let replies = node.hears(3, 2, append(at(1, 1), &[(2, "B")], 2));
    assert_eq!(replies, []);
    assert_eq!((node.log(1), node.applied(1)), ("1:a 1:b".into(), "a b".into()));
    assert_eq!(node.status(1).dropped.malformed, 1);
}

/// R022: an old acknowledgement does not make the leader forget a newer one.
#[test]
fn acknowledgements_in_the_wrong_order_do_not_lower_the_match() {
    let mut node = Lone::of(3);
    node.lead();
    node.propose_all(1, &["a", "b", "c", "d"]);
    node.hears(2, 1, accepted(5, 5));
    node.hears(2, 1, accepted(3, 3));
    assert_eq!(node.matched(1, 2), 5);
    assert_eq!(node.next_of(1, 2), index(6));
}

/// R023, C41: neither a late refusal nor what follows it moves the next entry behind the match.
#[test]
fn a_late_refusal_does_not_move_the_next_entry_behind_the_match() {
    let mut node = Lone::of(3);
    node.lead();
    node.propose_all(1, &["a", "b", "c", "d"]);
    node.hears(2, 1, accepted(5, 5));
    assert_eq!(node.hears(2, 1, rejected(5, at(0, 0))), []);
    assert_eq!(node.hears(2, 1, rejected(3, at(0, 0))), []);
    assert_eq!((node.matched(1, 2), node.next_of(1, 2)), (5, index(6)));
    node.propose(1, "e");
    node.sent();
    node.hears(2, 1, rejected(6, at(0, 0)));
    assert_eq!((node.matched(1, 2), node.next_of(1, 2)), (5, index(6)), "from the match on");
}

#[test]
fn an_acceptance_after_a_refusal_takes_the_next_entry_forward_again() {
    let mut node = Lone::of(3);
    node.lead();
    node.propose_all(1, &["a", "b", "c"]);
    node.hears(2, 1, accepted(1, 1));
    node.hears(2, 1, rejected(4, at(1, 1)));
    node.hears(2, 1, accepted(4, 4));
    assert_eq!((node.matched(1, 2), node.next_of(1, 2)), (4, index(5)));
}

/// C42: an answer that brings nothing but the match ends the probing.
#[test]
fn a_probe_that_finds_what_is_known_ends_the_probing() {
    let mut node = Lone::of(3);
    node.lead();
    node.propose(1, "a");
    node.hears(2, 1, accepted(1, 1));
    node.hears(2, 1, rejected(2, at(1, 1)));
    assert!(node.status(1).peers[0].probing);
    let sent = node.hears(2, 1, accepted(1, 1));
    assert!(!node.status(1).peers[0].probing);
    assert_eq!(sent.iter().map(count).sum::<usize>(), 1, "the entry goes again");
}

/// Nobody can hold what was never sent, nor have more on the disk than in the log.
#[test]
fn impossible_acknowledgements_are_dropped() {
    let mut node = Lone::of(3);
    node.lead();
    node.propose(1, "a");
    for impossible in [accepted(9, 1), accepted(9, 9), accepted(1, 2), rejected(9, at(0, 0))] {
        node.hears(2, 1, impossible);
    }
    node.hears(2, 1, accepted_numbered(99, 2, 2));
    assert_eq!((node.matched(1, 2), node.commit(1)), (0, 0));
    assert_eq!(node.status(1).dropped.malformed, 5);
}

/// R041, C43: everything in flight is lost, and only a heartbeat comes through.
#[test]
fn a_full_window_that_is_lost_altogether_recovers_with_a_heartbeat() {
    let mut cluster = Cluster::with(3, |config| config.max_in_flight_messages(2));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    for command in ["a", "b", "c", "d", "e"] {
        cluster.propose(1, command);
    }
    let lost = cluster.lose(|message| message.to == id(2));
    assert_eq!(lost.iter().filter(|message| has_entries(message)).count(), 2, "the window");
    cluster.deliver_all();
    assert_eq!(cluster.log(2), "1:");
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.log(2), "1: 1:a 1:b 1:c 1:d 1:e");
    cluster.settle();
}

/// R042: the window is not used up by what is under way when the peer falls back to probing.
#[test]
fn the_window_is_free_again_after_losses_however_often_they_happen() {
    // What was sent is no longer in memory, so that a probe can't carry it.
    let mut cluster = Cluster::with(3, |config| {
        config.max_in_flight_messages(2).max_append_entries(1).max_cached_bytes(0)
    });
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    for round in 0..30 {
        for command in ["a", "b", "c"] {
            cluster.propose(1, command);
        }
        if round % 3 != 2 {
            cluster.lose(has_entries);
        }
        cluster.run(HEARTBEAT);
    }
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.matched(1, 2), 91);
    cluster.settle();
}

#[test]
fn the_window_limits_messages_and_bytes_in_flight() {
    let mut node = Lone::with(3, |config| config.max_in_flight_messages(3));
    node.lead();
    node.hears(2, 1, accepted(1, 1));
    for _ in 0..10 {
        node.propose(1, "x");
    }
    let to_2 = |node: &mut Lone| node.sent().iter().filter(|m| m.to == id(2)).count();
    assert_eq!(to_2(&mut node), 3);
    let sent = node.hears(2, 1, accepted(2, 2));
    assert_eq!(sent.iter().filter(|m| m.to == id(2)).map(count).collect::<Vec<_>>(), [7]);

    let mut node = Lone::with(3, |config| config.max_in_flight_bytes(1));
    node.lead();
    node.hears(2, 1, accepted(1, 1));
    for _ in 0..10 {
        node.propose(1, "x");
    }
    assert_eq!(to_2(&mut node), 1, "one message always goes");
}

/// A follower that is far behind is not served one message per answer: the deadline asks for more
/// steps until its window is full, and then no longer.
#[test]
fn a_follower_that_is_far_behind_is_sent_a_full_window_at_once() {
    let mut node = Lone::with(3, |config| config.max_in_flight_messages(5).max_append_entries(1));
    node.lead();
    node.propose_all(1, &["a", "b", "c", "d", "e", "f", "g", "h"]);
    node.sent();
    let mut sent = node.hears(2, 1, accepted(1, 1));
    for _ in 0..10 {
        node.tick(Duration::ZERO);
        sent.extend(node.sent());
    }
    let places: Vec<u64> = sent
        .iter()
        .filter(|message| message.to == id(2))
        .filter_map(|message| Some(append_of(message)?.entries.first()?.index.get()))
        .collect();
    assert_eq!(places, [2, 3, 4, 5, 6]);
}

/// C16: what was read before a truncation and arrives after it is not the log any more.
#[test]
fn loaded_entries_of_another_term_than_the_logs_are_not_sent() {
    let mut node = Lone::with(3, |config| config.max_cached_bytes(0));
    node.lead();
    node.hears(2, 4, rejected(0, at(0, 0)));
    node.lead();
    assert_eq!(node.log(1), "1: 5:");
    node.hold_loads(1);
    node.hears(2, 5, accepted(1, 1));
    node.step(1, Event::Loaded { from: index(2), entries: entries(2, &[(1, "old")]) });
    assert!(!node.sent().iter().any(has_entries));
    node.release_loads(1);
    assert!(node.sent().iter().any(has_entries), "and the right ones are asked for again");
}

/// C47: a single entry above the limit still goes, and alone.
#[test]
fn messages_are_cut_at_the_size_limit_but_carry_one_entry_at_least() {
    let mut cluster = Cluster::with(3, |config| config.max_append_bytes(1));
    cluster.elect(1);
    cluster.propose_all(1, &["a", "bb", "ccc"]);
    let mut sizes = Vec::new();
    for _ in 0..10 {
        sizes.extend(cluster.under_way().map(count));
        cluster.deliver(|_| true);
    }
    assert!(sizes.iter().all(|size| *size <= 1));
    assert_eq!(cluster.log(3), "1: 1:a 1:bb 1:ccc");
    cluster.settle();
}

#[test]
fn messages_are_cut_at_the_count_limit() {
    let mut cluster = Cluster::with(2, |config| config.max_append_entries(2));
    cluster.elect(1);
    cluster.propose_all(1, &["a", "b", "c", "d", "e"]);
    assert!(cluster.under_way().all(|message| count(message) <= 2));
    cluster.deliver_all();
    assert_eq!(cluster.log(2), "1: 1:a 1:b 1:c 1:d 1:e");
    cluster.settle();
}

/// C40: finding the place where logs meet takes a message for each term, not for each entry.
#[test]
fn a_long_divergent_tail_takes_few_round_trips() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose(1, "common");
    cluster.deliver_all();
    cluster.isolate(1);
    for _ in 0..500 {
        cluster.propose(1, "old");
    }
    cluster.elect(2);
    for _ in 0..500 {
        cluster.propose(2, "new");
    }
    cluster.deliver_all();
    cluster.heal();
    let before = cluster.world.appends;
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.log(1), cluster.log(2));
    assert!(cluster.world.appends - before < 12, "{}", cluster.world.appends - before);
    cluster.settle();
}

/// C40: tails in which the terms alternate are the worst case, and still far from one for each
/// entry.
#[test]
fn divergent_tails_of_many_terms_take_a_round_trip_for_each_term_at_most() {
    let mut node = Lone::of(3);
    let theirs: Vec<(u64, &str)> = (0..120).map(|n| (1 + n / 4, "theirs")).collect();
    node.hears(2, 60, append(at(0, 0), &theirs, 0));
    // The leader of term 100 shares nothing but the first four entries.
    let ours: Vec<u64> = (0..120).map(|n| if n < 4 { 1 } else { 40 + n / 4 }).collect();
    let mut prev = 120;
    let mut rounds = 0;
    loop {
        rounds += 1;
        let reply = node.hears(3, 100, append(at(prev, ours[prev as usize - 1]), &[], 0));
        let Body::AppendReply(reply) = &reply[0].body else { unreachable!("an answer") };
        let raft_core::AppendResult::Rejected { hint, .. } = reply.result else {
            break;
        };
        assert!(hint.index < index(prev));
        prev = (1..=hint.index.get())
            .rev()
            .find(|n| ours[*n as usize - 1] <= hint.term.get())
            .unwrap();
    }
    assert_eq!(prev, 4);
    assert!(rounds <= 3, "{rounds}");
}

/// R145: proposals in a pipeline are sent once to each follower.
#[test]
fn entries_are_sent_once_to_each_follower_when_nothing_is_lost() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let before = cluster.world.entries;
    for _ in 0..200 {
        cluster.propose(1, "x");
    }
    cluster.run(3 * HEARTBEAT);
    assert_eq!(cluster.world.entries - before, 400);
    cluster.settle();
}

/// Even if each acknowledgement comes late and several heartbeats pass.
#[test]
fn a_slow_follower_does_not_make_the_leader_send_again() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.hold_disk(3);
    let before = cluster.world.entries;
    for _ in 0..20 {
        cluster.propose(1, "x");
    }
    cluster.run(5 * HEARTBEAT);
    assert_eq!(cluster.world.entries - before, 40);
    cluster.settle();
}

/// The message budget of an idle leader: one message for each follower and heartbeat interval.
#[test]
fn an_idle_leader_sends_one_heartbeat_for_each_interval_and_follower() {
    let mut cluster = Cluster::new(5);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let before = cluster.world.appends;
    cluster.run(50 * HEARTBEAT);
    assert_eq!(cluster.world.appends - before, 200);
    assert_eq!(cluster.world.bag.len(), 0);
}

/// C46, R027: a heartbeat claims nothing beyond what it asks about.
#[test]
fn a_heartbeat_to_a_probed_peer_names_the_place_that_is_probed() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a"), (1, "b"), (1, "c")], 3));
    node.lead();
    node.hears(3, 2, accepted(4, 4));
    node.hears(2, 2, rejected(3, at(1, 1)));
    node.sent();
    node.tick(HEARTBEAT);
    let sent = node.sent();
    let to_2 = sent.iter().filter(|message| message.to == id(2));
    let heartbeats: Vec<_> = to_2.filter_map(append_of).collect();
    assert_eq!(heartbeats.len(), 1);
    for heartbeat in heartbeats {
        assert_eq!(heartbeat.prev, at(1, 1));
        assert!(heartbeat.entries.is_empty());
        assert_eq!(heartbeat.commit, index(1), "not the leader's 4");
    }
}

/// R028: a message that starts before the log is no reason to append it again.
#[test]
fn entries_that_are_there_already_are_not_appended_again() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a")], 1));
    node.hold_disk(1);
    let reply = node.hears(2, 1, append(at(0, 0), &[(1, "a")], 1));
    assert_eq!(accepted_of(&reply[0]), Some((1, 1)));
    assert_eq!(node.writes(1), []);
    assert_eq!(node.applied(1), "a");
}

/// R030: a leader is ready for proposals from its first moment.
#[test]
fn a_proposal_right_after_the_election_follows_the_empty_entry() {
    let mut node = Lone::with(3, |config| config.pre_vote(false));
    node.timeout(1);
    node.hears(2, 1, vote_reply(true));
    node.propose(1, "x");
    let sent = node.hears(2, 1, accepted(1, 1));
    assert_eq!(sent.iter().map(count).sum::<usize>(), 1);
    node.hears(2, 1, accepted(2, 2));
    assert_eq!((node.commit(1), node.applied(1)), (2, "x".into()));
}

/// R044: many proposals in one event and in many on a cluster of one.
#[test]
fn a_lone_voter_numbers_its_entries_without_gap_or_repetition() {
    let mut cluster = Cluster::new(1);
    cluster.elect(1);
    cluster.hold_disk(1);
    let mut requests = cluster.propose_all(1, &["a", "b", "c"]);
    requests.push(cluster.propose(1, "d"));
    cluster.persist_oldest(1);
    requests.extend(cluster.propose_all(1, &["e", "f"]));
    cluster.release_disk(1);
    assert_eq!(cluster.log(1), "1: 1:a 1:b 1:c 1:d 1:e 1:f");
    for (n, request) in (2..).zip(requests) {
        let place = raft_core::Outcome::Committed { term: term(1), index: index(n) };
        assert_eq!(cluster.outcome(request), Some(place));
    }
    cluster.settle();
}

/// R040, R031: a follower whose disk has lost what it acknowledged. Nothing can be promised then,
/// but nobody panics, nothing is committed that is not there, and the leader says whose disk it is.
#[test]
fn a_follower_that_has_lost_acknowledged_entries_does_not_crash_its_leader() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.propose_all(1, &["a", "b"]);
    cluster.run(HEARTBEAT);
    cluster.crash(2);
    cluster.host_mut(2).disk.log.truncate(1);
    cluster.restart(2);
    cluster.run(10 * HEARTBEAT);
    assert_eq!((cluster.commit(2), cluster.log(2)), (0, "1:".into()));
    assert!(cluster.leads(1));
    let lost = |cluster: &Cluster| -> Vec<u64> {
        let peers = cluster.status(1).peers.into_iter();
        peers.filter(|peer| peer.has_lost_entries).map(|peer| peer.id.get()).collect()
    };
    assert_eq!(lost(&cluster), [2]);
    cluster.propose(1, "c");
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.commit(1), 4);
    assert_eq!(lost(&cluster), [2]);
}

/// A rejection that was on its way when its place was acknowledged proves nothing.
#[test]
fn a_late_rejection_does_not_pass_for_a_loss() {
    let mut node = Lone::of(3);
    node.lead();
    node.propose(1, "a");
    node.hears(2, 1, accepted_numbered(2, 2, 2));
    node.hears(2, 1, rejected(1, at(0, 0)));
    assert!(node.status(1).peers.iter().all(|peer| !peer.has_lost_entries));
}

/// Two leaders in one term are a breach of the protocol; the first one stays.
#[test]
fn a_second_leader_of_the_same_term_is_ignored() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a")], 0));
    assert_eq!(node.hears(3, 1, append(at(0, 0), &[(1, "A")], 1)), []);
    assert_eq!((node.log(1), node.commit(1)), ("1:a".into(), 0));
    assert_eq!(node.status(1).leader, Some(id(2)));
    let mut node = Lone::of(3);
    node.lead();
    assert_eq!(node.hears(3, 1, append(at(0, 0), &[(1, "A")], 1)), []);
    assert!(node.leads(1));
    assert_eq!(node.status(1).dropped.malformed, 1);
}

/// R108: an answer of a newer term is never taken for contact.
#[test]
fn every_answer_of_a_newer_term_ends_a_leadership() {
    for answer in [
        accepted(1, 1),
        rejected(1, at(0, 0)),
        vote_reply(true),
        pre_vote_reply(false),
        Body::ProposeReply { batch: batch(1, 1), result: Err(raft_core::Refusal::Overloaded) },
        Body::ReadIndexReply { sequence: 1, index: index(1) },
        Body::SnapshotReply(SnapshotReply {
            sequence: 1,
            position: at(1, 1),
            checksum: 0,
            received: 0,
            written: 0,
            gap: false,
        }),
        Body::ControlReply { batch: batch(1, 1), result: ControlResult::Committed(at(1, 1)) },
    ] {
        let mut node = Lone::of(3);
        node.lead();
        node.hears(2, 2, answer);
        assert!(!node.leads(1));
        assert_eq!((node.term(1), node.commit(1)), (2, 0));
    }
}

/// A log longer than the memory for it: the leader reads back what a follower lacks.
#[test]
fn a_follower_far_behind_is_served_from_the_leaders_disk() {
    let mut cluster = Cluster::with(3, |config| config.max_cached_bytes(0).max_append_bytes(300));
    cluster.elect(1);
    cluster.isolate(3);
    for _ in 0..50 {
        cluster.propose(1, "x");
        cluster.deliver_all();
    }
    assert_eq!(cluster.status(1).cached_bytes, 0);
    cluster.heal();
    cluster.hold_loads(1);
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.host(1).loads.len(), 1, "one question at a time");
    cluster.release_loads(1);
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.log(3), cluster.log(1));
    cluster.settle();
}

/// An answer of the disk that comes when the peer is elsewhere by now does no harm.
#[test]
fn a_load_that_was_overtaken_is_ignored() {
    let mut node = Lone::with(3, |config| config.max_cached_bytes(0));
    node.lead();
    node.hears(2, 1, accepted(1, 1));
    node.hears(3, 1, accepted(1, 1));
    node.hold_loads(1);
    node.propose_all(1, &["a", "b"]);
    node.hears(2, 1, accepted(3, 3));
    node.hears(3, 1, rejected(3, at(1, 1)));
    node.hears(3, 1, accepted(1, 1));
    assert!(!node.host(1).loads.is_empty());
    node.hears(3, 1, accepted(3, 3));
    node.release_loads(1);
    assert_eq!(node.sent().iter().filter(|m| has_entries(m)).count(), 0);
    assert_eq!((node.matched(1, 3), node.next_of(1, 3)), (3, index(4)));
}

#[test]
fn reordered_and_repeated_messages_end_in_equal_logs() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    for command in ["a", "b", "c", "d"] {
        cluster.propose(1, command);
    }
    for _ in 0..6 {
        let mut mixed = cluster.lose(|_| true);
        mixed.reverse();
        let again = mixed.clone();
        mixed.into_iter().chain(again).for_each(|message| cluster.receive(message));
    }
    cluster.settle();
    assert_eq!(cluster.log(3), "1: 1:a 1:b 1:c 1:d");
}

/// One lost message makes the peer reject all that follow it; the leader goes back once.
#[test]
fn the_rejections_that_follow_from_one_loss_are_heeded_once() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    for _ in 0..20 {
        cluster.propose(1, "x");
    }
    let mut to_2 = 0;
    cluster.lose(|message| message.to == id(2) && message.from == id(1));
    for _ in 0..20 {
        cluster.propose(1, "y");
    }
    cluster.deliver(|message| message.to == id(2));
    for _ in 0..10 {
        to_2 += cluster.under_way().filter(|message| message.to == id(2)).count();
        cluster.deliver(|_| true);
    }
    assert_eq!(cluster.matched(1, 2), 41);
    assert!(to_2 < 5, "{to_2} messages");
    cluster.settle();
}
