//! How a node ends, and what becomes of those who wait for it.

use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use raft_node::core::{NodeId, PeerStatus};
use raft_node::{Storage, StoreError};
use raft_tokio::{Node, NodeError, RequestError};
use tokio::task::JoinSet;
use tokio::time;

use crate::cluster::{
    Counter, Place, cluster, eventually, follower, in_agreement, in_time, leader, places, propose,
    read,
};
use crate::load::Clients;

const ELECTION: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_answers_everybody_who_waits_and_frees_the_port() {
    let mut places = cluster(3, ELECTION).await;
    let leader = leader(&places).await;
    // Without a majority nothing commits, and for an election timeout the leader hopes for it.
    for nth in (0..3).filter(|nth| *nth != leader) {
        places[nth].stop().await;
    }
    let handle = places[leader].handle();
    let mut waiting = JoinSet::new();
    for _ in 0..100 {
        let (proposer, reader) = (handle.clone(), handle.clone());
        waiting.spawn(async move { proposer.propose("count").await });
        waiting.spawn(async move { reader.read("").await });
    }
    eventually("the requests are in the node", || async {
        handle.status().await.unwrap().raft.pending_requests > 0
    })
    .await;
    in_time("a shutdown through a handle", handle.shutdown()).await;
    TcpListener::bind(&places[leader].address).unwrap();
    let answers = in_time("the answers", waiting.join_all()).await;
    assert_eq!(answers.len(), 200);
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    assert!(answers.contains(&Err(RequestError::Unknown)), "{answers:?}");
    assert_eq!(handle.propose("count").await, Err(RequestError::Stopped));
    assert_eq!(handle.read("").await, Err(RequestError::Stopped));
    assert_eq!(handle.status().await.unwrap_err(), RequestError::Stopped);
    in_time("a second shutdown", handle.shutdown()).await;
    places[leader].stop().await;
}

#[tokio::test]
async fn a_node_that_is_dropped_stops() {
    let mut places = places(1, ELECTION);
    places[0].start().await;
    let handle = places[0].handle();
    propose(&handle).await;
    drop(places[0].node.take());
    in_time("the end of a dropped node", handle.shutdown()).await;
    assert_eq!(handle.propose("count").await, Err(RequestError::Stopped));
    TcpListener::bind(&places[0].address).unwrap();
}

#[tokio::test]
async fn whoever_waits_for_the_end_learns_why_a_node_stopped() {
    let place = places(1, ELECTION).remove(0);
    let start = Node::start(place.settings, Storage::in_memory(), Counter::default());
    let node = start.await.unwrap();
    let handle = node.handle();
    propose(&handle).await;
    assert!(time::timeout(Duration::from_millis(1), node.stopped()).await.is_err());
    assert_eq!(in_time("an answer", handle.propose("panic")).await, Err(RequestError::Unknown));
    // Whoever asks again gets the same answer.
    let first = in_time("the end", node.stopped()).await.unwrap_err();
    let again = in_time("the end", node.stopped()).await.unwrap_err();
    let last = in_time("a shutdown", node.shutdown()).await.unwrap_err();
    for why in [first, again, last] {
        assert!(
            matches!(&*why, NodeError::StateMachinePanicked(text) if text == "no such command"),
            "{why:?}"
        );
    }
    assert_eq!(handle.read("").await, Err(RequestError::Stopped));
    let never = handle.wait_for_leadership(|_| false);
    assert_eq!(in_time("an end of the waiting", never).await, Err(RequestError::Stopped));
}

#[tokio::test]
async fn a_node_that_has_been_waited_for_can_still_be_stopped() {
    for kill in [false, true] {
        let mut places = places(1, ELECTION);
        places[0].start().await;
        let node = places[0].node.take().unwrap();
        node.handle().client().stop();
        in_time("the end", node.stopped()).await.unwrap();
        in_time("the end", node.stopped()).await.unwrap();
        let end = async { if kill { node.kill().await } else { node.shutdown().await } };
        in_time("another end", end).await.unwrap();
    }
}

