//! Both ends of connections, without any: bytes are carried by hand.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;
use raft_node::core::{Body, Message, NodeId, Term};
use raft_node::{Caller, Dialler, Driver, LinkError, Outbound, Outgoing, Reception};

use crate::{PATIENCE, bell, driver};

const PEER: NodeId = NodeId::new(2);

fn accept(reception: &Reception) -> (Caller, Receiver<()>) {
    let (superseded, end) = bell();
    let from = SocketAddr::from(([127, 0, 0, 1], 1000));
    (reception.accept(from, superseded).unwrap(), end)
}

/// What the node answers to a peer that dials.
fn greet(caller: &mut Caller, link: &Outgoing) -> Bytes {
    assert!(!caller.is_open().unwrap());
    caller.buffer().extend_from_slice(&link.hello());
    caller.receive().unwrap().unwrap()
}

/// Node 2 dials node 1.
fn dial(from: &Driver, to: u64) -> Outgoing {
    let (notify, _) = bell();
    let nobody = Outbound::default();
    Dialler::new(from.peers(), &nobody, NodeId::new(to), "node-1", notify).begin()
}

fn message(term: u64) -> Message {
    Message {
        from: NodeId::new(1),
        to: PEER,
        term: Term::new(term).unwrap(),
        body: Body::PreVoteReply { granted: false },
    }
}

#[test]
fn a_peer_that_is_welcome_is_heard_and_a_new_connection_of_it_ends_the_old() {
    let ((one, _a), (two, _b)) = (driver(1, 2), driver(2, 2));
    let reception = one.reception();
    let mut link = dial(&two, 1);
    let (mut old, old_end) = accept(&reception);
    let answer = greet(&mut old, &link);
    assert!(old.is_open().unwrap());
    assert_eq!(link.receive(&answer), Ok(true));
    assert_eq!(old.receive(), Ok(None));

    let (mut new, new_end) = accept(&reception);
    greet(&mut new, &link);
    old_end.recv_timeout(PATIENCE).unwrap();
    old.ended(Ok(()));
    // The old one leaves the place to the new one.
    let (mut newest, newest_end) = accept(&reception);
    greet(&mut newest, &link);
    new_end.recv_timeout(PATIENCE).unwrap();
    drop(new);
    drop(newest);
    // Nobody is there any more, so nobody's end is asked for.
    let (mut last, _end) = accept(&reception);
    greet(&mut last, &link);
    assert!(newest_end.try_recv().is_err());
}

#[test]
fn a_caller_that_is_refused_gets_an_answer_and_is_cut_off() {
    let ((one, _a), (two, _b)) = (driver(1, 2), driver(2, 2));
    let mut link = dial(&two, 3);
    let (mut caller, _end) = accept(&one.reception());
    let answer = greet(&mut caller, &link);
    assert_eq!(caller.is_open(), Err(LinkError::WrongNode));
    assert_eq!(link.receive(&answer), Err(LinkError::WrongNode));
    caller.ended(Err(LinkError::WrongNode.into()));
}

#[test]
fn callers_beyond_the_limit_are_turned_away_until_others_have_left() {
    let (one, _a) = driver(1, 1);
    let reception = one.reception();
    let mut callers: Vec<_> = (0..256).map(|_| accept(&reception).0).collect();
    let (superseded, _end) = bell();
    let from = SocketAddr::from(([127, 0, 0, 1], 1000));
    assert!(reception.accept(from, superseded.clone()).is_none());
    callers.pop();
    callers.extend(reception.accept(from, superseded.clone()));
    assert_eq!(callers.len(), 256);
}

#[test]
fn what_was_said_while_nobody_listened_is_dropped_but_not_before_the_first_attempt() {
    let (one, _a) = driver(1, 2);
    let outbound = Outbound::default();
    let (notify, ready) = bell();
    let mut dialler = Dialler::new(one.peers(), &outbound, PEER, "node-2", notify);
    assert_eq!(dialler.address(), "node-2");
    outbound.send(&message(1));
    ready.recv_timeout(PATIENCE).unwrap();
    let _ = dialler.begin();
    assert!(!dialler.take().is_empty());

    outbound.send(&message(2));
    let lost = Error::from(ErrorKind::ConnectionReset);
    dialler.failed(&lost);
    let _ = dialler.begin();
    assert!(dialler.take().is_empty());
}

/// R116: one that was away for long is dialled without delay when the connection is lost again.
#[test]
fn the_wait_between_attempts_grows_until_the_link_is_open() {
    let (one, _a) = driver(1, 2);
    let (notify, _ready) = bell();
    let mut dialler = Dialler::new(one.peers(), &Outbound::default(), PEER, "node-2", notify);
    let refused = Error::from(ErrorKind::ConnectionRefused);
    let waits: Vec<_> = (0..10).map(|_| dialler.failed(&refused)).collect();
    assert!(waits.is_sorted() && waits[0] < waits[9], "{waits:?}");
    assert!(waits[9] <= Duration::from_secs(1), "{waits:?}");
    dialler.opened();
    assert_eq!(dialler.failed(&refused), waits[0]);
}

#[test]
fn a_dialler_that_ends_leaves_the_queue_of_the_next_one_alone() {
    let (one, _a) = driver(1, 2);
    let outbound = Outbound::default();
    let new = || {
        let (notify, _ready) = bell();
        Dialler::new(one.peers(), &outbound, PEER, "node-2", notify)
    };
    let old = new();
    let next = new();
    drop(old);
    outbound.send(&message(1));
    let frames = next.take();
    assert!(!frames.is_empty());
    drop(next);
    // Nobody takes it.
    outbound.send(&message(2));
    assert!(new().take().is_empty());
}
