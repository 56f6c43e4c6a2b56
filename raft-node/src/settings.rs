//! What a user says about a node, the same for every adapter.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use raft_core::{Config, NodeId, Notice, RoleKind, Term};

use crate::{ClusterId, NodeError};

/// A node's place in its cluster, and its settings. Every adapter starts a node from it.
///
/// ```
/// use std::time::Duration;
/// use raft_node::Settings;
/// use raft_node::core::NodeId;
///
/// let settings = Settings::new(NodeId::new(1))
///     .peer(NodeId::new(1), "127.0.0.1:7101")
///     .peer(NodeId::new(2), "127.0.0.1:7102")
///     .peer(NodeId::new(3), "127.0.0.1:7103")
///     .election_timeout(Duration::from_millis(300))
///     .configure(|config| config.max_command_bytes(64 * 1024));
/// ```
#[derive(Clone)]
pub struct Settings {
    id: NodeId,
    cluster: ClusterId,
    peers: BTreeMap<NodeId, String>,
    listen: Option<String>,
    election_timeout: Duration,
    learners: BTreeMap<NodeId, String>,
    configure: Vec<Change>,
}

type Change = Arc<dyn Fn(Config) -> Config + Send + Sync>;

impl Settings {
    /// The settings of node `id`, of a cluster of nobody so far.
    #[must_use]
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            cluster: ClusterId::default(),
            peers: BTreeMap::new(),
            learners: BTreeMap::new(),
            listen: None,
            election_timeout: Duration::from_secs(1),
            configure: Vec::new(),
        }
    }

    /// Adds a voter of the cluster, this node included, and the address (`host:port`) at which the
    /// others reach it; an id that is given twice has the later address. All nodes of a cluster are
    /// given the same list.
    #[must_use]
    pub fn peer(mut self, id: NodeId, address: impl Into<String>) -> Self {
        self.peers.insert(id, address.into());
        self
    }

    /// Adds a learner: a member that receives everything and has no vote. Otherwise like
    /// [`peer`](Settings::peer).
    #[must_use]
    pub fn learner(mut self, id: NodeId, address: impl Into<String>) -> Self {
        self.learners.insert(id, address.into());
        self
    }

    /// Names the cluster, so that nodes of another one are turned away. Default: cluster 0.
    #[must_use]
    pub const fn cluster(mut self, cluster: ClusterId) -> Self {
        self.cluster = cluster;
        self
    }

    /// Listens at another address than the one that the others dial, such as `0.0.0.0:7101`.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Sets the election timeout. The heartbeat interval becomes a tenth of it, and the outcome
    /// timeout ([`Config::outcome_timeout`]) the same. Default 1 s.
    #[must_use]
    pub const fn election_timeout(mut self, timeout: Duration) -> Self {
        self.election_timeout = timeout;
        self
    }

    /// Changes anything else of the [`Config`].
    #[must_use]
    pub fn configure(mut self, change: impl Fn(Config) -> Config + Send + Sync + 'static) -> Self {
        self.configure.push(Arc::new(change));
        self
    }

    /// The node's id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// The cluster.
    #[must_use]
    pub const fn cluster_id(&self) -> ClusterId {
        self.cluster
    }

    /// The other nodes and their addresses.
    pub fn others(&self) -> impl Iterator<Item = (NodeId, &str)> {
        let members = self.peers.iter().chain(&self.learners);
        let others = members.filter(|(id, _)| **id != self.id);
        others.map(|(id, address)| (*id, address.as_str()))
    }

    /// Where to listen.
    ///
    /// # Errors
    /// The node is not among its own peers and has no listen address.
    pub fn listen_address(&self) -> Result<&str, NodeError> {
        let listed = || self.peers.get(&self.id).or_else(|| self.learners.get(&self.id));
        let own = self.listen.as_ref().or_else(listed);
        own.map(String::as_str).ok_or(NodeError::NoAddress { id: self.id })
    }

    /// The settings of the core, with a fresh random seed.
    ///
    /// # Errors
    /// The system has no randomness to give, without which a restarted node is not safe.
    pub fn config(&self) -> Result<Config, NodeError> {
        let seed = getrandom::u64().map_err(NodeError::Randomness)?;
        let config = Config::new(self.id, self.peers.keys().copied(), seed)
            .learners(self.learners.keys().copied())
            .election_timeout(self.election_timeout)
            .heartbeat_interval(self.election_timeout / 10)
            .outcome_timeout(self.election_timeout);
        Ok(self.configure.iter().fold(config, |config, change| change(config)))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("id", &self.id)
            .field("cluster", &self.cluster)
            .field("peers", &self.peers)
            .field("learners", &self.learners)
            .field("listen", &self.listen)
            .field("election_timeout", &self.election_timeout)
            .finish_non_exhaustive()
    }
}

/// Who leads, as far as a node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The node's role.
    pub role: RoleKind,
    /// The node's term.
    pub term: Term,
    /// The leader of that term, if it is known.
    pub leader: Option<NodeId>,
}

impl Default for Leadership {
    fn default() -> Self {
        Self { role: RoleKind::Follower, term: Term::ZERO, leader: None }
    }
}

impl Leadership {
    /// Takes in what the core says.
    pub const fn update(&mut self, notice: Notice) {
        match notice {
            Notice::Role { role, term } => {
                if term.get() != self.term.get() {
                    // The leader of the new term is told by a notice of its own.
                    self.leader = None;
                }
                self.role = role;
                self.term = term;
            }
            Notice::Leader { leader, term } => {
                self.leader = leader;
                self.term = term;
            }
        }
    }
}
