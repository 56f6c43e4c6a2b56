//! The simulator as a cluster for the scenarios.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use bytes::Bytes;
use raft_node::RequestError;
use raft_node::core::{NodeId, RoleKind, Term};

use crate::cluster::{CallId, Cluster, Members, Network, Setup, Traffic};
use crate::machine::Oracle;
use crate::sim::options::Options;
use crate::sim::trace::Form;
use crate::sim::world::{World, id_of, membership_of, number};

/// A cluster in virtual time.
pub struct SimCluster {
    world: World,
    scenario: &'static str,
}

impl SimCluster {
    /// A calm cluster for a scenario of that name.
    #[must_use]
    pub fn new(scenario: &'static str, voters: usize, seed: u64) -> Self {
        Self::of(scenario, Options { record: true, ..Options::calm(seed, voters) })
    }

    /// The same without a record of what happens, for a machine with little memory. A failure says
    /// how to run it again where there is more.
    #[must_use]
    pub fn without_record(scenario: &'static str, voters: usize, seed: u64) -> Self {
        Self::of(scenario, Options::calm(seed, voters))
    }

    fn of(scenario: &'static str, options: Options) -> Self {
        Self { world: World::new(options), scenario }
    }

    /// The world behind it.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }
}

impl Cluster for SimCluster {
    fn size(&self) -> usize {
        self.world.nodes.len()
    }

    fn set_up(&mut self, setup: Setup) {
        self.world.set_up(setup);
    }

    fn election_timeout(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn effort(&self) -> f64 {
        1.0
    }

    fn start(&mut self, node: usize) {
        self.world.start(node);
    }

    fn crash(&mut self, node: usize) {
        self.world.network.set_connected(node, false);
        self.world.crash(node);
    }

    fn is_running(&self, node: usize) -> bool {
        self.world.nodes[node].raft.is_some()
    }

    fn connect(&mut self, node: usize) {
        self.world.network.set_connected(node, true);
    }

    fn disconnect(&mut self, node: usize) {
        self.world.network.set_connected(node, false);
    }

    fn is_connected(&self, node: usize) -> bool {
        self.world.network.is_connected(node)
    }

    fn partition(&mut self, sides: &[bool]) {
        self.world.network.partition(sides);
    }

    fn heal(&mut self) {
        self.world.network.heal();
    }

    fn set_network(&mut self, network: Network) {
        self.world.network.mode = network;
    }

    fn propose(&mut self, node: usize, command: Bytes) -> CallId {
        self.world.propose(node, command)
    }

    fn read(&mut self, node: usize, query: Bytes) -> CallId {
        self.world.read(node, query)
    }

    fn change_membership(&mut self, node: usize, voters: &[usize], learners: &[usize]) -> CallId {
        let target = membership_of(voters.iter().copied(), learners.iter().copied());
        self.world.change_membership(node, target, None)
    }

    fn transfer(&mut self, node: usize, to: Option<usize>) -> CallId {
        self.world.transfer(node, to.map(id_of))
    }

    fn snapshot(&mut self, node: usize) -> CallId {
        self.world.snapshot(node)
    }

    fn answer(&mut self, call: CallId) -> Option<Result<Bytes, RequestError>> {
        self.world.answer(call)
    }

    fn role(&mut self, node: usize) -> Option<(RoleKind, Term)> {
        self.world.role(node)
    }

    fn members(&mut self, node: usize) -> Option<Members> {
        let members = self.world.nodes[node].raft.as_ref()?.membership();
        let numbers = |ids: &[NodeId]| ids.iter().map(|id| number(*id)).collect();
        Some(Members {
            voters: numbers(members.voters()),
            learners: numbers(members.learners()),
            joint: members.is_joint(),
        })
    }

    fn log_length(&mut self, node: usize) -> Option<u64> {
        let status = self.world.nodes[node].raft.as_ref()?.status();
        Some(status.last.since(status.base))
    }

    fn oracle<T>(&mut self, look: impl FnOnce(&mut Oracle) -> T) -> T {
        look(&mut self.world.oracle.lock())
    }

    fn traffic(&self) -> Traffic {
        self.world.traffic
    }

    fn tick(&mut self) -> u64 {
        self.world.tick()
    }

    fn wait(&mut self, time: Duration) {
        self.world.run_for(time);
        let violation = self.world.violation();
        assert!(violation.is_none(), "{}\n{}", violation.unwrap_or_default(), self.replay());
    }

    fn random(&mut self, below: u64) -> u64 {
        self.world.rng.u64(0..below.max(1))
    }

    fn replay(&self) -> String {
        let Self { scenario, world } = self;
        format!(
            "{}\nreplay: cargo run --release -p conformance-tests -- scenario {scenario} --seed {}",
            world.trace().table(Form::Short),
            world.options.seed
        )
    }
}
