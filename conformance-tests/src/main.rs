//! The simulator from the command line: explore seeds, replay one, run a scenario.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use clap::{Parser, Subcommand};
use conformance_tests::explore::{self, Report};
use conformance_tests::sim::SimCluster;
use conformance_tests::{for_each_scenario, scenarios};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs random worlds, each drawn from its seed, and checks everything in them.
    Explore {
        /// How many seeds to run.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Runs this one seed only.
        #[arg(long)]
        seed: Option<u64>,
        /// Prints what happened.
        #[arg(long)]
        trace: bool,
        /// How many threads to use.
        #[arg(long, default_value_t = thread::available_parallelism().map_or(1, usize::from))]
        jobs: usize,
        /// Stops at the first seed that fails.
        #[arg(long)]
        stop_at_first_failure: bool,
    },
    /// Runs one scenario on the simulator.
    Scenario {
        /// Its name, such as `figure_8_2c`.
        name: String,
        /// The seed.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Explore { seed: Some(seed), trace, .. } => replay(seed, trace),
        Command::Explore { seeds, from, jobs, stop_at_first_failure, .. } => {
            search(from, seeds, jobs, stop_at_first_failure)
        }
        Command::Scenario { name, seed } => scenario(&name, seed),
    };
    done.unwrap_or(ExitCode::FAILURE)
}

fn replay(seed: u64, trace: bool) -> io::Result<ExitCode> {
    let report = explore::explore(seed, true);
    let mut out = io::stdout().lock();
    if trace || report.failure.is_some() {
        write!(out, "{}", report.trace)?;
    }
    tell(&mut out, &report)?;
    Ok(if report.failure.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn tell(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let Report { seed, failure, digest, calls, .. } = report;
    match failure {
        None => writeln!(out, "seed {seed}: fine, {calls} calls, digest {digest:016x}"),
        Some(failure) => {
            writeln!(out, "seed {seed}: {failure}")?;
            let command = "cargo run --release -p conformance-tests -- explore";
            writeln!(out, "replay: {command} --seed {seed} --trace")
        }
    }
}

fn search(from: u64, seeds: u64, jobs: usize, stop_early: bool) -> io::Result<ExitCode> {
    let next = AtomicU64::new(from);
    let end = AtomicU64::new(from.saturating_add(seeds));
    let calls = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let report = explore::explore(seed, false);
                    calls.fetch_add(report.calls, Ordering::Relaxed);
                    if report.failure.is_none() {
                        continue;
                    }
                    if stop_early {
                        // Smaller seeds that are under way are finished, so that the first failure
                        // is the same with any number of threads.
                        end.fetch_min(seed.saturating_add(1), Ordering::Relaxed);
                    }
                    if let Ok(mut failures) = failures.lock() {
                        failures.push(report);
                    }
                }
            });
        }
    });
    let end = end.into_inner();
    let mut failures = failures.into_inner().unwrap_or_default();
    failures.retain(|report| report.seed < end);
    failures.sort_by_key(|report| report.seed);
    let mut out = io::stdout().lock();
    for report in &failures {
        tell(&mut out, report)?;
    }
    let (ran, calls, failed) = (end - from, calls.into_inner(), failures.len());
    let passed = ran - failed as u64;
    writeln!(out, "{ran} seeds: {passed} passed, {failed} failed; {calls} client calls")?;
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

macro_rules! run_by_name {
    ($wanted:ident, $seed:ident; $($name:ident $size:literal,)*) => {
        match $wanted {
            $(stringify!($name) => {
                scenarios::$name(SimCluster::new(stringify!($name), $size, $seed));
                true
            })*
            _ => false,
        }
    };
}

fn scenario(name: &str, seed: u64) -> io::Result<ExitCode> {
    let known = for_each_scenario!(run_by_name!(name, seed;));
    let verdict = if known { "passed" } else { "is no scenario" };
    writeln!(io::stdout(), "{name} {verdict}")?;
    Ok(if known { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
