//! The RAM of one member of a three-node group, and the stack that the core takes.
//!
//! Prints one figure a line, in bytes, for the script that makes the table of docs/embedded.md.
#![no_std]
#![no_main]

extern crate alloc;

mod group;

use core::hint::black_box;

use cortex_m_rt::entry;
use raft_core::{ConfigError, Raft};
use raft_cortex_m::{heap_used, stack_depth, start_heap};
use semihosting::{println, process};

use crate::group::Group;

#[entry]
fn main() -> ! {
    start_heap();
    match measure() {
        Ok(()) => process::exit(0),
        Err(error) => {
            println!("{error}");
            process::exit(1)
        }
    }
}

fn measure() -> Result<(), ConfigError> {
    for leads in [true, false] {
        let role = if leads { "leader" } else { "follower" };
        println!("{role} at rest: {}", ram_of_one(leads, |_| ())?);
        println!("{role} at its limits: {}", ram_of_one(leads, |group| group.fill(leads))?);
    }
    Group::found()?.use_everything();
    println!("stack: {}", stack_depth());
    Ok(())
}

/// The RAM of one member of a group that has elected a leader, has committed more than it keeps in
/// memory, and has been through what `then` does: the member itself and what it holds on the heap.
fn ram_of_one(leads: bool, then: impl FnOnce(&mut Group)) -> Result<usize, ConfigError> {
    let before = heap_used();
    let mut group = Group::found()?;
    group.elect();
    group.commit(32);
    group.rest();
    then(&mut group);
    let member = black_box(group.into_one(leads));
    let heap = heap_used() - before;
    drop(member);
    Ok(size_of::<Raft>() + heap)
}
