//! Raft on tokio: the loop, the timers, the sockets. Everything else is in [`raft_node`].
//!
//! ```no_run
#![doc = include_str!("../examples/counter.rs")]
//! ```
#![forbid(unsafe_code)]

mod dial;
mod handle;
mod listen;
mod node;

pub use handle::Handle;
pub use node::Node;
pub use raft_node;
pub use raft_node::{ClusterId, Leadership, NodeError, NodeStatus, RequestError, Settings};

/// The example of the project's front page has to compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct FrontPage;
