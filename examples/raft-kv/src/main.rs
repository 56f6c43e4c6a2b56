//! The program `raft-kv`: serve, status, demo.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    raft_kv::cli::run()
}