/// R091: a follower whose disk fails does not stay in silence: it stops and says why, and the
/// leader sees that it does not get on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_fails_stops_and_its_leader_sees_it() {
    let mut places = cluster(3, ELECTION).await;
    let leader = leader(&places).await;
    let broken = follower(&places, leader);
    propose(&places[leader].handle()).await;
    in_agreement(&places).await;
    let id = places[broken].settings.id();
    let before = view_of(&places[leader], id).await;
    places[broken].disk.broken.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        propose(&places[leader].handle()).await;
    }
    let node = places[broken].node.take().unwrap();
    let why = in_time("the end", node.stopped()).await.unwrap_err();
    let said = |text: &str| text == "the disk is broken";
    assert!(matches!(&*why, NodeError::Store(StoreError::Other(text)) if said(text)), "{why:?}");

    // From now on its leader hears nothing of it.
    let heard = view_of(&places[leader], id).await.heard;
    for _ in 0..10 {
        propose(&places[leader].handle()).await;
    }
    let after = view_of(&places[leader], id).await;
    assert_eq!((after.matched, after.heard), (before.matched, heard));
    let status = places[leader].status().await;
    assert!(status.last.since(after.matched) >= 20, "{status:?}");
    places[broken].disk.broken.store(false, Ordering::Relaxed);
    places[broken].start().await;
    in_agreement(&places).await;
}

/// What a leader knows of a follower.
async fn view_of(leader: &Place, follower: NodeId) -> PeerStatus {
    let peers = leader.status().await.peers;
    peers.into_iter().find(|peer| peer.id == follower).unwrap()
}

/// Giving up the waiting gives up nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn futures_that_are_dropped_do_no_harm() {
    let mut places = cluster(3, ELECTION).await;
    let handles: Vec<_> = places.iter().map(crate::cluster::Place::handle).collect();
    for nth in 0..5000 {
        let handle = &handles[nth % 3];
        // With no time to wait each is asked once and dropped, unless it is ready.
        let _ = time::timeout(Duration::ZERO, handle.propose("count")).await;
        let _ = time::timeout(Duration::ZERO, handle.read("")).await;
        let _ = time::timeout(Duration::ZERO, handle.status()).await;
    }
    for handle in &handles {
        let counted = propose(handle).await;
        assert!((1..=5003).contains(&counted));
        assert!(read(handle).await >= counted);
    }
    for handle in &handles {
        eventually("nobody waits any more", || async {
            handle.status().await.unwrap().raft.pending_requests == 0
        })
        .await;
        let _ = time::timeout(Duration::ZERO, handle.shutdown()).await;
    }
    for place in &mut places {
        place.stop().await;
    }
}

/// How long the others take, from now on, to know another leader than the one of `term`.
async fn until_another_leads(others: Vec<raft_tokio::Handle>, term: u64) -> Duration {
    let begin = Instant::now();
    for handle in others {
        let other = |now: &raft_tokio::Leadership| now.term.get() > term && now.leader.is_some();
        in_time("another leader", handle.wait_for_leadership(other)).await.unwrap();
    }
    begin.elapsed()
}

fn others(places: &[Place], leader: usize) -> Vec<raft_tokio::Handle> {
    let others = places.iter().enumerate().filter(|(nth, _)| *nth != leader);
    others.map(|(_, place)| place.handle()).collect()
}

/// After a crash the others wait for an election timeout at least; after a shutdown they do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_shut_down_under_load_hands_over() {
    let mut places = cluster(3, ELECTION).await;
    let handles: Vec<_> = places.iter().map(Place::handle).collect();
    let clients =
        Clients::start(50, &handles, |handle| async move { handle.propose("count").await });

    let first = leader(&places).await;
    let term = places[first].status().await.term.get();
    let crash = tokio::spawn(until_another_leads(others(&places, first), term));
    places[first].kill().await;
    let after_crash = crash.await.unwrap();
    places[first].start().await;

    let second = leader(&places).await;
    let term = places[second].status().await.term.get();
    let shutdown = tokio::spawn(until_another_leads(others(&places, second), term));
    places[second].stop().await;
    let after_shutdown = shutdown.await.unwrap();
    assert!(
        after_shutdown < after_crash,
        "{after_shutdown:?} after a shutdown, {after_crash:?} after a crash"
    );
    clients.stop().await;
    places[second].start().await;
    in_agreement(&places).await;
}
