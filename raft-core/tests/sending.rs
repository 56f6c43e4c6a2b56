//! What a leader that sends a snapshot makes of the answers and of its own store. Rows named R and
//! C are those of the project's lists of known bugs and corner cases.

mod common;

use bytes::Bytes;
use common::*;
use raft_core::{AppendReply, Body, Config, Event, Notice, RoleKind, Snapshot, SnapshotReply};

fn small(config: Config) -> Config {
    config.compaction_margin(0).max_snapshot_chunk_bytes(16).max_in_flight_snapshot_bytes(48)
}

fn sending(cluster: &Cluster, leader: u64, peer: u64) -> Option<(u64, u64)> {
    let peers = cluster.status(leader).peers;
    peers.iter().find(|status| status.id == id(peer)).expect("a peer").snapshot
}

fn arrived(snapshot: &Snapshot, sequence: u64, received: u64, written: u64) -> Body {
    let (position, checksum) = (snapshot.position, snapshot.checksum);
    let gap = false;
    Body::SnapshotReply(SnapshotReply { sequence, position, checksum, received, written, gap })
}

/// Node 1 leads, has a snapshot up to entry 4, and hears that node 2 has nothing.
fn asked() -> (Lone, Snapshot) {
    let mut node = Lone::with(3, small);
    node.lead();
    node.propose_all(1, &["a", "b", "c"]);
    node.hears(3, 1, accepted_numbered(2, 4, 4));
    node.take_snapshot(1);
    let probe = node.sent().into_iter().rev().find(|message| message.to == id(2));
    let Some(Body::Append(probe)) = probe.map(|message| message.body) else {
        unreachable!("node 2 is asked where the logs meet")
    };
    let result = raft_core::AppendResult::Rejected { prev: probe.prev.index, hint: at(0, 0) };
    let reply = AppendReply { sequence: probe.sequence, result, needs_snapshot: None };
    let sent = node.hears(2, 1, Body::AppendReply(reply));
    assert_eq!(sent.iter().filter(|message| is_chunk(message)).count(), 1, "the question");
    let snapshot = node.host(1).disk.newest_snapshot().expect("a snapshot was taken");
    (node, snapshot)
}

/// R053, C65: whatever connects the follower's log with the leader's ends the transfer.
#[test]
fn an_acknowledgement_at_another_index_than_the_snapshots_ends_the_transfer() {
    let (mut node, snapshot) = asked();
    node.propose(1, "d");
    node.hears(3, 1, accepted_numbered(4, 5, 5));
    assert_eq!(sending(&node, 1, 2), Some((0, snapshot.size)));
    node.hears(2, 1, accepted_numbered(4, 3, 3));
    assert_eq!(sending(&node, 1, 2), Some((0, snapshot.size)), "the log begins behind entry 4");
    let sent = node.hears(2, 1, accepted_numbered(4, 4, 4));
    assert_eq!(sending(&node, 1, 2), None);
    let appends: Vec<_> = sent.iter().filter_map(append_of).collect();
    assert_eq!((appends.len(), appends[0].prev), (1, at(4, 1)));
    assert_eq!(show(appends[0].entries.iter()), "1:d");
}

/// Answers that are repeated, late, of another snapshot, or impossible.
#[test]
fn answers_that_say_nothing_new_cause_no_traffic() {
    let (mut node, snapshot) = asked();
    let newest = 1000;
    assert_eq!(node.hears(2, 1, arrived(&snapshot, newest, 0, 0)), [], "of no message of its own");
    let too_much = snapshot.size + 1;
    node.tick(HEARTBEAT);
    let sent = node.sent();
    let question = sent.iter().filter(|it| it.to == id(2)).find_map(chunk_of).unwrap();
    let sequence = question.sequence;
    assert_eq!(node.hears(2, 1, arrived(&snapshot, sequence, too_much, 0)), []);
    assert_eq!(node.hears(2, 1, arrived(&snapshot, sequence, 4, 5)), []);
    assert_eq!(node.status(1).dropped.malformed, 3);
    let other = Snapshot { checksum: !snapshot.checksum, ..snapshot.clone() };
    assert_eq!(node.hears(2, 1, arrived(&other, sequence, 0, 0)), []);
    let first = node.hears(2, 1, arrived(&snapshot, sequence, 0, 0));
    assert_eq!(first.iter().filter(|message| has_bytes(message)).count(), 3);
    for _ in 0..3 {
        assert_eq!(node.hears(2, 1, arrived(&snapshot, sequence, 0, 0)), [], "repeated");
    }
    let bare = Body::SnapshotReply(SnapshotReply {
        sequence,
        position: snapshot.position,
        checksum: snapshot.checksum,
        received: 0,
        written: 0,
        gap: true,
    });
    node.tick(HEARTBEAT);
    node.sent();
    assert_eq!(node.hears(2, 1, bare), [], "the gap was dealt with before the chunks went");
}

