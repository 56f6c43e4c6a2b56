//! The test image: the core's scripted tests and the labs on the simulator, on the bare chip.
//!
//! Each test and each scenario is told with its name before it runs and with its verdict after it.
//! The first one that fails says why, and ends the image with a code that is not zero.
#![no_std]
#![no_main]
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests are to panic")]

extern crate alloc;

mod scripted;

use conformance_tests::sim::SimCluster;
use conformance_tests::{for_each_scenario, scenarios};
use cortex_m_rt::entry;
use raft_cortex_m::{HEAP_BYTES, heap_peak, heap_used, stack_depth, start_heap};
use semihosting::{print, println, process};

/// The world that each scenario runs in.
const SEED: u64 = 0;

macro_rules! listed {
    ($($name:ident $size:literal,)*) => {
        &[$((stringify!($name), |seed| {
            scenarios::$name(SimCluster::without_record(stringify!($name), $size, seed));
        }),)*]
    };
}

/// The name of a scenario, and what runs it in the world of a seed.
type Scenario = (&'static str, fn(u64));

/// Every scenario that there is.
const SCENARIOS: &[Scenario] = for_each_scenario!(listed!());

#[entry]
fn main() -> ! {
    start_heap();
    println!("{} scripted tests of the core", scripted::TESTS.len());
    for (name, test) in scripted::TESTS {
        told(name, test);
    }
    println!("\n{} scenarios on the simulator", SCENARIOS.len());
    for (name, scenario) in SCENARIOS {
        told(name, || scenario(SEED));
    }
    let (kib, depth) = (HEAP_BYTES / 1024, stack_depth());
    println!("\nall passed, in a heap of {kib} KiB and {depth} bytes of stack");
    process::exit(0)
}

/// Runs a test with its name before it and its verdict after it.
fn told(name: &str, test: impl FnOnce()) {
    print!("{name} ... ");
    heap_peak();
    test();
    println!("passed, with {} KiB of heap", heap_peak().div_ceil(1024));
    assert_eq!(heap_used(), 0, "everything is given back");
}
