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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use raft_node::core::{Body, Instant as NodeInstant, Term};
    use raft_node::{Host, Settings, Storage, Turn, Wiring};

    use super::*;
    use crate::machine::{Machine, SharedOracle};
    use crate::sim::world::id_of;

    const PATIENCE: Duration = Duration::from_secs(20);
    const DELAY: u64 = 20_000_000;

    /// A node for which no time passes. A message of a newer term is all that changes its term.
    struct Listener(Host, Client);

    impl Listener {
        fn attach(network: &RealNetwork, node: usize) -> Self {
            let settings = Settings::new(id_of(node));
            let settings = (0..3).fold(settings, |it, peer| it.peer(id_of(peer), ""));
            let wiring = Wiring {
                notify: Arc::new(|| ()),
                send: Box::new(|_| ()),
                observe: Box::new(|_| ()),
            };
            let machine = Machine::start(node, &SharedOracle::default());
            let started =
                Host::new(&settings, Storage::in_memory(), machine, wiring, NodeInstant::ORIGIN);
            let (started, client) = started.unwrap();
            network.attach(node, Some(client.clone()));
            Self(started, client)
        }

        fn term(&mut self) -> u64 {
            let (answer, answered) = channel();
            self.1.status(move |status| drop(answer.send(status)));
            loop {
                let turn = self.0.turn(|| NodeInstant::ORIGIN);
                assert!(matches!(turn, Turn::Continue { .. }));
                if let Ok(status) = answered.try_recv() {
                    return status.unwrap().raft.term.get();
                }
            }
        }

        fn hears(&mut self, term: u64) {
            let give_up = Instant::now() + PATIENCE;
            while self.term() < term {
                assert!(Instant::now() < give_up, "nothing was heard of term {term}");
                thread::yield_now();
            }
            assert_eq!(self.term(), term, "more was heard than should have been");
        }
    }

    /// A network of three connected places, the node at 1, and the node at 2.
    fn network() -> (RealNetwork, Listener, Listener) {
        let network = RealNetwork::new(3, 0);
        network.links(|links| (0..3).for_each(|node| links.set_connected(node, true)));
        let listeners = [1, 2].map(|node| Listener::attach(&network, node));
        let [one, two] = listeners;
        (network, one, two)
    }

    fn message(from: usize, to: usize, term: u64) -> Message {
        let (from, to) = (id_of(from), id_of(to));
        let body = Body::PreVoteReply { granted: false };
        Message { from, to, term: Term::new(term).unwrap(), body }
    }

    #[test]
    fn what_is_sent_to_a_connected_node_arrives_and_is_counted() {
        let (network, mut one, mut two) = network();
        network.send(message(0, 1, 3));
        one.hears(3);
        assert_eq!((two.term(), network.traffic().requests), (0, 0), "it was an answer to another");
        assert!(network.traffic().bytes > 0);
        network.close();
    }

    #[test]
    fn a_disconnected_pair_passes_nothing() {
        let (network, mut one, mut two) = network();
        network.links(|links| links.set_connected(1, false));
        network.send(message(0, 1, 9));
        network.send(message(1, 2, 9));
        network.links(|links| links.set_connected(1, true));
        network.links(|links| links.set_cut(0, 1, true));
        network.send(message(0, 1, 9));
        network.send(message(0, 2, 3));
        network.send(message(2, 1, 4));
        two.hears(3);
        one.hears(4);
        network.close();
    }

    #[test]
    fn what_is_under_way_when_its_sender_is_cut_off_is_lost() {
        let (network, mut one, _two) = network();
        network.links(|links| links.delay = DELAY..DELAY + 1);
        network.send(message(0, 1, 9));
        network.links(|links| links.set_connected(0, false));
        network.send(message(2, 1, 3));
        one.hears(3);
        network.close();
    }

    #[test]
    fn an_answer_to_a_node_that_was_removed_is_not_delivered() {
        let (network, mut one, mut two) = network();
        network.links(|links| links.delay = DELAY..DELAY + 1);
        network.send(message(0, 1, 9));
        network.attach(1, None);
        network.send(message(0, 2, 3));
        // What was sent before has been seen to as well by then.
        two.hears(3);
        assert_eq!(one.term(), 0);
        network.close();
    }
}
