//! One run: chaos, then peace, then the demand for progress.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use raft_node::core::{RoleKind, Term};

use crate::cluster::Network;
use crate::explore::plan::{Fault, Plan};
use crate::explore::workload::Workload;
use crate::sim::World;
use crate::sim::network::MS;
use crate::sim::random::within;

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed of the run.
    pub seed: u64,
    /// What went wrong, if anything did.
    pub failure: Option<String>,
    /// A digest of everything that happened.
    pub digest: u64,
    /// Calls that clients made.
    pub calls: u64,
    /// The trace as text, if it was recorded.
    pub trace: String,
}

/// Explores the world of a seed.
#[must_use]
pub fn explore(seed: u64, record: bool) -> Report {
    let plan = Plan::draw(seed, record);
    let mut run =
        Run { world: World::new(plan.options.clone()), clients: Workload::default(), plan };
    // A panic is a failure like any other: it must name its seed.
    let failure = panic::catch_unwind(AssertUnwindSafe(|| run.whole().err()))
        .unwrap_or_else(|panic| Some(format!("a panic: {}", reason(panic.as_ref()))));
    Report {
        seed,
        failure,
        digest: run.world.trace().digest(),
        calls: run.clients.registers.begun(),
        trace: run.world.trace().to_string(),
    }
}

/// What a panic said.
fn reason(panic: &(dyn Any + Send)) -> &str {
    let formatted = panic.downcast_ref::<String>().map(String::as_str);
    formatted.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given")
}

pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) world: World,
    pub(super) clients: Workload,
}

