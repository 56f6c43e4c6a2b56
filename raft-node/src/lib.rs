//! What every host of [`raft_core`] needs and no runtime owns: a node without a runtime, its log on
//! disk, the link to its peers.
//!
//! Most programs use an adapter, such as `raft-tokio`, and meet this crate in three places: they
//! implement [`StateMachine`], open a [`Storage`] and fill in [`Settings`]. The rest is for
//! adapters.
//!
//! | | |
//! | --- | --- |
//! | [`StateMachine`] | what is replicated: the user's own |
//! | [`Storage`] | where the node keeps its log and its snapshots: files, or memory for tests |
//! | [`LogStore`], [`SnapshotStore`] | the two parts of it, to be written for other kinds of storage |
//! | [`Settings`] | who is in the cluster, and at which address |
//! | [`Node`], [`blocking::Node`] | a running node: whoever has it owns the node |
//! | [`Handle`], [`blocking::Handle`] | what clients hold in tasks and in threads, on every adapter |
//! | [`Client`] | the front door behind them: requests with callbacks, from any thread |
//! | [`session`] | commands that may be tried again: applied once |
//! | [`Host`] | the core with a thread for its disk and one for its state machine |
//! | [`Driver`], [`Ending`] | a host with its clock and its news, for the loop of an adapter |
//! | [`Recorder`] | is told what goes into a node's core, so that it can be shown again |
//! | [`Peers`] | who the peers are, and where |
//! | [`Reception`], [`Caller`] | what becomes of connections from peers |
//! | [`Dialler`], [`Outbound`] | what waits for each peer's socket, and when to dial again |
//! | [`Outgoing`], [`Inbound`] | the link between two nodes, as bytes in and bytes out |
//! | [`Identity`], [`fit`], [`record`] | for hosts and stores of your own: who a node is, whether a write continues a log, a write as bytes |
//! | [`Clock`], [`Backoff`], [`PeerQueue`], [`tune`] | small things that they are made of |
//!
//! # What a node promises
//!
//! - A request has exactly one answer, whatever happens, and [`RequestError`] keeps apart what is
//!   certain from what is not.
//! - The loop never waits for a disk, a state machine or a peer; a slow one of them delays no
//!   heartbeat. Writes that come while the disk is busy are made durable together.
//! - Each turn takes a share of everything that waits, so that no flood of requests keeps peers or
//!   timers waiting, and no flood of messages the clients.
//! - All that waits is bounded. Requests beyond the limits are refused, messages are dropped.
//! - When the store or the state machine fails, the node stops and says why.
//!
//! # The loop of an adapter
//!
//! An adapter gives a [`Host`] its turns and moves bytes. This is a whole one, on a thread that
//! waits at a channel, for a network that is just a function. What arrives from peers goes to
//! [`Client::deliver`]. A [`Driver`] brings the clock, and handles that can be waited with.
//!
//! ```
//! use std::{sync::Arc, sync::mpsc::sync_channel, thread};
//!
//! use raft_node::core::Message;
//! use raft_node::{
//!     Client, Clock, Host, NodeError, Settings, StateMachine, Storage, Turn, Wiring,
//! };
//!
//! fn run(
//!     settings: &Settings,
//!     storage: Storage,
//!     machine: impl StateMachine,
//!     send: impl FnMut(Message) + Send + 'static,
//!     started: impl FnOnce(Client),
//! ) -> Result<(), NodeError> {
//!     let clock = Clock::start();
//!     // Not `thread::park`: callbacks of clients run here, and might take its token away.
//!     let (wake, woken) = sync_channel(1);
//!     let wiring = Wiring {
//!         notify: Arc::new(move || drop(wake.try_send(()))),
//!         send: Box::new(send),
//!         observe: Box::new(|_| {}),
//!     };
//!     let (mut host, client) = Host::new(settings, storage, machine, wiring, clock.now())?;
//!     started(client);
//!     loop {
//!         match host.turn(|| clock.now()) {
//!             Turn::Continue { more: true, .. } => thread::yield_now(),
//!             Turn::Continue { deadline: None, .. } => drop(woken.recv()),
//!             Turn::Continue { deadline: Some(at), .. } => drop(woken.recv_timeout(clock.until(at))),
//!             Turn::Stopped(result) => {
//!                 host.close().join();
//!                 return result;
//!             }
//!         }
//!     }
//! }
//! # use bytes::Bytes;
//! # use raft_node::core::{LogIndex, NodeId};
//! # use raft_node::FrozenState;
//! # struct Echo;
//! # impl StateMachine for Echo {
//! #     fn apply(&mut self, _: LogIndex, command: Bytes) -> Bytes {
//! #         command
//! #     }
//! #     fn query(&self, query: Bytes) -> Bytes {
//! #         query
//! #     }
//! #     fn snapshot(&self) -> FrozenState {
//! #         Box::new(|_| Ok(()))
//! #     }
//! #     fn restore(&mut self, _: LogIndex, _: &mut dyn std::io::Read) -> std::io::Result<()> {
//! #         Ok(())
//! #     }
//! # }
//! # fn ask(client: Client) {
//! #     let again = client.clone();
//! #     client.propose("hello".into(), move |answer| match answer {
//! #         Ok(answer) => {
//! #             assert_eq!(answer, "hello");
//! #             again.stop();
//! #         }
//! #         Err(_) => {
//! #             thread::spawn(|| {
//! #                 thread::sleep(std::time::Duration::from_millis(1));
//! #                 ask(again);
//! #             });
//! #         }
//! #     });
//! # }
//! # let settings = Settings::new(NodeId::new(1))
//! #     .peer(NodeId::new(1), "")
//! #     .election_timeout(std::time::Duration::from_millis(20));
//! # run(&settings, Storage::in_memory(), Echo, |_| {}, ask).unwrap();
//! ```
//!
//! # Without an operating system
//!
//! Without the feature `std`, which is a default, the crate needs only `alloc` and consists of what
//! a host on a bare chip shares with all others: [`StateMachine`], [`session`], [`RequestError`],
//! [`LogStore`] and [`SnapshotStore`], [`MemorySnapshots`], [`io`], which is then a stand-in for
//! `std::io`, and the link: [`Identity`], [`Peers`], [`Outgoing`] and [`Inbound`], [`Outbound`],
//! [`Backoff`]. `examples/cortex-m` has a member that is made of them.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(feature = "std")]
mod applier;
mod backoff;
#[cfg(feature = "std")]
pub mod blocking;
#[cfg(feature = "std")]
mod checksum;
#[cfg(feature = "std")]
mod clock;
#[cfg(feature = "std")]
mod dialler;
#[cfg(feature = "std")]
mod directory;
#[cfg(feature = "std")]
mod disk;
#[cfg(feature = "std")]
mod driver;
mod error;
#[cfg(feature = "std")]
mod file_log;
#[cfg(feature = "std")]
mod file_snapshots;
pub mod fit;
#[cfg(feature = "std")]
mod handle;
#[cfg(feature = "std")]
mod host;
mod identity;
#[cfg(feature = "std")]
mod librarian;
mod link;
mod lock;
#[cfg(feature = "std")]
mod mailbox;
#[cfg(feature = "std")]
mod memory_log;
mod memory_snapshots;
#[cfg(feature = "std")]
mod news;
#[cfg(feature = "std")]
mod node;
mod notifier;
mod outbound;
mod peers;
#[cfg(feature = "std")]
mod reception;
pub mod record;
#[cfg(feature = "std")]
mod recorder;
#[cfg(feature = "recording")]
pub mod recording;
#[cfg(feature = "std")]
mod request;
mod request_error;
pub mod session;
#[cfg(feature = "std")]
mod settings;
#[cfg(feature = "std")]
mod socket;
mod state_machine;
#[cfg(feature = "std")]
mod storage;
mod store;
#[cfg(feature = "std")]
mod watched;

