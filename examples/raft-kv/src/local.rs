//! A cluster on this machine, each server a process of its own.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{env, io};

use raft_node::core::NodeId;
use redis_protocol::resp2::types::BytesFrame;
use tempfile::TempDir;
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::admin::Change;
use crate::client::{Client, ClientError, unexpected};
use crate::info::RaftReport;
use crate::member::{self, ChangeError};
use crate::node::{Runtime, Runtimes};
use crate::signals::Signals;

/// How long the cluster may take for one thing: to elect, to catch up, to change its members.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often something that is waited for is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// How long a node may take to say how it stands.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);

/// A cluster on this machine could not be run as it was meant to.
#[derive(Debug, Error)]
pub(crate) enum LocalError {
    #[error("can't {action}")]
    Io { action: &'static str, source: io::Error },
    #[error("node {id} has exited by itself{log}")]
    Exited { id: u64, log: String },
    #[error("{what} took longer than {PATIENCE:?}{log}")]
    TooLong { what: &'static str, log: String },
    #[error("node {id} can't take a snapshot")]
    Snapshot { id: u64, source: ClientError },
    #[error("can't change the members through node {id}")]
    Members { id: u64, source: ChangeError },
}

impl LocalError {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

/// Where a node is.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) id: u64,
    /// For clients.
    pub(crate) client: String,
    pub(crate) peer: String,
    /// What the node runs on.
    pub(crate) runtime: Runtime,
}

struct Server {
    address: Address,
    /// Whether the cluster was founded with it.
    founder: bool,
    /// Nothing while it does not run.
    process: Option<Child>,
}

/// The servers and their files. Dropping it kills and removes them all.
pub(crate) struct Cluster {
    program: PathBuf,
    /// Declared before the directory, and so dropped before it.
    servers: Vec<Server>,
    directory: TempDir,
    /// Further arguments of each server.
    options: &'static [&'static str],
}

/// What came of something that was done with a cluster.
pub(crate) enum Ended<T> {
    Done(T),
    /// A signal came first, with this name.
    Interrupted(&'static str),
}

impl Cluster {
    /// Makes a cluster as [`Cluster::new`] does, does something with it, and removes it. Whatever
    /// ends that, neither a process nor a file of the cluster is left.
    pub(crate) async fn with<T, E: From<LocalError>>(
        founders: usize,
        nodes: usize,
        runtimes: Runtimes,
        options: &'static [&'static str],
        play: impl AsyncFnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<Ended<T>, E> {
        let mut signals = Signals::new().map_err(LocalError::io("prepare to be interrupted"))?;
        let mut cluster = Self::new(founders, nodes, runtimes, options)?;
        let outcome = tokio::select! {
            outcome = play(&mut cluster) => outcome.map(Ended::Done),
            signal = signals.wait() => Ok(Ended::Interrupted(signal)),
        };
        let removed = cluster.remove().await;
        // When both have failed, the first error is the one that matters.
        outcome.and_then(|ended| Ok(removed.map(|()| ended)?))
    }

    /// Chooses ports for so many nodes, the founders among them, and makes a directory. No server
    /// runs yet.
    fn new(
        founders: usize,
        nodes: usize,
        runtimes: Runtimes,
        options: &'static [&'static str],
    ) -> Result<Self, LocalError> {
        let program = env::current_exe().map_err(LocalError::io("find this program"))?;
        let directory = tempfile::Builder::new().prefix("raft-kv-").tempdir();
        let directory = directory.map_err(LocalError::io("make a temporary directory"))?;
        let ports = free_ports(nodes).map_err(LocalError::io("find free ports"))?;
        let server = |(place, [peer, client]): (usize, [SocketAddr; 2])| Server {
            address: Address {
                id: place as u64 + 1,
                client: client.to_string(),
                peer: peer.to_string(),
                runtime: runtimes.of(place as u64 + 1),
            },
            founder: place < founders,
            process: None,
        };
        let servers = ports.into_iter().enumerate().map(server).collect();
        Ok(Self { program, servers, directory, options })
    }

    /// Starts every founder.
    pub(crate) fn found(&mut self) -> Result<(), LocalError> {
        let founders = self.servers.iter().filter(|server| server.founder);
        let ids: Vec<u64> = founders.map(|server| server.address.id).collect();
        ids.into_iter().try_for_each(|id| self.start(id))
    }

    /// Starts a server that does not run, again or for the first time.
    pub(crate) fn start(&mut self, id: u64) -> Result<(), LocalError> {
        let command = self.command(id).map_err(LocalError::io("make a log file"))?;
        if let Some(server) = self.server(id)
            && server.process.is_none()
            && let Some(mut command) = command
        {
            let spawned = command.spawn().map_err(LocalError::io("start a server"))?;
            server.process = Some(spawned);
        }
        Ok(())
    }

