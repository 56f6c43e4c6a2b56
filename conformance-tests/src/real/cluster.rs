//! Real nodes as a cluster for the scenarios.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use raft_node::core::{Membership, NodeId, RoleKind, Term};
use raft_node::{
    Client, FileLog, FileSnapshots, Handle, MemoryLog, MemorySnapshots, NodeStatus, RequestError,
    Settings, SnapshotPolicy, Storage,
};
use tempfile::TempDir;

use crate::cluster::{CallId, Cluster, Members, Network, Setup, Traffic};
use crate::machine::{Oracle, SharedOracle};
use crate::process::free_address;
use crate::real::network::RealNetwork;
use crate::real::proxy::Proxy;
use crate::real::recorded::Recordings;
use crate::real::store::Fence;
use crate::real::{Bootstrap, NodeNetwork, NodeSpec, Substance};
use crate::sim::world::{id_of, number};

/// Long enough for a busy machine to keep its heartbeats, short enough for a suite.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(300);
/// A node that does not answer a status request for as long counts as hung.
const STATUS_PATIENCE: Duration = Duration::from_secs(20);

/// How many millionths the clocks of the nodes may differ in pace: it is one and the same clock.
const MAX_DRIFT: u32 = 1000;

type Callback = Box<dyn FnOnce(Result<Bytes, RequestError>) + Send>;
type Answers = Arc<Mutex<BTreeMap<CallId, Option<Result<Bytes, RequestError>>>>>;

/// A cluster of real nodes, in real time.
pub struct RealCluster<B: Bootstrap> {
    bootstrap: B,
    nodes: Vec<Option<Running<B::Node>>>,
    setup: Setup,
    disks: Vec<(MemoryLog, MemorySnapshots)>,
    directory: Option<TempDir>,
    addresses: Vec<String>,
    /// The link that node `from` dials to reach `to`.
    proxies: BTreeMap<(usize, usize), Proxy>,
    network: RealNetwork,
    oracle: SharedOracle,
    recordings: Recordings,
    answers: Answers,
    rng: fastrand::Rng,
    seed: u64,
    ticks: u64,
}

struct Running<N> {
    node: N,
    handle: Handle,
    fence: Fence,
}

impl<B: Bootstrap> RealCluster<B> {
    /// A cluster in which no node runs yet.
    ///
    /// # Panics
    /// The machine has no loopback ports or temporary directory to give.
    #[must_use]
    pub fn new(bootstrap: B, substance: Substance, size: usize) -> Self {
        let seed = fastrand::u64(..);
        let mut cluster = Self {
            bootstrap,
            nodes: (0..size).map(|_| None).collect(),
            setup: Setup::default(),
            // Clones of one memory log share their content, so each disk is made by itself.
            disks: (0..size).map(|_| (MemoryLog::new(), MemorySnapshots::new())).collect(),
            directory: None,
            addresses: Vec::new(),
            proxies: BTreeMap::new(),
            network: RealNetwork::new(size, seed),
            oracle: SharedOracle::default(),
            recordings: Recordings::default(),
            answers: Answers::default(),
            rng: fastrand::Rng::with_seed(seed),
            seed,
            ticks: 0,
        };
        if substance == Substance::FilesAndTcp {
            cluster.prepare_tcp(size);
        }
        cluster
    }

    fn prepare_tcp(&mut self, size: usize) {
        self.directory = Some(TempDir::new().expect("a temporary directory"));
        self.addresses = (0..size).map(|_| free_address()).collect();
        for from in 0..size {
            for to in (0..size).filter(|to| *to != from) {
                let proxy = Proxy::start(self.addresses[to].clone()).expect("a loopback port");
                self.proxies.insert((from, to), proxy);
            }
        }
    }

    fn address(&self, node: usize) -> String {
        self.addresses.get(node).cloned().unwrap_or_default()
    }