/// After peace begins, everything must be well within this time: several elections, a full disk
/// queue and the slowest delays fit.
pub(super) const RECOVERY: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Run {
    fn whole(&mut self) -> Result<(), String> {
        for node in 0..self.world.nodes.len() {
            self.world.start(node);
            self.world.network.set_connected(node, true);
        }
        self.chaos()?;
        self.peace();
        self.recovery()?;
        self.clients.registers.verdict()
    }

    pub(super) fn sound(&mut self) -> Result<(), String> {
        self.clients.collect(&mut self.world).map_err(|error| error.to_string())?;
        self.world.violation().map_or(Ok(()), Err)
    }

    fn chaos(&mut self) -> Result<(), String> {
        self.world.network.loss = self.plan.loss;
        self.world.network.stragglers = self.plan.stragglers;
        self.world.network.mode.long_reordering = self.plan.late_answers;
        self.world.network.duplication = self.plan.duplication;
        self.world.network.delay = MS / 10..self.plan.max_delay;
        let end = self.world.now + nanos(self.plan.chaos);
        let (mut next_fault, mut next_call) = (self.world.now, self.world.now);
        while self.world.now < end {
            if next_call <= self.world.now {
                let node = self.any_node();
                self.clients.call(&mut self.world, node, self.plan.registers);
                next_call += within(&mut self.world.rng, &(1..2 * self.plan.call_interval));
            }
            if next_fault <= self.world.now {
                self.inject();
                next_fault += within(&mut self.world.rng, &(1..2 * self.plan.fault_interval));
            }
            let pause = next_fault.min(next_call).min(end).saturating_sub(self.world.now);
            self.world.run_for(Duration::from_nanos(pause.max(1)));
            self.sound()?;
        }
        Ok(())
    }

    pub(super) fn any_node(&mut self) -> usize {
        let size = self.world.nodes.len();
        self.world.rng.usize(0..size)
    }

    fn inject(&mut self) {
        let fault = self.draw_fault();
        let node = self.any_node();
        let now = self.world.now;
        self.world.trace.line(now, Some(node), || format!("fault {fault:?}"));
        match fault {
            Fault::CrashOrStart => self.crash_or_start(node),
            Fault::CrashAll => (0..self.world.nodes.len()).for_each(|node| self.world.crash(node)),
            Fault::IsolateOrReturn => {
                let connected = self.world.network.is_connected(node);
                self.world.network.set_connected(node, !connected);
            }
            Fault::Partition => {
                let size = self.world.nodes.len();
                let sides: Vec<bool> = (0..size).map(|_| self.world.rng.bool()).collect();
                self.world.network.partition(&sides);
            }
            Fault::CutOneWay => {
                let other = self.any_node();
                self.world.network.set_cut(node, other, true);
            }
            Fault::Pause => self.world.nodes[node].paused_until = now + self.up_to_3_s(),
            Fault::HangDisk => self.world.nodes[node].disk_hangs_until = now + self.up_to_3_s(),
            Fault::SetClock => {
                let offset = self.up_to_3_s();
                self.world.nodes[node].clock.set_offset(offset);
            }
            Fault::Burst if self.world.rng.bool() => {
                let size = self.world.rng.u64(2..20);
                self.clients.batch(&mut self.world, node, size);
            }
            Fault::Burst => {
                for _ in 0..20 {
                    self.clients.call(&mut self.world, node, self.plan.registers);
                }
            }
            Fault::Heal => self.heal(),
        }
    }

    fn draw_fault(&mut self) -> Fault {
        let faults = &self.plan.faults;
        let mut drawn = self.world.rng.u64(0..faults.iter().map(|(_, weight)| weight).sum());
        let hit = faults.iter().find(|(_, weight)| {
            let hit = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            hit
        });
        hit.map_or(Fault::Heal, |(fault, _)| *fault)
    }

    fn up_to_3_s(&mut self) -> u64 {
        within(&mut self.world.rng, &(0..3000 * MS))
    }

    fn crash_or_start(&mut self, node: usize) {
        if self.world.nodes[node].raft.is_some() {
            self.world.crash(node);
        } else {
            self.world.start(node);
        }
    }

    fn heal(&mut self) {
        self.world.network.heal();
        for node in 0..self.world.nodes.len() {
            self.world.network.set_connected(node, true);
            self.world.start(node);
        }
    }

    /// The world becomes a good place. What still goes wrong now is the protocol's fault.
    fn peace(&mut self) {
        let now = self.world.now;
        self.world.trace.line(now, None, || "peace".into());
        self.heal();
        let network = &mut self.world.network;
        (network.loss, network.stragglers, network.duplication) = (0, 0, 0);
        network.mode = Network::default();
        network.delay = MS / 10..5 * MS;
        self.world.options.disk_delay = MS / 20..5 * MS;
        self.world.options.apply_delay = MS / 100..MS;
        for node in &mut self.world.nodes {
            node.paused_until = now;
            node.disk_hangs_until = now;
        }
    }

    /// I18: there is a leader, every call is answered, new calls at every node succeed, and all
    /// logs become the same.
    fn recovery(&mut self) -> Result<(), String> {
        let end = self.world.now + nanos(RECOVERY);
        self.until(end, "no leader", |run| run.leader().is_some())?;
        self.until(end, "a call was never answered", |run| run.clients.open() == 0)?;
        for node in 0..self.world.nodes.len() {
            self.write_somehow(end, node)?;
        }
        self.settled()?;
        // What chaos has left behind ends by itself: messages under way, and clocks that stand
        // still because they were set back.
        self.world.run_for(Duration::from_secs(3));
        if self.world.rng.bool() {
            self.isolation()?;
        }
        self.idle_is_quiet()
    }

    /// Everybody has the same log and has applied all of it.
    pub(super) fn settled(&mut self) -> Result<(), String> {
        let end = self.world.now + nanos(RECOVERY);
        self.until(end, "the nodes did not come to the same state", |run| {
            let states: Vec<_> = run
                .world
                .nodes
                .iter()
                .filter_map(|node| {
                    let status = node.raft.as_ref()?.status();
                    Some((status.last, status.durable, status.commit, status.applied, status.term))
                })
                .collect();
            let first = states.first().copied();
            let settled = first.is_some_and(|(last, durable, commit, applied, _)| {
                last == durable && durable == commit && commit == applied
            });
            settled && states.iter().all(|state| Some(*state) == first)
        })
    }

    /// The leader of the newest term.
    pub(super) fn leader(&self) -> Option<(Term, usize)> {
        let role = |node| (node, self.world.role(node));
        let leads = |(node, role)| match role {
            Some((RoleKind::Leader, term)) => Some((term, node)),
            _ => None,
        };
        (0..self.world.nodes.len()).map(role).filter_map(leads).max()
    }

    /// Writes and reads at one node until each has succeeded.
    fn write_somehow(&mut self, end: u64, node: usize) -> Result<(), String> {
        self.until(end, "a node's clients had no success", |run| {
            let before = run.clients.registers.succeeded();
            run.clients.call(&mut run.world, node, 1);
            run.world.run_for(LOOK_EVERY * 4);
            run.clients.collect(&mut run.world).is_ok()
                && run.clients.registers.succeeded() > before
        })
    }

    pub(super) fn until(
        &mut self,
        end: u64,
        otherwise: &str,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        while !holds(self) {
            self.sound()?;
            if self.world.now >= end {
                return Err(format!("I18: {otherwise} within {RECOVERY:?}"));
            }
            self.world.run_for(LOOK_EVERY);
        }
        self.sound()
    }

    /// I19: with nothing to do there are heartbeats and nothing else.
    fn idle_is_quiet(&mut self) -> Result<(), String> {
        let end = self.world.now + nanos(RECOVERY);
        self.until(end, "a call was never answered", |run| run.clients.open() == 0)?;
        // Later attempts of what was repeated come to an end.
        self.world.run_for(Duration::from_secs(3));
        let before = self.world.traffic.requests;
        self.world.run_for(Duration::from_secs(1));
        let sent = self.world.traffic.requests - before;
        let peers = self.world.nodes.len() as u64 - 1;
        // Ten heartbeats a second, a little more for a fast clock.
        if sent > 12 * peers {
            return Err(format!("I19: {sent} requests in an idle second with {peers} peers"));
        }
        self.sound()
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
