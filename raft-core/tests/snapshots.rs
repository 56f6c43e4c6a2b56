//! Snapshots on their way from a leader to a follower. Rows named R, C and U are those of the
//! project's lists of known bugs, corner cases and wishes.

mod common;

use common::*;
use raft_core::{Config, Event, Outcome};

/// A transfer that gains nothing for so long is abandoned.
const PATIENCE: u32 = 10;

fn small(config: Config) -> Config {
    config.compaction_margin(0).max_snapshot_chunk_bytes(16).max_in_flight_snapshot_bytes(48)
}

fn propose(cluster: &mut Cluster, leader: u64, letters: &str) {
    let commands: Vec<String> = letters.chars().map(String::from).collect();
    cluster.propose_all(leader, &commands.iter().map(String::as_str).collect::<Vec<_>>());
    cluster.deliver_all();
}

/// Node 1 leads node 2, and node 3 needs the snapshot of either: `1: a ... t`.
fn one_behind() -> Cluster {
    one_behind_of(Cluster::with(3, small))
}

fn one_behind_of(mut cluster: Cluster) -> Cluster {
    cluster.elect(1);
    cluster.isolate(3);
    propose(&mut cluster, 1, "abcdefghijklmnopqrst");
    cluster.run(HEARTBEAT);
    for node in [1, 2] {
        cluster.take_snapshot(node);
        assert_eq!(cluster.log(node), "");
    }
    cluster.heal();
    cluster
}

/// Node 3 writes its snapshot, up to entry 21, and meanwhile there is another one, up to `u`.
fn one_overtaken() -> Cluster {
    let mut cluster = one_behind();
    cluster.hold_snapshots(3);
    cluster.run(2 * HEARTBEAT);
    propose(&mut cluster, 1, "u");
    cluster.take_snapshot(1);
    cluster
}

const ALL: &str = "a b c d e f g h i j k l m n o p q r s t";

/// Lets the leader find out that node 3 needs a snapshot, and stops at its first chunks.
fn begin(cluster: &mut Cluster) {
    for _ in 0..10 {
        cluster.tick(HEARTBEAT);
        while cluster.deliver(|message| !has_bytes(message)) > 0 {}
        if cluster.under_way().any(has_bytes) {
            return;
        }
    }
    unreachable!("a snapshot is sent");
}

fn sending(cluster: &Cluster, leader: u64, peer: u64) -> Option<(u64, u64)> {
    let peers = cluster.status(leader).peers;
    peers.iter().find(|status| status.id == id(peer)).expect("a peer").snapshot
}

/// Where the chunks under way begin and how long they are.
fn chunks(cluster: &Cluster) -> Vec<(u64, usize)> {
    let chunks = cluster.under_way().filter(|message| has_bytes(message)).filter_map(chunk_of);
    chunks.map(|chunk| (chunk.offset, chunk.data.len())).collect()
}

/// Delivers everything, and says how many bytes of snapshots were in it.
fn deliver_counting(cluster: &mut Cluster) -> usize {
    let mut bytes = 0;
    while let Some(message) = cluster.world.bag.pop_front() {
        bytes += chunk_of(&message).map_or(0, |chunk| chunk.data.len());
        cluster.receive(message);
    }
    bytes
}

/// R054: leader and follower have nothing in their logs, and nothing is proposed.
#[test]
fn a_follower_of_a_leader_with_an_empty_log_gets_the_snapshot() {
    let mut cluster = one_behind();
    cluster.run(2 * HEARTBEAT);
    assert_eq!((cluster.applied(3), cluster.log(3)), (ALL.into(), String::new()));
    assert_eq!(cluster.host(3).snapshots_begun, 1);
    assert_eq!((cluster.matched(1, 3), sending(&cluster, 1, 3)), (21, None));
    propose(&mut cluster, 1, "u");
    assert_eq!(cluster.log(3), "1:u");
    cluster.settle();
}

