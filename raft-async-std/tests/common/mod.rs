//! What the tests of this crate share, apart from the suites.

use std::io::{self, Read};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future;
use raft_async_std::Executor;
use raft_node::core::LogIndex;
use raft_node::{FrozenState, StateMachine};

/// How long a test waits for something before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Echo;

impl StateMachine for Echo {
    fn apply(&mut self, _: LogIndex, command: Bytes) -> Bytes {
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
/// connections, so that nobody takes it while its node is down.
pub(crate) fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 10_000 + (std::process::id() % 20_000) as u16;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        let address = format!("127.0.0.1:{port}");
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// An executor with so many threads of its own, and how a node is told of it.
pub(crate) fn executor(threads: usize) -> (Arc<smol::Executor<'static>>, Executor) {
    let executor = Arc::new(smol::Executor::new());
    for _ in 0..threads {
        let executor = executor.clone();
        thread::spawn(move || future::block_on(executor.run(future::pending::<()>())));
    }
    let weak = Arc::downgrade(&executor);
    let spawn = move |task| {
        if let Some(executor) = weak.upgrade() {
            executor.spawn(task).detach();
        }
    };
    (executor, Executor::new(spawn))
}

/// Fails a test that would wait for ever.
pub(crate) fn in_time<T>(work: impl Future<Output = T>) -> T {
    let late = async {
        async_io::Timer::after(PATIENCE).await;
        None
    };
    future::block_on(future::or(async { Some(work.await) }, late)).expect("it ends in time")
}
