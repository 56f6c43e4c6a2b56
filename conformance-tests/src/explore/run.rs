//! One run: chaos, then peace, then the demand for progress.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use raft_node::core::{RoleKind, Term};

use crate::explore::plan::Plan;
use crate::explore::workload::Workload;
use crate::sim::World;
use crate::sim::network::MS;
use crate::sim::random::{chance, within};

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
        self.world.network.late_requests = self.plan.late_requests;
        self.world.network.late_answers = self.plan.late_answers;
        self.world.network.duplication = self.plan.duplication;
        self.world.network.delay = MS / 10..self.plan.max_delay;
        let end = self.world.now + nanos(self.plan.chaos);
        let (mut next_fault, mut next_call) = (self.world.now, self.world.now);
        while self.world.now < end {
            if next_call <= self.world.now {
                let loyal = chance(&mut self.world.rng, self.plan.loyalty);
                let leader = if loyal { self.any_leader() } else { None };
                let node = leader.unwrap_or_else(|| self.any_node());
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

    /// One of those that believe that they lead.
    pub(super) fn any_leader(&mut self) -> Option<usize> {
        let leads = |node: &usize| matches!(self.world.role(*node), Some((RoleKind::Leader, _)));
        let leaders: Vec<_> = (0..self.world.nodes.len()).filter(leads).collect();
        self.world.rng.choice(leaders)
    }

    /// The world becomes a good place. What still goes wrong now is the protocol's fault.
    fn peace(&mut self) {
        let now = self.world.now;
        self.world.trace.line(now, None, || "peace".into());
        self.heal();
        let network = &mut self.world.network;
        (network.loss, network.duplication) = (0, 0);
        (network.late_requests, network.late_answers) = (0, 0);
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
