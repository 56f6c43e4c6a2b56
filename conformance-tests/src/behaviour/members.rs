//! Members, and storages that are not what they should be.

use std::thread;
use std::time::{Duration, Instant};

use raft_node::core::{Membership, NodeId};
use raft_node::{Handle, LinkError, NodeError, RequestError, Settings};

use crate::behaviour::neighbours::{closed, in_the_name_of, say};
use crate::behaviour::places::{Cluster, Counter, QUICK, propose, start};
use crate::process::{PATIENCE, eventually, in_time};
use crate::real::Bootstrap;

/// Adds a voter; each try begins with what the node knows.
fn add(handle: &Handle, id: NodeId, address: &str) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let members = Membership::clone(&handle.membership());
        let grown = members.clone().voter(id, address);
        let changed = in_time("a change", handle.change_membership(grown, Some(members)));
        let Err(error) = changed else { return };
        let again = matches!(error, RequestError::Refused { .. });
        assert!(again && Instant::now() < give_up, "{error}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The list of founders is for the first start; afterwards the log knows better (U21).
pub fn founding_again_is_harmless<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::running(bootstrap, 3, QUICK);
    let newcomer = cluster.start_newcomer(4, QUICK);
    let (id, address) = (cluster.id(newcomer), cluster.places[newcomer].address.clone());
    add(&cluster.handle(0), id, &address);
    let count = propose(&cluster.handle(0));
    for nth in 0..4 {
        // The same list again, and the others' log knows of four.
        cluster.stop(nth);
        cluster.start(nth);
        eventually("it knows of four members", || {
            cluster.status(nth).membership.voters().len() == 4
        });
    }
    assert_eq!(propose(&cluster.handle(newcomer)), count + 1);

    // Another list is refused, and no list at all is as good.
    cluster.stop(0);
    let place = &cluster.places[0];
    let other = place.settings.clone().peer(NodeId::new(9), "127.0.0.1:1");
    let refused = start(&cluster.bootstrap, other, place.storage(), Counter::default());
    assert!(matches!(refused, Err(NodeError::OtherFounders)));
    let bare = Settings::new(cluster.id(0)).election_timeout(QUICK).listen(place.address.clone());
    cluster.places[0].settings = bare;
    cluster.start(0);
    assert_eq!(propose(&cluster.handle(0)), count + 2);
}

/// It has forgotten what it promised, so it must not vote (R031, R072).
pub fn a_node_that_comes_back_without_its_disk_is_refused_with_the_reason<B: Bootstrap>(
    bootstrap: B,
) {
    let mut cluster = Cluster::running(bootstrap, 3, QUICK);
    let count = propose(&cluster.handle(0));
    let wiped = cluster.follower(cluster.leader());
    cluster.stop(wiped);
    cluster.places[wiped].wipe();
    cluster.start(wiped);
    let others = [0, 1, 2].into_iter().filter(|nth| *nth != wiped);
    for other in others.clone() {
        let mut link = in_the_name_of(&cluster.places[wiped], cluster.id(other).get());
        let answer = closed(say(&cluster.places[other].address, &link.hello()));
        assert_eq!(link.receive(&answer), Err(LinkError::OtherStorage));
    }
    for other in others.zip(1..) {
        assert_eq!(propose(&cluster.handle(other.0)), count + other.1);
        // As long as it takes to speak to it, or to be asked for a vote by it.
        thread::sleep(QUICK);
    }
    let status = cluster.status(wiped);
    assert_eq!((status.leader, status.last.get()), (None, 0), "nobody speaks to it");
}
