//! What a scenario needs of a cluster, whatever it runs on.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use raft_node::core::{RoleKind, Term};
use raft_node::session::{SessionLimits, Sessions};
use raft_node::{RequestError, StateMachine};

use crate::machine::{Machine, Oracle, SharedOracle};

/// A cluster under test: the simulator, or real nodes on some runtime. Nodes are numbered from
/// zero.
///
/// Scenarios are plain blocking code against this trait, and only [`wait`](Cluster::wait) lets
/// time pass: virtual time in the simulator, real time elsewhere.
pub trait Cluster {
    /// How many nodes the cluster has, dead ones and those that were not added yet included.
    fn size(&self) -> usize;

    /// Says how the nodes are set up. To be called before any node is started, if at all.
    fn set_up(&mut self, setup: Setup);

    /// The unit of time of the scenarios: in so long an election is usually over.
    fn election_timeout(&self) -> Duration;

    /// How much of an endless scenario to run: the simulator runs all of it (1.0), a real cluster
    /// perhaps a tenth.
    fn effort(&self) -> f64;

    /// Starts a node that is not running, with what its disk kept. It stays cut off until
    /// [`connect`](Cluster::connect).
    fn start(&mut self, node: usize);

    /// Cuts a node off and kills it: what its disk had not made durable may be lost.
    fn crash(&mut self, node: usize);

    /// Stops a node as an operator does: a leader lets another node lead first, for at most an
    /// election timeout. After that the node is down as after a crash.
    fn stop(&mut self, node: usize) {
        self.transfer(node, None);
        let step = self.election_timeout() / 50;
        for _ in 0..50 {
            if !self.role(node).is_some_and(|(role, _)| role == RoleKind::Leader) {
                break;
            }
            self.wait(step);
        }
        self.crash(node);
    }

    /// Whether the node runs.
    fn is_running(&self, node: usize) -> bool;

    /// Connects the node with all nodes that are connected.
    fn connect(&mut self, node: usize);

    /// Cuts all links of a node, both ways. It keeps running and believing.
    fn disconnect(&mut self, node: usize);

    /// Whether the node's links are up.
    fn is_connected(&self, node: usize) -> bool;

    /// Splits the connected nodes into two sides that don't hear each other: `true` is one side.
    /// [`heal`](Cluster::heal) ends it.
    fn partition(&mut self, sides: &[bool]);

    /// Ends a partition.
    fn heal(&mut self);

    /// How the network treats messages from now on.
    fn set_network(&mut self, network: Network);

    /// Proposes a command at a node. The answer is fetched with [`answer`](Cluster::answer).
    fn propose(&mut self, node: usize, command: Bytes) -> CallId;

    /// Asks a node a question, linearizably.
    fn read(&mut self, node: usize, query: Bytes) -> CallId;

    /// Asks a node to make these the members.
    fn change_membership(&mut self, node: usize, voters: &[usize], learners: &[usize]) -> CallId;

    /// Asks a node to let another one lead: a certain one, or the best.
    fn transfer(&mut self, node: usize, to: Option<usize>) -> CallId;

    /// Asks a node to take a snapshot of its state machine now.
    fn snapshot(&mut self, node: usize) -> CallId;

    /// What became of a call; `None` while nobody knows.
    fn answer(&mut self, call: CallId) -> Option<Result<Bytes, RequestError>>;

    /// The node's role and term; `None` if it does not run.
    fn role(&mut self, node: usize) -> Option<(RoleKind, Term)>;

    /// The members as the node's log has them; `None` if it does not run.
    fn members(&mut self, node: usize) -> Option<Members>;

    /// How many entries the node's log holds, besides those that were compacted away; `None` if it
    /// does not run.
    fn log_length(&mut self, node: usize) -> Option<u64>;

    /// Runs `look` on what the state machines have seen.
    fn oracle<T>(&mut self, look: impl FnOnce(&mut Oracle) -> T) -> T
    where
        Self: Sized;

    /// Messages and bytes that were sent so far. Answers are not counted as messages.
    fn traffic(&self) -> Traffic;

    /// A logical time for histories: it never falls, and rises with each call.
    fn tick(&mut self) -> u64;

    /// Lets time pass.
    fn wait(&mut self, time: Duration);

    /// A random number from the run's seed.
    fn random(&mut self, below: u64) -> u64;

    /// What to print when a scenario fails: the seed and how to run it again.
    fn replay(&self) -> String;
}

/// Names a call of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// How the nodes of a cluster are set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// The cluster is founded by so many nodes, the first ones; the others are to be added. All
    /// nodes, if not set.
    pub founders: Option<usize>,
    /// A node takes a snapshot after so many entries; only when it is asked to, if not set. It
    /// keeps no entry that a snapshot covers.
    pub snapshot_every: Option<u64>,
    /// Whether the leader serves reads by its lease.
    pub leases: bool,
    /// Whether commands are envelopes of [`session`](raft_node::session)s, which are applied once
    /// however often they are tried.
    pub sessions: bool,
}

impl Setup {
    /// The state machine of a node that starts, see [`Machine::start`].
    #[must_use]
    pub fn machine(self, node: usize, oracle: &SharedOracle) -> Box<dyn StateMachine> {
        let machine = Machine::start(node, oracle);
        if !self.sessions {
            return Box::new(machine);
        }
        let wrapped = Sessions::new(machine, SessionLimits::default());
        Box::new(wrapped.expect("the machine of the suite is kept in memory"))
    }
}

/// The members of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The voters, ascending; of a joint configuration those that it leads to.
    pub voters: Vec<usize>,
    /// The learners, ascending.
    pub learners: Vec<usize>,
    /// Whether it is joint.
    pub joint: bool,
}

/// How a network treats messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// A tenth of all messages is lost, and all are delayed by 0 to 26 ms.
    pub unreliable: bool,
    /// Two thirds of all answers are delayed by 0.2 to 2.2 s.
    pub long_reordering: bool,
}

/// Counts of what was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Messages that ask for something: votes, entries, forwarded requests. Answers don't count.
    pub requests: u64,
    /// Encoded bytes of all messages.
    pub bytes: u64,
}
