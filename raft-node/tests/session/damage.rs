//! Bytes that nobody meant to send.

use std::io::{ErrorKind, Read};

use bytes::Bytes;
use proptest::prelude::*;
use raft_node::core::{Instant, LogIndex};
use raft_node::session::{self, Session, SessionError, SessionLimits, Sessions};
use raft_node::{FrozenState, StateMachine};

use crate::world::{World, at, index, replica, roomy, snapshot};

/// A change of these bytes breaks the logs and snapshots of those who use this.
#[test]
fn each_kind_of_envelope_has_the_documented_bytes() {
    let mut session = Session::new(Bytes::from_static(&[0, 0xac, 0x02, 9, 1]), at(1)).unwrap();
    let request = session.command(b"do", at(8)).unwrap();
    assert_eq!(request.envelope(), Bytes::from_static(b"\x14\xac\x02\x07\x00\x01do"));
    assert_eq!(session.keep_alive(at(9)), Bytes::from_static(b"\x13\xac\x02\x08\x00"));
    assert_eq!(session.close(), Bytes::from_static(b"\x12\xac\x02"));
    assert_eq!(session::open(), Bytes::from_static(b"\x11"));
    assert_eq!(session::plain(b"do"), Bytes::from_static(b"\x10do"));
    let limits = SessionLimits::default().sessions(1).answers(2).bytes(3);
    assert_eq!(session::limits(&limits), Bytes::from_static(b"\x15\x01\x02\x03\x80\xdd\xdb\x01"));
}

#[test]
fn a_snapshot_has_the_documented_bytes() {
    let mut world = World::new(SessionLimits::default().sessions(1).answers(2).bytes(3));
    let mut session = world.open(at(0));
    let forgotten = session.command(b"a", at(3)).unwrap();
    world.ask(&forgotten).unwrap();
    assert_eq!(
        world.snapshot(),
        b"SESS\x01\x01\x02\x03\x80\xdd\xdb\x01\x03\x01\x01\x00\x03\x02\x00\x00\x02\x01\x01\x02\x00a\n"
    );
}

#[test]
fn an_envelope_adds_no_more_than_is_said() {
    let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f];
    let answer = [&[0][..], &largest, &[1, 1]].concat();
    let mut session = Session::new(answer.into(), Instant::ORIGIN).unwrap();
    assert_eq!(session.id(), LogIndex::MAX);
    let request = session.command(b"x", Instant::from_nanos(u64::MAX)).unwrap();
    assert!(request.envelope().len() <= session::MAX_OVERHEAD + 1);
}

#[test]
fn envelopes_that_make_no_sense_are_answered_alike_and_change_nothing() {
    let mut world = World::new(roomy());
    world.open(at(0));
    let before = world.snapshot();
    let unsupported = [&[0][..], &[0x0f], &[0x16, 1], &[0x20, 1], &[0xff]];
    let malformed = [
        &[][..],
        &[0x11, 0],
        &[0x12],
        &[0x12, 1, 1],
        &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x13, 1, 0],
        &[0x13, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0],
        &[0x14, 1, 0, 0],
        &[0x14, 1, 0, 0, 0, b'x'],
        &[0x14, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1],
        &[0x15, 1, 1, 1],
        &[0x15, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 1, 1],
    ];
    let unsupported = unsupported.iter().map(|it| (it, SessionError::Unsupported));
    let malformed = malformed.iter().map(|it| (it, SessionError::Malformed));
    for (envelope, error) in unsupported.chain(malformed) {
        let answer = world.propose(Bytes::from_static(envelope));
        assert_eq!(session::decode(answer), Err(error), "{envelope:?}");
    }
    assert_eq!(world.snapshot(), before);
}

#[test]
fn a_session_that_was_never_opened_has_expired() {
    let mut world = World::new(roomy());
    for id in [0, 1, 2, 100] {
        let answer = world.propose(Bytes::from(vec![0x14, id, 0, 0, 1, b'x']));
        assert_eq!(session::decode(answer), Err(SessionError::Expired));
    }
    assert_eq!(world.journal(), "");
}

/// A machine whose state survives restarts by itself.
struct Durable;

impl StateMachine for Durable {
    fn apply(&mut self, _: LogIndex, command: Bytes) -> Bytes {
        command
    }

    fn query(&self, query: Bytes) -> Bytes {
        query
    }

    fn snapshot(&self) -> FrozenState {
        Box::new(|_| Ok(()))
    }

    fn restore(&mut self, _: LogIndex, _: &mut dyn Read) -> std::io::Result<()> {
        Ok(())
    }

