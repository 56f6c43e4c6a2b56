//! The simulated world: virtual time, and everything that happens in it, decided by one seed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use raft_node::RequestError;
use raft_node::core::{
    Config, Entries, Event, LogIndex, Message, NodeId, Outcome, Output, Proposal, RoleKind, Term,
};

use crate::cluster::{CallId, Traffic};
use crate::machine::SharedOracle;
use crate::sim::checker::Checker;
use crate::sim::network::{MS, Network, is_request};
use crate::sim::node::{SimNode, Waiting};
use crate::sim::random::within;
use crate::sim::trace::{Trace, describe, describe_write};

/// No run takes so many steps, unless nodes answer each other without end.
const STORM: u64 = 5_000_000;

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// How many voters there are.
    pub voters: usize,
    /// How many learners there are besides.
    pub learners: usize,
    /// Settings of every node, besides its place in the cluster and its seed.
    pub tune: fn(Config, u64) -> Config,
    /// Passed to `tune`.
    pub tuning: u64,
    /// How long a disk takes to sync, in nanoseconds.
    pub disk_delay: Range<u64>,
    /// How long a state machine takes for a run of entries, in nanoseconds.
    pub apply_delay: Range<u64>,
    /// Clocks run fast or slow by up to so many millionths.
    pub clock_skew: u64,
    /// Whether a cut also takes the messages that are under way on the link.
    pub cuts_take_all: bool,
    /// Whether messages are encoded and decoded on their way, which also counts bytes.
    pub wire: bool,
    /// Whether a readable trace is kept.
    pub record: bool,
}

impl Options {
    /// A calm world with so many voters.
    #[must_use]
    pub fn calm(seed: u64, voters: usize) -> Self {
        Self {
            seed,
            voters,
            learners: 0,
            tune: |config, _| config,
            tuning: 0,
            disk_delay: MS / 10..2 * MS,
            apply_delay: MS / 100..MS / 5,
            clock_skew: 0,
            cuts_take_all: true,
            wire: true,
            record: false,
        }
    }
}

/// Something that will happen at a node; `life` tells whether it still concerns the life that it
/// was meant for.
#[derive(Clone, Debug)]
enum Item {
    Deliver(Message),
    DeliverBytes(usize, usize, Bytes),
    Synced { node: usize, life: u64 },
    Applied { node: usize, life: u64 },
    Loaded { node: usize, life: u64, from: LogIndex, entries: Entries },
    Wake { node: usize, life: u64 },
}

impl Item {
    fn node(&self) -> usize {
        match self {
            Self::Deliver(message) => number(message.to),
            Self::DeliverBytes(_, node, _)
            | Self::Synced { node, .. }
            | Self::Applied { node, .. }
            | Self::Loaded { node, .. }
            | Self::Wake { node, .. } => *node,
        }
    }
}

/// The node's number, from its id.
pub(crate) fn number(id: NodeId) -> usize {
    usize::try_from(id.get()).unwrap_or(usize::MAX).wrapping_sub(1)
}

/// The id of the node with this number.
pub(crate) fn id_of(node: usize) -> NodeId {
    NodeId::new(node as u64 + 1)
}

/// A cluster in virtual time.
pub struct World {
    pub(crate) options: Options,
    pub(crate) rng: fastrand::Rng,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Item>,
    scheduled: u64,
    pub(crate) nodes: Vec<SimNode>,
    pub(crate) network: Network,
    pub(crate) oracle: SharedOracle,
    checker: Checker,
    pub(crate) trace: Trace,
    calls: BTreeMap<CallId, Option<Result<Bytes, RequestError>>>,
    ticks: u64,
    steps: u64,
    pub(crate) traffic: Traffic,
}

