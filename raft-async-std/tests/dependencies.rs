//! What comes with this crate: the executor that was asked for, and no other.
#![allow(missing_docs, reason = "tests are described by their names")]

use conformance_tests::process::crates_below;

/// Which of these crates are below this one, with these features alone.
fn below(features: &str, crates: &[&'static str]) -> Vec<&'static str> {
    let names = crates_below("raft-async-std", &["--no-default-features", "--features", features]);
    assert!(names.contains("async-io"), "{names:?}");
    crates.iter().copied().filter(|name| names.contains(*name)).collect()
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