/// R144, U46: pieces are small, and as many as the window allows go ahead of the answers. The next
/// goes when one is written, without a heartbeat.
#[test]
fn chunks_stay_within_their_size_and_the_window() {
    let mut cluster = one_behind();
    cluster.hold_snapshots(3);
    begin(&mut cluster);
    assert_eq!(chunks(&cluster), [(0, 16), (16, 16), (32, 16)]);
    cluster.deliver_all();
    assert_eq!(cluster.under_way().count(), 0, "the window is full");
    for next in [48, 64] {
        cluster.snapshot_job(3);
        while cluster.deliver(|message| !has_bytes(message)) > 0 {}
        assert_eq!(chunks(&cluster), [(next, 16)], "no time has passed");
        cluster.deliver_all();
    }
    assert_eq!(sending(&cluster, 1, 3).map(|(written, _)| written), Some(32));
    cluster.release_snapshots(3);
    cluster.deliver_all();
    assert_eq!(cluster.applied(3), ALL);
    cluster.settle();
}

#[test]
fn a_lost_chunk_is_sent_again_and_the_others_are_not() {
    for lost in 0..3 {
        let mut cluster = one_behind();
        begin(&mut cluster);
        let first = chunk_of(cluster.under_way().find(|it| has_bytes(it)).unwrap()).unwrap();
        let size = first.snapshot.size as usize;
        let offset = 16 * lost;
        cluster.lose(|message| {
            chunk_of(message).is_some_and(|it| it.offset == offset && !it.data.is_empty())
        });
        let bytes = deliver_counting(&mut cluster);
        assert!(bytes <= size + 32, "what was under way behind it: {bytes} of {size}");
        cluster.run(2 * HEARTBEAT);
        assert_eq!((cluster.applied(3), cluster.host(3).snapshots_begun), (ALL.into(), 1));
        cluster.settle();
    }
}

/// C66, R052: every chunk and every answer is lost for a while; heartbeats find out.
#[test]
fn a_transfer_goes_on_after_a_lost_connection() {
    let mut cluster = one_behind();
    begin(&mut cluster);
    cluster.deliver(has_bytes);
    cluster.lose(|_| true);
    cluster.isolate(3);
    cluster.run(ELECTION / 2);
    cluster.heal();
    cluster.tick(HEARTBEAT);
    let bytes = deliver_counting(&mut cluster);
    let size = cluster.host(3).disk.newest_snapshot().unwrap().size as usize;
    assert_eq!(bytes, size - 48, "what had arrived is not sent again");
    assert_eq!((cluster.applied(3), cluster.host(3).snapshots_begun), (ALL.into(), 1));
    cluster.settle();
}

/// U46: the next leader has the same snapshot, so what has arrived is of use to it.
#[test]
fn a_transfer_goes_on_after_a_change_of_leader_with_the_same_snapshot() {
    let mut cluster = one_behind();
    // The first leader's numbers are far ahead of those of the next.
    cluster.isolate(3);
    cluster.run(20 * ELECTION);
    cluster.heal();
    begin(&mut cluster);
    cluster.deliver(has_bytes);
    cluster.lose(|_| true);
    let same = |cluster: &Cluster, node| cluster.host(node).disk.newest_snapshot();
    assert_eq!(same(&cluster, 1), same(&cluster, 2));
    cluster.isolate(1);
    cluster.elect_silently(2);
    let bytes = (0..3).map(|_| {
        cluster.tick(HEARTBEAT);
        deliver_counting(&mut cluster)
    });
    let bytes: usize = bytes.sum();
    let size = same(&cluster, 2).unwrap().size as usize;
    assert_eq!(bytes, size - 48);
    assert_eq!((cluster.applied(3), cluster.host(3).snapshots_begun), (ALL.into(), 1));
    cluster.settle();
}

/// R060: the next leader has another snapshot; the two are never mixed, and late chunks of the old
/// leader are dropped.
#[test]
fn a_transfer_begins_anew_after_a_change_of_leader_with_another_snapshot() {
    let mut cluster = one_behind();
    cluster.isolate(3);
    propose(&mut cluster, 1, "u");
    cluster.run(HEARTBEAT);
    cluster.take_snapshot(2);
    cluster.heal();
    begin(&mut cluster);
    cluster.deliver(|message| chunk_of(message).is_some_and(|chunk| chunk.offset < 32));
    let late = cluster.lose(|_| true);
    cluster.isolate(1);
    cluster.elect_silently(2);
    begin(&mut cluster);
    cluster.deliver(has_bytes);
    late.into_iter().filter(|message| message.to == id(3)).for_each(|it| cluster.receive(it));
    cluster.run(2 * HEARTBEAT);
    assert_eq!((cluster.applied(3), cluster.host(3).snapshots_begun), (format!("{ALL} u"), 2));
    cluster.settle();
}

