//! R120, U15: what is retried is applied once.

use raft_node::session::{self, SessionError};

use crate::world::{World, at, roomy};

#[test]
fn a_command_that_is_tried_again_is_applied_once_and_has_the_same_answer() {
    let mut world = World::new(roomy());
    let mut session = world.open(at(0));
    let request = session.command(b"pay", at(1)).unwrap();
    assert_eq!(world.ask(&request).unwrap(), "1:pay");
    world.propose(session::plain(b"other"));
    assert_eq!(world.ask(&request).unwrap(), "1:pay");
    assert_eq!(world.journal(), "pay\nother\n");
}

/// R120: the retry meets replicas that know the first try from the log, from a snapshot, or both.
#[test]
fn a_retry_is_known_after_a_restart_and_after_a_snapshot() {
    let mut world = World::new(roomy());
    let mut session = world.open(at(0));
    let request = session.command(b"pay", at(1)).unwrap();
    assert_eq!(world.ask(&request).unwrap(), "1:pay");
    world.replay();
    assert_eq!(world.ask(&request).unwrap(), "1:pay");
    world.install();
    assert_eq!(world.ask(&request).unwrap(), "1:pay");
    world.install();
    assert_eq!(world.run(&mut session, "again", at(2)).unwrap(), "2:again");
    assert_eq!(world.journal(), "pay\nagain\n");
}

#[test]
fn a_snapshot_shows_the_sessions_of_its_moment_while_commands_go_on() {
    use bytes::Bytes;
    use raft_node::StateMachine;

    let mut replica = crate::world::replica(roomy());
    replica.apply(crate::world::index(1), session::open());
    let before = crate::world::snapshot(&replica);
    let frozen = replica.snapshot();
    let command = Bytes::from_static(&[0x14, 1, 0, 0, 1, b'x']);
    assert_eq!(replica.apply(crate::world::index(2), command), "\x001:x");
    let mut written = Vec::new();
    frozen(&mut written).unwrap();
    assert_eq!(written, before);
}

#[test]
fn commands_under_way_at_once_are_applied_in_any_order_and_each_once() {
    let mut world = World::new(roomy());
    let mut session = world.open(at(0));
    let [a, b, c] = ["a", "b", "c"].map(|it| session.command(it.as_bytes(), at(1)).unwrap());
    for _ in 0..2 {
        assert_eq!(world.ask(&c).unwrap(), "1:c");
        assert_eq!(world.ask(&a).unwrap(), "2:a");
        assert_eq!(world.ask(&b).unwrap(), "3:b");
    }
    assert_eq!(world.journal(), "c\na\nb\n");
}

#[test]
fn the_same_number_in_another_session_is_another_command() {
    let mut world = World::new(roomy());
    let mut one = world.open(at(0));
    let mut other = world.open(at(0));
    assert_eq!(world.run(&mut one, "x", at(1)).unwrap(), "1:x");
    assert_eq!(world.run(&mut other, "x", at(1)).unwrap(), "2:x");
}

/// Dissertation, section 6.3: the client tells which answers it has, and these are forgotten.
#[test]
fn an_acknowledged_answer_is_gone_and_its_command_not_applied_again() {
    let mut world = World::new(roomy());
    let mut session = world.open(at(0));
    let first = session.command(b"a", at(1)).unwrap();
    let second = session.command(b"b", at(1)).unwrap();
    let answer = world.propose(second.envelope());
    session.answered(&second, answer).unwrap();
    world.run(&mut session, "c", at(2)).unwrap();
    assert_eq!(world.ask(&second).unwrap(), "1:b", "the first has no answer yet");
    let answer = world.propose(first.envelope());
    session.answered(&first, answer).unwrap();
    world.run(&mut session, "d", at(3)).unwrap();
    for gone in [first, second] {
        assert_eq!(world.ask(&gone), Err(SessionError::AnswerGone));
    }
    assert_eq!(world.journal(), "b\nc\na\nd\n");
}

#[test]
fn a_keep_alive_frees_answers_as_well() {
    let mut world = World::new(roomy());
    let mut session = world.open(at(0));
    let request = session.command(b"a", at(1)).unwrap();
    let answer = world.propose(request.envelope());
    session.answered(&request, answer).unwrap();
    let kept = world.snapshot().len();
    session::decode(world.propose(session.keep_alive(at(1)))).unwrap();
    assert!(world.snapshot().len() < kept);
    assert_eq!(world.ask(&request), Err(SessionError::AnswerGone));
}

/// R120: a command that was given up must not turn up later, when its client went on without it.
#[test]
fn a_command_that_was_given_up_is_not_applied_after_a_later_one() {
    let mut world = World::new(roomy());
    let mut session = world.open(at(0));
    let late = session.command(b"late", at(1)).unwrap();
    session.give_up(&late);
    world.run(&mut session, "next", at(2)).unwrap();
    assert_eq!(world.ask(&late), Err(SessionError::AnswerGone));
    assert_eq!(world.journal(), "next\n");
}

#[test]
fn a_closed_session_applies_nothing_and_may_be_closed_again() {
    let mut world = World::new(roomy());
    let empty = world.open(at(0)).id();
    let mut session = world.open(at(0));
    assert!(session.id() > empty);
    let known = session.command(b"known", at(1)).unwrap();
    let late = session.command(b"late", at(1)).unwrap();
    world.ask(&known).unwrap();
    let close = session.close();
    for _ in 0..2 {
        assert_eq!(session::decode(world.propose(close.clone())).unwrap(), "");
        assert_eq!(world.ask(&late), Err(SessionError::Expired));
        assert_eq!(world.ask(&known), Err(SessionError::Expired));
    }
    assert_eq!(world.journal(), "known\n");
}

#[test]
fn a_plain_command_is_applied_as_often_as_it_is_proposed() {
    let mut world = World::new(roomy());
    let plain = session::plain(b"x");
    assert_eq!(session::decode(world.propose(plain.clone())).unwrap(), "1:x");
    assert_eq!(session::decode(world.propose(plain)).unwrap(), "2:x");
    assert_eq!(world.journal(), "x\nx\n");
}

#[test]
fn an_opening_that_is_tried_again_opens_another_session() {
    let mut world = World::new(roomy());
    let mut lost = world.open(at(0));
    let mut session = world.open(at(0));
    assert_ne!(lost.id(), session.id());
    assert_eq!(world.run(&mut session, "x", at(1)).unwrap(), "1:x");
    assert_eq!(world.run(&mut lost, "y", at(1)).unwrap(), "2:y");
}
