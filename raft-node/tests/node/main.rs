//! The node without a runtime, driven by hand: its turns come when a test says so, and time stands
//! still until a test moves it. Only the node's threads run by themselves, and the tests hold
//! them with gates.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::panic, reason = "tests panic to fail, and state machines panic to be tested")]

mod disk;
mod failures;
mod limits;
mod machine;
mod rig;
mod shutdown;
mod snapshots;
mod storage;
