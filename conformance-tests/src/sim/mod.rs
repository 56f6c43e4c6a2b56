//! The deterministic simulator: virtual time, a network and disks that fail, all from one seed.

mod checker;
mod cluster;
mod disk;
pub(crate) mod network;
mod node;
pub(crate) mod random;
mod trace;
pub(crate) mod world;

pub use cluster::SimCluster;
pub use trace::Trace;
pub use world::{Options, World};
