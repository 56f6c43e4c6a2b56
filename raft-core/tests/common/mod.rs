//! A cluster under the control of a script: nothing is delivered, lost, made durable or timed out
//! unless the script says so. Disks, state machines and log loads answer at once by default and
//! can be held back.
//!
//! Every step is checked: the invariants of each node, one leader for each term, one entry for each
//! committed place, no promise that is not on the disk, and one answer for each request.
#![allow(dead_code, unused_imports, reason = "each test file uses its own part of the harness")]

mod build;
mod cluster;
mod disk;
mod host;
mod lone;
mod world;

pub(crate) use build::*;
pub(crate) use cluster::Cluster;
pub(crate) use disk::Disk;
pub(crate) use host::{Apply, Host, Settings, SnapshotJob};
pub(crate) use lone::Lone;
