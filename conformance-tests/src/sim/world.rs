//! The simulated world: virtual time, and everything that happens in it, decided by one seed.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::time::Duration;

use bytes::Bytes;
use raft_node::core::{
    Config, Entries, Event, LogIndex, Membership, Message, NodeId, RoleKind, Term, Write,
};
use raft_node::session::{SessionLimits, Sessions};
use raft_node::{RequestError, StateMachine};

use crate::cluster::{CallId, Setup, Traffic};
use crate::machine::{Machine, SharedOracle};
use crate::sim::checker::Checker;
use crate::sim::describe;
use crate::sim::network::{MS, Network};
use crate::sim::node::SimNode;
use crate::sim::options::Options;
use crate::sim::random::{chance, within};
use crate::sim::trace::Trace;

/// No run takes so many steps, unless nodes answer each other without end.
const STORM: u64 = 5_000_000;

/// The drift that nodes trust in where a scenario wants leases. Its clocks do not drift at all.
const TRUSTED_DRIFT: u32 = 10_000;

/// Something that will happen at a node; `life` tells whether it still concerns the life that it
/// was meant for.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Deliver(Message),
    DeliverBytes(usize, usize, Bytes),
    Local { node: usize, life: u64, what: Local },
}

/// Something that happens within a node.
#[derive(Clone, Debug)]
pub(super) enum Local {
    Synced,
    /// The state machine has done what it was at, unless its state was lost meanwhile.
    Applied {
        state: u64,
    },
    Loaded {
        from: LogIndex,
        entries: Entries,
    },
    /// The store of snapshots has done what it was at.
    SnapshotJob,
    /// The node's own snapshot is written.
    OwnSnapshot,
    /// What was gathered is given to the core.
    Turn,
    Wake,
}

impl Item {
    fn node(&self) -> usize {
        match self {
            Self::Deliver(message) => number(message.to),
            Self::DeliverBytes(_, node, _) | Self::Local { node, .. } => *node,
        }
    }
}

/// The node's place among the nodes of its world.
pub(crate) fn number(id: NodeId) -> usize {
    usize::try_from(id.get()).unwrap_or(usize::MAX).wrapping_sub(1)
}

/// The name of a node.
pub(crate) fn id_of(node: usize) -> NodeId {
    NodeId::new(node as u64 + 1)
}

/// A configuration of these nodes.
pub(crate) fn membership_of(
    voters: impl IntoIterator<Item = usize>,
    learners: impl IntoIterator<Item = usize>,
) -> Membership {
    let members = Membership::of_voters(voters.into_iter().map(id_of));
    learners.into_iter().fold(members, |members, node| members.learner(id_of(node), ""))
}

/// Some nodes, their network, their disks, and time.
pub struct World {
    pub(crate) options: Options,
    pub(crate) rng: fastrand::Rng,
    /// Virtual time in nanoseconds.
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Item>,
    scheduled: u64,
    pub(crate) nodes: Vec<SimNode>,
    pub(crate) network: Network,
    pub(crate) oracle: SharedOracle,
    pub(crate) checker: Checker,
    pub(crate) trace: Trace,
    pub(super) calls: BTreeMap<CallId, Option<Result<Bytes, RequestError>>>,
    ticks: u64,
    steps: u64,
    pub(crate) traffic: Traffic,
}

