//! Time that comes out of the log, and clocks that are wrong.

use std::time::Duration;

use proptest::prelude::*;
use raft_node::session::{self, Session, SessionError, SessionLimits};

use crate::world::{World, at, roomy};

const TTL: u64 = 1600;
const STEP: u64 = TTL / 16;

/// `session` is used until the log's clock has moved by `millis`, counted from its time `from`.
fn pass(world: &mut World, session: &mut Session, from: u64, millis: u64) {
    for past in (STEP..=millis).step_by(STEP as usize) {
        world.run(session, "tick", at(from + past)).unwrap();
    }
}

#[test]
fn a_session_that_is_not_used_expires_and_its_commands_are_not_applied() {
    let mut world = World::new(roomy());
    let mut idle = world.open(at(0));
    let mut busy = world.open(at(0));
    let known = idle.command(b"known", at(0)).unwrap();
    let late = idle.command(b"late", at(0)).unwrap();
    world.ask(&known).unwrap();
    pass(&mut world, &mut busy, 0, TTL);
    world.replay();
    let before = world.journal();
    assert_eq!(world.ask(&known), Err(SessionError::Expired));
    let answer = world.propose(late.envelope());
    assert_eq!(idle.answered(&late, answer), Err(SessionError::Expired));
    assert_eq!(world.journal(), before);
    assert_eq!(idle.command(b"more", at(TTL)).err(), Some(SessionError::Expired));
}

#[test]
fn a_session_lives_until_its_whole_time_has_passed() {
    let mut world = World::new(roomy());
    let mut idle = world.open(at(0));
    let mut busy = world.open(at(0));
    pass(&mut world, &mut busy, 0, TTL - STEP);
    world.run(&mut busy, "tick", at(TTL - 1)).unwrap();
    world.install();
    world.run(&mut idle, "alive", at(TTL - 1)).unwrap();
}

#[test]
fn any_use_keeps_a_session_alive() {
    let mut world = World::new(roomy());
    let mut idle = world.open(at(0));
    let mut busy = world.open(at(0));
    let request = idle.command(b"x", at(0)).unwrap();
    world.ask(&request).unwrap();
    pass(&mut world, &mut busy, 0, TTL - STEP);
    world.ask(&request).unwrap();
    pass(&mut world, &mut busy, TTL - STEP, TTL - STEP);
    session::decode(world.propose(idle.keep_alive(at(2 * (TTL - STEP))))).unwrap();
    pass(&mut world, &mut busy, 2 * (TTL - STEP), TTL - STEP);
    assert_eq!(world.ask(&request).unwrap(), "1:x");
}

#[test]
fn a_session_does_not_expire_by_what_it_says_itself() {
    let mut world = World::new(roomy());
    let mut session = world.open(at(0));
    world.run(&mut session, "x", at(1_000_000)).unwrap();
    world.run(&mut session, "y", at(u64::MAX / 2_000_000)).unwrap();
}

/// The usual case of a wrong clock: a date that is years away, and stays so.
#[test]
fn a_clock_that_shows_another_date_changes_nothing() {
    let mut world = World::new(roomy());
    let mut idle = world.open(at(0));
    for years in [1, 50, 500] {
        let far = years * 365 * 24 * 3600 * 1000;
        for _ in 0..100 {
            let mut wrong = world.open(at(far));
            world.run(&mut wrong, "x", at(far + 1)).unwrap();
        }
    }
    world.run(&mut idle, "alive", at(1)).unwrap();
}

#[test]
fn a_clock_that_leaps_costs_the_others_one_step_once() {
    let mut world = World::new(roomy());
    let mut idle = world.open(at(0));
    let mut busy = world.open(at(0));
    let mut wrong = world.open(at(0));
    let leap = 1_000_000_000;
    for late in 0..50 {
        world.run(&mut wrong, "x", at(leap + late)).unwrap();
    }
    // The log's clock shows no more than one step and the 49 ms, and goes on from there.
    pass(&mut world, &mut busy, 49, TTL - 2 * STEP);
    world.run(&mut wrong, "x", at(leap + TTL - STEP - 1)).unwrap();
    world.run(&mut idle, "alive", at(TTL)).unwrap();
}

#[test]
fn a_clock_that_runs_backward_stands_still() {
    let mut world = World::new(roomy());
    let mut other = world.open(at(0));
    let mut session = world.open(at(5000));
    for now in [5100, 5000, 4000, 0, 5100] {
        world.run(&mut session, "x", at(now)).unwrap();
    }
    world.run(&mut other, "alive", at(100)).unwrap();
}

#[test]
fn the_largest_numbers_of_time_are_harmless() {
    let mut world = World::new(SessionLimits::default().ttl(Duration::MAX));
    let mut session = world.open(at(0));
    let largest = raft_node::core::Instant::from_nanos(u64::MAX);
    for _ in 0..3 {
        world.run(&mut session, "x", largest).unwrap();
    }
    let mut world = World::new(SessionLimits::default().ttl(Duration::ZERO));
    let mut session = world.open(at(0));
    world.run(&mut session, "x", largest).unwrap();
}

/// What an honest client does with its session.
#[derive(Clone, Debug)]
struct Step {
    client: usize,
    pause: u64,
    delay: u64,
    repeated: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (0..4_usize, 0..900_u64, 0..700_u64, any::<bool>())
        .prop_map(|(client, pause, delay, repeated)| Step { client, pause, delay, repeated })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Real time is `now`; each client has another date; entries are late, and tried again.
    #[test]
    fn no_session_of_a_right_clock_expires_before_its_time(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(roomy());
        let mut now = 0;
        let date = |client: usize| client as u64 * 1_000_000_000;
        let mut sessions: Vec<_> = (0..4).map(|it| (world.open(at(date(it))), 0)).collect();
        for Step { client, pause, delay, repeated } in steps {
            now += pause;
            let (session, used) = &mut sessions[client];
            let request = session.command(b"x", at(date(client) + now));
            let request = request.expect("every answer is taken in");
            now += delay;
            for _ in 0..=usize::from(repeated) {
                let answer = world.propose(request.envelope());
                match session.answered(&request, answer) {
                    Ok(_) => *used = now,
                    Err(error) => {
                        prop_assert_eq!(error, SessionError::Expired);
                        prop_assert!(now - *used >= TTL, "after {} ms", now - *used);
                        *session = world.open(at(date(client) + now));
                        *used = now;
                        break;
                    }
                }
            }
        }
    }
}
