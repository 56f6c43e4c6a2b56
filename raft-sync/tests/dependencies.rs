//! What this crate is for: no executor comes with it.
#![allow(missing_docs, reason = "tests are described by their names")]

use std::process::Command;

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
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "raft-sync"])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let crates: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains(&"raft-sync") && crates.contains(&"raft-node"), "{tree}");
    let runtimes: Vec<_> = crates.iter().filter(|name| RUNTIMES.contains(name)).collect();
    assert!(runtimes.is_empty(), "{runtimes:?} in\n{tree}");
}
