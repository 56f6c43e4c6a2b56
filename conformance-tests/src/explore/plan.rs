//! What a run is made of, drawn from its seed, so that runs differ in kind and not only in detail
//! (swarm testing; Groce et al., 2012).

use std::time::Duration;

use raft_node::core::Config;

use crate::explore::faults::{self, Faults};
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
    pub(crate) loss: u64,
    pub(crate) late_requests: u64,
    pub(crate) late_answers: u64,
    pub(crate) duplication: u64,
    pub(crate) max_delay: u64,
    pub(crate) faults: Faults,
}

impl Plan {
    /// Draws the run of a seed.
    #[must_use]
    pub fn draw(seed: u64, record: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x9_1a2);
        let voters = [1, 2, 3, 3, 3, 4, 5, 5, 7][rng.usize(0..9)];
        let faults = faults::draw(&mut rng);
        let slow_disk = chance(&mut rng, 300);
        let disk_ms = if slow_disk { rng.u64(10..200) } else { rng.u64(1..5) };
        let apply_ms = if chance(&mut rng, 200) { rng.u64(5..100) } else { 1 };
        Self {
            options: Options {
                seed,
                voters,
                learners: if chance(&mut rng, 250) { rng.usize(1..=2) } else { 0 },
                tune,
                tuning: rng.u64(..),
                disk_delay: MS / 20..disk_ms * MS,
                apply_delay: MS / 100..apply_ms * MS,
                clock_skew: if chance(&mut rng, 300) { rng.u64(0..100_000) } else { 0 },
                cuts_take_all: rng.bool(),
                // Encoding is slow and has tests of its own.
                wire: chance(&mut rng, 50),
                record,
            },
            chaos: Duration::from_millis(rng.u64(3_000..15_000)),
            fault_interval: rng.u64(50..1000) * MS,
            call_interval: rng.u64(5..200) * MS,
            loyalty: if chance(&mut rng, 500) { 700 } else { 0 },
            registers: rng.u64(1..5),
            loss: if chance(&mut rng, 500) { rng.u64(0..300) } else { 0 },
            late_requests: if chance(&mut rng, 300) { rng.u64(1..300) } else { 0 },
            late_answers: if chance(&mut rng, 400) { rng.u64(1..700) } else { 0 },
            duplication: if chance(&mut rng, 500) { rng.u64(0..300) } else { 0 },
            max_delay: if chance(&mut rng, 300) { rng.u64(10..1500) * MS } else { 5 * MS },
            faults,
        }
    }
}

/// The settings that keep a cluster calm when nodes come and go; now and then one is off.
pub(crate) struct Guards {
    pub(crate) pre_vote: bool,
    pub(crate) check_quorum: bool,
}

impl Guards {
    pub(crate) fn draw(tuning: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(!tuning);
        let (pre_vote, check_quorum) = (!chance(&mut rng, 100), !chance(&mut rng, 150));
        Self { pre_vote, check_quorum }
    }
}

/// Settings, drawn so that each limit is sometimes tiny.
fn tune(config: Config, tuning: u64) -> Config {
    let mut rng = fastrand::Rng::with_seed(tuning);
    let mut tiny = |usual: usize, least: usize| if chance(&mut rng, 150) { least } else { usual };
    let config = config
        .max_append_entries(tiny(8192, 1))
        .max_append_bytes(tiny(1 << 20, 1))
        .max_in_flight_messages(tiny(128, 1))
        .max_in_flight_bytes(tiny(8 << 20, 1))
        .max_uncommitted_bytes(tiny(64 << 20, 500))
        .max_unpersisted_bytes(tiny(64 << 20, 500))
        .max_cached_bytes(tiny(16 << 20, 0))
        .max_applying_bytes(tiny(8 << 20, 1))
        .max_pending_requests(tiny(65_536, 4))
        .max_held_messages(tiny(1024, 8));
    let Guards { pre_vote, check_quorum } = Guards::draw(tuning);
    config.pre_vote(pre_vote).check_quorum(check_quorum)
}
