//! What every host of `raft-core` needs and no runtime owns.

mod applier;
mod backoff;
mod clock;
mod disk;
mod error;
mod file_log;
mod fit;
mod link;
mod mailbox;
mod memory_log;
mod node;
mod outbound;
mod request;
mod settings;
mod state_machine;
mod store;

pub use backoff::Backoff;
pub use clock::Clock;
pub use error::{NodeError, StoreError};
pub use file_log::{FileLog, FileLogOptions};
pub use link::{ClusterId, Greeting, Inbound, LinkError, Outgoing, Received};
pub use mailbox::Notifier;
pub use memory_log::MemoryLog;
pub use node::{Node, NodeStatus, Threads, Turn, Wiring};
pub use outbound::{Outbound, PeerQueue};
pub use raft_core as core;
pub use request::{Client, RequestError};
pub use settings::{Leadership, Settings};
pub use state_machine::StateMachine;
pub use store::LogStore;
