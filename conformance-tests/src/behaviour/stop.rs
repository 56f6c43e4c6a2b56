//! How a node ends, and what becomes of those who wait for it.

use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;

use bytes::Bytes;
use raft_node::core::{NodeId, PeerStatus, RoleKind};
use raft_node::{Handle, Leadership, NodeError, RequestError, StoreError};

use crate::behaviour::clients::{Clients, proposing, reading};
use crate::behaviour::places::{Cluster, QUICK, number, propose, read, status};
use crate::process::{PATIENCE, eventually, in_polls, in_time};
use crate::real::Bootstrap;

/// What is waited for from tasks and from threads is told to all.
pub fn watchers_see_a_leader_go_and_another_one_come<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::running(bootstrap, 3, QUICK);
    let first = cluster.leader();
    let watched = cluster.handle(cluster.follower(first));
    let known = watched.wait_for_leadership(|now| now.leader.is_some());
    let before = in_time("a leader", known).expect("the node runs");
    assert_eq!(watched.leadership(), before);
    assert_eq!(before.leader, Some(cluster.id(first)));
    assert_ne!(before.role, RoleKind::Leader);

    cluster.stop(first);
    let other = |now: &Leadership| {
        now.term > before.term && now.leader.is_some() && now.leader != before.leader
    };
    in_time("another leader", watched.wait_for_leadership(other)).expect("the node runs");
}

/// Asks for so many commands and reads, without waiting for any; returns where the answers come.
fn ask(handle: &Handle, count: usize) -> std::sync::mpsc::Receiver<Result<Bytes, RequestError>> {
    let (tell, answers) = channel();
    for _ in 0..count {
        let (proposed, read) = (tell.clone(), tell.clone());
        handle.client().propose("count".into(), move |answer| drop(proposed.send(answer)));
        handle.client().read(Bytes::new(), move |answer| drop(read.send(answer)));
    }
    answers
}

/// Also after it has stopped, and to those who ask it to stop again (R119).
pub fn a_shutdown_answers_everybody_who_waits_and_frees_the_port<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::running(bootstrap, 3, QUICK);
    let leader = cluster.leader();
    // Without a majority nothing commits, and for an election timeout the leader hopes for it.
    for nth in (0..3).filter(|nth| *nth != leader) {
        cluster.stop(nth);
    }
    let handle = cluster.handle(leader);
    let answers = ask(&handle, 100);
    eventually("the requests are in the node", || status(&handle).pending_requests > 0);
    in_time("a shutdown through a handle", handle.shutdown());
    TcpListener::bind(&cluster.places[leader].address).expect("the port is free");
    let answers: Vec<_> = answers.iter().collect();
    assert_eq!(answers.len(), 200);
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    assert!(answers.contains(&Err(RequestError::Unknown)), "{answers:?}");
    assert_eq!(in_time("an answer", handle.propose("count")), Err(RequestError::Stopped));
    assert_eq!(in_time("an answer", handle.read("")), Err(RequestError::Stopped));
    let last = in_time("an answer", handle.status()).map(drop);
    assert_eq!(last, Err(RequestError::Stopped));
    in_time("a second shutdown", handle.shutdown());
    cluster.stop(leader);
}

/// Those of the node that stops are told so, and those of the others go on.
pub fn a_shutdown_under_load_answers_every_waiter<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::running(bootstrap, 3, QUICK);
    let leader = cluster.leader();
    let others: Vec<_> =
        (0..3).filter(|nth| *nth != leader).map(|nth| cluster.handle(nth)).collect();
    let here = [cluster.handle(leader)];
    let clients = Clients::start(100, &others, proposing);
    let (writers, readers) =
        (Clients::start(100, &here, proposing), Clients::start(100, &here, reading));
    clients.go_on(1, "before the shutdown");
    cluster.stop(leader);
    writers.see_the_end();
    readers.see_the_end();
    TcpListener::bind(&cluster.places[leader].address).expect("the port is free");
    cluster.leader();
    clients.go_on(1, "after the shutdown");
    clients.stop();
    cluster.start(leader);
    cluster.in_agreement();
}

/// Nobody waits for it, and it ends all the same.
pub fn a_node_that_is_dropped_stops<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::running(bootstrap, 1, QUICK);
    let handle = cluster.handle(0);
    propose(&handle);
    let node = cluster.take(0);
    drop(node);
    in_time("the end", handle.stopped()).expect("it has not failed");
    assert_eq!(in_time("an answer", handle.propose("count")), Err(RequestError::Stopped));
    TcpListener::bind(&cluster.places[0].address).expect("the port is free");
}

