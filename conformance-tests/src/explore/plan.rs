//! What a run is made of, drawn from its seed, so that runs differ in kind and not only in detail
//! (swarm testing; Groce et al., 2012).

use std::collections::BTreeSet;
use std::time::Duration;

use raft_node::session::SessionLimits;

use crate::explore::faults::{self, Fault, Faults};
use crate::explore::reduction::{Circumstance, Kind, Reduction};
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
    /// Whether limits of the nodes may be tiny.
    pub(crate) tiny_limits: bool,
    /// How many clients have sessions and try again.
    pub(crate) sessions: usize,
    /// Whether some members are preferred as leaders.
    pub(crate) priorities: bool,
    pub(crate) loss: u64,
    pub(crate) late_requests: u64,
    pub(crate) late_answers: u64,
    pub(crate) duplication: u64,
    pub(crate) damage: u64,
    pub(crate) max_delay: u64,
    pub(crate) faults: Faults,
    /// Faults that are drawn like the others, and not carried out.
    pub(crate) left_out: BTreeSet<Fault>,
    /// If there are any: of all faults that are drawn, the numbers of those that are carried out.
    pub(crate) only: Vec<u64>,
}

/// More nodes than this make a run slow and show nothing new.
const MOST_NODES: usize = 9;

/// How long a message takes at most, if links are not slow.
pub(crate) const USUAL_DELAY: u64 = 5 * MS;

/// How long a disk takes at most, if it is not slow.
pub(crate) const USUAL_DISK_DELAY: u64 = 4 * MS;

const USUAL_APPLY_DELAY: u64 = MS;
const USUAL_SNAPSHOT_DELAY: u64 = 10 * MS;

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
            tiny_limits: true,
            sessions,
            priorities,
            loss: if chance(&mut rng, 500) { rng.u64(0..300) } else { 0 },
            late_requests: if chance(&mut rng, 300) { rng.u64(1..300) } else { 0 },
            late_answers: if chance(&mut rng, 400) { rng.u64(1..700) } else { 0 },
            duplication: if chance(&mut rng, 500) { rng.u64(0..300) } else { 0 },
            damage: if chance(&mut rng, 250) { rng.u64(1..300) } else { 0 },
            max_delay: if chance(&mut rng, 300) { rng.u64(10..1500) * MS } else { USUAL_DELAY },
            faults,
            left_out: BTreeSet::new(),
            only: Vec::new(),
        }
    }

    /// The same run with less in it. Everything was drawn before, so that what stays is what the
    /// seed has drawn.
    #[must_use]
    pub fn reduced(mut self, reduction: &Reduction) -> Self {
        let Reduction { without, voters, chaos_ms, faults, registers, call_every_ms, dice } =
            reduction;
        for part in without {
            match part.0 {
                Kind::Fault(fault) => self.leave_out(fault),
                Kind::Circumstance(circumstance) => self.make_simpler(circumstance),
            }
        }
        if let Some(voters) = voters.and_then(|voters| usize::try_from(voters).ok()) {
            self.options.voters = self.options.voters.min(voters);
        }
        if let Some(ms) = chaos_ms {
            self.chaos = self.chaos.min(Duration::from_millis(*ms));
        }
        if let Some(registers) = registers {
            self.registers = self.registers.min(*registers);
        }
        if let Some(ms) = call_every_ms {
            self.call_interval = self.call_interval.max(ms * MS);
        }
        if let Some(dice) = dice {
            self.options.seed = self.options.seed.wrapping_add(*dice);
        }
        self.only.clone_from(faults);
        self
    }

    fn leave_out(&mut self, fault: Fault) {
        let drawn = self.kinds_of_faults().any(|it| it == fault);
        if drawn {
            self.left_out.insert(fault);
        }
    }

    fn make_simpler(&mut self, without: Circumstance) {
        let options = &mut self.options;
        match without {
            Circumstance::Faults => {
                let kinds: Vec<Fault> = self.kinds_of_faults().collect();
                self.left_out.extend(kinds);
            }
            Circumstance::Loss => self.loss = 0,
            Circumstance::Duplication => self.duplication = 0,
            Circumstance::Damage => self.damage = 0,
            Circumstance::Late => (self.late_requests, self.late_answers) = (0, 0),
            Circumstance::Delays => self.max_delay = USUAL_DELAY,
            Circumstance::Slowness => {
                options.disk_delay.end = options.disk_delay.end.min(USUAL_DISK_DELAY);
                options.load_delay = 0..0;
                options.apply_delay.end = USUAL_APPLY_DELAY;
                options.snapshot_delay.end = USUAL_SNAPSHOT_DELAY;
            }
            Circumstance::Skew => (options.clock_skew, options.clock_origins) = (0, 0),
            Circumstance::Gather => options.gather = 0,
            Circumstance::AtOnce => options.at_once = 0,
            Circumstance::TinyLimits => {
                (self.tiny_limits, options.tune) = (false, |config, _| config);
            }
            Circumstance::Snapshots => options.snapshot_every = None,
            Circumstance::SnapshotFailures => options.snapshot_failures = 0,
            Circumstance::Sessions => (self.sessions, options.sessions) = (0, None),
            Circumstance::Priorities => self.priorities = false,
            Circumstance::Leases => options.leases = None,
            Circumstance::Learners => options.learners = 0,
            Circumstance::Joiners => options.joiners = 0,
            Circumstance::BareElections => {
                (options.pre_vote, options.check_quorum) = (true, true);
            }
            Circumstance::Encoding => options.wire = false,
        }
    }

    /// Whether a fault is carried out that is drawn with this number.
    pub(crate) fn carries_out(&self, fault: Fault, number: u64) -> bool {
        let chosen = self.only.is_empty() || self.only.contains(&number);
        chosen && !self.left_out.contains(&fault)
    }

    /// The faults that may happen.
    pub(crate) fn kinds_of_faults(&self) -> impl Iterator<Item = Fault> {
        let drawn = self.faults.iter().filter(|(_, weight)| *weight > 0);
        drawn.map(|(fault, _)| *fault).filter(|fault| !self.left_out.contains(fault))
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
    let load_ms = if chance(rng, 200) { rng.u64(10..3000) } else { 0 };
    let apply_ms = chance(rng, 200).then(|| rng.u64(5..100));
    let snapshot_ms = chance(rng, 200).then(|| rng.u64(50..1000));
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
        load_delay: 0..load_ms * MS,
        apply_delay: MS / 100..apply_ms.map_or(USUAL_APPLY_DELAY, |ms| ms * MS),
        snapshot_delay: MS / 20..snapshot_ms.map_or(USUAL_SNAPSHOT_DELAY, |ms| ms * MS),
        snapshot_failures: if chance(rng, 100) { rng.u64(1..300) } else { 0 },
        clock_skew,
        clock_origins: if rng.bool() { 1_000_000 * MS } else { 0 },
        cuts_take_all: rng.bool(),
        gather: if rng.bool() { rng.u64(1..900) } else { 0 },
        at_once: if chance(rng, 200) { rng.usize(1..=voters) } else { 0 },
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
