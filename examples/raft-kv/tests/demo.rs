//! The demo as a user runs it, shorter than usual.
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails the test")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longer than a short demo can take. Only a failing test waits for it.
const HANG: Duration = Duration::from_secs(60);

/// A running demo, its temporary files in a directory of their own.
struct Demo {
    process: Child,
    output: BufReader<ChildStdout>,
    files: TempDir,
    servers: Vec<SocketAddr>,
    /// What the servers are called when they are started.
    names: Vec<String>,
}

impl Demo {
    /// Starts a demo, and reads what it says up to the moment when its clients write.
    fn start(words: &[&str]) -> Self {
        let files = TempDir::new().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_raft-kv"))
            .arg("demo")
            .args(words)
            .env("TMPDIR", files.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut demo = Self { process, output, files, servers: Vec::new(), names: Vec::new() };
        loop {
            let line = demo.line();
            if let Some((name, address)) = line.split_once(" serves clients on ") {
                demo.names.push(name.trim().to_owned());
                demo.servers.push(address.parse().unwrap());
            }
            if line.contains("clients write") {
                assert_eq!(demo.servers.len(), 3);
                return demo;
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "the demo ended too soon");
        line.trim_end().to_owned()
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Reads the rest of the output and waits for the end.
    fn end(&mut self) -> (ExitStatus, Vec<String>) {
        let lines = self.output.by_ref().lines().map(Result::unwrap).collect();
        (self.process.wait().unwrap(), lines)
    }

    /// Waits until no server takes connections any more.
    fn wait_until_servers_are_gone(&self) {
        let started = Instant::now();
        while self.servers.iter().any(|server| TcpStream::connect(server).is_ok()) {
            assert!(started.elapsed() < HANG, "a server is still there");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn left_files(&self) -> usize {
        fs::read_dir(self.files.path()).unwrap().count()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // After a failed assertion it may still run; its servers end with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// R100.
#[test]
fn the_demo_loses_nothing_and_leaves_nothing_behind() {
    let output = play_to_the_end(&["--duration", "3s"]);
    assert!(output.contains("Started node 4 (async-std)"), "{output}");
}

#[test]
fn a_demo_may_run_on_one_runtime_alone() {
    for runtime in ["tokio", "async-std", "smol", "sync"] {
        let output = play_to_the_end(&["--duration", "1s", "--runtime", runtime]);
        assert!(output.contains(&format!("Started node 4 ({runtime})")), "{output}");
    }
}

/// A log of a few dozen entries has nothing to spare.
#[test]
fn a_demo_may_be_very_short() {
    play_to_the_end(&["--duration", "1s", "--clients", "1"]);
}

/// Returns what it said once its clients wrote.
fn play_to_the_end(words: &[&str]) -> String {
    let mut demo = Demo::start(words);
    let (status, lines) = demo.end();
    let output = lines.join("\n");
    assert!(status.success(), "{status}\n{output}");
    for part in [
        "with SIGKILL",
        "leads now",
        "Restarted node",
        "took a snapshot",
        "Added node 4: it has a snapshot",
        "the leader, through node",
    ] {
        assert!(output.contains(part), "{part:?} is missing in\n{output}");
    }
    for wrong in ["acknowledged writes lost", "writes applied twice", "clients that gave up"] {
        let count = lines.iter().find_map(|line| line.trim().strip_prefix(wrong));
        assert_eq!(count.map(str::trim), Some("0"), "{output}");
    }
    demo.wait_until_servers_are_gone();
    assert_eq!(demo.left_files(), 0);
    output
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    for signal in ["INT", "TERM"] {
        let mut demo = Demo::start(&["--duration", "60s"]);
        assert_eq!(demo.names, ["node 1 (tokio)", "node 2 (smol)", "node 3 (sync)"]);
        demo.signal(signal);
        let (status, lines) = demo.end();
        assert_eq!(status.code(), Some(130), "{lines:?}");
        assert_eq!(lines, [format!("Stopped by SIG{signal}.")]);
        demo.wait_until_servers_are_gone();
        assert_eq!(demo.left_files(), 0);
    }
}

#[test]
fn servers_end_when_the_demo_is_killed() {
    let demo = Demo::start(&["--duration", "60s"]);
    demo.signal("KILL");
    demo.wait_until_servers_are_gone();
}

#[test]
fn an_interrupted_measurement_leaves_nothing_behind() {
    let files = TempDir::new().unwrap();
    let left_files = || fs::read_dir(files.path()).unwrap().count();
    let mut process = Command::new(env!("CARGO_BIN_EXE_raft-kv"))
        .arg("measure")
        .env("TMPDIR", files.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while left_files() == 0 {
        assert!(started.elapsed() < HANG, "it has not begun");
        thread::sleep(Duration::from_millis(20));
    }
    let sent = Command::new("kill").args(["-s", "INT", &process.id().to_string()]).status();
    assert!(sent.unwrap().success());
    assert_eq!(process.wait().unwrap().code(), Some(130));
    assert_eq!(left_files(), 0);
}
