//! The deterministic simulator: virtual time, a network and disks that fail, all from one seed.

mod calls;
mod checker;
mod cluster;
pub(crate) mod describe;
mod disk;
mod lies;
pub(crate) mod network;
mod node;
mod options;
mod outputs;
pub(crate) mod random;
mod snapshots;
mod trace;
pub(crate) mod world;

pub(crate) use checker::is_quorum;
pub use cluster::SimCluster;
pub use options::Options;
pub(crate) use snapshots::Snapshots;
pub use trace::{Form, Table, Trace};
pub use world::World;
