//! Compares the cores of Raft libraries, without disks, networks and encodings: see
//! `docs/performance.md`.
//!
//! ```sh
//! cd benchmarks
//! cargo run --release -- rates           # entries per second, and allocations for each
//! cargo run --release -- instructions    # for each entry; needs valgrind
//! ```

mod cluster;
mod noraft;
mod ours;
mod raft_rs;
mod workload;
mod yggr;

use std::io;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use thiserror::Error;

use workload::{CELLS, Cell, LIBRARIES, Library, Measured};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Compares this library's core with those of others.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measures entries per second and heap allocations for each entry
    Rates {
        /// How many entries a run takes
        #[arg(long, default_value_t = 200_000)]
        entries: u64,
        /// How often each library gets its turn
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Counts instructions for each entry, under valgrind
    Instructions {
        /// How many entries are counted
        #[arg(long, default_value_t = 20_480)]
        entries: u64,
        /// Only this library
        #[arg(long)]
        library: Option<String>,
    },
    /// Runs one library once, for a profiler
    Run {
        /// The library
        library: String,
        /// The size of a command in bytes
        bytes: usize,
        /// How many proposals are outstanding
        window: usize,
        /// How many entries
        entries: u64,
    },
}

#[derive(Debug, Error)]
enum Failure {
    #[error("there is no library {name:?}; there are {}", names())]
    Unknown { name: String },
    #[error("can't run valgrind: is it installed?")]
    Valgrind(#[source] io::Error),
    #[error("valgrind printed no count of instructions:\n{0}")]
    Count(String),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Rates { entries, rounds } => {
            rates(entries, rounds);
            Ok(())
        }
        Task::Instructions { entries, library } => instructions(entries, library.as_deref()),
        Task::Run { library, bytes, window, entries } => find(&library).map(|library| {
            (library.run)(Cell { bytes, window }, entries, ALLOCATOR);
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn names() -> String {
    LIBRARIES.each_ref().map(|library| library.name).join(", ")
}

fn find(name: &str) -> Result<&'static Library, Failure> {
    let found = LIBRARIES.iter().find(|library| library.name == name);
    found.ok_or_else(|| Failure::Unknown { name: name.into() })
}

/// The libraries take turns, so that a noisy machine is noisy for all of them.
fn rates(entries: u64, rounds: usize) {
    println!("{entries} entries, median of {rounds} rounds\n");
    println!(
        "| bytes | outstanding | library | entries/s | of ours | allocations for each entry |"
    );
    println!("| ---: | ---: | --- | ---: | ---: | ---: |");
    for cell in CELLS {
        let mut measured: [Vec<Measured>; LIBRARIES.len()] = Default::default();
        for _ in 0..rounds {
            for (library, measured) in LIBRARIES.iter().zip(&mut measured) {
                measured.push((library.run)(cell, entries, ALLOCATOR));
            }
        }
        // Ratios of neighbours, because the machine drifts.
        let ratios = measured.each_ref().map(|other| {
            let ratio = |(own, other): (&Measured, &Measured)| {
                own.time.as_secs_f64() / other.time.as_secs_f64()
            };
            median(measured[0].iter().zip(other).map(ratio).collect())
        });
        for ((library, measured), ratio) in LIBRARIES.iter().zip(&measured).zip(ratios) {
            let seconds = median(measured.iter().map(|it| it.time.as_secs_f64()).collect());
            let allocations = measured.iter().map(|it| it.allocations).min().unwrap_or(0);
            println!(
                "| {} | {} | {} | {:.0} | {ratio:.2} | {:.3} |",
                cell.bytes,
                cell.window,
                library.name,
                entries as f64 / seconds,
                allocations as f64 / entries as f64,
            );
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What a run costs beyond a shorter one: starting the cluster does not count.
fn instructions(entries: u64, only: Option<&str>) -> Result<(), Failure> {
    if let Some(only) = only {
        find(only)?;
    }
    println!("instructions for each entry, over {entries} entries\n");
    println!("| bytes | outstanding | library | instructions |");
    println!("| ---: | ---: | --- | ---: |");
    for cell in CELLS {
        for library in LIBRARIES.iter().filter(|it| only.is_none_or(|only| only == it.name)) {
            let short = cell.window as u64 * 2;
            let difference = count(library, cell, short + entries)? - count(library, cell, short)?;
            let each = difference as f64 / entries as f64;
            println!("| {} | {} | {} | {each:.0} |", cell.bytes, cell.window, library.name);
        }
    }
    Ok(())
}

fn count(library: &Library, cell: Cell, entries: u64) -> Result<u64, Failure> {
    let program = std::env::current_exe().map_err(Failure::Valgrind)?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["run", library.name])
        .args([cell.bytes.to_string(), cell.window.to_string(), entries.to_string()])
        .output()
        .map_err(Failure::Valgrind)?;
    let text = String::from_utf8_lossy(&output.stderr);
    let mut collected = text.lines().rev().filter_map(|line| line.split_once("Collected : "));
    let number = collected.next().and_then(|(_, number)| number.trim().parse().ok());
    number.ok_or_else(|| Failure::Count(text.into_owned()))
}
