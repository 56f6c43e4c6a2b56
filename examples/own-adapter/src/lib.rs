//! Raft on a hand-written poll loop: one thread for each node has its turns, its timers and all of
//! its sockets.
//!
//! It was written by following `docs/write-your-own-adapter.md`, which explains each part. A node is
//! [started](start) and stopped like one of `raft-sync`, and has the same [`Handle`].
#![forbid(unsafe_code)]

mod dial;
mod listen;
mod node;
mod watch;

pub use node::{start, start_on_network};
pub use raft_node;
pub use raft_node::blocking::{Handle, Node};
