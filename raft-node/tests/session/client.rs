//! The client's side, without replicas.

use std::time::Duration;

use bytes::Bytes;
use raft_node::RequestError;
use raft_node::core::{NodeId, Refusal};
use raft_node::session::{self, Session, SessionError};

use crate::world::at;

/// Session 5, a window of 2, a ttl of 1000 ms.
fn session() -> Session {
    Session::new(Bytes::from_static(&[0, 5, 2, 0xe8, 0x07]), at(0)).unwrap()
}

#[test]
fn a_session_knows_what_it_was_opened_with() {
    assert_eq!(session().id().get(), 5);
    assert_eq!(session().ttl(), Duration::from_secs(1));
}

#[test]
fn what_is_no_opening_makes_no_session() {
    let expired = Session::new(Bytes::from_static(&[1]), at(0));
    assert_eq!(expired.err(), Some(SessionError::Expired));
    for garbled in [&[][..], &[0], &[0, 5], &[0, 5, 2], &[99], &[3]] {
        let session = Session::new(Bytes::from_static(garbled), at(0));
        assert_eq!(session.err(), Some(SessionError::Garbled), "{garbled:?}");
    }
}

#[test]
fn too_many_outstanding_commands_are_refused_until_the_oldest_has_its_answer() {
    let mut session = session();
    let first = session.command(b"a", at(0)).unwrap();
    let second = session.command(b"b", at(0)).unwrap();
    let full = Some(SessionError::TooManyOutstanding { limit: 2 });
    assert_eq!(session.command(b"c", at(0)).err(), full);
    assert_eq!(session.answered(&second, Bytes::from_static(b"\0x")).unwrap(), "x");
    assert_eq!(session.command(b"c", at(0)).err(), full);
    assert_eq!(session.answered(&first, Bytes::from_static(&[2])), Err(SessionError::AnswerGone));
    assert_eq!(session.command(b"c", at(0)).unwrap().sequence(), 3);
}

#[test]
fn an_answer_that_settles_nothing_leaves_the_request_outstanding() {
    let mut session = session();
    let request = session.command(b"a", at(0)).unwrap();
    for (answer, error) in [
        (&[3, 2][..], SessionError::TooManyOutstanding { limit: 2 }),
        (&[77], SessionError::Garbled),
    ] {
        assert_eq!(session.answered(&request, Bytes::from_static(answer)), Err(error));
    }
    let next = session.command(b"b", at(0)).unwrap();
    assert_eq!(next.envelope(), Bytes::from_static(&[0x14, 5, 0, 0, 2, b'b']));
}

#[test]
fn a_request_of_another_session_changes_nothing() {
    let mut session = session();
    session.command(b"mine", at(0)).unwrap();
    let mut other = Session::new(Bytes::from_static(&[0, 6, 2, 1]), at(0)).unwrap();
    let request = other.command(b"foreign", at(0)).unwrap();
    assert_eq!(session.answered(&request, Bytes::from_static(&[1])), Err(SessionError::Expired));
    session.give_up(&request);
    let next = session.command(b"b", at(0)).unwrap();
    assert_eq!(next.envelope(), Bytes::from_static(&[0x14, 5, 0, 0, 2, b'b']));
}

/// R120: who retries knows what makes it safe.
#[test]
fn everything_but_what_can_never_be_accepted_may_be_tried_again() {
    let refused = |reason| RequestError::Refused { reason, leader: Some(NodeId::new(1)) };
    for error in [
        RequestError::Unknown,
        RequestError::Lost,
        RequestError::Stopped,
        refused(Refusal::NoLeader),
        refused(Refusal::Overloaded),
        refused(Refusal::Transferring),
    ] {
        assert!(session::may_retry(error), "{error}");
    }
    assert!(!session::may_retry(refused(Refusal::TooLarge { size: 2, limit: 1 })));
}
