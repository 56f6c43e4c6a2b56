//! All that is remembered is bounded.

use std::time::Duration;

use raft_node::session::{self, SessionError, SessionLimits};

use crate::world::{World, at, roomy};

/// Dissertation, section 6.3: the least recently used session makes room.
#[test]
fn one_session_too_many_evicts_the_one_that_was_not_used_for_the_longest() {
    let mut world = World::new(roomy().sessions(3));
    let mut sessions = [0; 3].map(|_| world.open(at(0)));
    world.run(&mut sessions[0], "a", at(0)).unwrap();
    world.propose(sessions[1].keep_alive(at(0)));
    world.install();
    let mut newest = world.open(at(0));
    let [first, second, third] = &mut sessions;
    assert_eq!(world.run(third, "lost", at(0)), Err(SessionError::Expired));
    for alive in [first, second, &mut newest] {
        world.run(alive, "alive", at(0)).unwrap();
    }
}

#[test]
fn beyond_the_bytes_the_oldest_answers_go_and_nothing_is_applied_again() {
    let mut world = World::new(roomy().bytes(20));
    let mut one = world.open(at(0));
    let mut other = world.open(at(0));
    let oldest = one.command(b"55555", at(0)).unwrap();
    let middle = other.command(b"55555", at(0)).unwrap();
    let newest = one.command(b"55555", at(0)).unwrap();
    for request in [&oldest, &middle, &newest] {
        world.ask(request).unwrap();
    }
    world.install();
    assert_eq!(world.ask(&oldest), Err(SessionError::AnswerGone));
    assert_eq!(world.ask(&middle).unwrap(), "2:55555");
    assert_eq!(world.ask(&newest).unwrap(), "3:55555");
    world.replay();
    assert_eq!(world.journal(), "55555\n".repeat(3));
}

#[test]
fn an_answer_above_all_limits_is_given_once_and_drives_out_nothing() {
    let mut world = World::new(roomy().bytes(20));
    let mut session = world.open(at(0));
    let small = session.command(b"small", at(0)).unwrap();
    let large = session.command(&[b'x'; 100], at(0)).unwrap();
    world.ask(&small).unwrap();
    assert_eq!(world.ask(&large).unwrap().len(), 102);
    assert_eq!(world.ask(&large), Err(SessionError::AnswerGone));
    assert_eq!(world.ask(&small).unwrap(), "1:small");
}

/// A client of another make, which does not count: it is told, and no harm is done.
#[test]
fn a_number_too_far_ahead_is_refused_until_answers_are_acknowledged() {
    let mut world = World::new(roomy().answers(2));
    let id = world.open(at(0)).id().get() as u8;
    let command = |acknowledged: u8, ahead: u8| {
        bytes::Bytes::from(vec![0x14, id, 0, acknowledged, ahead, b'x'])
    };
    let refused = Err(SessionError::TooManyOutstanding { limit: 2 });
    assert_eq!(session::decode(world.propose(command(0, 3))), refused);
    assert_eq!(world.journal(), "");
    assert_eq!(session::decode(world.propose(command(0, 2))).unwrap(), "1:x");
    assert_eq!(session::decode(world.propose(command(1, 2))).unwrap(), "2:x");
    assert_eq!(session::decode(world.propose(command(0, 3))).unwrap(), "2:x");
}

#[test]
fn limits_change_at_an_entry_of_the_log_and_what_is_beyond_them_goes() {
    let mut world = World::new(roomy());
    let mut sessions = [0; 3].map(|_| world.open(at(0)));
    let requests = [0, 1, 2].map(|it: usize| {
        let request = sessions[it].command(b"55555", at(0)).unwrap();
        world.ask(&request).unwrap();
        request
    });
    let strict = SessionLimits::default().sessions(2).bytes(8).ttl(Duration::from_secs(1));
    assert_eq!(session::decode(world.propose(session::limits(&strict))).unwrap(), "");
    world.replay();
    assert_eq!(world.ask(&requests[0]), Err(SessionError::Expired));
    assert_eq!(world.ask(&requests[1]), Err(SessionError::AnswerGone));
    assert_eq!(world.ask(&requests[2]).unwrap(), "3:55555");
    world.install();
    world.open(at(0));
    assert_eq!(world.ask(&requests[1]), Err(SessionError::Expired));
}

#[test]
fn a_shorter_time_to_live_expires_at_once() {
    let mut world = World::new(roomy());
    let idle = world.open(at(0));
    let mut busy = world.open(at(0));
    world.run(&mut busy, "x", at(50)).unwrap();
    world.propose(session::limits(&SessionLimits::default().ttl(Duration::from_millis(50))));
    let keep_alive = world.propose(idle.keep_alive(at(50)));
    assert_eq!(session::decode(keep_alive), Err(SessionError::Expired));
    world.run(&mut busy, "x", at(50)).unwrap();
}

#[test]
fn an_open_session_keeps_the_window_that_it_began_with() {
    let mut world = World::new(roomy().answers(2));
    let mut before = world.open(at(0));
    world.propose(session::limits(&roomy().answers(1)));
    let mut after = world.open(at(0));
    let requests = [0; 2].map(|_| before.command(b"x", at(0)).unwrap());
    assert!(requests.iter().all(|request| world.ask(request).is_ok()));
    after.command(b"x", at(0)).unwrap();
    assert!(after.command(b"x", at(0)).is_err());
}

#[test]
fn limits_of_zero_are_taken_as_one() {
    let none = SessionLimits::default().sessions(0).answers(0).bytes(0).ttl(Duration::ZERO);
    assert_eq!(
        none,
        SessionLimits::default().sessions(1).answers(1).bytes(1).ttl(Duration::from_millis(1))
    );
    let mut world = World::new(none);
    let mut session = world.open(at(0));
    assert_eq!(world.run(&mut session, "x", at(0)).unwrap(), "1:x");
}
