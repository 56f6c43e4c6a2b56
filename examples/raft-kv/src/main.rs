//! The program `raft-kv`; see its help for what it can do.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    raft_kv::cli::run()
}
