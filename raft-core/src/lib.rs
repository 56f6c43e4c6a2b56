//! The Raft protocol as one pure function.
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
