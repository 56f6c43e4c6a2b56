//! The heap: all of it is set aside when the image is linked.
#![allow(unsafe_code, reason = "an allocator hands out memory that nobody else knows of")]

use core::alloc::{GlobalAlloc, Layout};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

use embedded_alloc::LlffHeap;

/// The size of the heap in bytes.
pub const HEAP_BYTES: usize = 8 << 20;

#[global_allocator]
static HEAP: Measured = Measured { heap: LlffHeap::empty(), peak: AtomicUsize::new(0) };

/// A heap that remembers how full it has been.
struct Measured {
    heap: LlffHeap,
    peak: AtomicUsize,
}

// SAFETY: all memory comes from the inner allocator and goes back to it with the same layout.
unsafe impl GlobalAlloc for Measured {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the same promises.
        let block = unsafe { self.heap.alloc(layout) };
        // One core and no interrupts, so nobody comes in between.
        let peak = self.peak.load(Ordering::Relaxed).max(self.heap.used());
        self.peak.store(peak, Ordering::Relaxed);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the same promises.
        unsafe { self.heap.dealloc(block, layout) }
    }
}

/// Gives the heap its memory. Each image does this first; a second time nothing happens.
pub fn start_heap() {
    let memory = cortex_m::singleton!(: [MaybeUninit<u8>; HEAP_BYTES] =
        [const { MaybeUninit::uninit() }; HEAP_BYTES]);
    if let Some(memory) = memory {
        // SAFETY: the memory is a static that nobody else has got.
        unsafe { HEAP.heap.init(memory.as_mut_ptr() as usize, HEAP_BYTES) }
    }
}

/// How many bytes of the heap are in use.
#[must_use]
pub fn heap_used() -> usize {
    HEAP.heap.used()
}

/// How many bytes of the heap have been in use at most since the last call, or since the start.
pub fn heap_peak() -> usize {
    let peak = HEAP.peak.load(Ordering::Relaxed);
    HEAP.peak.store(HEAP.heap.used(), Ordering::Relaxed);
    peak
}