    /// Kills a server with SIGKILL. Returns when the process is gone.
    pub(crate) async fn kill(&mut self, id: u64) -> Result<(), LocalError> {
        if let Some(mut process) = self.server(id).and_then(|server| server.process.take()) {
            process.kill().await.map_err(LocalError::io("kill a server"))?;
        }
        Ok(())
    }

    /// Stops a server as an operator would. Returns when the process is gone.
    pub(crate) async fn stop(&mut self, id: u64) -> Result<(), LocalError> {
        if let Some(mut process) = self.server(id).and_then(|server| server.process.take()) {
            // It stops when its standard input ends.
            drop(process.stdin.take());
            let ended = timeout(PATIENCE, process.wait()).await;
            ended
                .map_err(|_| self.too_long("stopping a server"))?
                .map_err(LocalError::io("wait"))?;
        }
        Ok(())
    }

    /// Kills everything and removes all files.
    async fn remove(mut self) -> Result<(), LocalError> {
        for process in self.servers.iter_mut().filter_map(|server| server.process.as_mut()) {
            process.kill().await.map_err(LocalError::io("kill a server"))?;
        }
        self.directory.close().map_err(LocalError::io("remove the temporary directory"))
    }

    /// Removes the files of a server that does not run.
    pub(crate) fn wipe(&self, id: u64) -> Result<(), LocalError> {
        fs::remove_dir_all(self.data(id)).map_err(LocalError::io("remove a data directory"))
    }

    /// Where the data is.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the running nodes are.
    pub(crate) fn running(&self) -> Vec<Address> {
        let running = self.servers.iter().filter(|server| server.process.is_some());
        running.map(|server| server.address.clone()).collect()
    }

    /// Waits until a running node leads, and returns its number and term.
    pub(crate) async fn leader(&mut self) -> Result<(u64, u64), LocalError> {
        let newest = |reports: &[RaftReport]| {
            let leaders = reports.iter().filter(|report| report.leads());
            leaders.max_by_key(|one| one.term).map(|leader| (leader.id, leader.term))
        };
        self.wait_for("an election", newest).await
    }

    /// Waits until a node has applied every entry that was committed when this was called, and
    /// returns how it stands.
    pub(crate) async fn catch_up(&mut self, id: u64) -> Result<RaftReport, LocalError> {
        let commit = |reports: &[RaftReport]| reports.iter().map(|one| one.commit).max();
        let target = self.wait_for("asking for the commit index", commit).await?;
        let there = |reports: &[RaftReport]| {
            reports.iter().find(|one| one.id == id && one.applied >= target).cloned()
        };
        self.wait_for("catching up", there).await
    }

    /// Has a node take a snapshot, waits until its log begins behind it, and returns how the node
    /// stands.
    pub(crate) async fn snapshot(&mut self, id: u64) -> Result<RaftReport, LocalError> {
        let failed = |source| LocalError::Snapshot { id, source };
        let mut client = self.connect(id).await.map_err(failed)?;
        let index = take_snapshot(&mut client).await.map_err(failed)?;
        let compacted = |reports: &[RaftReport]| {
            let mut here = reports.iter().filter(|one| one.id == id);
            here.find(|one| one.snapshot >= index && one.base > 0).cloned()
        };
        self.wait_for("compacting a log", compacted).await
    }

    /// Has all running nodes take a snapshot at once, and waits for all of them.
    pub(crate) async fn snapshot_everywhere(&self) -> Result<(), LocalError> {
        let mut snapshots = JoinSet::new();
        for node in self.running() {
            snapshots.spawn(async move {
                let taken = async {
                    let mut client = Client::connect(&node.client, PATIENCE).await?;
                    take_snapshot(&mut client).await
                };
                taken.await.map_err(|source| LocalError::Snapshot { id: node.id, source })
            });
        }
        while let Some(ended) = snapshots.join_next().await {
            ended.map_err(|error| LocalError::io("wait for a snapshot")(error.into()))??;
        }
        Ok(())
    }

    /// Adds a node that runs, through another one; returns when it votes.
    pub(crate) async fn add(&mut self, id: u64, through: u64) -> Result<(), LocalError> {
        let address = self.server(id).map(|server| server.address.peer.clone()).unwrap_or_default();
        let change = Change::Add { id: NodeId::new(id), address, learner: false };
        self.change(&change, through).await
    }

    /// Removes a member, through another one.
    pub(crate) async fn expel(&mut self, id: u64, through: u64) -> Result<(), LocalError> {
        self.change(&Change::Remove(NodeId::new(id)), through).await
    }

    async fn change(&mut self, change: &Change, through: u64) -> Result<(), LocalError> {
        let failed = |source| LocalError::Members { id: through, source };
        let mut client = self.connect(through).await.map_err(|error| failed(error.into()))?;
        member::make(&mut client, change, PATIENCE).await.map_err(failed)
    }

