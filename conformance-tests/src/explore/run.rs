//! One run: chaos, then peace, then the demand for progress.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use raft_node::core::{RoleKind, Term};

use crate::cluster::CallId;
use crate::explore::plan::Plan;
use crate::explore::reduction::Reduction;
use crate::explore::retries::Retries;
use crate::explore::workload::Workload;
use crate::sim::network::MS;
use crate::sim::random::{chance, within};
use crate::sim::{Trace, World};

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed of the run.
    pub seed: u64,
    /// What was taken away from the run that the seed draws.
    pub reduction: Reduction,
    /// What the run was made of.
    pub plan: Plan,
    /// What went wrong, if anything did.
    pub failure: Option<String>,
    /// A digest of everything that happened.
    pub digest: u64,
    /// Calls that clients made.
    pub calls: u64,
    /// The numbers of the faults that were carried out.
    pub faults: Vec<u64>,
    /// Steps that nodes made, the measure of what the run has cost.
    pub steps: u64,
    /// When the run ended, in virtual time since its beginning.
    pub ended: Duration,
    /// The trace; empty unless it was recorded.
    pub trace: Trace,
}

impl Report {
    /// The command that runs the same again and shows the trace.
    #[must_use]
    pub fn replay(&self) -> String {
        let Self { seed, reduction, .. } = self;
        let command = "cargo run --release -p conformance-tests -- explore";
        format!("replay: {command} --seed {seed}{reduction} --trace")
    }
}

/// Explores the world of a seed, without what the reduction takes away. The same seed and reduction
/// give the same digest, whether a trace is recorded or not.
#[must_use]
pub fn explore(seed: u64, reduction: &Reduction, record: bool) -> Report {
    let plan = Plan::draw(seed, record).reduced(reduction);
    let mut run = Run {
        world: World::new(plan.options.clone()),
        clients: Workload::new(plan.sessions > 0),
        retries: Retries::new(plan.sessions),
        controls: BTreeSet::new(),
        injections: 0,
        carried_out: Vec::new(),
        plan,
    };
    // A panic is a failure like any other: it must name its seed.
    let failure = panic::catch_unwind(AssertUnwindSafe(|| run.whole().err()))
        .unwrap_or_else(|panic| Some(format!("a panic: {}", reason(panic.as_ref()))));
    if failure.is_some() {
        run.world.describe_nodes();
    }
    Report {
        seed,
        reduction: reduction.clone(),
        failure,
        digest: run.world.trace().digest(),
        calls: run.clients.registers.begun(),
        faults: run.carried_out,
        steps: run.world.steps(),
        ended: Duration::from_nanos(run.world.now),
        trace: run.world.into_trace(),
        plan: run.plan,
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
    /// Clients with sessions.
    pub(super) retries: Retries,
    /// Calls about the cluster itself that have no answer.
    pub(super) controls: BTreeSet<CallId>,
    /// How many faults were drawn.
    pub(super) injections: u64,
    /// The numbers of those that were carried out.
    pub(super) carried_out: Vec<u64>,
}

pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Run {
    fn whole(&mut self) -> Result<(), String> {
        for node in 0..self.world.nodes.len() {
            self.world.start(node);
            self.world.network.set_connected(node, true);
        }
        self.chaos()?;
        self.peace();
        self.recovery()?;
        self.retries.verdict(&self.world)?;
        self.clients.verdict(&self.world)
    }

    pub(super) fn sound(&mut self) -> Result<(), String> {
        self.clients.collect(&mut self.world)?;
        self.retries.go_on(&mut self.world)?;
        self.controls.retain(|call| self.world.answer(*call).is_none());
        self.world.violation().map_or(Ok(()), Err)
    }

    fn chaos(&mut self) -> Result<(), String> {
        self.world.network.loss = self.plan.loss;
        self.world.network.late_requests = self.plan.late_requests;
        self.world.network.late_answers = self.plan.late_answers;
        self.world.network.duplication = self.plan.duplication;
        self.world.network.damage = self.plan.damage;
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
        self.retries.close_down();
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

    /// The leader of the newest term.
    pub(super) fn leader(&self) -> Option<(Term, usize)> {
        let role = |node| (node, self.world.role(node));
        let leads = |(node, role)| match role {
            Some((RoleKind::Leader, term)) => Some((term, node)),
            _ => None,
        };
        (0..self.world.nodes.len()).map(role).filter_map(leads).max()
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
