//! Part A of the labs: elections.

use alloc::format;
use alloc::vec::Vec;

use crate::cluster::Cluster;
use crate::lab::Lab;

/// A leader is elected, and without failures it stays.
pub fn initial_election_2a<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    lab.one_leader();
    lab.sleep(0.05);
    let term = lab.one_term();
    lab.demand(term.get() >= 1, || "the first term is 1".into());
    lab.sleep(2.0);
    let later = lab.one_term();
    lab.demand(term == later, || format!("the term went from {term} to {later} without a failure"));
    lab.one_leader();
    lab.end();
}

/// A new leader comes when the old one is cut off, none without a majority, and one again with it.
pub fn re_election_2a<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    let first = lab.one_leader();
    lab.disconnect([first]);
    lab.one_leader();

    // The old leader comes back and disturbs nobody.
    lab.connect([first]);
    let second = lab.one_leader();

    // Two of three are gone: nobody may lead.
    let third = lab.after(second, 1);
    lab.disconnect([second, third]);
    lab.sleep(3.0);
    lab.no_leader();

    lab.connect([third]);
    lab.one_leader();
    lab.connect([second]);
    lab.one_leader();
    lab.end();
}

/// With a majority of seven connected there is always a leader in time.
pub fn many_elections_2a<C: Cluster>(cluster: C) {
    let mut lab = Lab::begin(cluster);
    lab.one_leader();
    for _ in 0..lab.rounds(9) {
        let size = lab.size() as u64;
        let cut: Vec<usize> = (0..3).map(|_| lab.cluster.random(size) as usize).collect();
        lab.disconnect(cut.iter().copied());
        lab.one_leader();
        lab.connect(cut);
    }
    lab.one_leader();
    lab.end();
}
