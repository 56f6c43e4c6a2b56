//! Nodes as processes of their own, and the links between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use conformance_tests::process::free_address;
use conformance_tests::real::{Flow, Proxy, Way};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::Client;

/// How long a node may take to say whether it leads. Those that stand still don't say.
const PATIENCE: Duration = Duration::from_millis(200);

/// How much of the log of each node a failure shows.
const LAST_LINES: usize = 20;

/// Few entries make a snapshot, and hardly any are kept behind one, so that nodes that were away
/// are sent snapshots. Requests end before the patience of the clients does.
const OPTIONS: &[&str] =
    &["--request-timeout", "1s", "--snapshot-entries", "200", "--log-margin", "20"];

/// A direction in which messages go: from a node to another one.
pub(crate) type Link = (u64, u64);

struct Node {
    id: u64,
    runtime: &'static str,
    client: String,
    peer: String,
    process: Option<Child>,
    paused: bool,
}

/// The nodes 1 to n. Dropping it kills them.
pub(crate) struct Cluster {
    /// Declared before the files, and so dropped before them.
    nodes: Vec<Node>,
    /// What the first node dials to reach the second.
    proxies: BTreeMap<Link, Proxy>,
    files: TempDir,
}

impl Cluster {
    /// Starts a node on each of these runtimes.
    pub(crate) fn start(runtimes: &[&'static str]) -> Self {
        let node = |(id, runtime): (u64, &&'static str)| Node {
            id,
            runtime,
            client: free_address(),
            peer: free_address(),
            process: None,
            paused: false,
        };
        let nodes: Vec<Node> = (1..).zip(runtimes).map(node).collect();
        let mut proxies = BTreeMap::new();
        for (from, to) in pairs(&nodes) {
            let proxy = Proxy::start(to.peer.clone()).unwrap();
            proxy.set_up(true);
            proxies.insert((from.id, to.id), proxy);
        }
        let mut cluster = Self { nodes, proxies, files: TempDir::new().unwrap() };
        cluster.start_nodes(&cluster.ids());
        cluster
    }

    pub(crate) fn ids(&self) -> BTreeSet<u64> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// Where the nodes serve clients.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.client.clone()).collect()
    }

    /// Starts those of these nodes that don't run.
    pub(crate) fn start_nodes(&mut self, ids: &BTreeSet<u64>) {
        for id in ids {
            let mut command = self.command(self.node(*id));
            let node = self.node_mut(*id);
            if node.process.is_none() {
                node.process = Some(command.spawn().unwrap());
            }
        }
    }

    /// Kills those of these nodes that run, with SIGKILL, and returns which ones. They are gone then.
    pub(crate) fn kill(&mut self, ids: &BTreeSet<u64>) -> BTreeSet<u64> {
        let mut killed = BTreeSet::new();
        let victims = self.nodes.iter_mut().filter(|node| ids.contains(&node.id));
        for node in victims.filter(|node| node.process.is_some()) {
            node.kill();
            killed.insert(node.id);
        }
        killed
    }

    /// Stops those of these nodes that run, with SIGSTOP, and returns which ones.
    pub(crate) fn pause(&mut self, ids: &BTreeSet<u64>) -> BTreeSet<u64> {
        let mut paused = BTreeSet::new();
        for node in self.nodes.iter_mut().filter(|node| ids.contains(&node.id) && !node.paused) {
            if node.signal(Signal::STOP) {
                node.paused = true;
                paused.insert(node.id);
            }
        }
        paused
    }

    /// Lets those of these nodes go on that were stopped, with SIGCONT.
    pub(crate) fn go_on(&mut self, ids: &BTreeSet<u64>) {
        for node in self.nodes.iter_mut().filter(|node| ids.contains(&node.id) && node.paused) {
            node.signal(Signal::CONT);
            node.paused = false;
        }
    }