/// A snapshot without bytes goes with the question, and an answer that asks for bytes gets none.
#[test]
fn a_snapshot_without_bytes_needs_no_chunks() {
    let mut node = Lone::with(3, small);
    node.lead();
    node.hears(3, 1, accepted_numbered(2, 1, 1));
    let (position, membership) =
        node.host(1).raft.as_ref().unwrap().describe_snapshot(index(1)).unwrap();
    let empty = Snapshot { position, membership, size: 0, checksum: 0 };
    node.step(1, Event::SnapshotTaken(empty.clone()));
    node.sent();
    node.tick(HEARTBEAT);
    let sent = node.sent();
    let probe = sent.iter().filter(|it| it.to == id(2)).find_map(append_of).unwrap();
    let result = raft_core::AppendResult::Rejected { prev: probe.prev.index, hint: at(0, 0) };
    let reply = AppendReply { sequence: probe.sequence, result, needs_snapshot: None };
    let sent = node.hears(2, 1, Body::AppendReply(reply));
    let question = sent.iter().find_map(chunk_of).expect("the question");
    assert_eq!((&question.snapshot, question.data.len()), (&empty, 0));
    let sequence = question.sequence;
    node.hold_snapshots(1);
    assert_eq!(node.hears(2, 1, arrived(&empty, sequence, 0, 0)), []);
    assert_eq!(node.host(1).snapshot_jobs.len(), 0, "there is nothing to read");
    // A host that answers all the same does no harm.
    let data = Some(Bytes::new());
    node.step(1, Event::SnapshotRead { snapshot: empty, offset: 0, data });
    assert_eq!(node.sent(), []);
}

/// Pieces that a host reads may be shorter than asked for; longer than the snapshot they are not.
#[test]
fn a_host_may_read_less_than_it_is_asked_for() {
    let (mut node, snapshot) = asked();
    node.hold_snapshots(1);
    node.tick(HEARTBEAT);
    let sent = node.sent();
    let sequence = sent.iter().filter(|it| it.to == id(2)).find_map(chunk_of).unwrap().sequence;
    node.hears(2, 1, arrived(&snapshot, sequence, 0, 0));
    for (offset, data) in [(0, "x"), (1, "yz")] {
        let data = Some(Bytes::from_static(data.as_bytes()));
        node.step(1, Event::SnapshotRead { snapshot: snapshot.clone(), offset, data });
    }
    let sent = node.sent();
    let sent: Vec<_> = sent.iter().filter_map(chunk_of).collect();
    assert_eq!(
        sent.iter().map(|it| (it.offset, it.data.len())).collect::<Vec<_>>(),
        [(0, 1), (1, 2)]
    );
    let late = Some(Bytes::from_static(b"x"));
    node.step(1, Event::SnapshotRead { snapshot: snapshot.clone(), offset: 0, data: late });
    assert_eq!(node.sent(), []);
    for data in [None, Some(Bytes::new()), Some(vec![0; 1000].into())] {
        node.step(1, Event::SnapshotRead { snapshot: snapshot.clone(), offset: 3, data });
        assert_eq!(sending(&node, 1, 2), None, "what node 2 needs is found out anew");
    }
}

/// A leader that is deposed in the middle of a transfer says no more about it.
#[test]
fn a_deposed_leader_sends_no_chunks() {
    let (mut node, snapshot) = asked();
    node.hold_snapshots(1);
    node.tick(HEARTBEAT);
    let sent = node.sent();
    let sequence = sent.iter().filter(|it| it.to == id(2)).find_map(chunk_of).unwrap().sequence;
    node.hears(2, 1, arrived(&snapshot, sequence, 0, 0));
    node.hears(3, 2, append(at(4, 1), &[], 4));
    assert_eq!(node.role(1), RoleKind::Follower);
    node.release_snapshots(1);
    assert!(node.sent().iter().all(|message| !is_chunk(message)));
    assert!(!node.host(1).notices.contains(&Notice::SnapshotWanted));
}
