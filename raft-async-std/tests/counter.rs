//! The example of the documentation, run.
#![allow(missing_docs, reason = "tests are described by their names")]

use conformance_tests::process::free_address;
use futures_lite::future::block_on;
use raft_async_std::Executor;

#[expect(dead_code, reason = "the tests have no use for its `main`")]
#[path = "../examples/counter.rs"]
mod counter;

#[test]
fn a_second_run_on_the_other_executor_goes_on_counting() {
    let directory = tempfile::tempdir().expect("a directory");
    for (executor, expected) in [(Executor::async_std(), "1"), (Executor::smol(), "2")] {
        let addresses = [(); 3].map(|()| free_address());
        let counted = block_on(counter::count(executor, directory.path(), &addresses));
        assert_eq!(counted.expect("a count"), expected);
    }
}