pub use backoff::{Backoff, PATIENCE};
#[cfg(feature = "std")]
pub use clock::Clock;
#[cfg(feature = "std")]
pub use dialler::Dialler;
#[cfg(feature = "std")]
pub use driver::{Driver, Ending, Next};
#[cfg(feature = "std")]
pub use error::NodeError;
pub use error::StoreError;
#[cfg(feature = "std")]
pub use file_log::{FileLog, FileLogOptions};
#[cfg(feature = "std")]
pub use file_snapshots::FileSnapshots;
#[cfg(feature = "std")]
pub use handle::Handle;
#[cfg(feature = "std")]
pub use host::{Host, NodeStatus, Threads, Turn, Wiring};
pub use identity::{Identity, IdentityError};
pub use link::{ClusterId, Inbound, LinkError, Outgoing, Received};
pub use lock::{Mutex, MutexGuard};
#[cfg(feature = "std")]
pub use memory_log::MemoryLog;
pub use memory_snapshots::MemorySnapshots;
pub use no_std_io2::io;
#[cfg(feature = "std")]
pub use node::Node;
pub use notifier::Notifier;
pub use outbound::{Outbound, PeerQueue};
pub use peers::{Peers, Route};
pub use raft_core as core;
#[cfg(feature = "std")]
pub use reception::{Caller, Reception};
#[cfg(feature = "std")]
pub use recorder::{Beginning, Recorder, Step};
#[cfg(feature = "std")]
pub use request::Client;
pub use request_error::{NoSnapshot, RequestError};
#[cfg(feature = "std")]
pub use settings::{Leadership, Settings, SnapshotPolicy};
#[cfg(feature = "std")]
pub use socket::tune;
pub use state_machine::{FrozenState, StateMachine};
#[cfg(feature = "std")]
pub use storage::Storage;
pub use store::{LogStore, SnapshotStore, SnapshotWriter};
