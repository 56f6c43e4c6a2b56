//! The Raft protocol as one pure function: inputs in, outputs out, and nothing else.
//!
//! [`Raft`] is a plain value. It owns no clock, no socket, no file, no thread and no hidden source
//! of randomness, so it runs in any program: on an async runtime, on threads, on a microcontroller,
//! in a simulator. What happens goes in as an [`Event`] with the time at which it happened; what is
//! to be done comes out as [`Output`]s. Whoever passes the one to the other is a *host*; the crates
//! `raft-node` and `raft-tokio` are ready-made ones.
//!
//! ```text
//!             ┌──────────────────────────── a host ────────────────────────────┐
//!  clients ───┤  inbox ──► Raft::step(Input{at, event}) ──► Vec<Output>        │
//!             │    ▲                                           │ carried out   │
//!             │    │                                           ▼ by the host   │
//!             │    ├── Persisted ◄── disk ◄──────────── Persist(write)         │
//!             │    ├── Loaded    ◄── disk ◄──────────── Load{..}               │
//!             │    ├── Receive   ◄── network ◄───────── Send(message)          │
//!             │    ├── Applied   ◄── state machine ◄─── Apply(entries)         │
//!             │    └── Wake      ◄── timer  ◄────────── deadline()             │
//!             └────────────────────────────────────────────────────────────────┘
//! ```
//!
//! # What a host must do
//!
//! 1. Call [`step`](Raft::step) from one place at a time: one loop owns the node. A late or repeated
//!    message, completion or wake-up is harmless.
//! 2. Carry out every output. [`Output::Persist`]s are made durable in the order of their tickets
//!    and [`Output::Apply`]s are applied in order; beyond these two orders everything may run at
//!    once, and an [`Output::Send`] may be lost.
//! 3. Between steps wait for the next input or the [`deadline`](Raft::deadline), whichever comes
//!    first. Being early is harmless; being late costs availability, never safety.
//! 4. When a write fails, stop the node. There is no event for it: after a failed sync nobody knows
//!    what is on the disk. The same goes for a load that fails and for a state machine that can't
//!    apply.
//!
//! And at the start: a fresh random seed, the log as the last life of the node left it, and an id
//! that nobody else ever had.
//!
//! # What it gets in return
//!
//! - **Durable before visible.** A message that promises something (a vote, an acknowledgement, a
//!   newer term) comes out only after the [`Event::Persisted`] that makes the promise true. No host
//!   can get this order wrong, because no host decides it.
//! - **One answer for every request**, and a true one: see [`Outcome`].
//! - **Reads that never lie**, on every node, without a write to the log: see [`Event::Read`].
//! - **Bounded memory.** Every queue has a limit in the [`Config`], and a request beyond a limit is
//!   refused. Of the log only a tail is in memory, and the rest is asked for with [`Output::Load`].
//! - **No panic**, whatever comes from the network, the disk or the caller. What makes no sense is
//!   dropped and counted in [`Dropped`].
//! - **Determinism.** The same configuration, seed and inputs give the same outputs. The whole
//!   state is `Clone + Eq + Hash`.
//!
//! # A host in thirty lines
//!
//! One node is a cluster too. This host has no disk worth the name and nobody to talk to, but its
//! loop is the loop of every host.
//!
//! ```
//! use std::collections::VecDeque;
//! use raft_core::{
//!     Config, Event, Instant, NodeId, Notice, Outcome, Output, Payload, Proposal, Raft, RequestId,
//!     Restored, RoleKind,
//! };
//!
//! let id = NodeId::new(1);
//! let seed = 0x5eed; // random, and another one at each start
//! let config = Config::new(id, [id], seed);
//! let mut raft = Raft::new(config, Restored::default(), Instant::ORIGIN)?;
//!
//! let election = raft.deadline().expect("a follower waits for something");
//! let command = Proposal { request: RequestId::new(1), command: "x = 1".into() };
//! let mut inbox = VecDeque::from([Event::Wake.at(election)]);
//! let mut proposal = Some(command);
//! let mut machine = Vec::new();
//! while let Some(input) = inbox.pop_front() {
//!     let now = input.at;
//!     for output in raft.step(input) {
//!         match output {
//!             // Write and sync here, then say so.
//!             Output::Persist(write) => inbox.push_back(Event::Persisted(write.ticket).at(now)),
//!             Output::Apply(entries) => {
//!                 for entry in entries.iter() {
//!                     if let Payload::Command(command) = &entry.payload {
//!                         machine.push(command.clone());
//!                     }
//!                     inbox.push_back(Event::Applied(entry.index).at(now));
//!                 }
//!             }
//!             Output::Done { outcome, .. } => assert!(matches!(outcome, Outcome::Committed { .. })),
//!             Output::Notice(Notice::Role { role: RoleKind::Leader, .. }) => {
//!                 inbox.extend(proposal.take().map(|it| Event::Propose(vec![it]).at(now)));
//!             }
//!             Output::Notice(_) => {}
//!             Output::Send(_) | Output::Load { .. } => unreachable!("alone, and with a short log"),
//!         }
//!     }
//! }
//! assert_eq!(machine, ["x = 1"]);
//! # Ok::<(), raft_core::ConfigError>(())
//! ```
//!
//! # Where things are
//!
//! [`Raft`] is the node, [`Config`] its settings, [`Event`] and [`Output`] what goes in and out,
//! [`Message`] what nodes say to each other and its encoding. Sections of "the paper" are those of
//! Ongaro and Ousterhout, *In search of an understandable consensus algorithm* (extended version,
//! 2014); "the dissertation" is Ongaro, *Consensus: bridging theory and practice* (2014).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod append;
mod apply;
mod config;
mod election;
mod entry;
mod event;
mod forward;
mod ids;
mod invariants;
mod log;
mod membership;
mod message;
mod outbox;
mod output;
mod progress;
mod raft;
mod random;
mod reads;
mod replication;
mod requests;
mod restored;
mod role;
mod status;
mod time;
mod timers;
mod wire;

pub use config::{Config, ConfigError, Inconsistency};
pub use entry::{Entries, Entry, HardState, LogPosition, Payload, TermStart, Write};
pub use event::{Event, Input, Proposal};
pub use ids::{LogIndex, NodeId, RequestId, Term, Ticket};
pub use message::{Append, AppendReply, AppendResult, BatchId, Body, Message};
pub use output::{Notice, Outcome, Output, Refusal, RoleKind};
pub use raft::Raft;
pub use restored::{Restored, StoredLog};
pub use status::{Dropped, PeerStatus, Status};
pub use time::Instant;
pub use wire::{DecodeError, WIRE_VERSION};
