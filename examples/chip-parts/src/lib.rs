//! What a member on a microcontroller is made of, but for the chip itself. It needs no operating
//! system, and is tested on a computer; `examples/cortex-m` makes a firmware of it.
//!
//! - [`FlashLog`] keeps the log and the hard state in flash, [`FlashSnapshots`] the snapshot that a
//!   leader sends. Both are written for any [`NorFlash`](embedded_storage::nor_flash::NorFlash),
//!   which is what the support crates of microcontrollers implement.
//! - [`channels`] carries several connections over one serial line.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod channels;
mod frame;
mod log;
mod snapshots;

pub use log::FlashLog;
pub use snapshots::FlashSnapshots;
