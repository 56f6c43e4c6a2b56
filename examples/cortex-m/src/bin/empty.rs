//! An image that takes memory and prints a number, and does nothing else: what the measured image has
//! besides the core.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::hint::black_box;

use cortex_m_rt::entry;
use raft_cortex_m::{flash_bytes, start_heap};
use semihosting::{println, process};

#[entry]
fn main() -> ! {
    start_heap();
    let memory: Vec<u8> = black_box(Vec::with_capacity(black_box(1)));
    drop(memory);
    println!("flash: {}", flash_bytes());
    process::exit(0)
}
