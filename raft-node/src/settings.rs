//! What a user says about a node, the same for every adapter.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use raft_core::{Config, Membership, NodeId, Notice, RoleKind, Term};

use crate::link::MAX_ADDRESS;
use crate::recorder::Record;
use crate::{Beginning, ClusterId, NodeError, Recorder, Route};

/// When a node takes a snapshot of its state machine, so that its log does not grow for ever. A
/// snapshot follows when so many entries or so many bytes of them have been applied since the last
/// one, whichever comes first; [`Client::snapshot`](crate::Client::snapshot) takes one at any time.
/// One that fails is tried again after a tenth of that.
///
/// Entries are counted across restarts. Bytes are counted from the start of the node, since it does
/// not know how large older entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Default for SnapshotPolicy {
    /// 100,000 entries or 64 MiB.
    fn default() -> Self {
        Self { entries: 100_000, bytes: 64 << 20 }
    }
}

impl SnapshotPolicy {
    /// Never by itself.
    pub const NEVER: Self = Self { entries: 0, bytes: 0 };

    /// After so many entries; 0 for any number of them.
    #[must_use]
    pub const fn entries(mut self, entries: u64) -> Self {
        self.entries = entries;
        self
    }

    /// After so many bytes of entries; 0 for any number of them.
    #[must_use]
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }
}

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
    advertise: Option<String>,
    snapshots: SnapshotPolicy,
    route: Option<Route>,
    election_timeout: Duration,
    learners: BTreeMap<NodeId, String>,
    configure: Vec<Change>,
    record: Option<Record>,
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
            advertise: None,
            snapshots: SnapshotPolicy::default(),
            route: None,
            election_timeout: Duration::from_secs(1),
            configure: Vec::new(),
            record: None,
        }
    }

    /// Adds a voter that the cluster is founded with, this node included, and the address
    /// (`host:port`) at which the others reach it; an id that is given twice has the later address.
    /// All founding nodes are given the same list, at each start: after the first it is harmless,
    /// and what the log says of the members counts. A node that is added to a running cluster is
    /// given no list, but an address to [`listen`](Settings::listen) at.
    #[must_use]
    pub fn peer(mut self, id: NodeId, address: impl Into<String>) -> Self {
        self.peers.insert(id, address.into());
        self
    }

    /// Adds a learner that the cluster is founded with: a member that receives everything and has
    /// no vote. Otherwise like [`peer`](Settings::peer).
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

    /// Listens at another address than the one that the others dial, such as `0.0.0.0:7101`. A node
    /// that is to be added listens at the address by which it will be added, or tells that with
    /// [`advertise`](Settings::advertise).
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// The address at which the others reach this node, as long as it is not in the log. By default
    /// the one that it listens at.
    #[must_use]
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// Dials peers elsewhere than at the addresses that the configuration in the log has for them,
    /// which are the same for all nodes: through a tunnel of this node's own, for instance. A peer for
    /// which `route` panics is not dialled.
    #[must_use]
    pub fn route(mut self, route: impl Fn(NodeId, &str) -> String + Send + Sync + 'static) -> Self {
        self.route = Some(Arc::new(route));
        self
    }

    /// When to take snapshots.
    #[must_use]
    pub const fn snapshots(mut self, policy: SnapshotPolicy) -> Self {
        self.snapshots = policy;
        self
    }

    /// Sets the election timeout. The heartbeat interval becomes a tenth of it, and the outcome
    /// timeout ([`Config::outcome_timeout`]) the same. Default 1 s.
    #[must_use]
    pub const fn election_timeout(mut self, timeout: Duration) -> Self {
        self.election_timeout = timeout;
        self
    }

    /// Changes anything else of the [`Config`]. The election timeout is better set with
    /// [`election_timeout`](Settings::election_timeout), by which a leader that is asked to stop
    /// also knows how long to wait for somebody to take over.
    #[must_use]
    pub fn configure(mut self, change: impl Fn(Config) -> Config + Send + Sync + 'static) -> Self {
        self.configure.push(Arc::new(change));
        self
    }

    /// Records what goes into the node's core and what comes out of it: `begin` is called at each
    /// start of a node with these settings. See `raft_node::recording` for one that writes to files.
    #[must_use]
    pub fn record(
        mut self,
        begin: impl Fn(&Beginning) -> io::Result<Box<dyn Recorder>> + Send + Sync + 'static,
    ) -> Self {
        self.record = Some(Arc::new(begin));
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

    /// The members that the cluster is founded with.
    #[must_use]
    pub fn founders(&self) -> Membership {
        let voters = self
            .peers
            .iter()
            .fold(Membership::new(), |members, (id, address)| members.voter(*id, address.as_str()));
        self.learners
            .iter()
            .fold(voters, |members, (id, address)| members.learner(*id, address.as_str()))
    }

    /// The address at which the others reach this node, as far as the settings say so.
    #[must_use]
    pub fn advertised(&self) -> &str {
        let own = self.advertise.as_deref().or_else(|| self.listed());
        own.or(self.listen.as_deref()).unwrap_or_default()
    }

    pub(crate) fn dial_route(&self) -> Option<Route> {
        self.route.clone()
    }

    pub(crate) const fn recorder(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.election_timeout
    }

    pub(crate) const fn snapshot_policy(&self) -> SnapshotPolicy {
        self.snapshots
    }

    fn listed(&self) -> Option<&str> {
        let listed = self.peers.get(&self.id).or_else(|| self.learners.get(&self.id));
        listed.map(String::as_str)
    }

    /// Where to listen.
    ///
    /// # Errors
    /// The node is not among its own peers and has no listen address.
    pub fn listen_address(&self) -> Result<&str, NodeError> {
        let own = self.listen.as_deref().or_else(|| self.listed());
        own.ok_or(NodeError::NoAddress { id: self.id })
    }

    /// The settings of the core, with a fresh random seed.
    ///
    /// # Errors
    /// An address is too long to be told to a peer, or the system has no randomness to give, without
    /// which a restarted node is not safe.
    pub fn config(&self) -> Result<Config, NodeError> {
        let own = (&self.id, self.advertised());
        let founders = self.peers.iter().chain(&self.learners);
        let mut addresses = founders.map(|(id, address)| (id, address.as_str())).chain([own]);
        if let Some((id, _)) = addresses.find(|(_, address)| address.len() > MAX_ADDRESS) {
            return Err(NodeError::AddressTooLong { id: *id, limit: MAX_ADDRESS });
        }
        let seed = getrandom::u64().map_err(NodeError::Randomness)?;
        let config = Config::new(self.id, seed)
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
    /// Takes in what the core says; whether that was about the leadership.
    pub const fn update(&mut self, notice: &Notice) -> bool {
        let Notice::Leadership { role, term, leader } = notice else { return false };
        *self = Self { role: *role, term: *term, leader: *leader };
        true
    }
}
