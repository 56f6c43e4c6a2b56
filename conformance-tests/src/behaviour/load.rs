//! Under load, and with slow or absent companions, everybody still gets a turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use raft_node::core::Refusal;
use raft_node::{Client, RequestError};

use crate::behaviour::clients::{Callback, Clients, proposing, reading};
use crate::behaviour::neighbours::Mute;
use crate::behaviour::places::{Cluster, STEADY, propose, read};
use crate::process::{eventually, in_time};
use crate::real::Bootstrap;
use crate::real::proxy::{Pace, Proxy};

const FULL_LOAD: Duration = Duration::from_millis(1200);

fn proposing_much(client: &Client, callback: Callback) {
    client.propose(vec![0; 1024].into(), callback);
}

/// A follower that is gone, one that accepts and says nothing, and one that says hello and then
/// reads nothing (R116, R140).
pub fn a_peer_that_is_gone_or_hangs_holds_nobody_up<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::running(bootstrap, 3, STEADY);
    let leader = cluster.leader();
    let (hung, term) = (cluster.follower(leader), cluster.status(leader).term);
    let handle = cluster.handle(leader);
    cluster.stop(hung);
    for greets in [false, true] {
        let mute = Mute::start(&cluster.places[hung], greets);
        mute.has_visitor();
        let begin = Instant::now();
        for _ in 0..50 {
            propose(&handle);
        }
        // Half a heartbeat interval for each: no answer waits for the peer.
        assert!(begin.elapsed() < 50 * STEADY / 20, "{:?} for 50", begin.elapsed());
        let clients = Clients::start(300, std::slice::from_ref(&handle), proposing_much);
        clients.go_on(1, "with a mute follower");
        drop(mute);
        clients.go_on(1, "without a follower");
        clients.stop();
    }
    cluster.start(hung);
    cluster.in_agreement();
    assert_eq!(cluster.status(leader).term, term);
    assert_eq!(read(&cluster.handle(hung)), read(&handle));
}

/// A follower whose link is slow, and then takes nothing at all: what is queued for it is more than
/// sockets hold, so its connection is given up and made anew; nobody else waits for it (R116, R140).
pub fn a_peer_that_reads_slowly_or_not_at_all_holds_nobody_up<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::new(bootstrap, 3, STEADY);
    let (slow, address) = (cluster.id(2), cluster.places[2].address.clone());
    let proxies = [0, 1].map(|_| Proxy::start(address.clone()).expect("a port"));
    let pace = |pace| proxies.iter().for_each(|proxy| proxy.set_pace(pace));
    for (place, proxy) in cluster.places.iter_mut().zip(&proxies) {
        proxy.set_up(true);
        let detour = proxy.address();
        let settings = place.settings.clone().route(move |peer, address| {
            if peer == slow { detour.clone() } else { address.to_owned() }
        });
        place.settings = settings.configure(|config| config.max_in_flight_bytes(64 << 20));
    }
    cluster.start_all();
    eventually("another one leads", || {
        let leader = cluster.leader();
        if leader == 2 {
            let handle = cluster.handle(leader);
            let transfer = handle.transfer_leadership(Some(cluster.id(0)));
            // It is tried again if it fails.
            let _ = in_time("a transfer", transfer);
        }
        leader != 2
    });
    let leader = cluster.leader();
    let (handle, term) = (cluster.handle(leader), cluster.status(leader).term);
    cluster.in_agreement();

    let clients = Clients::start(20, std::slice::from_ref(&handle), proposing_much);
    pace(Pace::Slow);
    clients.go_on(1, "with a peer that reads slowly");
    pace(Pace::Stopped);
    let connections = proxies[leader].connections();
    let large = [0; 24].map(|_| handle.propose(vec![0; 1_000_000]));
    for answer in large {
        assert!(in_time("a large command", answer).is_ok());
    }
    clients.go_on(1, "with a peer that reads nothing");
    eventually("the link is made anew", || proxies[leader].connections() > connections);
    clients.go_on(1, "with a peer that was cut off");
    pace(Pace::Free);
    clients.stop();
    cluster.in_agreement();
    assert_eq!(cluster.status(leader).term, term);
}

/// Concurrent readers do not lock each other out (R139).
pub fn a_thousand_readers_get_answers_all_the_time<B: Bootstrap>(bootstrap: B) {
    let cluster = Cluster::running(bootstrap, 3, STEADY);
    propose(&cluster.handle(0));
    let clients = Clients::start(1000, &cluster.handles(), reading);
    clients.go_on(2, "with 1,000 readers");
    clients.stop();
}

/// Asks the node something, and again as soon as it answers, until it stops. So there is never a
/// turn after which its loop has to wait.
fn pester(client: &Client) {
    let again = client.clone();
    client.status(move |answer| {
        if answer.is_ok() {
            pester(&again);
        }
    });
}

/// Proposals and questions that never stop coming: a loop that did not yield would starve what it
/// shares a thread with, sockets and timers and other nodes (R124).
pub fn a_full_load_of_proposals_delays_neither_heartbeats_nor_peers<B: Bootstrap>(bootstrap: B) {
    let cluster = Cluster::running(bootstrap, 3, STEADY);
    let (leader, before) = (cluster.leader(), cluster.reign());
    let start = cluster.status(leader).commit;
    cluster.handles().iter().for_each(|handle| pester(handle.client()));
    let clients = Clients::start(300, &cluster.handles(), proposing);
    let (answered, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (handle, until) = (cluster.handle(leader), Instant::now() + FULL_LOAD);
    while Instant::now() < until {
        let (answered, failed) = (answered.clone(), failed.clone());
        handle.client().propose("count".into(), move |result| match result {
            Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
            Err(RequestError::Refused { reason: Refusal::Overloaded, .. }) => {}
            Err(_) => drop(failed.fetch_add(1, Ordering::Relaxed)),
        });
    }
    assert_eq!(cluster.reign(), before);
    for peer in cluster.status(leader).peers {
        assert!(peer.matched > start, "{peer:?} was not served");
    }
    assert!(answered.load(Ordering::Relaxed) > 0);
    assert_eq!(failed.load(Ordering::Relaxed), 0, "only overload is a reason to fail");
    clients.stop();
}

/// The disk and the machine have threads of their own.
pub fn a_leader_with_a_slow_disk_and_a_slow_state_machine_stays_leader<B: Bootstrap>(bootstrap: B) {
    let cluster = Cluster::running(bootstrap, 3, STEADY);
    let leader = cluster.leader();
    let place = &cluster.places[leader];
    propose(&cluster.handle(leader));
    let before = cluster.reign();
    // Longer than the heartbeat interval for each write.
    place.disk.slowness.set(100);
    let clients = Clients::start(20, &[cluster.handle(leader)], proposing);
    clients.go_on(2, "with a slow disk");
    place.machine.slowness.set(100);
    clients.go_on(2, "with a slow state machine too");
    assert_eq!(cluster.reign(), before);
    place.disk.slowness.set(0);
    place.machine.slowness.set(0);
    clients.stop();
    cluster.in_agreement();
}
