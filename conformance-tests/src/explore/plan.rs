//! What a run is made of, drawn from its seed, so that runs differ in kind and not only in detail
//! (swarm testing; Groce et al., 2012).

use std::time::Duration;

use raft_node::session::SessionLimits;

use crate::explore::faults::{self, Faults};
use crate::explore::tuning::tune;
use crate::sim::Options;
use crate::sim::network::MS;
use crate::sim::random::chance;

/// A drawn run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) options: Options,
    /// How long faults are injected, in virtual time.
    pub(crate) chaos: Duration,
    /// How often something is injected, in nanoseconds.
    pub(crate) fault_interval: u64,
    /// How often a client calls, in nanoseconds.
    pub(crate) call_interval: u64,
    /// Calls per 1,000 that go to a node that believes that it leads.
    pub(crate) loyalty: u64,
    pub(crate) registers: u64,
    /// How many clients have sessions and try again.
    pub(crate) sessions: usize,
    /// Whether some members are preferred as leaders.
    pub(crate) priorities: bool,
    pub(crate) loss: u64,
    pub(crate) late_requests: u64,
    pub(crate) late_answers: u64,
    pub(crate) duplication: u64,
    pub(crate) max_delay: u64,
    pub(crate) faults: Faults,
}

/// More nodes than this make a run slow and show nothing new.
const MOST_NODES: usize = 9;

impl Plan {
    /// Draws the run of a seed.
    #[must_use]
    pub fn draw(seed: u64, record: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x9_1a2);
        let leases = chance(&mut rng, 250);
        let changes = chance(&mut rng, 500);
        let faults = faults::draw(&mut rng, leases, changes);
        let sessions = if chance(&mut rng, 300) { rng.usize(1..4) } else { 0 };
        let priorities = changes && chance(&mut rng, 250);
        Self {
            options: options(seed, record, &mut rng, [leases, changes, sessions > 0]),
            chaos: Duration::from_millis(rng.u64(3_000..15_000)),
            fault_interval: rng.u64(50..1000) * MS,
            call_interval: rng.u64(5..200) * MS,
            loyalty: if chance(&mut rng, 500) { 700 } else { 0 },
            registers: rng.u64(1..5),
            sessions,
            priorities,
            loss: if chance(&mut rng, 500) { rng.u64(0..300) } else { 0 },
            late_requests: if chance(&mut rng, 300) { rng.u64(1..300) } else { 0 },
            late_answers: if chance(&mut rng, 400) { rng.u64(1..700) } else { 0 },
            duplication: if chance(&mut rng, 500) { rng.u64(0..300) } else { 0 },
            max_delay: if chance(&mut rng, 300) { rng.u64(10..1500) * MS } else { 5 * MS },
            faults,
        }
    }
}

fn options(
    seed: u64,
    record: bool,
    rng: &mut fastrand::Rng,
    [leases, changes, sessions]: [bool; 3],
) -> Options {
    let voters = [1, 2, 3, 3, 3, 4, 5, 5, 7][rng.usize(0..9)];
    let learners = if chance(rng, 250) { rng.usize(1..=2) } else { 0 };
    let joiners = if changes { rng.usize(0..4).min(MOST_NODES - voters - learners) } else { 0 };
    let disk_ms = if chance(rng, 300) { rng.u64(10..200) } else { rng.u64(1..5) };
    let apply_ms = if chance(rng, 200) { rng.u64(5..100) } else { 1 };
    let snapshot_ms = if chance(rng, 200) { rng.u64(50..1000) } else { 10 };
    let clock_skew = match leases {
        true => rng.u64(0..50_000),
        false if chance(rng, 300) => rng.u64(0..100_000),
        false => 0,
    };
    let pre_vote = !chance(rng, 100);
    let check_quorum = leases || !chance(rng, 150);
    Options {
        learners,
        joiners,
        tune,
        tuning: rng.u64(..),
        // Nothing keeps a node that was removed and does not know it from being a nuisance if both
        // are off.
        pre_vote: pre_vote || (changes && !check_quorum),
        check_quorum,
        leases: leases.then(|| drift(clock_skew)),
        snapshot_every: chance(rng, 600).then(|| {
            let most = [2, 10, 50][rng.usize(0..3)];
            rng.u64(1..=most)
        }),
        compaction_margin: if rng.bool() { rng.u64(0..=20) } else { 0 },
        sessions: sessions.then(|| session_limits(rng)),
        disk_delay: MS / 20..disk_ms * MS,
        apply_delay: MS / 100..apply_ms * MS,
        snapshot_delay: MS / 20..snapshot_ms * MS,
        snapshot_failures: if chance(rng, 100) { rng.u64(1..300) } else { 0 },
        clock_skew,
        clock_origins: if rng.bool() { 1_000_000 * MS } else { 0 },
        cuts_take_all: rng.bool(),
        gather: if rng.bool() { rng.u64(1..900) } else { 0 },
        // Encoding is slow and has tests of its own.
        wire: chance(rng, 50),
        record,
        ..Options::calm(seed, voters)
    }
}

/// By how many millionths a clock of this skew may be faster than another one.
fn drift(skew: u64) -> u32 {
    const MILLION: u64 = 1_000_000;
    u32::try_from(2 * skew * MILLION / (MILLION - skew) + 1).unwrap_or(u32::MAX)
}

/// Limits of sessions; in half of the runs so tiny that sessions and answers are forgotten.
fn session_limits(rng: &mut fastrand::Rng) -> SessionLimits {
    let limits = SessionLimits::default();
    if rng.bool() {
        return limits;
    }
    limits
        .sessions(rng.u32(1..4))
        .answers(rng.u32(1..4))
        .bytes(rng.u64(1..64))
        .ttl(Duration::from_millis(rng.u64(100..5000)))
}
