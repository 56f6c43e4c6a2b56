//! One suite of scenarios for every runtime, the deterministic simulator, and the checkers.
//!
//! A *scenario* ([`scenarios`]) is plain blocking code against the trait [`cluster::Cluster`]: it
//! starts, crashes, cuts off and connects nodes, proposes and reads, and lets time pass. It is
//! written once and runs on two kinds of clusters:
//!
//! - [`sim::SimCluster`], the simulator: virtual time, one thread, everything decided by a seed.
//!   After each step of each node a checker that sees all nodes and all disks looks for broken
//!   invariants.
//! - [`real::RealCluster`]: real nodes of some adapter, in real time. An adapter brings a
//!   [`real::Bootstrap`], a page of code that starts and stops a node, and one line for each kind
//!   of network, and for the list of [`behaviour`]:
//!
//! ```text
//! conformance_tests::suite!(in_process, MyBootstrap::new());
//! conformance_tests::suite!(over_tcp, MyBootstrap::new());
//! conformance_tests::behaviour_suite!(MyBootstrap::new());
//! ```
//!
//! The scenarios are those of the well-known labs (MIT 6.824 and 6.5840), parts A to D, under
//! their names, and clients whose histories must be linearizable ([`linearizability`]). All
//! replicas report what they apply to one [`machine::Oracle`], which compares them.
//!
//! [`behaviour`] is the list of what every adapter has to bear: hostile peers, load, stops at any
//! moment, futures that are dropped, and nothing that is left. [`storage`] is the suite for stores of
//! one's own, and [`process`] has what tests of one's own need besides.
//!
//! [`contract`] is for whoever writes a state machine: is it deterministic, and does it know after
//! a crash what it has applied?
//!
//! [`explore`] goes further: it draws a whole world from a seed, with faults of every kind, checks
//! it after each step, then heals it and demands progress.
//!
//! Without the feature `std`, which is a default, there are no real clusters, no [`behaviour`], no
//! [`contract`], no [`storage`], no [`process`] and no [`explore`]: what is left needs only `alloc`,
//! so that the scenarios run on the simulator on a bare chip.
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(
    not(feature = "std"),
    allow(dead_code, unused_imports, reason = "the explorer uses more of the world")
)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(feature = "std")]
pub mod behaviour;
pub mod cluster;
#[cfg(feature = "std")]
pub mod contract;
#[cfg(feature = "std")]
pub mod explore;
pub mod lab;
pub mod linearizability;
pub mod machine;
#[cfg(feature = "std")]
pub mod process;
#[cfg(feature = "std")]
pub mod real;
mod registers;
#[cfg(feature = "std")]
pub mod replay;
pub mod scenarios;
pub mod sim;
#[cfg(feature = "std")]
pub mod storage;
