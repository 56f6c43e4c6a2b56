//! Model checking of the production core from the command line: explores everything within bounds,
//! or walks at random where that is too much. See `docs/testing.md`.
//!
//! ```sh
//! cargo run --release -p conformance-tests --example model                       # the list
//! cargo run --release -p conformance-tests --example model -- two-terms
//! cargo run --release -p conformance-tests --example model -- figure-8 --walk 600
//! ```
#![forbid(unsafe_code)]

#[path = "../model/mod.rs"]
mod model;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use stateright::{Checker, Model, UniformChooser};

use model::{Bounds, Case, LAWS};

/// Explores the states of the production core.
#[derive(Parser)]
struct Arguments {
    /// Which bounds; none for a list of them, `all` for one after the other.
    bounds: Option<String>,
    /// Gives up after so many seconds.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// Walks at random for so many seconds, instead of exploring everything.
    #[arg(long)]
    walk: Option<u64>,
    /// How many threads to use.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

fn main() -> ExitCode {
    run(&Arguments::parse()).unwrap_or(ExitCode::FAILURE)
}

fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let wanted = arguments.bounds.as_deref();
    let mut found = false;
    let mut sound = true;
    for case in Bounds::all() {
        match wanted {
            None => writeln!(out, "{:18} {}", case.name, case.what)?,
            Some(wanted) if wanted == case.name || wanted == "all" => {
                found = true;
                sound &= explore(&mut out, case, arguments)?;
            }
            Some(_) => {}
        }
    }
    if wanted.is_some() && !found {
        writeln!(out, "there are no such bounds")?;
    }
    Ok(if sound && (found || wanted.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says whether everything was explored, as far as it was to be, and all laws hold.
fn explore(out: &mut impl Write, case: Case, arguments: &Arguments) -> io::Result<bool> {
    let Case { name, bounds, .. } = case;
    let begun = Instant::now();
    let limit = Duration::from_secs(arguments.walk.unwrap_or(arguments.seconds));
    let builder = bounds.checker().threads(arguments.jobs).timeout(limit);
    let (states, kind, path) = if arguments.walk.is_some() {
        let checker = builder.spawn_simulation(0, UniformChooser).join();
        (checker.state_count(), "steps at random", checker.discovery(LAWS))
    } else {
        let checker = builder.spawn_dfs().join();
        (checker.unique_state_count(), "unique states", checker.discovery(LAWS))
    };
    let time = begun.elapsed();
    let whole = arguments.walk.is_some() || time < limit;
    let end = if whole || path.is_some() { "" } else { ", NOT ALL" };
    writeln!(out, "{name:18} {states} {kind}, {time:.1?}{end}")?;
    let Some(path) = path else { return Ok(whole) };
    let flaw = path.last_state().flaw().unwrap_or_default();
    for action in path.into_actions() {
        writeln!(out, "    {action}")?;
    }
    writeln!(out, "broken: {flaw}")?;
    Ok(false)
}
