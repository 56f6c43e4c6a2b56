//! What every image of the board needs: a heap of a fixed size, an end, and measurements of heap
//! and stack.
#![no_std]

mod heap;
mod memory;

use core::panic::PanicInfo;

use semihosting::{println, process};

pub use heap::{HEAP_BYTES, heap_peak, heap_used, start_heap};
pub use memory::{flash_bytes, stack_depth};

/// A panic ends the image, and QEMU with it, with a code that is not zero.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("FAILED\n{info}");
    process::exit(1)
}

/// An access to memory that is not there ends the image, too.
#[allow(unsafe_code, reason = "the runtime wants its handlers declared so")]
#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
    println!("FAILED\n{frame:?}");
    process::exit(1)
}