impl World {
    /// A world in which no node runs yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let size = options.nodes();
        let mut rng = fastrand::Rng::with_seed(options.seed);
        let mut nodes: Vec<_> =
            (0..size).map(|_| SimNode::new(&mut rng, options.clock_skew)).collect();
        for node in &mut nodes {
            node.snapshots.policy.every = options.snapshot_every;
        }
        let mut world = Self {
            rng,
            now: MS,
            queue: BTreeMap::new(),
            scheduled: 0,
            nodes,
            network: Network::new(size),
            oracle: SharedOracle::default(),
            checker: Checker::new(Membership::new(), size),
            trace: Trace::new(options.record),
            calls: BTreeMap::new(),
            ticks: 0,
            steps: 0,
            traffic: Traffic::default(),
            options,
        };
        world.checker = Checker::new(world.founders(), size);
        world
    }

    /// Says how the nodes are set up, before any of them starts.
    pub(crate) fn set_up(&mut self, setup: Setup) {
        let size = self.nodes.len();
        self.options.voters = setup.founders.unwrap_or(size).min(size);
        self.options.learners = 0;
        self.options.joiners = size - self.options.voters;
        self.options.leases = setup.leases.then_some(TRUSTED_DRIFT);
        self.options.snapshot_every = setup.snapshot_every;
        self.options.sessions = setup.sessions.then(SessionLimits::default);
        for node in &mut self.nodes {
            node.snapshots.policy.every = setup.snapshot_every;
        }
        self.checker = Checker::new(self.founders(), size);
    }

    /// The members that the cluster is founded with.
    pub(crate) fn founders(&self) -> Membership {
        let Options { voters, learners, .. } = self.options;
        membership_of(0..voters, voters..voters + learners)
    }

    /// What is wrong with this world, if anything is.
    #[must_use]
    pub fn violation(&self) -> Option<String> {
        let checker = self.checker.violation().map(str::to_owned);
        checker.or_else(|| self.oracle.lock().violation().map(str::to_owned))
    }

    /// What happened.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What happened, when nothing more will happen.
    pub(crate) fn into_trace(self) -> Trace {
        self.trace
    }

    /// How many steps the nodes have made.
    pub(crate) const fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    pub(super) fn schedule(&mut self, at: u64, item: Item) {
        self.scheduled += 1;
        self.queue.insert((at, self.scheduled), item);
    }

    /// Schedules something for the present life of a node.
    pub(super) fn schedule_local(&mut self, at: u64, node: usize, what: Local) {
        let life = self.nodes[node].life;
        self.schedule(at, Item::Local { node, life, what });
    }

    /// Lets time pass. Stops early when something is wrong.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2);
        while let Some(next) = self.queue.first_entry()
            && next.key().0 <= end
            && self.checker.violation().is_none()
        {
            let (at, _) = *next.key();
            let item = next.remove();
            self.now = self.now.max(at);
            let paused_until = self.nodes[item.node()].paused_until;
            if paused_until > self.now {
                self.schedule(paused_until, item);
                continue;
            }
            self.happen(item);
        }
        self.now = self.now.max(end);
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Deliver(message) => self.deliver(message),
            Item::DeliverBytes(from, to, bytes) => match Message::decode(bytes) {
                Ok(message) => self.deliver(message),
                Err(error) => self.checker.fail(format!("{from} to {to}: {error}")),
            },
            Item::Local { node, life, what } if self.nodes[node].life == life => {
                self.happen_within(node, what);
            }
            // Meant for a life that has ended.
            Item::Local { .. } => {}
        }
    }

    fn happen_within(&mut self, node: usize, what: Local) {
        match what {
            Local::Synced => {
                let ticket = self.nodes[node].disk.end_sync();
                self.checker.disk_changed(&self.nodes, node);
                if let Some(ticket) = ticket {
                    self.step(node, Event::Persisted(ticket));
                }
                self.sync(node);
            }
            Local::Applied { state } if self.nodes[node].state == state => self.apply_next(node),
            Local::Applied { .. } => {}
            Local::Loaded { from, entries } => self.step(node, Event::Loaded { from, entries }),
            Local::SnapshotJob => self.snapshot_job_done(node),
            Local::OwnSnapshot => self.own_snapshot_done(node),
            Local::Turn if self.nodes[node].gathered.is_empty() => {}
            Local::Turn => self.step(node, Event::Wake),
            Local::Wake if self.nodes[node].wake_at.is_some_and(|at| at <= self.now) => {
                self.nodes[node].wake_at = None;
                self.step(node, Event::Wake);
            }
            // An earlier one has come instead. If it had effects, there would be ever more of them.
            Local::Wake => {}
        }
    }

    fn deliver(&mut self, message: Message) {
        let (from, to) = (number(message.from), number(message.to));
        let arrives = !self.options.cuts_take_all || self.network.is_up(from, to);
        if arrives && self.nodes[to].raft.is_some() {
            self.trace.receipt(self.now, to, &message);
            self.step(to, Event::Receive(message));
        }
    }

    /// Gives an event to a node, now or together with those that come next.
    pub(crate) fn step(&mut self, node: usize, event: Event) {
        if self.nodes[node].raft.is_none() {
            return;
        }
        // The host acts upon what follows from these.
        let urgent = matches!(event, Event::Wake | Event::SnapshotTaken(_) | Event::StateLost);
        self.nodes[node].gathered.push(event);
        if !urgent && self.options.gather > 0 && self.chance(self.options.gather) {
            let at = self.now + self.rng.u64(0..MS);
            return self.schedule_local(at, node, Local::Turn);
        }
        self.turn(node);
    }

    /// One step of a node, and everything that follows from it.
    fn turn(&mut self, node: usize) {
        let local = self.nodes[node].clock.local(self.now);
        self.steps += 1;
        if self.steps > STORM {
            return self.checker.fail("I19: the nodes talk without end".into());
        }
        self.checker.before_step(&self.nodes, node, local);
        let SimNode { raft: Some(raft), gathered, .. } = &mut self.nodes[node] else { return };
        let (mut writes, mut outputs) = (Vec::new(), Vec::new());
        if node < self.options.at_once {
            let write = |write: &Write| {
                writes.push(write.clone());
                Ok::<(), Infallible>(())
            };
            let Ok(()) = raft.step_durably(local, gathered.drain(..), write, &mut outputs);
        } else {
            raft.step_all(local, gathered.drain(..), &mut outputs);
        }
        self.trace.absorb(&(self.now, node, &writes, &outputs));
        writes.iter().for_each(|write| self.write_at_once(node, write));
        self.checker.before_outputs(&self.nodes, node, &outputs);
        for output in outputs {
            self.carry_out(node, output);
        }
        self.checker.after_outputs(&self.nodes, node);
        self.freeze_if_due(node);
        self.sync(node);
        self.plan_wake(node);
    }

    fn plan_wake(&mut self, node: usize) {
        let SimNode { raft: Some(raft), clock, wake_at, .. } = &mut self.nodes[node] else {
            return;
        };
        let Some(deadline) = raft.deadline() else { return };
        let at = clock.global(deadline).max(self.now);
        if wake_at.is_none_or(|planned| at < planned) {
            *wake_at = Some(at);
            self.schedule_local(at, node, Local::Wake);
        }
    }

    pub(crate) fn start(&mut self, node: usize) {
        let name = id_of(node);
        if self.nodes[node].raft.is_some() {
            return;
        }
        let (config, founders) = (self.config(node), self.founders());
        let founders = if founders.contains(id_of(node)) { founders } else { Membership::new() };
        let Some(machine) = self.machine(node) else { return };
        if self.options.clock_origins > 0 {
            let origin = within(&mut self.rng, &(0..self.options.clock_origins));
            self.nodes[node].clock.begin(origin);
        }
        let now = self.now;
        match self.nodes[node].start(config, &founders, now, machine) {
            Ok(()) => {
                self.trace.line(now, Some(node), || "starts".into());
                self.checker.started(&self.nodes, node);
                self.plan_wake(node);
            }
            Err(error) => self.checker.fail(format!("{name:?} does not start: {error}")),
        }
    }

    /// An empty state machine.
    fn machine(&mut self, node: usize) -> Option<Box<dyn StateMachine>> {
        let machine = Machine::start(node, &self.oracle);
        match self.options.sessions {
            None => Some(Box::new(machine)),
            Some(limits) => match Sessions::new(machine, limits) {
                Ok(machine) => Some(Box::new(machine)),
                Err(error) => {
                    self.checker.fail(error.to_string());
                    None
                }
            },
        }
    }

    fn config(&mut self, node: usize) -> Config {
        let config = Config::new(id_of(node), self.rng.u64(..))
            .compaction_margin(self.options.compaction_margin)
            .pre_vote(self.options.pre_vote)
            .check_quorum(self.options.check_quorum);
        let config = match self.options.leases {
            Some(drift) => config.read_leases(drift),
            None => config,
        };
        (self.options.tune)(config, self.options.tuning)
    }

    pub(crate) fn crash(&mut self, node: usize) {
        let name = id_of(node);
        if self.nodes[node].raft.is_none() {
            return;
        }
        let pending = self.nodes[node].disk.pending() as u64;
        let survivors = within(&mut self.rng, &(0..pending + 1)) as usize;
        let done = [self.rng.bool(), self.rng.bool()];
        self.trace.line(self.now, Some(node), || {
            format!("crashes; {survivors} of {pending} unsynced writes survive")
        });
        match self.nodes[node].crash(survivors, done) {
            Ok(orphans) => {
                self.checker.disk_changed(&self.nodes, node);
                for (call, error) in orphans {
                    self.resolve(call, Err(error));
                }
            }
            Err(error) => self.checker.fail(format!("snapshots of {name:?}: {error}")),
        }
    }

    /// The host finds its state machine damaged.
    pub(crate) fn lose_state(&mut self, node: usize) {
        if self.nodes[node].raft.is_none() {
            return;
        }
        let Some(machine) = self.machine(node) else { return };
        self.trace.line(self.now, Some(node), || "loses its state".into());
        for (call, error) in self.nodes[node].lose_state(machine) {
            self.resolve(call, Err(error));
        }
        self.checker.state_lost(node);
        self.step(node, Event::StateLost);
    }

    /// Whether something happens that happens so many times in 1,000.
    pub(super) fn chance(&mut self, per_thousand: u64) -> bool {
        chance(&mut self.rng, per_thousand)
    }

    /// Writes into the trace how the nodes are.
    pub(crate) fn describe_nodes(&mut self) {
        let open = self.calls.iter().filter(|(_, answer)| answer.is_none());
        let open: Vec<u64> = open.map(|(call, _)| call.0).collect();
        if !open.is_empty() {
            self.trace.line(self.now, None, || format!("END: calls without an answer: {open:?}"));
        }
        for (node, state) in self.nodes.iter().enumerate() {
            let lost = if state.lost { ", has lost its state" } else { "" };
            self.trace.line(self.now, Some(node), || match &state.raft {
                Some(raft) => format!("END: {}{lost}", describe::status(&raft.status())),
                None => "END: does not run".into(),
            });
        }
    }

    /// The role and term of a running node.
    #[must_use]
    pub fn role(&self, node: usize) -> Option<(RoleKind, Term)> {
        let status = self.nodes[node].raft.as_ref()?.status();
        Some((status.role, status.term))
    }
}
