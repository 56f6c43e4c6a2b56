//! Raft on tokio: a replicated state machine as a few tasks of your runtime.
//!
//! Implement [`StateMachine`](raft_node::StateMachine), open a [`Storage`], say in the [`Settings`]
//! who is in the cluster, and [`start`] a [`Node`]. Everybody else in the program talks
//! to it through a [`Handle`]. This is `examples/counter.rs`:
//!
//! ```no_run
#![doc = include_str!("../examples/counter.rs")]
//! ```
//!
//! # What to expect
//!
//! - [`Handle::propose`] returns the state machine's answer when the command is on the disks of a
//!   majority and applied on the node that was asked. Any node takes commands.
//! - [`Handle::read`] is linearizable on every node and writes nothing to any disk.
//! - An error says whether a command was certainly not applied; see [`RequestError`]. Nothing is
//!   sent twice behind your back.
//! - Futures may be dropped at any time. That gives up the waiting, not the command.
//! - Snapshots are taken by a policy of the [`Settings`], or when [`Handle::snapshot`] is called. The
//!   log frees its space behind them, and a node that is far behind gets one by itself.
//! - [`Handle::change_membership`] changes who is in the cluster while it runs.
//! - [`Node::shutdown`] of a leader hands over first. It answers everybody who waits, frees the port
//!   and returns when all tasks and threads of the node have ended. [`Node::stopped`] tells when, and
//!   why, a node stopped by itself.
//! - The node needs a runtime with time and I/O enabled; one thread is enough. Disk and state machine
//!   have threads of their own, so [`StateMachine::apply`](raft_node::StateMachine::apply) may block.
//! - A lookup of a peer's name runs on a thread of the runtime for blocking work, and may outlive the
//!   node for as long as the system takes: nothing can end it early.
//! - Peers are not authenticated and nothing is encrypted: keep the ports on a network that you
//!   trust.
//!
//! This crate holds only the loop, the timers and the sockets; everything else is in [`raft_node`].
#![forbid(unsafe_code)]

mod dial;
mod listen;
mod node;

pub use node::{start, start_on_network};
pub use raft_node;
pub use raft_node::{
    ClusterId, Handle, Leadership, Node, NodeError, NodeStatus, RequestError, Settings,
    SnapshotPolicy, Storage,
};

/// The example of the project's front page has to compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct FrontPage;
