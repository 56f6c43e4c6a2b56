//! A cluster of two servers and a microcontroller: `raft-kv` on tokio, `raft-kv` on threads, and the
//! firmware of `examples/cortex-m` in QEMU. Its members are killed, reset and cut off from power
//! while clients write, and in the end every acknowledged write is there once, on every server.
//!
//! ```text
//! chip-cluster FIRMWARE RAFT_KV [SEED]
//! ```
#![forbid(unsafe_code)]

mod chip;
mod client;
mod cluster;
mod gateway;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(firmware), Some(server)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: chip-cluster FIRMWARE RAFT_KV [SEED]");
        return ExitCode::FAILURE;
    };
    let given = arguments.next().and_then(|seed| seed.to_string_lossy().parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    match cluster::run(&firmware, &server, seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("FAILED with seed {seed}: {error}");
            ExitCode::FAILURE
        }
    }
}