    /// A founder is given the list of all founders; a node that is to be added only knows where it
    /// is itself.
    fn settings(&self, node: usize) -> Settings {
        let Setup { founders, snapshot_every, leases, .. } = self.setup;
        let founders = founders.unwrap_or(self.nodes.len());
        let policy = match snapshot_every {
            Some(entries) => SnapshotPolicy::NEVER.entries(entries),
            None => SnapshotPolicy::NEVER,
        };
        let settings = Settings::new(id_of(node))
            .election_timeout(ELECTION_TIMEOUT)
            .snapshots(policy)
            .configure(move |config| {
                let config = config.compaction_margin(0);
                if leases { config.read_leases(MAX_DRIFT) } else { config }
            });
        let settings = self.dial_through_proxies(node, settings);
        if node >= founders {
            return settings.listen(self.address(node));
        }
        (0..founders)
            .fold(settings, |settings, peer| settings.peer(id_of(peer), self.address(peer)))
    }

    fn dial_through_proxies(&self, node: usize, settings: Settings) -> Settings {
        let own = self.proxies.iter().filter(|((from, _), _)| *from == node);
        let routes: BTreeMap<NodeId, String> =
            own.map(|((_, to), proxy)| (id_of(*to), proxy.address())).collect();
        settings.route(move |peer, address| {
            routes.get(&peer).cloned().unwrap_or_else(|| address.to_owned())
        })
    }

    fn open_storage(&self, node: usize, fence: &Fence) -> Storage {
        let Some(directory) = &self.directory else {
            let (log, snapshots) = self.disks[node].clone();
            return fence.around(log, snapshots);
        };
        let directory = directory.path().join(node.to_string());
        let log = FileLog::open(directory.join("log"));
        let snapshots = FileSnapshots::open(directory.join("snapshots"));
        fence.around(
            log.expect("the log of a crashed node opens again"),
            snapshots.expect("the snapshots of a crashed node open again"),
        )
    }

    fn status(&self, node: usize) -> Option<NodeStatus> {
        let running = self.nodes[node].as_ref()?;
        let (sender, status) = channel();
        running.handle.client().status(move |status| drop(sender.send(status)));
        status.recv_timeout(STATUS_PATIENCE).ok()?.ok()
    }

    /// Makes a call at a node; one that is down has stopped.
    fn call(&mut self, node: usize, ask: impl FnOnce(&Client, Callback)) -> CallId {
        let call = self.next_call();
        let callback = self.callback(call);
        match &self.nodes[node] {
            Some(running) => ask(running.handle.client(), callback),
            None => callback(Err(RequestError::Stopped)),
        }
        call
    }

    /// Takes the node off the network and out of the cluster.
    fn take_down(&mut self, node: usize) -> Option<Running<B::Node>> {
        self.disconnect(node);
        self.network.attach(node, None);
        self.nodes[node].take()
    }

    /// Brings the proxies in line with the links.
    fn update_links(&self) {
        self.network.links(|links| {
            for ((from, to), proxy) in &self.proxies {
                proxy.set_up(links.is_up(*from, *to));
            }
        });
    }

    fn next_call(&mut self) -> CallId {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let call = CallId(answers.len() as u64);
        answers.insert(call, None);
        call
    }

    fn callback(&self, call: CallId) -> Callback {
        let answers = self.answers.clone();
        Box::new(move |answer| {
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            let before = answers.insert(call, Some(answer)).flatten();
            debug_assert!(before.is_none(), "two answers to one call");
        })
    }
}

/// For a call whose success says nothing more.
fn without_answer<T>(callback: Callback) -> impl FnOnce(Result<T, RequestError>) + Send + 'static {
    move |result| callback(result.map(|_| Bytes::new()))
}

fn numbers(ids: &[NodeId]) -> Vec<usize> {
    ids.iter().map(|id| number(*id)).collect()
}

impl<B: Bootstrap> Cluster for RealCluster<B> {
    fn size(&self) -> usize {
        self.nodes.len()
    }

    fn set_up(&mut self, setup: Setup) {
        self.setup = setup;
    }

    fn election_timeout(&self) -> Duration {
        ELECTION_TIMEOUT
    }

    fn effort(&self) -> f64 {
        0.1
    }

    fn start(&mut self, node: usize) {
        let fence = Fence::default();
        let network = if self.directory.is_some() {
            NodeNetwork::Tcp
        } else {
            let network = self.network.clone();
            NodeNetwork::InProcess(Box::new(move |message| network.send(message)))
        };
        let spec = NodeSpec {
            settings: self.recordings.of(self.settings(node)),
            storage: self.open_storage(node, &fence),
            machine: self.setup.machine(node, &self.oracle),
            network,
        };
        let started = self.bootstrap.start(spec).expect("the node starts");
        let handle = B::handle(&started);
        self.network.attach(node, Some(handle.client().clone()));
        self.nodes[node] = Some(Running { node: started, handle, fence });
    }

