//! Nodes of the adapter under test, over TCP, with disks and state machines that can be slowed down.

use std::io::{self, Read};
use std::str;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_node::core::{Entries, LogIndex, NodeId, Status, StoredLog, Term, Write};
use raft_node::{
    FrozenState, Handle, LogStore, MemoryLog, MemorySnapshots, NodeError, RequestError, Settings,
    StateMachine, Storage, StoreError,
};

use crate::process::{PATIENCE, eventually, free_address, in_time};
use crate::real::{Bootstrap, NodeNetwork, NodeSpec};

/// For tests in which leaders come and go.
pub(super) const QUICK: Duration = Duration::from_millis(300);
/// For tests in which the leader has to stay, on a busy machine.
pub(super) const STEADY: Duration = Duration::from_millis(800);

/// How long each call takes, in milliseconds; it can be changed while it is in use.
#[derive(Clone, Default)]
pub(super) struct Slowness(Arc<AtomicU64>);

impl Slowness {
    pub(super) fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::Relaxed);
    }

    fn suffer(&self) {
        match self.0.load(Ordering::Relaxed) {
            0 => {}
            millis => thread::sleep(Duration::from_millis(millis)),
        }
    }
}

/// A log in memory on a disk that may be slow, or take nothing any more.
#[derive(Clone, Default)]
pub(super) struct Disk {
    log: MemoryLog,
    pub(super) slowness: Slowness,
    pub(super) broken: Arc<AtomicBool>,
}

impl LogStore for Disk {
    fn restore(&mut self) -> Result<StoredLog, StoreError> {
        self.log.restore()
    }

    fn append(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.slowness.suffer();
        if self.broken.load(Ordering::Relaxed) {
            return Err(StoreError::Other("the disk is broken".into()));
        }
        self.log.append(writes)
    }

    fn load(
        &mut self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Entries, StoreError> {
        self.log.load(from, through, max_bytes)
    }

    fn metadata(&mut self) -> Result<Bytes, StoreError> {
        self.log.metadata()
    }

    fn set_metadata(&mut self, metadata: &[u8]) -> Result<(), StoreError> {
        self.log.set_metadata(metadata)
    }
}

/// Counts commands, and answers with the count.
#[derive(Clone, Default)]
pub(super) struct Counter {
    count: u64,
    pub(super) slowness: Slowness,
    /// So many bytes follow the count in a snapshot.
    pub(super) padding: usize,
    /// How often it was restored, in all its lives.
    pub(super) restores: Arc<AtomicU64>,
    /// Whether the command `panic` makes it panic.
    pub(super) fragile: Arc<AtomicBool>,
}

impl StateMachine for Counter {
    fn apply(&mut self, _: LogIndex, command: Bytes) -> Bytes {
        self.slowness.suffer();
        let fragile = self.fragile.load(Ordering::Relaxed);
        assert!(!fragile || command != "panic", "no such command");
        self.count += 1;
        self.count.to_string().into()
    }

    fn query(&self, _: Bytes) -> Bytes {
        self.count.to_string().into()
    }

    fn snapshot(&self) -> FrozenState {
        let (count, padding) = (self.count, self.padding);
        Box::new(move |to| {
            to.write_all(&count.to_le_bytes())?;
            to.write_all(&padding_of(padding))
        })
    }

