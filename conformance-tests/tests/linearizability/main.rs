//! The linearizability checker against histories whose verdict is known.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do, though the lints know only test functions"
)]

mod brute_force;
mod generated;
mod known;
