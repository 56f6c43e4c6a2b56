//! Peers that are not what they should be: they are cut off, and nobody else notices.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use raft_node::core::Term;
use raft_node::{ClusterId, LinkError};

use crate::behaviour::neighbours::{
    Mute, closed, framed, giant, hears, in_the_name_of, message, say, stranger, welcome,
};
use crate::behaviour::places::{Cluster, QUICK, STEADY, propose, read};
use crate::process::eventually;
use crate::real::Bootstrap;

/// Those who say nothing, or half a hello, or who belong to another cluster (R116, R125).
pub fn strangers_are_cut_off_and_nobody_else_notices<B: Bootstrap>(bootstrap: B) {
    let cluster = Cluster::running(bootstrap, 3, STEADY);
    let before = cluster.reign();
    let [first, second, _] = &cluster.places[..] else { return };
    let address = &first.address;
    let hello = in_the_name_of(second, 1).hello();

    // Half a hello waits for the rest, up to a limit.
    let half = say(address, &hello[..hello.len() / 2]);
    let silent = say(address, b"");
    let garbage = say(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(closed(garbage).is_empty());
    assert!(closed(say(address, &giant())).is_empty());

    let elsewhere = second.settings.clone().cluster(ClusterId::new(7));
    let refusals = [
        (stranger(&elsewhere, 1), LinkError::OtherCluster),
        (stranger(&second.settings, 1), LinkError::OtherStorage),
        (in_the_name_of(second, 3), LinkError::WrongNode),
        (in_the_name_of(first, 1), LinkError::WrongNode),
    ];
    for (mut link, why) in refusals {
        let answer = closed(say(address, &link.hello()));
        assert_eq!(link.receive(&answer), Err(why));
    }
    assert!(closed(half).is_empty());
    assert!(closed(silent).is_empty());
    propose(&cluster.handle(0));
    assert_eq!(cluster.reign(), before);
}

/// The same from a peer that was welcome (R148).
pub fn a_peer_that_talks_nonsense_after_its_hello_is_cut_off<B: Bootstrap>(bootstrap: B) {
    let cluster = Cluster::running(bootstrap, 3, STEADY);
    let before = cluster.reign();
    let hello = in_the_name_of(&cluster.places[1], 1).hello();
    let welcome = welcome(&cluster.places[0]);
    let good = framed(&message(2, Term::ZERO)).to_vec();
    let mut damaged = good.clone();
    if let Some(last) = damaged.last_mut() {
        *last ^= 1;
    }
    let nonsense = [
        b"what is this?!!!".to_vec(),
        giant(),
        damaged,
        framed(&message(3, Term::ZERO)).to_vec(),
        // A good message first changes nothing.
        [good, giant()].concat(),
    ];
    for words in nonsense {
        let stream = say(&cluster.places[0].address, &[&hello[..], &words].concat());
        assert_eq!(closed(stream), welcome);
        // The real peer has to dial again, so a proposal might be lost with the old link; the
        // question of a read is repeated.
        read(&cluster.handle(0));
    }
    assert_eq!(cluster.reign(), before);
}

/// A node that comes back after its host went down without a word must not wait for the old link
/// to fail.
pub fn a_new_connection_of_a_peer_takes_the_place_of_the_old_one<B: Bootstrap>(bootstrap: B) {
    // The other node is never started, so nobody else dials in its name.
    let mut cluster = Cluster::new(bootstrap, 2, QUICK);
    cluster.start(0);
    let (address, welcome) = (cluster.places[0].address.clone(), welcome(&cluster.places[0]));
    let hello = in_the_name_of(&cluster.places[1], 1).hello();
    let mut old = say(&address, &hello);
    hears(&mut old, &welcome);
    let mut new = say(&address, &hello);
    hears(&mut new, &welcome);
    assert!(closed(old).is_empty());
    // What comes over the new one is heard.
    let term = Term::new(7).expect("a term");
    new.write_all(&framed(&message(2, term))).expect("the new one is open");
    eventually("the message is heard", || cluster.status(0).term == term);
}

/// Waits for so many connections, and says `words` on each before it is closed.
fn dials(listener: &TcpListener, count: usize, words: &[u8]) -> Duration {
    let begin = Instant::now();
    for _ in 0..count {
        let (mut stream, _) = listener.accept().expect("a connection");
        // Whoever has left already has nothing to hear.
        let _ = stream.write_all(words).and_then(|()| stream.shutdown(Shutdown::Write));
        closed(stream);
    }
    begin.elapsed()
}

/// A peer that was away for long and came back is dialled without delay when the connection is lost
/// again (R116).
pub fn a_connection_resets_the_patience_between_dials<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::new(bootstrap, 2, QUICK);
    let welcome = welcome(&cluster.places[1]);
    let listener = TcpListener::bind(&cluster.places[1].address).expect("the port is free");
    cluster.start(0);
    // Each wait is twice as long as the one before, up to the longest.
    dials(&listener, 5, b"");
    let before = dials(&listener, 2, b"");
    dials(&listener, 1, &welcome);
    let after = dials(&listener, 4, b"");
    assert!(after < before, "four dials after a connection took {after:?}, two before {before:?}");
}

/// No silence lasts for ever (R116).
pub fn a_peer_that_says_nothing_is_dialled_anew<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::new(bootstrap, 2, QUICK);
    let mute = Mute::start(&cluster.places[1], false);
    cluster.start(0);
    mute.has_visitor();
    // The first connection is still open on this side.
    mute.has_visitor();
}

/// It waits for an answer, for the rest of a hello, and for the first byte of one; each of these
/// waits would take seconds.
pub fn a_node_in_the_company_of_the_silent_stops_at_once<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::new(bootstrap, 3, QUICK);
    let mute = Mute::start(&cluster.places[1], false);
    cluster.start(0);
    mute.has_visitor();
    let (first, third) = (&cluster.places[0], &cluster.places[2]);
    let address = first.address.clone();
    let hello = in_the_name_of(third, 1).hello();
    let _silent = TcpStream::connect(&address).expect("somebody listens");
    let _half = say(&address, &hello[..hello.len() / 2]);
    // Once this one is welcome those before it were received, too.
    hears(&mut say(&address, &hello), &welcome(first));
    let begin = Instant::now();
    cluster.stop(0);
    assert!(begin.elapsed() < raft_node::PATIENCE / 2, "{:?}", begin.elapsed());
    TcpListener::bind(address).expect("the port is free");
}
