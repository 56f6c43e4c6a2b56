//! The core with everything that it can do and nothing around it: the flash that it takes is what
//! this image has more than the empty one.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::hint::black_box;

use bytes::{Bytes, BytesMut};
use cortex_m_rt::entry;
use raft_core::{
    Config, ConfigError, Input, Instant, LogIndex, Membership, Message, NodeId, Raft, Restored,
};
use raft_cortex_m::{flash_bytes, start_heap};
use semihosting::{println, process};

#[entry]
fn main() -> ! {
    start_heap();
    let made = use_everything();
    println!("flash: {}", flash_bytes());
    process::exit(i32::from(made.is_err()))
}

/// Calls the core as a host would. The black boxes are empty, but the compiler has to be prepared
/// for any input and any use of what comes out.
fn use_everything() -> Result<(), ConfigError> {
    let id = NodeId::new(1);
    let config = black_box(Config::new(id, 1));
    let restored = black_box(Restored::founding(Membership::of_voters([id])));
    let mut raft = Raft::new(config, restored, black_box(Instant::ORIGIN))?;
    let mut outputs = Vec::new();
    while let Some(input) = black_box(None::<Input>) {
        raft.step_into(input, &mut outputs);
        black_box(&mut outputs).clear();
        black_box(raft.deadline());
    }
    while let Some(bytes) = black_box(None::<Bytes>) {
        black_box(Message::decode(bytes)).ok();
    }
    while let Some(message) = black_box(None::<Message>) {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        black_box(bytes);
    }
    black_box(raft.status());
    black_box(raft.describe_snapshot(black_box(LogIndex::ZERO)));
    Ok(())
}
