//! What comes with this crate: the executor that was asked for, and no other.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::Command;

/// Which of these crates are below this one, with these features alone.
fn below(features: &str, crates: &[&'static str]) -> Vec<&'static str> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "raft-async-std"])
        .args(["--no-default-features", "--features", features])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"raft-async-std") && names.contains(&"async-io"), "{tree}");
    crates.iter().copied().filter(|name| names.contains(name)).collect()
}

const EXECUTORS: [&str; 4] = ["async-global-executor", "async-std", "smol", "tokio"];

#[test]
fn with_smol_async_std_is_not_below_this_crate() {
    assert_eq!(below("smol", &EXECUTORS), ["smol"]);
}

#[test]
fn by_default_async_std_is_below_this_crate_and_smol_is_not() {
    assert_eq!(below("default", &EXECUTORS), ["async-global-executor", "async-std"]);
}

#[test]
fn no_executor_by_name_is_below_this_crate_without_features() {
    assert!(below("", &EXECUTORS).is_empty());
}
