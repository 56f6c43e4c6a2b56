//! Nodes on one machine, with disks and state machines that can be slowed down.

use std::future::Future;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use conformance_tests::process::{PATIENCE, free_address};
use raft_node::core::{Entries, LogIndex, NodeId, RoleKind, Status, StoredLog, Write};
use raft_node::{
    FrozenState, LogStore, MemoryLog, MemorySnapshots, RequestError, StateMachine, Storage,
    StoreError,
};
use raft_tokio::{Handle, Node, Settings};
use tokio::time;

/// Waits until something is the case.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let give_up = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < give_up, "not in time: {what}");
        time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs something that must come to an end.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not in time: {what}"),
    }
}

/// How long each call takes, in milliseconds; it can be changed while it is in use.
#[derive(Clone, Default)]
pub(crate) struct Slowness(Arc<AtomicU64>);

impl Slowness {
    pub(crate) fn set(&self, each: Duration) {
        self.0.store(each.as_millis() as u64, Ordering::Relaxed);
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
pub(crate) struct Disk {
    pub(crate) log: MemoryLog,
    pub(crate) slowness: Slowness,
    pub(crate) broken: Arc<AtomicBool>,
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
pub(crate) struct Counter {
    count: u64,
    pub(crate) slowness: Slowness,
    /// So many bytes follow the count in a snapshot.
    pub(crate) padding: usize,
    /// How often it was restored, in all its lives.
    pub(crate) restores: Arc<AtomicU64>,
}

impl StateMachine for Counter {
    fn apply(&mut self, _: LogIndex, command: Bytes) -> Bytes {
        self.slowness.suffer();
        assert!(command != "panic", "no such command");
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
        assert_eq!(padding, padding_of(self.padding));
        self.restores.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Bytes of which no two pieces are alike.
fn padding_of(size: usize) -> Vec<u8> {
    (0..size as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

pub(crate) fn number(answer: &Bytes) -> u64 {
    std::str::from_utf8(answer).unwrap().parse().unwrap()
}

/// The place of one node, which outlives it.
pub(crate) struct Place {
    pub(crate) settings: Settings,
    pub(crate) address: String,
    pub(crate) disk: Disk,
    pub(crate) snapshots: MemorySnapshots,
    pub(crate) machine: Counter,
    pub(crate) node: Option<Node>,
}

impl Place {
    pub(crate) async fn start(&mut self) {
        let start = Node::start(self.settings.clone(), self.storage(), self.machine.clone());
        self.node = Some(start.await.unwrap());
    }

    /// What the node kept of its earlier lives.
    pub(crate) fn storage(&self) -> Storage {
        Storage::new(self.disk.clone(), self.snapshots.clone())
    }

    pub(crate) async fn stop(&mut self) {
        let node = self.node.take().unwrap();
        in_time("a shutdown", node.shutdown()).await.unwrap();
    }

    pub(crate) async fn kill(&mut self) {
        let node = self.node.take().unwrap();
        in_time("an end", node.kill()).await.unwrap();
    }

    /// Loses everything that the node has kept.
    pub(crate) fn wipe(&mut self) {
        self.disk = Disk::default();
        self.snapshots = MemorySnapshots::new();
    }

    /// The place of a node that is to be added to a running cluster.
    pub(crate) fn newcomer(id: u64, election_timeout: Duration) -> Self {
        let address = free_address();
        let settings = Settings::new(NodeId::new(id))
            .election_timeout(election_timeout)
            .listen(address.clone());
        Self::of(settings, address)
    }

    fn of(settings: Settings, address: String) -> Self {
        Self {
            settings,
            address,
            disk: Disk::default(),
            snapshots: MemorySnapshots::new(),
            machine: Counter::default(),
            node: None,
        }
    }

    pub(crate) fn handle(&self) -> Handle {
        self.node.as_ref().unwrap().handle()
    }

    pub(crate) async fn status(&self) -> Status {
        in_time("a status", self.handle().status()).await.unwrap().raft
    }
}

/// The places of `size` nodes that know each other, none of them started.
pub(crate) fn places(size: u64, election_timeout: Duration) -> Vec<Place> {
    let addresses: Vec<String> = (0..size).map(|_| free_address()).collect();
    let place = |own: usize| {
        let settings =
            Settings::new(NodeId::new(own as u64 + 1)).election_timeout(election_timeout);
        let settings = (1..).zip(&addresses).fold(settings, |settings, (id, address)| {
            settings.peer(NodeId::new(id), address.clone())
        });
        Place::of(settings, addresses[own].clone())
    };
    (0..addresses.len()).map(place).collect()
}

/// A cluster that runs and has a leader that all know.
pub(crate) async fn cluster(size: u64, election_timeout: Duration) -> Vec<Place> {
    let mut places = places(size, election_timeout);
    for place in &mut places {
        place.start().await;
    }
    leader(&places).await;
    places
}

/// Waits until all that run know one leader; says where it is.
pub(crate) async fn leader(places: &[Place]) -> usize {
    let mut found = None;
    let give_up = Instant::now() + PATIENCE;
    while found.is_none() {
        assert!(Instant::now() < give_up, "no leader");
        time::sleep(Duration::from_millis(10)).await;
        let mut views = Vec::new();
        for place in places.iter().filter(|place| place.node.is_some()) {
            let status = place.status().await;
            views.push((status.term, status.leader));
        }
        let leader = places
            .iter()
            .position(|place| place.node.is_some() && views[0].1 == Some(place.settings.id()));
        found = leader.filter(|_| views.iter().all(|view| *view == views[0]));
    }
    found.unwrap()
}

/// The term of each node, and who leads it.
pub(crate) async fn reign(places: &[Place]) -> Vec<(u64, Option<NodeId>)> {
    let mut reign = Vec::new();
    for place in places {
        let status = place.status().await;
        reign.push((status.term.get(), status.leader));
    }
    reign
}

/// Proposes until it is accepted. The counter counts what it is given, so only a certain refusal
/// is repeated.
pub(crate) async fn propose(handle: &Handle) -> u64 {
    let attempts = async {
        loop {
            match handle.propose("count").await {
                Ok(answer) => return number(&answer),
                Err(RequestError::Refused { .. } | RequestError::Lost) => {
                    time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    in_time("a proposal", attempts).await
}

/// Reads until it is answered.
pub(crate) async fn read(handle: &Handle) -> u64 {
    let attempts = async {
        loop {
            match handle.read("").await {
                Ok(answer) => return number(&answer),
                Err(RequestError::Refused { .. }) => time::sleep(Duration::from_millis(20)).await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    in_time("a read", attempts).await
}

/// Waits until all that run have applied the same and agree on it.
pub(crate) async fn in_agreement(places: &[Place]) {
    eventually("all have applied the same", || async {
        let mut applied = Vec::new();
        for place in places.iter().filter(|place| place.node.is_some()) {
            let status = place.status().await;
            applied.extend([status.applied, status.last]);
        }
        applied.iter().all(|index| *index == applied[0])
    })
    .await;
}

pub(crate) fn follower(places: &[Place], leader: usize) -> usize {
    (0..places.len()).find(|nth| *nth != leader).unwrap()
}

pub(crate) async fn is_leader(place: &Place) -> bool {
    place.status().await.role == RoleKind::Leader
}
