//! Real nodes as a cluster for the scenarios.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use raft_node::core::{RoleKind, Term};
use raft_node::{FileLog, LogStore, MemoryLog, RequestError, Settings};
use tempfile::TempDir;

use crate::cluster::{CallId, Cluster, Network, Traffic};
use crate::machine::{Machine, Oracle, SharedOracle};
use crate::real::network::RealNetwork;
use crate::real::proxy::Proxy;
use crate::real::store::{Fence, Fenced};
use crate::real::{Bootstrap, NodeNetwork, NodeSpec, Substance};
use crate::sim::world::id_of;

/// Long enough for a busy machine to keep its heartbeats, short enough for a suite.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(300);
/// A node that does not answer a status request for as long counts as hung.
const STATUS_PATIENCE: Duration = Duration::from_secs(20);

type Answers = Arc<Mutex<BTreeMap<CallId, Option<Result<Bytes, RequestError>>>>>;

/// A cluster of real nodes, in real time.
pub struct RealCluster<B: Bootstrap> {
    bootstrap: B,
    nodes: Vec<Option<Running<B::Node>>>,
    disks: Vec<MemoryLog>,
    directory: Option<TempDir>,
    addresses: Vec<String>,
    /// The link that node `from` dials to reach `to`.
    proxies: BTreeMap<(usize, usize), Proxy>,
    network: RealNetwork,
    oracle: SharedOracle,
    answers: Answers,
    rng: fastrand::Rng,
    seed: u64,
    ticks: u64,
}

struct Running<N> {
    node: N,
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
            // Clones of one memory log share their content, so each disk is made by itself.
            disks: (0..size).map(|_| MemoryLog::new()).collect(),
            directory: None,
            addresses: Vec::new(),
            proxies: BTreeMap::new(),
            network: RealNetwork::new(size, seed),
            oracle: SharedOracle::default(),
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
        self.addresses = (0..size).map(|_| free_address(&mut self.rng)).collect();
        for from in 0..size {
            for to in (0..size).filter(|to| *to != from) {
                let proxy = Proxy::start(self.addresses[to].clone()).expect("a loopback port");
                self.proxies.insert((from, to), proxy);
            }
        }
    }

    fn settings(&self, node: usize) -> Settings {
        let settings = Settings::new(id_of(node)).election_timeout(ELECTION_TIMEOUT);
        (0..self.nodes.len()).fold(settings, |settings, peer| {
            let address = match self.proxies.get(&(node, peer)) {
                Some(proxy) => proxy.address(),
                None => self.addresses.get(node).cloned().unwrap_or_default(),
            };
            settings.peer(id_of(peer), address)
        })
    }

    fn open_store(&self, node: usize) -> Box<dyn LogStore> {
        match &self.directory {
            None => Box::new(self.disks[node].clone()),
            Some(directory) => {
                let log = FileLog::open(directory.path().join(node.to_string()));
                Box::new(log.expect("the log of a crashed node opens again"))
            }
        }
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

    fn callback(&self, call: CallId) -> impl FnOnce(Result<Bytes, RequestError>) + Send + 'static {
        let answers = self.answers.clone();
        move |answer| {
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            let before = answers.insert(call, Some(answer)).flatten();
            debug_assert!(before.is_none(), "two answers to one call");
        }
    }
}

/// An address on the loopback interface, below the ports that the system gives to outgoing
/// connections, so that nobody takes it while its node is down.
fn free_address(rng: &mut fastrand::Rng) -> String {
    loop {
        let address = format!("127.0.0.1:{}", rng.u16(10_000..30_000));
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

impl<B: Bootstrap> Cluster for RealCluster<B> {
    fn size(&self) -> usize {
        self.nodes.len()
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
            settings: self.settings(node),
            store: Box::new(Fenced::new(self.open_store(node), fence.clone())),
            machine: Box::new(Machine::start(node, &self.oracle)),
            network,
        };
        let started = self.bootstrap.start(spec).expect("the node starts");
        self.network.attach(node, Some(B::client(&started).clone()));
        self.nodes[node] = Some(Running { node: started, fence });
    }

    fn crash(&mut self, node: usize) {
        self.disconnect(node);
        self.network.attach(node, None);
        if let Some(Running { node, fence }) = self.nodes[node].take() {
            fence.shut();
            self.bootstrap.stop(node);
        }
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
        let call = self.next_call();
        let callback = self.callback(call);
        match &self.nodes[node] {
            Some(running) => B::client(&running.node).propose(command, callback),
            None => callback(Err(RequestError::Stopped)),
        }
        call
    }

    fn read(&mut self, node: usize, query: Bytes) -> CallId {
        let call = self.next_call();
        let callback = self.callback(call);
        match &self.nodes[node] {
            Some(running) => B::client(&running.node).read(query, callback),
            None => callback(Err(RequestError::Stopped)),
        }
        call
    }

    fn answer(&mut self, call: CallId) -> Option<Result<Bytes, RequestError>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(&call).cloned().flatten()
    }

    fn role(&mut self, node: usize) -> Option<(RoleKind, Term)> {
        let running = self.nodes[node].as_ref()?;
        let (sender, status) = channel();
        B::client(&running.node).status(move |status| drop(sender.send(status)));
        let status = status.recv_timeout(STATUS_PATIENCE).ok()?;
        Some((status.raft.role, status.raft.term))
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
            self.bootstrap.stop(running.node);
        }
    }
}
