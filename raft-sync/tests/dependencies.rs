//! What this crate is for: no executor comes with it.
#![allow(missing_docs, reason = "tests are described by their names")]

use conformance_tests::process::crates_below;

/// Executors, and what only they need.
const RUNTIMES: [&str; 13] = [
    "async-executor",
    "async-global-executor",
    "async-io",
    "async-std",
    "async-task",
    "blocking",
    "futures-executor",
    "futures-util",
    "mio",
    "polling",
    "smol",
    "tokio",
    "tokio-util",
];

#[test]
fn no_async_runtime_is_below_this_crate() {
    let crates = crates_below("raft-sync", &[]);
    assert!(crates.contains("raft-node"), "{crates:?}");
    let runtimes: Vec<_> = RUNTIMES.iter().filter(|name| crates.contains(**name)).collect();
    assert!(runtimes.is_empty(), "{runtimes:?}");
}