    /// Cuts these links, each in one direction, and opens all others. What answers go back over a
    /// connection goes the other way, too.
    pub(crate) fn cut(&self, links: &BTreeMap<Link, Flow>) {
        let flow = |link| links.get(&link).copied().unwrap_or(Flow::Open);
        for ((from, to), proxy) in &self.proxies {
            proxy.set_flow(Way::Onward, flow((*from, *to)));
            proxy.set_flow(Way::Back, flow((*to, *from)));
        }
    }

    /// The node that leads, as far as it knows: of several the one with the newest term.
    pub(crate) fn leader(&self) -> Option<u64> {
        let able = self.nodes.iter().filter(|node| node.process.is_some() && !node.paused);
        let leads = able.filter_map(|node| {
            let info = Client::connect(&node.client, PATIENCE)?.ask("INFO raft")?;
            let field = |name| info.lines().find_map(|line| line.strip_prefix(name));
            let term: u64 = field("term:")?.parse().ok()?;
            (field("role:")? == "leader").then_some((term, node.id))
        });
        leads.max().map(|(_, id)| id)
    }

    /// Every node must still be the process that was started last.
    pub(crate) fn are_alive(&mut self) -> Result<(), String> {
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process
                && let Some(status) = process.try_wait().map_err(|error| error.to_string())?
            {
                return Err(format!("node {} has ended by itself: {status}", node.id));
            }
        }
        Ok(())
    }

    /// The ends of the logs, for a failure. The files are kept.
    pub(crate) fn last_words(&mut self) -> String {
        self.files.disable_cleanup(true);
        let mut text = format!("the files of the nodes are in {}\n", self.files.path().display());
        for node in &self.nodes {
            // A log that can't be read must not hide the failure that it should explain.
            let log = fs::read(log_file(self.files.path(), node.id)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let _ = writeln!(text, "the log of node {} ({}):", node.id, node.runtime);
            for line in lines.iter().skip(lines.len().saturating_sub(LAST_LINES)) {
                let _ = writeln!(text, "    {line}");
            }
        }
        text
    }

    fn node(&self, id: u64) -> &Node {
        self.nodes.iter().find(|node| node.id == id).unwrap()
    }

    fn node_mut(&mut self, id: u64) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).unwrap()
    }

    fn command(&self, node: &Node) -> Command {
        let files = self.files.path();
        let log = File::options().create(true).append(true).open(log_file(files, node.id));
        let mut command = Command::new(env!("CARGO_BIN_EXE_raft-kv"));
        command.args(["serve", "--id", &node.id.to_string(), "--runtime", node.runtime]);
        command.args(["--client", &node.client]);
        command.arg("--data-dir").arg(files.join(format!("node-{}", node.id)));
        for other in &self.nodes {
            command.arg(format!("--peer={}={}", other.id, other.peer));
            if let Some(proxy) = self.proxies.get(&(node.id, other.id)) {
                command.arg(format!("--dial={}={}", other.id, proxy.address()));
            }
        }
        command.args(OPTIONS).stdin(Stdio::null()).stderr(log.unwrap());
        command
    }
}

impl Node {
    /// Sends a signal to the process, if there is one. It was not waited for, so its id is not that
    /// of another one.
    fn signal(&self, signal: Signal) -> bool {
        let Some(process) = &self.process else { return false };
        kill_process(Pid::from_child(process), signal).is_ok()
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself; either way it is gone then.
            let _ = process.kill();
            let _ = process.wait();
        }
        self.paused = false;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pairs(nodes: &[Node]) -> impl Iterator<Item = (&Node, &Node)> {
    let others = move |from: &Node| {
        let from = from.id;
        nodes.iter().filter(move |to| to.id != from)
    };
    nodes.iter().flat_map(move |from| others(from).map(move |to| (from, to)))
}

fn log_file(files: &Path, id: u64) -> PathBuf {
    files.join(format!("node-{id}.log"))
}
