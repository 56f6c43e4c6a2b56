//! Servers as real processes, and the program's own commands against them.
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails the test")]

#[path = "../support/client.rs"]
mod client;
mod members;
mod runtimes;
mod servers;
mod storage;