/// R052, C66, C67: nobody knows whether the follower is there. The leader stops waiting, does not
/// speak of the snapshot any more, and begins again when the follower answers.
#[test]
fn a_transfer_without_progress_is_abandoned_until_the_follower_answers() {
    let mut cluster = one_behind();
    begin(&mut cluster);
    cluster.deliver(has_bytes);
    cluster.lose(|_| true);
    cluster.cut(3, 1);
    cluster.cut(1, 3);
    cluster.run(PATIENCE * ELECTION + HEARTBEAT);
    assert_eq!(sending(&cluster, 1, 3), None);
    cluster.world.cut.remove(&(1, 3));
    cluster.run(5 * HEARTBEAT);
    assert_eq!(sending(&cluster, 1, 3), None, "no answer, no snapshot");
    cluster.heal();
    cluster.run(2 * HEARTBEAT);
    assert_eq!((cluster.applied(3), cluster.host(3).snapshots_begun), (ALL.into(), 1));
    cluster.settle();
}

/// R058: the disk of the follower takes longer than the leader's patience. The late success
/// counts, and the bytes are sent once.
#[test]
fn an_install_that_takes_longer_than_the_leaders_patience_counts() {
    let mut cluster = one_behind();
    cluster.hold_snapshots(3);
    let mut bytes = 0;
    for _ in 0..PATIENCE {
        cluster.tick(3 * HEARTBEAT);
        bytes += deliver_counting(&mut cluster);
        while cluster.host(3).snapshot_jobs.len() > 1 {
            cluster.snapshot_job(3);
            bytes += deliver_counting(&mut cluster);
        }
    }
    let size = sending(&cluster, 1, 3).unwrap().1 as usize;
    assert_eq!(bytes, size);
    for _ in 0..30 * PATIENCE {
        cluster.tick(HEARTBEAT);
        bytes += deliver_counting(&mut cluster);
    }
    assert_eq!((bytes, cluster.applied(3)), (size, String::new()), "it still writes the last");
    cluster.release_snapshots(3);
    cluster.run(HEARTBEAT);
    assert_eq!((cluster.applied(3), cluster.host(3).snapshots_begun), (ALL.into(), 1));
    cluster.settle();
}

/// The host finds that the file is gone.
#[test]
fn a_transfer_of_a_snapshot_that_is_gone_begins_anew_with_the_newest() {
    let mut cluster = one_behind();
    cluster.hold_snapshots(1);
    cluster.run(2 * HEARTBEAT);
    assert!(matches!(cluster.host(1).snapshot_jobs[0], SnapshotJob::Read { .. }));
    let old = cluster.host(1).disk.newest_snapshot().unwrap();
    propose(&mut cluster, 1, "u");
    cluster.take_snapshot(1);
    assert!(cluster.host(1).disk.snapshot(&old).is_some(), "it is being sent");
    cluster.host_mut(1).disk.drop_snapshot(&old);
    cluster.release_snapshots(1);
    cluster.run(2 * HEARTBEAT);
    assert_eq!((cluster.applied(3), cluster.host(3).snapshots_begun), (format!("{ALL} u"), 1));
    cluster.settle();
}

/// A follower takes less at a time than the leader is willing to send. What is dropped comes again
/// when there is room for it, and neither at once nor only with the next heartbeat.
#[test]
fn a_follower_with_a_smaller_window_is_not_flooded() {
    let window = |node| if node == 3 { 20 } else { 48 };
    let adjust = move |node, config| small(config).max_in_flight_snapshot_bytes(window(node));
    let mut cluster = one_behind_of(Cluster::each(3, adjust));
    cluster.hold_snapshots(3);
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.host(3).snapshot_jobs.len(), 2);
    let mut bytes = 0;
    while cluster.applied(3).is_empty() {
        cluster.snapshot_job(3);
        bytes += deliver_counting(&mut cluster);
    }
    let size = cluster.host(3).disk.newest_snapshot().unwrap().size as usize;
    assert!(bytes < 4 * size, "{bytes} bytes for {size}");
    cluster.settle();
}

