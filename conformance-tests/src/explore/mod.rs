//! Random exploration: a world drawn from a seed, faults in it, and then the demand that it
//! recovers.

mod changes;
mod faults;
mod plan;
mod recovery;
mod retries;
mod run;
mod stability;
mod tuning;
mod workload;

pub use plan::Plan;
pub use run::{Report, explore};