impl World {
    /// A world in which no node runs yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let size = options.voters + options.learners;
        let mut rng = fastrand::Rng::with_seed(options.seed);
        let nodes = (0..size).map(|_| SimNode::new(&mut rng, options.clock_skew)).collect();
        Self {
            rng,
            now: MS,
            queue: BTreeMap::new(),
            scheduled: 0,
            nodes,
            network: Network::new(size),
            oracle: SharedOracle::default(),
            checker: Checker::new(options.voters, size),
            trace: Trace::new(options.record),
            calls: BTreeMap::new(),
            ticks: 0,
            steps: 0,
            traffic: Traffic::default(),
            options,
        }
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

    pub(crate) fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    fn schedule(&mut self, at: u64, item: Item) {
        self.scheduled += 1;
        self.queue.insert((at, self.scheduled), item);
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
            Item::Synced { node, life } if self.nodes[node].life == life => {
                let ticket = self.nodes[node].disk.end_sync();
                self.checker.disk_changed(&self.nodes, node);
                if let Some(ticket) = ticket {
                    self.step(node, Event::Persisted(ticket));
                }
                self.sync(node);
            }
            Item::Applied { node, life } if self.nodes[node].life == life => self.apply_next(node),
            Item::Loaded { node, life, from, entries } if self.nodes[node].life == life => {
                self.step(node, Event::Loaded { from, entries });
            }
            Item::Wake { node, life } if self.nodes[node].life == life => {
                self.nodes[node].wake_at = None;
                self.step(node, Event::Wake);
            }
            // Meant for a life that has ended.
            Item::Synced { .. }
            | Item::Applied { .. }
            | Item::Loaded { .. }
            | Item::Wake { .. } => {}
        }
    }

    fn deliver(&mut self, message: Message) {
        let (from, to) = (number(message.from), number(message.to));
        let arrives = !self.options.cuts_take_all || self.network.is_up(from, to);
        if arrives && self.nodes[to].raft.is_some() {
            self.trace.line(self.now, Some(to), || format!("receives {}", describe(&message)));
            self.step(to, Event::Receive(message));
        }
    }

    /// One step of a node, and everything that follows from it.
    pub(crate) fn step(&mut self, node: usize, event: Event) {
        let local = self.nodes[node].clock.local(self.now);
        self.steps += 1;
        if self.steps > STORM {
            return self.checker.fail("I19: the nodes talk without end".into());
        }
        let Some(raft) = &mut self.nodes[node].raft else { return };
        let outputs = raft.step(event.at(local));
        self.trace.absorb(&(self.now, node, &outputs));
        self.checker.before_outputs(&self.nodes, node, &outputs);
        for output in outputs {
            self.carry_out(node, output);
        }
        self.checker.after_outputs(&self.nodes, node);
        self.sync(node);
        self.plan_wake(node);
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        let life = self.nodes[node].life;
        match output {
            Output::Persist(write) => {
                self.trace.line(self.now, Some(node), || describe_write(&write));
                self.nodes[node].disk.write(write);
            }
            Output::Send(message) => self.send(node, message),
            Output::Apply(entries) => {
                let idle = self.nodes[node].applying.is_empty();
                self.nodes[node].applying.push_back(entries);
                if idle {
                    let at = self.now + within(&mut self.rng, &self.options.apply_delay);
                    self.schedule(at, Item::Applied { node, life });
                }
            }
            Output::Load { from, through, max_bytes } => {
                // What is read now may be cut before it arrives.
                let entries = self.nodes[node].disk.load(from, through, max_bytes);
                let at = self.disk_done(node);
                self.schedule(at, Item::Loaded { node, life, from, entries });
            }
            Output::Done { request, outcome } => match self.nodes[node].waiting.remove(&request) {
                Some(waiting) => self.done(node, waiting, outcome),
                None => self.checker.fail(format!("node {node} answered {request:?} twice")),
            },
            Output::Notice(notice) => {
                self.trace.line(self.now, Some(node), || format!("{notice:?}"));
            }
        }
    }

    fn send(&mut self, node: usize, message: Message) {
        self.traffic.requests += u64::from(is_request(&message));
        let to = number(message.to);
        let bytes = self.options.wire.then(|| {
            let mut bytes = BytesMut::new();
            message.encode(&mut bytes);
            bytes.freeze()
        });
        self.traffic.bytes += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if !self.network.is_up(node, to) {
            return;
        }
        for delay in self.network.arrivals(&message, &mut self.rng) {
            let item = match &bytes {
                Some(bytes) => Item::DeliverBytes(node, to, bytes.clone()),
                None => Item::Deliver(message.clone()),
            };
            self.schedule(self.now + delay, item);
        }
    }

    fn sync(&mut self, node: usize) {
        if self.nodes[node].disk.begin_sync() {
            let life = self.nodes[node].life;
            let at = self.disk_done(node);
            self.schedule(at, Item::Synced { node, life });
        }
    }

    /// When the disk will be done with what it begins now.
    fn disk_done(&mut self, node: usize) -> u64 {
        let delay = within(&mut self.rng, &self.options.disk_delay);
        self.now.max(self.nodes[node].disk_hangs_until) + delay
    }

    /// The state machine has finished its present run of entries, and takes the next.
    fn apply_next(&mut self, node: usize) {
        let SimNode { applying, machine, committed, .. } = &mut self.nodes[node];
        let (Some(entries), Some(machine)) = (applying.pop_front(), machine) else { return };
        let mut answers = Vec::new();
        for entry in entries.iter() {
            let answer = SimNode::apply(machine, entry);
            if let Some(call) = committed.remove(&entry.index) {
                answers.push((call, answer));
            }
        }
        if !applying.is_empty() {
            let at = self.now + within(&mut self.rng, &self.options.apply_delay);
            let life = self.nodes[node].life;
            self.schedule(at, Item::Applied { node, life });
        }
        for (call, answer) in answers {
            self.resolve(call, Ok(answer));
        }
        if let Some(last) = entries.last() {
            self.nodes[node].applied = last.index;
            self.step(node, Event::Applied(last.index));
        }
    }

    fn plan_wake(&mut self, node: usize) {
        let SimNode { raft: Some(raft), clock, wake_at, life, .. } = &mut self.nodes[node] else {
            return;
        };
        let Some(deadline) = raft.deadline() else { return };
        let at = clock.global(deadline).max(self.now);
        if wake_at.is_none_or(|planned| at < planned) {
            *wake_at = Some(at);
            let life = *life;
            self.schedule(at, Item::Wake { node, life });
        }
    }

    fn done(&mut self, node: usize, waiting: Waiting, outcome: Outcome) {
        let result = match (waiting, outcome) {
            (Waiting::Proposal(call), Outcome::Committed { index, .. }) => {
                if index > self.nodes[node].handed_out() {
                    self.nodes[node].committed.insert(index, call);
                } else {
                    // The state machine's answer has gone by, as in a real node.
                    self.resolve(call, Err(RequestError::Unknown));
                }
                return;
            }
            (Waiting::Read(call, query, began), Outcome::Readable { index }) => {
                self.checker.check_read(node, began, index);
                if self.nodes[node].applied < index {
                    self.checker.fail(format!("node {node} may read at {index}, not yet applied"));
                }
                (call, Ok(self.nodes[node].query(query)))
            }
            (Waiting::Proposal(call) | Waiting::Read(call, ..), outcome) => match outcome {
                Outcome::Refused { reason, leader } => {
                    (call, Err(RequestError::Refused { reason, leader }))
                }
                Outcome::Lost => (call, Err(RequestError::Lost)),
                Outcome::Unknown | Outcome::Committed { .. } | Outcome::Readable { .. } => {
                    (call, Err(RequestError::Unknown))
                }
            },
        };
        self.resolve(result.0, result.1);
    }

    fn resolve(&mut self, call: CallId, result: Result<Bytes, RequestError>) {
        self.trace.line(self.now, None, || format!("call {} ends: {result:?}", call.0));
        self.trace.absorb(&(call, result.as_ref().ok()));
        if let Some(answered) = self.calls.insert(call, Some(result)).flatten() {
            self.checker.fail(format!("call {} had its answer already: {answered:?}", call.0));
        }
    }

    pub(crate) fn answer(&self, call: CallId) -> Option<Result<Bytes, RequestError>> {
        self.calls.get(&call).cloned().flatten()
    }

    fn open_call(&mut self, node: usize) -> Option<CallId> {
        let call = CallId(self.calls.len() as u64);
        self.calls.insert(call, None);
        if self.nodes[node].raft.is_none() {
            self.resolve(call, Err(RequestError::Stopped));
            return None;
        }
        Some(call)
    }

    pub(crate) fn propose(&mut self, node: usize, command: Bytes) -> CallId {
        let call = CallId(self.calls.len() as u64);
        self.propose_all(node, vec![command]);
        call
    }

    /// Proposes all commands in one event.
    pub(crate) fn propose_all(&mut self, node: usize, commands: Vec<Bytes>) -> Vec<CallId> {
        let (mut calls, mut proposals) = (Vec::new(), Vec::new());
        for command in commands {
            let call = CallId(self.calls.len() as u64);
            calls.push(call);
            if self.open_call(node).is_some() {
                self.trace
                    .line(self.now, Some(node), || format!("call {}: propose {command:?}", call.0));
                let request = self.nodes[node].wait(Waiting::Proposal(call));
                proposals.push(Proposal { request, command });
            }
        }
        if !proposals.is_empty() {
            self.step(node, Event::Propose(proposals));
        }
        calls
    }

    pub(crate) fn read(&mut self, node: usize, query: Bytes) -> CallId {
        let call = CallId(self.calls.len() as u64);
        if self.open_call(node).is_some() {
            self.trace.line(self.now, Some(node), || format!("call {}: read {query:?}", call.0));
            let began = self.checker.newest_commit();
            let request = self.nodes[node].wait(Waiting::Read(call, query, began));
            self.step(node, Event::Read(request));
        }
        call
    }

    pub(crate) fn start(&mut self, node: usize) {
        if self.nodes[node].raft.is_some() {
            return;
        }
        let config = self.config(node);
        let now = self.now;
        match self.nodes[node].start(
            config,
            now,
            crate::machine::Machine::start(node, &self.oracle),
        ) {
            Ok(()) => {
                self.trace.line(now, Some(node), || "starts".into());
                self.checker.started(node);
                self.plan_wake(node);
            }
            Err(error) => self.checker.fail(format!("node {node} does not start: {error}")),
        }
    }

    fn config(&mut self, node: usize) -> Config {
        let seed = self.rng.u64(..);
        let voters = (0..self.options.voters).map(id_of);
        let learners = (self.options.voters..self.nodes.len()).map(id_of);
        let config = Config::new(id_of(node), voters, seed).learners(learners);
        (self.options.tune)(config, self.options.tuning)
    }

    pub(crate) fn crash(&mut self, node: usize) {
        if self.nodes[node].raft.is_none() {
            return;
        }
        let pending = self.nodes[node].disk.pending() as u64;
        let survivors = within(&mut self.rng, &(0..pending + 1)) as usize;
        self.trace.line(self.now, Some(node), || {
            format!("crashes; {survivors} of {pending} unsynced writes survive")
        });
        let orphans = self.nodes[node].crash(survivors);
        self.checker.disk_changed(&self.nodes, node);
        for (call, error) in orphans {
            self.resolve(call, Err(error));
        }
    }

    /// The role and term of a running node.
    #[must_use]
    pub fn role(&self, node: usize) -> Option<(RoleKind, Term)> {
        let status = self.nodes[node].raft.as_ref()?.status();
        Some((status.role, status.term))
    }
}
