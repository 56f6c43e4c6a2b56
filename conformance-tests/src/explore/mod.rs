//! Random exploration: a world drawn from a seed, faults in it, and then the demand that it
//! recovers.

mod faults;
mod plan;
mod run;
mod stability;
mod workload;

pub use plan::Plan;
pub use run::{Report, explore};
