//! What every host of `raft-core` needs and no runtime owns.

mod error;
mod state_machine;
mod store;

pub use error::StoreError;
pub use state_machine::StateMachine;
pub use store::LogStore;
pub use raft_core as core;
