//! What a node on tokio does in real time, over real sockets. Deadlines are generous: they only
//! tell "slow" from "never".
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::panic, reason = "tests panic to fail")]

mod basics;
mod cluster;
mod load;
mod membership;
mod peers;
mod snapshots;
mod stop;
