//! What the tests of this crate share, apart from the suites.

use std::sync::Arc;
use std::thread;

use conformance_tests::process::PATIENCE;
use futures_lite::future;
use raft_async_std::Executor;

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