/// And there is no other. The leader tries again with each heartbeat, not as fast as it can.
#[test]
fn a_leader_whose_only_snapshot_is_gone_keeps_calm_until_there_is_another() {
    let mut cluster = one_behind();
    let only = cluster.host(1).disk.newest_snapshot().unwrap();
    cluster.host_mut(1).disk.drop_snapshot(&only);
    for _ in 0..5 {
        cluster.tick(HEARTBEAT);
        let mut messages = 0;
        while let Some(message) = cluster.world.bag.pop_front() {
            messages += 1;
            cluster.receive(message);
        }
        assert!(messages < 10, "{messages} in one heartbeat interval");
    }
    propose(&mut cluster, 1, "u");
    cluster.take_snapshot(1);
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.applied(3), format!("{ALL} u"));
    cluster.settle();
}

/// Bytes rot on the leader's disk. The follower says so until there is a sound snapshot; the leader
/// tries again with its heartbeats, not as fast as the network goes.
#[test]
fn a_rotten_snapshot_never_gets_into_a_state_machine() {
    let mut cluster = one_behind();
    cluster.host_mut(1).disk.spoil_snapshots();
    begin(&mut cluster);
    cluster.deliver_all();
    assert_eq!((cluster.status(3).dropped.corrupt_snapshots, cluster.applied(3)), (1, "".into()));
    cluster.run(HEARTBEAT);
    assert_eq!((cluster.status(3).dropped.corrupt_snapshots, cluster.applied(3)), (2, "".into()));
    assert_eq!(cluster.host(3).disk.snapshots(), 0);
    // The next leader has a sound one.
    cluster.lose(|_| true);
    cluster.isolate(1);
    cluster.elect(2);
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.applied(3), ALL);
    cluster.settle();
}

/// The same when the snapshot is one piece, of which the follower never says that it is written.
#[test]
fn a_rotten_snapshot_of_one_piece_goes_out_with_heartbeats_only() {
    let mut cluster = one_behind_of(Cluster::with(3, |config| config.compaction_margin(0)));
    cluster.host_mut(1).disk.spoil_snapshots();
    begin(&mut cluster);
    cluster.deliver_all();
    assert_eq!(cluster.status(3).dropped.corrupt_snapshots, 1);
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.status(3).dropped.corrupt_snapshots, 2);
}

/// R057, U49: snapshots are taken faster than they are sent. The one that is sent stays, and so do
/// the entries behind it, until the follower has caught up.
#[test]
fn snapshots_that_are_taken_during_a_transfer_do_not_begin_it_anew() {
    let mut cluster = one_behind();
    cluster.hold_snapshots(3);
    cluster.run(2 * HEARTBEAT);
    let sent = cluster.host(1).disk.newest_snapshot().unwrap();
    let mut more = String::new();
    for letter in ["u", "v", "w", "x"] {
        propose(&mut cluster, 1, letter);
        cluster.take_snapshot(1);
        more = more + " " + letter;
        assert_eq!(cluster.status(1).base, sent.position.index);
        assert!(cluster.host(1).disk.snapshot(&sent).is_some());
        assert_eq!(cluster.host(1).disk.snapshots(), 2, "the newest one and the one that is sent");
    }
    cluster.hold_disk(3);
    cluster.release_snapshots(3);
    cluster.deliver_all();
    assert_eq!(cluster.status(1).base, sent.position.index, "it still needs the entries");
    assert_eq!(cluster.host(1).disk.snapshots(), 1);
    cluster.release_disk(3);
    cluster.run(HEARTBEAT);
    assert_eq!((cluster.applied(3), cluster.host(3).snapshots_begun), (format!("{ALL}{more}"), 1));
    assert_eq!((cluster.log(1), cluster.status(1).base), (String::new(), index(25)));
    cluster.settle();
}

/// C64: a follower that got its snapshot and fell silent does not hold up compaction for ever.
#[test]
fn the_entries_for_a_silent_follower_are_compacted_in_the_end() {
    let mut cluster = one_overtaken();
    cluster.crash(3);
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.status(1).base, index(21));
    cluster.run(PATIENCE * ELECTION + HEARTBEAT);
    assert_eq!((cluster.status(1).base, cluster.host(1).disk.snapshots()), (index(22), 1));
    cluster.settle();
    assert_eq!(cluster.applied(3), format!("{ALL} u"));
}

