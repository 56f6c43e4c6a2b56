//! A network inside the process, in real time.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use raft_node::Client;
use raft_node::core::Message;

use crate::cluster::Traffic;
use crate::sim::network::{Network, is_request};
use crate::sim::world::number;

/// Carries messages between the nodes of one cluster, by the same rules as the simulated network.
#[derive(Clone)]
pub(crate) struct RealNetwork(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    links: Network,
    rng: fastrand::Rng,
    clients: Vec<Option<Client>>,
    queue: BTreeMap<(Instant, u64), Message>,
    sent: u64,
    traffic: Traffic,
    closed: bool,
}

impl RealNetwork {
    pub(crate) fn new(size: usize, seed: u64) -> Self {
        let mut links = Network::new(size);
        // A process is fast; nothing is gained by holding messages of a healthy network back.
        links.delay = 0..1;
        let state = State {
            links,
            rng: fastrand::Rng::with_seed(seed),
            clients: vec![None; size],
            queue: BTreeMap::new(),
            sent: 0,
            traffic: Traffic::default(),
            closed: false,
        };
        let network = Self(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }));
        let carrier = network.clone();
        thread::spawn(move || carrier.carry());
        network
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes or reads the links.
    pub(crate) fn links<T>(&self, change: impl FnOnce(&mut Network) -> T) -> T {
        change(&mut self.state().links)
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.state().traffic
    }

    pub(crate) fn attach(&self, node: usize, client: Option<Client>) {
        self.state().clients[node] = client;
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.0.changed.notify_all();
    }

    pub(crate) fn send(&self, message: Message) {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        let mut guard = self.state();
        let state = &mut *guard;
        state.traffic.requests += u64::from(is_request(&message));
        state.traffic.bytes += bytes.len() as u64;
        if !state.links.is_up(number(message.from), number(message.to)) {
            return;
        }
        let now = Instant::now();
        for delay in state.links.arrivals(&message, &mut state.rng) {
            state.sent += 1;
            let at = now + Duration::from_nanos(delay);
            state.queue.insert((at, state.sent), message.clone());
        }
        drop(guard);
        self.0.changed.notify_one();
    }

    /// Delivers what is due, until the network is closed.
    fn carry(&self) {
        let mut state = self.state();
        while !state.closed {
            let now = Instant::now();
            let Some(next) = state.queue.first_entry() else {
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let due = next.key().0;
            if due > now {
                let wait = self.0.changed.wait_timeout(state, due - now);
                state = wait.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let message = next.remove();
            let (from, to) = (number(message.from), number(message.to));
            if state.links.is_up(from, to)
                && let Some(client) = state.clients[to].clone()
            {
                drop(state);
                client.deliver(message);
                state = self.state();
            }
        }
    }
}
