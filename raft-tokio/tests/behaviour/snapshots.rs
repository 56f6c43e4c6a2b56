//! Snapshots over real sockets and on real disks.

use std::sync::atomic::Ordering;
use std::time::Duration;

use raft_node::core::LogIndex;
use raft_node::{SnapshotPolicy, Storage};
use raft_tokio::{Node, Settings};

use crate::cluster::{
    Place, cluster, eventually, follower, in_agreement, in_time, leader, places, propose, read,
    reign,
};
use crate::load::Clients;

const ELECTION: Duration = Duration::from_secs(1);

/// No entry that a snapshot covers is kept.
fn keeping_nothing(settings: Settings, policy: SnapshotPolicy) -> Settings {
    settings.snapshots(policy).configure(|config| config.compaction_margin(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_on_from_its_snapshot_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut place = places(1, ELECTION).remove(0);
    place.settings = keeping_nothing(place.settings, SnapshotPolicy::NEVER);
    for life in 0..3 {
        let storage = Storage::open(directory.path()).unwrap();
        let start = Node::start(place.settings.clone(), storage, place.machine.clone());
        let node = start.await.unwrap();
        let handle = node.handle();
        for nth in 1..=20 {
            assert_eq!(propose(&handle).await, life * 20 + nth);
        }
        in_time("a snapshot", handle.snapshot()).await.unwrap();
        let status = handle.status().await.unwrap();
        assert_eq!(status.snapshot_failure, None);
        assert_eq!(status.raft.snapshot, status.raft.applied);
        assert_eq!(status.raft.base, status.raft.snapshot, "the log begins behind it");
        in_time("a shutdown", node.shutdown()).await.unwrap();
        assert_eq!(place.machine.restores.load(Ordering::Relaxed), life);
    }
}

/// R055.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_do_not_grow_for_ever_under_a_policy() {
    let policy = SnapshotPolicy::NEVER.entries(50);
    let mut places = places(3, ELECTION);
    for place in &mut places {
        place.settings = keeping_nothing(place.settings.clone(), policy);
        place.start().await;
    }
    leader(&places).await;
    let handles: Vec<_> = places.iter().map(Place::handle).collect();
    let clients =
        Clients::start(50, &handles, |handle| async move { handle.propose("count").await });
    clients.never_stop(4, "while snapshots are taken").await;
    clients.stop().await;
    in_agreement(&places).await;
    for place in &places {
        eventually("the log is short", || async {
            let status = place.status().await;
            status.last.since(status.base) <= 50 && status.base > LogIndex::ZERO
        })
        .await;
    }
    let count = read(&handles[0]).await;
    for handle in &handles {
        assert_eq!(read(handle).await, count);
    }
}

/// R144: the pieces follow each other as fast as they are taken in, and writes go on between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_many_windows_is_transferred_while_writes_go_on() {
    let mut places = places(3, ELECTION);
    for place in &mut places {
        let settings = keeping_nothing(place.settings.clone(), SnapshotPolicy::NEVER);
        place.settings = settings.configure(|config| {
            config.max_snapshot_chunk_bytes(16 << 10).max_in_flight_snapshot_bytes(64 << 10)
        });
        place.machine.padding = 8 << 20;
        place.start().await;
    }
    let first = leader(&places).await;
    let behind = follower(&places, first);
    propose(&places[first].handle()).await;
    places[behind].stop().await;
    for _ in 0..20 {
        propose(&places[first].handle()).await;
    }
    let handle = places[first].handle();
    in_time("a snapshot", handle.snapshot()).await.unwrap();
    eventually("the follower needs it", || async {
        let status = places[first].status().await;
        status.base == status.snapshot && status.snapshot > LogIndex::ZERO
    })
    .await;

    let clients = Clients::start(20, std::slice::from_ref(&handle), |handle| async move {
        handle.propose("count").await
    });
    clients.never_stop(1, "before the transfer").await;
    let before = places[first].status().await.term;
    places[behind].start().await;
    eventually("it is restored", || async {
        places[behind].machine.restores.load(Ordering::Relaxed) == 1
    })
    .await;
    clients.never_stop(1, "after the transfer").await;
    clients.stop().await;
    in_agreement(&places).await;
    assert!(reign(&places).await.iter().all(|(term, _)| *term == before.get()));
    let count = read(&handle).await;
    assert_eq!(read(&places[behind].handle()).await, count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_state_is_lost_is_given_that_of_the_leader() {
    let places = cluster(3, ELECTION).await;
    for _ in 0..20 {
        propose(&places[0].handle()).await;
    }
    in_agreement(&places).await;
    let first = leader(&places).await;
    // A follower, and then the leader itself, which first has to let somebody else lead.
    for (lost, restores) in [(follower(&places, first), 1), (first, 1)] {
        places[lost].handle().client().state_lost();
        eventually("it is restored", || async {
            places[lost].machine.restores.load(Ordering::Relaxed) == restores
        })
        .await;
        let count = propose(&places[lost].handle()).await;
        for place in &places {
            assert_eq!(read(&place.handle()).await, count);
        }
    }
    in_agreement(&places).await;
}
