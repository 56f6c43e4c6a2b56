//! Random exploration: a world drawn from a seed, faults in it, and then the demand that it
//! recovers.

mod changes;
mod faults;
mod picture;
mod plan;
mod recovery;
mod reduction;
mod retries;
mod run;
mod shrink;
mod stability;
mod tuning;
mod words;
mod workload;

pub use picture::Picture;
pub use plan::Plan;
pub use reduction::{Part, Reduction};
pub use run::{Report, explore};
pub use shrink::{Shrunk, kind, shrink};
