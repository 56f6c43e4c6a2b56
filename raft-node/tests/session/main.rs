//! Client sessions, on replicas that are given their log by hand. Time is what the clients say.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod client;
mod damage;
mod expiry;
mod limits;
mod once;
mod world;
