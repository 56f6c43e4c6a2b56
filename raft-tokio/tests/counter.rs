//! The example of the documentation, run.
#![allow(missing_docs, reason = "tests are described by their names")]

use conformance_tests::process::free_address;
use tokio::runtime::Builder;

#[expect(dead_code, reason = "the tests have no use for its `main`")]
#[path = "../examples/counter.rs"]
mod counter;

#[test]
fn a_second_run_goes_on_counting() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    for expected in ["1", "2"] {
        let addresses = [(); 3].map(|()| free_address());
        let counted = runtime.block_on(counter::count(directory.path(), &addresses));
        assert_eq!(counted.expect("a count"), expected);
    }
}