    fn restore(&mut self, _: LogIndex, state: &mut dyn Read) -> io::Result<()> {
        let mut count = [0; 8];
        state.read_exact(&mut count)?;
        self.count = u64::from_le_bytes(count);
        let mut padding = Vec::new();
        state.read_to_end(&mut padding)?;
        assert!(padding == padding_of(self.padding), "the padding has changed on its way");
        self.restores.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Bytes of which no two pieces are alike.
fn padding_of(size: usize) -> Vec<u8> {
    (0..size as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// The place of one node, which outlives it.
pub(super) struct Place<N> {
    pub(super) settings: Settings,
    pub(super) address: String,
    pub(super) disk: Disk,
    pub(super) snapshots: MemorySnapshots,
    pub(super) machine: Counter,
    node: Option<N>,
}

impl<N> Place<N> {
    fn new(settings: Settings, address: String) -> Self {
        Self {
            settings,
            address,
            disk: Disk::default(),
            snapshots: MemorySnapshots::new(),
            machine: Counter::default(),
            node: None,
        }
    }

    /// What the node kept of its earlier lives.
    pub(super) fn storage(&self) -> Storage {
        Storage::new(self.disk.clone(), self.snapshots.clone())
    }

    /// Loses everything that the node has kept.
    pub(super) fn wipe(&mut self) {
        self.disk = Disk::default();
        self.snapshots = MemorySnapshots::new();
    }
}

/// Starts a node over TCP.
pub(super) fn start<B: Bootstrap>(
    bootstrap: &B,
    settings: Settings,
    storage: Storage,
    machine: impl StateMachine,
) -> Result<B::Node, NodeError> {
    let (machine, network) = (Box::new(machine), NodeNetwork::Tcp);
    bootstrap.start(NodeSpec { settings, storage, machine, network })
}

/// Some nodes; those that still run at the end are killed.
pub(super) struct Cluster<B: Bootstrap> {
    pub(super) bootstrap: B,
    pub(super) places: Vec<Place<B::Node>>,
}

impl<B: Bootstrap> Cluster<B> {
    /// The places of `size` nodes that know each other, none of them started.
    pub(super) fn new(bootstrap: B, size: u64, election_timeout: Duration) -> Self {
        let addresses: Vec<String> = (0..size).map(|_| free_address()).collect();
        let place = |(own, address): (u64, &String)| {
            let settings = Settings::new(NodeId::new(own)).election_timeout(election_timeout);
            let settings = (1..).zip(&addresses).fold(settings, |settings, (id, address)| {
                settings.peer(NodeId::new(id), address.clone())
            });
            Place::new(settings, address.clone())
        };
        let places = (1..).zip(&addresses).map(place).collect();
        Self { bootstrap, places }
    }

    /// A cluster that runs and has a leader that all know.
    pub(super) fn running(bootstrap: B, size: u64, election_timeout: Duration) -> Self {
        let mut cluster = Self::new(bootstrap, size, election_timeout);
        cluster.start_all();
        cluster
    }

    pub(super) fn start_all(&mut self) {
        for nth in 0..self.places.len() {
            self.start(nth);
        }
        self.leader();
    }

    /// The place of a node that is to be added, and the node there.
    pub(super) fn start_newcomer(&mut self, id: u64, election_timeout: Duration) -> usize {
        let address = free_address();
        let settings = Settings::new(NodeId::new(id))
            .election_timeout(election_timeout)
            .listen(address.clone());
        self.places.push(Place::new(settings, address));
        self.start(self.places.len() - 1);
        self.places.len() - 1
    }

    pub(super) fn start(&mut self, nth: usize) {
        let place = &self.places[nth];
        let (settings, machine) = (place.settings.clone(), place.machine.clone());
        let node = start(&self.bootstrap, settings, place.storage(), machine);
        self.places[nth].node = Some(node.expect("the node starts"));
    }

    /// Takes a node out of its place; it still runs.
    pub(super) fn take(&mut self, nth: usize) -> B::Node {
        self.places[nth].node.take().expect("the node runs")
    }

    pub(super) fn stop(&mut self, nth: usize) {
        let node = self.take(nth);
        self.bootstrap.stop(node);
    }

    pub(super) fn kill(&mut self, nth: usize) {
        let node = self.take(nth);
        self.bootstrap.kill(node);
    }

    pub(super) fn id(&self, nth: usize) -> NodeId {
        self.places[nth].settings.id()
    }

    pub(super) fn handle(&self, nth: usize) -> Handle {
        B::handle(self.places[nth].node.as_ref().expect("the node runs"))
    }

    /// The places of those that run.
    fn occupied(&self) -> impl Iterator<Item = usize> {
        (0..self.places.len()).filter(|nth| self.places[*nth].node.is_some())
    }

    /// The handles of those that run.
    pub(super) fn handles(&self) -> Vec<Handle> {
        self.occupied().map(|nth| self.handle(nth)).collect()
    }

    pub(super) fn status(&self, nth: usize) -> Status {
        status(&self.handle(nth))
    }

    /// Waits until all that run know one leader; says where it is.
    pub(super) fn leader(&self) -> usize {
        let mut found = None;
        eventually("all know one leader", || {
            let reign = self.reign();
            let agreed = reign.iter().all(|view| *view == reign[0]);
            found = self.occupied().find(|nth| agreed && reign[0].1 == Some(self.id(*nth)));
            found.is_some()
        });
        found.expect("a leader was found")
    }

    /// One that does not lead.
    pub(super) fn follower(&self, leader: usize) -> usize {
        self.occupied().find(|nth| *nth != leader).expect("there are others")
    }

    /// The term of each node that runs, and who leads it.
    pub(super) fn reign(&self) -> Vec<(Term, Option<NodeId>)> {
        let view = |nth| {
            let status = self.status(nth);
            (status.term, status.leader)
        };
        self.occupied().map(view).collect()
    }

    /// Waits until all that run have applied the same.
    pub(super) fn in_agreement(&self) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let views: Vec<Status> = self.occupied().map(|nth| self.status(nth)).collect();
            let last = views[0].last;
            if views.iter().all(|view| view.applied == last && view.last == last) {
                return;
            }
            assert!(Instant::now() < give_up, "not all have applied the same: {views:#?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl<B: Bootstrap> Drop for Cluster<B> {
    fn drop(&mut self) {
        for node in self.places.iter_mut().filter_map(|place| place.node.take()) {
            self.bootstrap.kill(node);
        }
    }
}

pub(super) fn status(handle: &Handle) -> Status {
    in_time("a status", handle.status()).expect("the node runs").raft
}

/// Proposes until it is accepted. The counter counts what it is given, so only a certain refusal is
/// repeated.
pub(super) fn propose(handle: &Handle) -> u64 {
    insist("a proposal", || handle.propose("count"))
}

/// Reads until it is answered.
pub(super) fn read(handle: &Handle) -> u64 {
    insist("a read", || handle.read(""))
}

fn insist<F: Future<Output = Result<Bytes, RequestError>>>(what: &str, ask: impl Fn() -> F) -> u64 {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match in_time(what, ask()) {
            Ok(answer) => return number(&answer),
            Err(error) => {
                let again = matches!(error, RequestError::Refused { .. } | RequestError::Lost);
                assert!(again && Instant::now() < give_up, "{what}: {error}");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

pub(super) fn number(answer: &Bytes) -> u64 {
    str::from_utf8(answer).ok().and_then(|text| text.parse().ok()).expect("a number")
}