    async fn connect(&mut self, id: u64) -> Result<Client, ClientError> {
        let address = self.server(id).map(|server| server.address.client.clone());
        Client::connect(&address.unwrap_or_default(), PATIENCE).await
    }

    /// Polls the reports of the running nodes until they say what is wanted.
    pub(crate) async fn wait_for<T>(
        &mut self,
        what: &'static str,
        mut find: impl FnMut(&[RaftReport]) -> Option<T>,
    ) -> Result<T, LocalError> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let mut reports = Vec::new();
            for server in &mut self.servers {
                let (address, Some(process)) = (&server.address, &mut server.process) else {
                    continue;
                };
                if process.try_wait().map_err(LocalError::io("watch a server"))?.is_some() {
                    let log = last_words(self.directory.path(), [address]);
                    return Err(LocalError::Exited { id: address.id, log });
                }
                let report = async {
                    Client::connect(&address.client, REPORT_PATIENCE).await?.report().await
                };
                // A node that can't answer yet, or at the moment, is asked again.
                reports.extend(report.await);
            }
            if let Some(found) = find(&reports) {
                return Ok(found);
            }
            sleep(POLL).await;
        }
        Err(self.too_long(what))
    }

    /// The error for something that did not happen in time, with what the servers have logged.
    pub(crate) fn too_long(&self, what: &'static str) -> LocalError {
        let all = self.servers.iter().map(|server| &server.address);
        LocalError::TooLong { what, log: last_words(self.directory.path(), all) }
    }

    fn server(&mut self, id: u64) -> Option<&mut Server> {
        self.servers.iter_mut().find(|server| server.address.id == id)
    }

    fn data(&self, id: u64) -> PathBuf {
        self.directory.path().join(format!("node-{id}"))
    }

    /// What runs a server; nothing if there is no such node.
    fn command(&self, id: u64) -> io::Result<Option<Command>> {
        let Some(server) = self.servers.iter().find(|server| server.address.id == id) else {
            return Ok(None);
        };
        let node = &server.address;
        let log = log_file(self.directory.path(), node);
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--id").arg(id.to_string());
        if server.founder {
            for founder in self.servers.iter().filter(|server| server.founder) {
                let Address { id, peer, .. } = &founder.address;
                command.arg("--peer").arg(format!("{id}={peer}"));
            }
        } else {
            command.args(["--join", "--listen", &node.peer]);
        }
        command.arg("--client").arg(&node.client).arg("--data-dir").arg(self.data(id));
        command.arg("--runtime").arg(node.runtime.to_string());
        command.args(["--log-level", "warn", "--exit-with-stdin"]).args(self.options);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        // In a group of their own, the servers are not reached by the Ctrl-C that is meant for the
        // program that runs them.
        command.process_group(0).kill_on_drop(true);
        Ok(Some(command))
    }
}

/// Up to which index the snapshot goes.
async fn take_snapshot(client: &mut Client) -> Result<u64, ClientError> {
    match client.call(vec!["RAFT.SNAPSHOT".into()]).await? {
        BytesFrame::Integer(index) => Ok(u64::try_from(index).unwrap_or_default()),
        other => Err(unexpected(&other)),
    }
}

/// Two free ports for each node. All are held at once, so that they differ, and released together.
///
/// They are below the range from which systems take the ports of outgoing connections. A port of
/// that range could be taken while its server is dead, and a connection attempt to a port where
/// nobody listens could even be connected to itself.
fn free_ports(nodes: usize) -> io::Result<Vec<[SocketAddr; 2]>> {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    // Each process starts at another place, so that demos side by side stay apart.
    let random = RandomState::new().build_hasher().finish();
    let start = u16::try_from(random % u64::from(COUNT)).unwrap_or_default();
    let candidates = (0..COUNT).map(|step| FIRST + (start + step) % COUNT);
    let mut free = candidates.filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let held: Vec<TcpListener> = free.by_ref().take(2 * nodes).collect();
    let ports = held.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let (pairs, _) = ports.as_chunks::<2>();
    if pairs.len() == nodes { Ok(pairs.to_vec()) } else { Err(io::ErrorKind::AddrInUse.into()) }
}

fn log_file(directory: &Path, node: &Address) -> PathBuf {
    directory.join(format!("node-{}.log", node.id))
}

/// The ends of the logs, for an error message.
fn last_words<'a>(directory: &Path, nodes: impl IntoIterator<Item = &'a Address>) -> String {
    const LINES: usize = 5;
    let mut text = String::new();
    for node in nodes {
        // A log that can't be read must not hide the error that it should explain.
        let log = fs::read(log_file(directory, node)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(LINES)) {
            text.push_str(&format!("\n  node {}: {line}", node.id));
        }
    }
    text
}
