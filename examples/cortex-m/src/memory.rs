//! How much flash the image takes, and how much of the stack it has used: the start-up code has
//! painted all of it.
#![allow(unsafe_code, reason = "the linker's symbols and the stack are looked at from outside")]

use core::ptr;

use cortex_m_rt::STACK_PAINT_VALUE;

unsafe extern "C" {
    static _stack_start: u32;
    static _stack_end: u32;
    static __vector_table: u32;
    static __sidata: u32;
    static __sdata: u32;
    static __edata: u32;
}

/// How many bytes of flash the image takes: code, constants, and what initialises statics.
#[must_use]
pub fn flash_bytes() -> usize {
    let constants = (&raw const __sidata).addr() - (&raw const __vector_table).addr();
    constants + (&raw const __edata).addr() - (&raw const __sdata).addr()
}

/// How many bytes there are for the stack.
fn stack_room() -> usize {
    (&raw const _stack_start).addr() - (&raw const _stack_end).addr()
}

/// How many bytes of the stack have been used at most since the start.
#[must_use]
pub fn stack_depth() -> usize {
    let end = &raw const _stack_end;
    let words = stack_room() / size_of::<u32>();
    // SAFETY: the linker says that these words are the stack's, and a word can be read whatever
    // is in it; the compiler is kept from knowing better.
    let is_paint =
        |word: &usize| unsafe { ptr::read_volatile(end.add(*word)) } == STACK_PAINT_VALUE;
    let untouched = (0..words).take_while(is_paint).count();
    (words - untouched) * size_of::<u32>()
}
