//! What the tests of an adapter need beside the scenarios: addresses, a machine that does nothing,
//! and what the system says of this process (on Linux, from `/proc`).

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{self, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_node::core::{LogIndex, NodeId};
use raft_node::{FrozenState, Settings, StateMachine};

/// How long a test waits for something before it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something is the case.
///
/// # Panics
/// It is not, for as long as [`PATIENCE`].
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a future to its end, on this thread.
///
/// # Panics
/// It waits for longer than [`PATIENCE`].
pub fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    poll_for(what, usize::MAX, future).expect("it is polled until it is ready")
}

/// Polls a future each time that it asks for it, but only so many times, and then drops it wherever
/// it waits; `None` if it was not ready by then.
///
/// # Panics
/// It waits for longer than [`PATIENCE`] between two polls.
pub fn in_polls<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    poll_for("a future that asks to be polled", polls, future)
}

fn poll_for<T>(what: &str, polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let bell = Arc::new(Bell { thread: thread::current(), rung: AtomicBool::new(false) });
    let waker = Waker::from(bell.clone());
    let give_up = Instant::now() + PATIENCE;
    for poll in 1..=polls {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        while poll < polls && !bell.rung.swap(false, Ordering::Acquire) {
            let left = give_up.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not in time: {what}");
            thread::park_timeout(left);
        }
    }
    None
}

/// Wakes a thread that polls a future.
struct Bell {
    thread: Thread,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// How many ports nodes may listen at.
const PORTS: u32 = 20_000;

/// Answers commands and queries with themselves and keeps nothing. The command `panic` makes it
/// panic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl StateMachine for Echo {
    fn apply(&mut self, _: LogIndex, command: Bytes) -> Bytes {
        assert!(command != "panic", "no such command");
        command
    }

    fn query(&self, query: Bytes) -> Bytes {
        query
    }

    fn snapshot(&self) -> FrozenState {
        Box::new(|_| Ok(()))
    }

    fn restore(&mut self, _: LogIndex, _: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }
}

/// An address on the loopback interface, below the ports that the system gives to outgoing
/// connections, so that nobody takes it while its node is down. Nor do the tests that run beside
/// this one: each gets the next ports of the process, which begin anywhere.
#[must_use]
pub fn free_address() -> String {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU32::new(fastrand::u32(..PORTS)));
    loop {
        let port = 10_000 + next.fetch_add(1, Ordering::Relaxed) % PORTS;
        let address = format!("127.0.0.1:{port}");
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// A node of a cluster at these addresses; the first is that of node 1.
#[must_use]
pub fn settings(id: u64, addresses: &[String]) -> Settings {
    let settings = Settings::new(NodeId::new(id)).election_timeout(Duration::from_millis(60));
    (1..).zip(addresses).fold(settings, |settings, (peer, address)| {
        settings.peer(NodeId::new(peer), address.clone())
    })
}

/// The names of the crates that come with a package of the workspace that is tested, itself included, when it is
/// not built for tests. `features` are arguments for cargo.
///
/// # Panics
/// Cargo says no.
#[must_use]
pub fn crates_below(package: &str, features: &[&str]) -> BTreeSet<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--package", package])
        .args(features)
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8_lossy(&tree.stdout);
    let names: BTreeSet<String> =
        tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(names.contains(package), "{names:?}");
    names
}

/// How many files and sockets this process has open.
///
/// # Panics
/// The system does not say.
#[must_use]
pub fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").expect("a list of open files").count()
}

/// Where the system tells of the threads of this process whose names begin like this; those of a
/// node begin with `raft-`.
///
/// # Panics
/// The system does not say.
#[must_use]
pub fn threads(name: &str) -> Vec<PathBuf> {
    let threads = fs::read_dir("/proc/self/task").expect("a list of threads").flatten();
    // A thread may end while it is looked at.
    let is_one = |path: &PathBuf| {
        fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.starts_with(name))
    };
    threads.map(|thread| thread.path()).filter(is_one).collect()
}

/// All threads of this process but the calling one, and but the pool of the crate `blocking`, which is
/// nobody's: a thread of it looks twice a second whether it is still needed.
///
/// # Panics
/// The system does not say.
#[must_use]
pub fn other_threads() -> Vec<PathBuf> {
    let own = fs::read_link("/proc/thread-self").expect("a link to this thread");
    let pool = threads("blocking-");
    let is_other =
        |thread: &PathBuf| thread.file_name() != own.file_name() && !pool.contains(thread);
    threads("").into_iter().filter(is_other).collect()
}

/// How often a thread went to sleep so far; `None` if it has ended.
#[must_use]
pub fn naps(thread: &Path) -> Option<u64> {
    let status = fs::read_to_string(thread.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line?.trim().parse().ok()
}

/// How long a thread was at work so far; `None` if it has ended.
#[must_use]
pub fn work(thread: &Path) -> Option<Duration> {
    let times = fs::read_to_string(thread.join("schedstat")).ok()?;
    times.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Waits until no other thread wakes up for a second, see [`other_threads`]. What follows from the last
/// request may take a moment.
///
/// # Panics
/// Somebody wakes up again and again.
pub fn until_all_sleep() {
    let naps = || -> Vec<_> {
        other_threads().into_iter().map(|thread| (naps(&thread), thread)).collect()
    };
    let give_up = Instant::now() + PATIENCE;
    loop {
        let before = naps();
        thread::sleep(Duration::from_secs(1));
        if naps() == before {
            return;
        }
        assert!(Instant::now() < give_up, "somebody wakes up each second: {before:?}");
    }
}
