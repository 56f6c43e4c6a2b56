//! Servers to start, stop and kill, and a client that waits for an answer and no more.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use conformance_tests::process::free_address;
use tempfile::TempDir;

pub(crate) use super::client::Client;

/// Longer than anything here may take. Only a failing test waits for it.
pub(crate) const HANG: Duration = Duration::from_secs(40);

/// Waits until something is the case.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + HANG;
    while !holds() {
        assert!(Instant::now() < give_up, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The program itself.
pub(crate) fn raft_kv() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-kv"));
    command.stdin(Stdio::null());
    command
}

/// Runs one command of an operator to its end.
pub(crate) fn run(words: &[&str]) -> Output {
    raft_kv().args(words).output().unwrap()
}

/// Runs a command that must succeed, and returns what it prints.
pub(crate) fn succeed(words: &[&str]) -> String {
    let output = run(words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail, and returns what it says of that.
pub(crate) fn fail(words: &[&str]) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// One server, running or not.
pub(crate) struct Server {
    pub(crate) id: u64,
    pub(crate) client: String,
    pub(crate) peer: String,
    pub(crate) data: PathBuf,
    log: PathBuf,
    words: Vec<String>,
    process: Option<Child>,
}

/// Servers with their files.
pub(crate) struct Servers {
    pub(crate) all: Vec<Server>,
    _files: TempDir,
}

impl Servers {
    /// The founders of a cluster and nodes that may be added to it, none of them started.
    pub(crate) fn new(founders: u64, newcomers: u64, options: &[&str]) -> Self {
        let files = TempDir::new().unwrap();
        let mut all: Vec<Server> = (1..=founders + newcomers)
            .map(|id| Server {
                id,
                client: free_address(),
                peer: free_address(),
                data: files.path().join(format!("node-{id}")),
                log: files.path().join(format!("node-{id}.log")),
                words: options.iter().map(|word| (*word).to_owned()).collect(),
                process: None,
            })
            .collect();
        let peers: Vec<String> = all
            .iter()
            .filter(|server| server.id <= founders)
            .map(|server| format!("--peer={}={}", server.id, server.peer))
            .collect();
        for server in &mut all {
            if server.id <= founders {
                server.words.extend(peers.clone());
            } else {
                server.words.extend(["--join".into(), format!("--listen={}", server.peer)]);
            }
        }
        Self { all, _files: files }
    }

    /// Starts the founders and waits for a leader.
    pub(crate) fn founded(founders: u64, newcomers: u64, options: &[&str]) -> Self {
        let mut servers = Self::new(founders, newcomers, options);
        for id in 1..=founders {
            servers.get(id).start();
        }
        servers.leader();
        servers
    }

    pub(crate) fn get(&mut self, id: u64) -> &mut Server {
        self.all.iter_mut().find(|server| server.id == id).unwrap()
    }

    /// The client address of a server.
    pub(crate) fn at(&self, id: u64) -> String {
        self.all.iter().find(|server| server.id == id).unwrap().client.clone()
    }

    /// Waits until a running server leads.
    pub(crate) fn leader(&mut self) -> u64 {
        let mut leader = None;
        eventually("a leader", || {
            leader = self.leaders().first().copied();
            leader.is_some()
        });
        leader.unwrap()
    }

    /// The running servers that lead, as far as they know.
    pub(crate) fn leaders(&self) -> Vec<u64> {
        let running = self.all.iter().filter(|server| server.process.is_some());
        let leads = |server: &&Server| server.info("role").is_some_and(|role| role == "leader");
        running.filter(leads).map(|server| server.id).collect()
    }
}

impl Server {
    pub(crate) fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let process = raft_kv()
            .args(["serve", "--id", &self.id.to_string(), "--client", &self.client])
            .args(["--data-dir", self.data.to_str().unwrap(), "--log-level", "info"])
            .args(["--runtime", self.runtime()])
            .args(&self.words)
            .stderr(log)
            .spawn();
        self.process = Some(process.unwrap());
    }

    /// What its node runs on: the servers of a test are mixed, and four have all there is.
    pub(crate) const fn runtime(&self) -> &'static str {
        match self.id % 4 {
            1 => "tokio",
            2 => "smol",
            3 => "sync",
            _ => "async-std",
        }
    }

    /// From the next start on the other nodes reach it there.
    pub(crate) fn listen_at(&mut self, address: &str) {
        self.peer = address.to_owned();
        self.words.push(format!("--listen={address}"));
    }

    /// From the next start on it dials another node there.
    pub(crate) fn dial(&mut self, id: u64, address: &str) {
        self.words.push(format!("--dial={id}={address}"));
    }

    /// Starts the server and waits until it answers.
    pub(crate) fn started(&mut self) {
        self.start();
        eventually("a server answers", || self.info("id").is_some());
    }

    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Stops the server with SIGTERM.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the process has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let process = self.process.as_mut().unwrap();
        let mut status = None;
        eventually("the server ends", || {
            status = process.try_wait().unwrap();
            status.is_some()
        });
        self.process = None;
        status.unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// A field of `INFO`; nothing while the server does not answer.
    pub(crate) fn info(&self, name: &str) -> Option<String> {
        let text = Client::connect(&self.client, HANG)?.ask("INFO")?;
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.to_owned()))
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.info(name).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Asks one server until it does not answer with an error.
pub(crate) fn insist(address: &str, request: &str) -> String {
    let mut reply = None;
    eventually(request, || {
        reply = Client::connect(address, HANG).and_then(|mut client| client.ask(request));
        reply.as_ref().is_some_and(|reply| !reply.starts_with('-'))
    });
    reply.unwrap()
}