    fn crash(&mut self, node: usize) {
        if let Some(Running { node, fence, .. }) = self.take_down(node) {
            fence.shut();
            self.bootstrap.kill(node);
        }
    }

    fn stop(&mut self, node: usize) {
        // It hands over to the others, so it is cut off only afterwards.
        if let Some(Running { node: stopping, .. }) = self.nodes[node].take() {
            self.bootstrap.stop(stopping);
        }
        self.take_down(node);
    }

    fn is_running(&self, node: usize) -> bool {
        self.nodes[node].is_some()
    }

    fn connect(&mut self, node: usize) {
        self.network.links(|links| links.set_connected(node, true));
        self.update_links();
    }

    fn disconnect(&mut self, node: usize) {
        self.network.links(|links| links.set_connected(node, false));
        self.update_links();
    }

    fn is_connected(&self, node: usize) -> bool {
        self.network.links(|links| links.is_connected(node))
    }

    fn partition(&mut self, sides: &[bool]) {
        self.network.links(|links| links.partition(sides));
        self.update_links();
    }

    fn heal(&mut self) {
        self.network.links(crate::sim::network::Network::heal);
        self.update_links();
    }

    fn set_network(&mut self, network: Network) {
        self.network.links(|links| links.mode = network);
    }

    fn propose(&mut self, node: usize, command: Bytes) -> CallId {
        self.call(node, |client, callback| client.propose(command, callback))
    }

    fn read(&mut self, node: usize, query: Bytes) -> CallId {
        self.call(node, |client, callback| client.read(query, callback))
    }

    fn change_membership(&mut self, node: usize, voters: &[usize], learners: &[usize]) -> CallId {
        let target = voters.iter().fold(Membership::new(), |members, voter| {
            members.voter(id_of(*voter), self.address(*voter))
        });
        let target = learners.iter().fold(target, |members, learner| {
            members.learner(id_of(*learner), self.address(*learner))
        });
        self.call(node, |client, callback| {
            client.change_membership(target, None, without_answer(callback));
        })
    }

    fn transfer(&mut self, node: usize, to: Option<usize>) -> CallId {
        self.call(node, |client, callback| {
            client.transfer_leadership(to.map(id_of), without_answer(callback));
        })
    }

    fn snapshot(&mut self, node: usize) -> CallId {
        self.call(node, |client, callback| client.snapshot(without_answer(callback)))
    }

    fn answer(&mut self, call: CallId) -> Option<Result<Bytes, RequestError>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(&call).cloned().flatten()
    }

    fn role(&mut self, node: usize) -> Option<(RoleKind, Term)> {
        let status = self.status(node)?;
        Some((status.raft.role, status.raft.term))
    }

    fn members(&mut self, node: usize) -> Option<Members> {
        let members = self.status(node)?.raft.membership;
        let (voters, learners) = (numbers(members.voters()), numbers(members.learners()));
        Some(Members { voters, learners, joint: members.is_joint() })
    }

    fn log_length(&mut self, node: usize) -> Option<u64> {
        let status = self.status(node)?.raft;
        Some(status.last.since(status.base))
    }

    fn oracle<T>(&mut self, look: impl FnOnce(&mut Oracle) -> T) -> T {
        look(&mut self.oracle.lock())
    }

    fn traffic(&self) -> Traffic {
        self.network.traffic()
    }

    fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    fn wait(&mut self, time: Duration) {
        thread::sleep(time);
    }

    fn random(&mut self, below: u64) -> u64 {
        self.rng.u64(0..below.max(1))
    }

    fn replay(&self) -> String {
        format!("(real time, so a replay may differ; seed {})", self.seed)
    }
}

impl<B: Bootstrap> Drop for RealCluster<B> {
    fn drop(&mut self) {
        self.network.close();
        for running in self.nodes.iter_mut().filter_map(Option::take) {
            self.bootstrap.kill(running.node);
        }
        if !thread::panicking() {
            self.recordings.check();
        }
    }
}
