//! The example of the documentation, run.
#![allow(missing_docs, reason = "tests are described by their names")]

use conformance_tests::process::free_address;

#[expect(dead_code, reason = "the tests have no use for its `main`")]
#[path = "../examples/counter.rs"]
mod counter;

#[test]
fn a_second_run_goes_on_counting() {
    let directory = tempfile::tempdir().expect("a directory");
    for expected in ["1", "2"] {
        let addresses = [(); 3].map(|()| free_address());
        assert_eq!(counter::count(directory.path(), &addresses).expect("a count"), expected);
    }
}