    fn applied(&self) -> LogIndex {
        index(7)
    }
}

#[test]
fn a_machine_that_keeps_its_own_state_is_refused() {
    assert!(Sessions::new(Durable, roomy()).is_err());
}

/// A world that has something of everything in its table.
fn full() -> World {
    let mut world = World::new(roomy().bytes(10));
    let [mut one, mut other] = [0; 2].map(|_| world.open(at(0)));
    world.open(at(0));
    world.run(&mut one, "a", at(70)).unwrap();
    for session in [&mut one, &mut other] {
        for command in ["bb", "cc"] {
            let request = session.command(command.as_bytes(), at(90)).unwrap();
            world.ask(&request).unwrap();
        }
    }
    world.run(&mut other, "d", at(1_000_000)).unwrap();
    world
}

#[test]
fn a_snapshot_that_ends_within_its_sessions_is_an_error_and_restores_nothing() {
    let world = full();
    let state = world.snapshot();
    let sessions = state.len() - world.journal().len();
    let mut replica = replica(roomy());
    let before = snapshot(&replica);
    for len in 0..sessions {
        let error = replica.restore(world.last(), &mut &state[..len]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{len} of {sessions}");
    }
    assert_eq!(snapshot(&replica), before);
}

/// Checksums find such damage earlier. What gets through must make sense at least.
#[test]
fn a_snapshot_with_any_byte_changed_is_an_error_or_a_state_that_makes_sense() {
    let world = full();
    let state = world.snapshot();
    for place in 0..state.len() {
        for bit in 0..8 {
            let mut damaged = state.clone();
            damaged[place] ^= 1 << bit;
            let mut replica = replica(roomy());
            if replica.restore(world.last(), &mut damaged.as_slice()).is_ok() {
                replica.apply(world.last().next(), session::open());
                snapshot(&replica);
            }
        }
    }
}

#[test]
fn a_snapshot_of_something_else_is_refused() {
    let mut replica = replica(roomy());
    for other in [&b"a\nbare\njournal"[..], b"SESS\x02more of a later version"] {
        let error = replica.restore(index(9), &mut &other[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
    let early = full().last().prev();
    assert!(replica.restore(early, &mut full().snapshot().as_slice()).is_err());
}

/// Bounded memory: what a snapshot claims is not believed before it is there.
#[test]
fn lengths_that_are_only_claimed_cost_nothing() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let head = b"SESS\x01\x01\x01\x01\x01\x00";
    let record = [1, 0, 0, 1, 0, 0, 1];
    let answer = [1, 1];
    let sessions = [&head[..], &huge].concat();
    let answers = [&head[..], &[1], &record, &huge].concat();
    let bytes = [&head[..], &[1], &record, &[1], &answer, &huge, b"x"].concat();
    for state in [sessions, answers, bytes] {
        let error = replica(roomy()).restore(index(9), &mut state.as_slice()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
}

/// Bytes that often come close to an envelope.
fn envelope() -> impl Strategy<Value = Bytes> {
    let small = prop_oneof![9 => 0..6_u8, 1 => any::<u8>()];
    let numbers = prop::collection::vec(small, 0..7);
    let close = (0x10..0x17_u8, numbers).prop_map(|(kind, rest)| [&[kind], &*rest].concat());
    let any = prop::collection::vec(any::<u8>(), 0..24);
    prop_oneof![4 => close, 1 => any].prop_map(Bytes::from)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// `World` compares two replicas after each entry, one of which is replaced all the time.
    #[test]
    fn replicas_agree_whatever_bytes_are_in_the_log(
        log in prop::collection::vec((envelope(), 0..10_u8), 0..60),
    ) {
        let mut world = World::new(roomy().sessions(3).answers(2).bytes(12));
        for (entry, event) in log {
            let _ = session::decode(world.propose(entry));
            match event {
                0 => world.install(),
                1 => world.replay(),
                _ => {}
            }
        }
    }

    #[test]
    fn an_answer_of_any_bytes_is_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let answer = Bytes::from(bytes);
        if let Ok(mut session) = Session::new(answer.clone(), at(0))
            && let Ok(request) = session.command(b"x", at(1))
        {
            let _ = session.answered(&request, answer.clone());
            let _ = session.command(b"y", at(0));
        }
        let _ = session::decode(answer);
    }

    #[test]
    fn a_snapshot_of_any_bytes_is_read_without_a_panic(
        bytes in prop::collection::vec(0..4_u8, 0..60),
    ) {
        let state = [&b"SESS\x01"[..], &bytes].concat();
        let _ = replica(roomy()).restore(index(9), &mut state.as_slice());
    }
}
