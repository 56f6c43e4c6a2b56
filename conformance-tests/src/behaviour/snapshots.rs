//! Snapshots over real sockets.

use std::sync::atomic::Ordering;

use raft_node::SnapshotPolicy;
use raft_node::core::LogIndex;

use crate::behaviour::clients::{Clients, proposing};
use crate::behaviour::places::{Cluster, QUICK, STEADY, propose, read};
use crate::process::{eventually, in_time};
use crate::real::Bootstrap;

/// The pieces follow each other as fast as they are taken in, and writes go on between them (R144).
pub fn a_snapshot_of_many_windows_is_transferred_while_writes_go_on<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::new(bootstrap, 3, STEADY);
    for place in &mut cluster.places {
        // No entry that a snapshot covers is kept.
        let settings = place.settings.clone().snapshots(SnapshotPolicy::NEVER);
        place.settings = settings.configure(|config| {
            let config = config.compaction_margin(0);
            config.max_snapshot_chunk_bytes(16 << 10).max_in_flight_snapshot_bytes(64 << 10)
        });
        // A piece for each heartbeat would take most of a minute.
        place.machine.padding = 8 << 20;
    }
    cluster.start_all();
    let leader = cluster.leader();
    let (handle, behind) = (cluster.handle(leader), cluster.follower(leader));
    propose(&handle);
    cluster.stop(behind);
    for _ in 0..20 {
        propose(&handle);
    }
    in_time("a snapshot", handle.snapshot()).expect("it is written");
    eventually("the follower needs it", || {
        let status = cluster.status(leader);
        status.base == status.snapshot && status.snapshot > LogIndex::ZERO
    });

    let clients = Clients::start(20, std::slice::from_ref(&handle), proposing);
    let term = cluster.status(leader).term;
    cluster.start(behind);
    let restores = cluster.places[behind].machine.restores.clone();
    eventually("it is restored", || restores.load(Ordering::Relaxed) == 1);
    clients.go_on(1, "after the transfer");
    clients.stop();
    cluster.in_agreement();
    assert_eq!(cluster.status(leader).term, term);
    assert_eq!(read(&cluster.handle(behind)), read(&handle));
}

/// A follower, and then the leader itself, which first has to let somebody else lead.
pub fn a_node_whose_state_is_lost_is_given_that_of_the_leader<B: Bootstrap>(bootstrap: B) {
    let cluster = Cluster::running(bootstrap, 3, QUICK);
    for _ in 0..20 {
        propose(&cluster.handle(0));
    }
    cluster.in_agreement();
    let first = cluster.leader();
    for lost in [cluster.follower(first), first] {
        cluster.handle(lost).client().state_lost();
        let restores = &cluster.places[lost].machine.restores;
        eventually("it is restored", || restores.load(Ordering::Relaxed) == 1);
        let count = propose(&cluster.handle(lost));
        for handle in cluster.handles() {
            assert_eq!(read(&handle), count);
        }
    }
}
