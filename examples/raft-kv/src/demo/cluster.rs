//! The three servers, each a process of its own.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{env, io};

use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::{DemoError, PATIENCE, POLL};
use crate::client::Client;
use crate::info::RaftReport;

const SIZE: usize = 3;

/// How long a node may take to say how it stands.
const REPORT_PATIENCE: Duration = Duration::from_secs(1);

/// Where a node is.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) id: u64,
    /// For clients.
    pub(super) client: String,
    peer: String,
}

/// The servers and their files. Dropping it kills and removes them all.
pub(super) struct Cluster {
    program: PathBuf,
    nodes: Vec<Address>,
    /// In the order of `nodes`; nothing for one that was killed. They are declared before the
    /// directory, and so are dropped before it.
    children: Vec<Option<Child>>,
    directory: TempDir,
}

impl Cluster {
    /// Chooses ports and makes a directory. No server runs yet.
    pub(super) fn new() -> Result<Self, DemoError> {
        let program = env::current_exe().map_err(DemoError::io("find this program"))?;
        let directory = tempfile::Builder::new().prefix("raft-kv-demo-").tempdir();
        let directory = directory.map_err(DemoError::io("make a temporary directory"))?;
        let ports = free_ports().map_err(DemoError::io("find free ports"))?;
        let address = |(id, [peer, client]): (u64, [SocketAddr; 2])| Address {
            id,
            client: client.to_string(),
            peer: peer.to_string(),
        };
        let nodes = (1..).zip(ports).map(address).collect();
        Ok(Self { program, nodes, children: (0..SIZE).map(|_| None).collect(), directory })
    }

    /// Starts every server that does not run.
    pub(super) fn start(&mut self) -> Result<(), DemoError> {
        for (node, child) in self.nodes.iter().zip(&mut self.children) {
            if child.is_none() {
                let spawned = spawn(&self.program, self.directory.path(), node, &self.nodes);
                *child = Some(spawned.map_err(DemoError::io("start a server"))?);
            }
        }
        Ok(())
    }

    /// Kills a server with SIGKILL. Returns when the process is gone.
    pub(super) async fn kill(&mut self, id: u64) -> Result<(), DemoError> {
        for (node, child) in self.nodes.iter().zip(&mut self.children) {
            if node.id == id
                && let Some(mut child) = child.take()
            {
                child.kill().await.map_err(DemoError::io("kill a server"))?;
            }
        }
        Ok(())
    }

    /// Kills everything and removes all files.
    pub(super) async fn remove(mut self) -> Result<(), DemoError> {
        for child in self.children.iter_mut().flatten() {
            child.kill().await.map_err(DemoError::io("kill a server"))?;
        }
        self.directory.close().map_err(DemoError::io("remove the temporary directory"))
    }

    /// Where the data is.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the nodes are.
    pub(super) fn nodes(&self) -> &[Address] {
        &self.nodes
    }

    /// Waits until a running node leads, and returns its number and term.
    pub(super) async fn leader(&mut self) -> Result<(u64, u64), DemoError> {
        let newest = |reports: Vec<RaftReport>| {
            let leader =
                reports.into_iter().filter(RaftReport::leads).max_by_key(|one| one.term)?;
            Some((leader.id, leader.term))
        };
        self.wait_for("an election", newest).await
    }

    /// Waits until a node has applied every entry that was committed when this was called, and
    /// returns how many those are.
    pub(super) async fn catch_up(&mut self, id: u64) -> Result<u64, DemoError> {
        let commit = |reports: Vec<RaftReport>| reports.iter().map(|one| one.commit).max();
        let target = self.wait_for("asking for the commit index", commit).await?;
        let there = |reports: Vec<RaftReport>| {
            reports.iter().any(|one| one.id == id && one.applied >= target).then_some(target)
        };
        self.wait_for("catching up", there).await
    }

    /// Polls the reports of the running nodes until they say what is wanted.
    async fn wait_for<T>(
        &mut self,
        what: &'static str,
        mut find: impl FnMut(Vec<RaftReport>) -> Option<T>,
    ) -> Result<T, DemoError> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let mut reports = Vec::new();
            for (node, child) in self.nodes.iter().zip(&mut self.children) {
                let Some(child) = child else { continue };
                if child.try_wait().map_err(DemoError::io("watch a server"))?.is_some() {
                    let log = last_words(self.directory.path(), [node]);
                    return Err(DemoError::Exited { id: node.id, log });
                }
                let report =
                    async { Client::connect(&node.client, REPORT_PATIENCE).await?.report().await };
                // A node that can't answer yet, or at the moment, is asked again.
                reports.extend(report.await);
            }
            if let Some(found) = find(reports) {
                return Ok(found);
            }
            sleep(POLL).await;
        }
        Err(self.too_long(what))
    }

    /// The error for something that did not happen in time, with what the servers have logged.
    pub(super) fn too_long(&self, what: &'static str) -> DemoError {
        DemoError::TooLong { what, log: last_words(self.directory.path(), &self.nodes) }
    }
}

/// Two free ports for each node. All are held at once, so that they differ, and released together.
///
/// They are below the range from which systems take the ports of outgoing connections. A port of
/// that range could be taken while its server is dead, and a connection attempt to a port where
/// nobody listens could even be connected to itself.
fn free_ports() -> io::Result<Vec<[SocketAddr; 2]>> {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    // Each process starts at another place, so that demos side by side stay apart.
    let random = RandomState::new().build_hasher().finish();
    let start = u16::try_from(random % u64::from(COUNT)).unwrap_or_default();
    let candidates = (0..COUNT).map(|step| FIRST + (start + step) % COUNT);
    let mut free = candidates.filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let held: Vec<TcpListener> = free.by_ref().take(2 * SIZE).collect();
    let ports = held.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let (pairs, _) = ports.as_chunks::<2>();
    if pairs.len() == SIZE { Ok(pairs.to_vec()) } else { Err(io::ErrorKind::AddrInUse.into()) }
}

fn spawn(program: &Path, directory: &Path, node: &Address, all: &[Address]) -> io::Result<Child> {
    let log = File::options().create(true).append(true).open(log_file(directory, node))?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--id").arg(node.id.to_string());
    for peer in all {
        command.arg("--peer").arg(format!("{}={}", peer.id, peer.peer));
    }
    command.arg("--client").arg(&node.client);
    command.arg("--data-dir").arg(directory.join(format!("node-{}", node.id)));
    command.args(["--log-level", "warn", "--exit-with-stdin"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
    // In a group of their own, the servers are not reached by the Ctrl-C that is meant for the
    // demo.
    command.process_group(0).kill_on_drop(true).spawn()
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