/// The end may be asked for, and waited for, any number of times.
pub fn a_node_that_has_been_waited_for_can_still_be_stopped<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::running(bootstrap, 1, QUICK);
    for kill in [false, true] {
        let handle = cluster.handle(0);
        assert!(in_polls(1, handle.stopped()).is_none(), "it runs");
        handle.client().stop();
        for _ in 0..2 {
            in_time("the end", handle.stopped()).expect("it has not failed");
        }
        if kill {
            cluster.kill(0);
        } else {
            cluster.stop(0);
            cluster.start(0);
        }
    }
}

/// The machine of one node has a fault; it leads, so that it is the one that gives the answers.
pub fn a_panic_in_apply_stops_that_node_and_acknowledges_nothing_false<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::running(bootstrap, 3, QUICK);
    let victim = cluster.leader();
    let fragile = cluster.places[victim].machine.fragile.clone();
    fragile.store(true, Ordering::Relaxed);
    let (handle, node) = (cluster.handle(victim), cluster.take(victim));
    let (tell, answers) = channel();
    for nth in 0..101_u64 {
        let (tell, command) = (tell.clone(), if nth == 50 { "panic" } else { "count" });
        handle.client().propose(command.into(), move |answer| drop(tell.send((nth, answer))));
    }
    drop(tell);
    // Whoever asks again gets the same answer.
    for _ in 0..2 {
        let why = in_time("the end", handle.stopped()).expect_err("it has failed");
        let says = |text: &str| text == "no such command";
        assert!(matches!(&*why, NodeError::StateMachinePanicked(text) if says(text)), "{why:?}");
    }
    assert_eq!(in_time("an answer", handle.read("")), Err(RequestError::Stopped));
    let never = handle.wait_for_leadership(|_| false);
    assert_eq!(in_time("an end of the waiting", never), Err(RequestError::Stopped));
    cluster.bootstrap.kill(node);
    TcpListener::bind(&cluster.places[victim].address).expect("the port is free");

    let mut answers: Vec<_> =
        (0..101).map(|_| answers.recv_timeout(PATIENCE).expect("each is answered")).collect();
    answers.sort_by_key(|(nth, _)| *nth);
    for (nth, answer) in &answers {
        match answer {
            Ok(count) => assert!(*nth < 50 && number(count) == nth + 1, "{nth}: {answer:?}"),
            Err(error) => assert_eq!(*error, RequestError::Unknown, "{nth}"),
        }
    }
    // The others have the same command and no fault, and go on; nothing of what was said is wrong.
    cluster.leader();
    let count = read(&cluster.handles()[0]);
    assert!(answers.iter().filter(|(_, answer)| answer.is_ok()).count() as u64 <= count);
    fragile.store(false, Ordering::Relaxed);
    cluster.start(victim);
    cluster.in_agreement();
    assert_eq!(read(&cluster.handle(victim)), read(&cluster.handles()[0]));
}

/// It does not stay in silence: it says why, and the leader sees that it does not get on (R091).
pub fn a_follower_whose_disk_fails_stops_and_its_leader_sees_it<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::running(bootstrap, 3, QUICK);
    let leader = cluster.leader();
    let (follower, handle) = (cluster.follower(leader), cluster.handle(leader));
    propose(&handle);
    cluster.in_agreement();
    let id = cluster.id(follower);
    let before = view_of(&handle, id);
    let broken = cluster.places[follower].disk.broken.clone();
    broken.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        propose(&handle);
    }
    let stopped = cluster.handle(follower);
    let why = in_time("the end", stopped.stopped()).expect_err("it has failed");
    let says = |text: &str| text == "the disk is broken";
    assert!(matches!(&*why, NodeError::Store(StoreError::Other(text)) if says(text)), "{why:?}");
    cluster.kill(follower);

    // From now on its leader hears nothing of it.
    let heard = view_of(&handle, id).heard;
    for _ in 0..10 {
        propose(&handle);
    }
    let after = view_of(&handle, id);
    assert_eq!((after.matched, after.heard), (before.matched, heard));
    let now = status(&handle);
    assert!(now.last.since(after.matched) >= 20, "{now:?}");
    broken.store(false, Ordering::Relaxed);
    cluster.start(follower);
    cluster.in_agreement();
}

/// What a leader knows of a follower.
fn view_of(leader: &Handle, follower: NodeId) -> PeerStatus {
    let mut peers = status(leader).peers.into_iter();
    peers.find(|peer| peer.id == follower).expect("it leads")
}
