//! One suite of scenarios for every runtime, the deterministic simulator, and the checkers.
#![forbid(unsafe_code)]

pub mod cluster;
pub mod explore;
pub mod lab;
pub mod linearizability;
pub mod machine;
pub mod real;
mod registers;
pub mod scenarios;
pub mod sim;
