//! Raft on the async-io family, which is smol's and async-std's: a replicated state machine as a few
//! tasks of your executor.
//!
//! Implement [`StateMachine`](raft_node::StateMachine), open a [`Storage`], say in the [`Settings`]
//! who is in the cluster, and [`start`] a [`Node`] on an [`Executor`]. Everybody else in
//! the program talks to it through a [`Handle`]. This is `examples/counter.rs`:
//!
//! ```no_run
#![doc = include_str!("../examples/counter.rs")]
//! ```
//!
//! # async-std or smol
//!
//! async-std is no longer developed; its authors, and the advisory RUSTSEC-2025-0052, name smol as
//! its successor. Take this crate on async-std if your program is there already, and smol for
//! anything new:
//!
//! ```toml
//! raft-async-std = { git = "…", default-features = false, features = ["smol"] }
//! ```
//!
//! | executor | in the code | features |
//! | --- | --- | --- |
//! | async-std's | `Executor::async_std()` | `async-std`, which is on by default |
//! | smol's | `Executor::smol()` | `smol`; without the default, async-std is not in your tree |
//! | any other | [`Executor::new`] | none |
//!
//! That line is the whole difference, and both features may be on. Sockets and timers are those of
//! async-io, the same below both; it brings a thread for them where it needs one.
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
//! - One thread that runs the executor is enough, and while nothing happens it has nothing to do.
//!   Disk and state machine have threads of their own, so
//!   [`StateMachine::apply`](raft_node::StateMachine::apply) may block.
//! - A lookup of a peer's name runs on a thread of the crate `blocking`, and may outlive the node
//!   for as long as the system takes: nothing can end it early.
//! - Peers are not authenticated and nothing is encrypted: keep the ports on a network that you
//!   trust.
//!
//! This crate holds only the loop, the timers and the sockets; everything else is in [`raft_node`].
#![forbid(unsafe_code)]

mod dial;
mod executor;
mod listen;
mod node;
mod wait;

pub use executor::Executor;
pub use node::{start, start_on_network};
pub use raft_node;
pub use raft_node::{
    ClusterId, Handle, Leadership, Node, NodeError, NodeStatus, RequestError, Settings,
    SnapshotPolicy, Storage,
};