/// C64: nor does one whose disk has stopped, and that answers all the same.
#[test]
fn the_entries_for_a_follower_whose_disk_hangs_are_compacted_in_the_end() {
    let mut cluster = one_overtaken();
    cluster.hold_disk(3);
    cluster.release_snapshots(3);
    cluster.run(HEARTBEAT);
    assert_eq!((cluster.matched(1, 3), cluster.status(1).base), (21, index(21)));
    cluster.run(PATIENCE * ELECTION + HEARTBEAT);
    assert_eq!((cluster.matched(1, 3), cluster.status(1).base), (21, index(22)));
    cluster.release_disk(3);
    cluster.settle();
    assert_eq!(cluster.applied(3), format!("{ALL} u"));
}

/// A snapshot that is being sent is not dropped, even if the host speaks of it again.
#[test]
fn a_snapshot_that_is_being_sent_outlives_a_repeated_event() {
    let mut cluster = one_behind();
    cluster.hold_snapshots(3);
    cluster.run(2 * HEARTBEAT);
    let sent = cluster.host(1).disk.newest_snapshot().unwrap();
    propose(&mut cluster, 1, "u");
    cluster.take_snapshot(1);
    cluster.step(1, Event::SnapshotTaken(sent.clone()));
    assert!(cluster.host(1).disk.snapshot(&sent).is_some());
    cluster.release_snapshots(3);
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.host(3).snapshots_begun, 1);
    cluster.settle();
}

/// Two followers need the same snapshot, one much slower than the other.
#[test]
fn two_followers_are_served_at_the_pace_of_each() {
    let mut cluster = Cluster::with(5, small);
    cluster.elect(1);
    [4, 5].into_iter().for_each(|node| cluster.isolate(node));
    propose(&mut cluster, 1, "abcdefgh");
    cluster.take_snapshot(1);
    cluster.heal();
    cluster.hold_snapshots(5);
    cluster.run(2 * HEARTBEAT);
    assert_eq!((cluster.applied(4), cluster.applied(5)), ("a b c d e f g h".into(), String::new()));
    cluster.release_snapshots(5);
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.applied(5), "a b c d e f g h");
    assert_eq!((cluster.host(4).snapshots_begun, cluster.host(5).snapshots_begun), (1, 1));
    cluster.settle();
}

/// R133: the configuration of a snapshot is that of the cluster, its leader included.
#[test]
fn writes_go_on_after_an_install() {
    let mut cluster = one_behind();
    cluster.run(2 * HEARTBEAT);
    assert_eq!(cluster.members(3), "{1 2 3}");
    cluster.crash(2);
    let request = cluster.propose(1, "u");
    cluster.run(2 * HEARTBEAT);
    let committed = Outcome::Committed { term: term(1), index: index(22) };
    assert_eq!(cluster.outcome(request), Some(committed), "with the follower's help");
    cluster.transfer(1, Some(3));
    cluster.run(HEARTBEAT);
    assert!(cluster.leads(3));
    propose(&mut cluster, 3, "v");
    assert_eq!(cluster.applied(3), format!("{ALL} u v"));
    cluster.settle();
}

/// U50: how far a transfer is can be seen.
#[test]
fn the_progress_of_a_transfer_is_visible() {
    let mut cluster = one_behind();
    cluster.hold_snapshots(3);
    cluster.run(2 * HEARTBEAT);
    let size = cluster.host(1).disk.newest_snapshot().unwrap().size;
    assert_eq!(sending(&cluster, 1, 3), Some((0, size)));
    cluster.snapshot_job(3);
    cluster.deliver_all();
    assert_eq!(sending(&cluster, 1, 3), Some((16, size)));
    cluster.release_snapshots(3);
    cluster.deliver_all();
    assert_eq!(sending(&cluster, 1, 3), None);
    cluster.settle();
}

/// R052: a node that is removed while it is sent a snapshot does not hold anything up.
#[test]
fn a_removed_node_is_no_longer_sent_a_snapshot() {
    let mut cluster = one_behind();
    cluster.hold_snapshots(3);
    cluster.run(2 * HEARTBEAT);
    cluster.crash(3);
    cluster.change(1, &members("{1 2}"));
    cluster.run(PATIENCE * ELECTION + ELECTION);
    assert!(cluster.status(1).peers.iter().all(|peer| peer.id != id(3)));
    cluster.take_snapshot(1);
    assert_eq!((cluster.log(1), cluster.host(1).disk.snapshots()), (String::new(), 1));
    cluster.settle();
}
