//! The simulator from the command line: explore seeds, replay one, run a scenario.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use conformance_tests::explore::{self, Picture, Reduction, Report, Shrunk};
use conformance_tests::sim::{Form, SimCluster};
use conformance_tests::{for_each_scenario, replay, scenarios};
use raft_node::recording::Recording;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs random worlds, each drawn from its seed, and checks everything in them.
    Explore(Explore),
    /// Gives a core what went into that of a real node, and shows each step.
    Replay {
        /// A recording, see `raft_node::recording`.
        file: PathBuf,
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

#[derive(Args)]
struct Explore {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs this one seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// Makes the one seed simpler, if it fails, before it is shown. Of many seeds, the first ones
    /// of each kind of failure are always made simpler.
    #[arg(long, requires = "seed")]
    shrink: bool,
    /// Shows what happened; of a run that failed, that is always done.
    #[arg(long, num_args = 0..=1, default_missing_value = "short", value_name = "FORM")]
    trace: Option<Form>,
    /// How many threads to use.
    #[arg(long, default_value_t = thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// Stops at the first seed that fails.
    #[arg(long)]
    stop_at_first_failure: bool,
    #[command(flatten, next_help_heading = "Less than the seed draws")]
    reduction: Reduction,
}

/// So many failures are shown with what happened; the others have a line that replays them.
const SHOWN: usize = 3;

/// From so many seeds on, a search says now and then how far it is.
const LONG: u64 = 10_000;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Explore(arguments) => match arguments.seed {
            Some(seed) => run_again(seed, &arguments),
            None => search(&arguments),
        },
        Command::Replay { file } => show_recording(&file),
        Command::Scenario { name, seed } => scenario(&name, seed),
    };
    done.unwrap_or(ExitCode::FAILURE)
}

fn show_recording(file: &Path) -> io::Result<ExitCode> {
    let result = Recording::open(file)
        .map_err(io::Error::other)
        .and_then(|recording| replay::replay(&recording, &mut io::stdout().lock()));
    if let Err(error) = result {
        writeln!(io::stderr(), "{}: {error}", file.display())?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn run_again(seed: u64, arguments: &Explore) -> io::Result<ExitCode> {
    let report = explore::explore(seed, &arguments.reduction, true);
    let failed = report.failure.is_some();
    if failed && arguments.shrink {
        show_shrunk(report, arguments)?;
    } else if failed || arguments.trace.is_some() {
        let form = arguments.trace.unwrap_or(Form::Short);
        write!(io::stdout(), "{}", Picture { report: &report, form })?;
    } else {
        let Report { digest, calls, .. } = report;
        writeln!(io::stdout(), "seed {seed}: fine, {calls} calls, digest {digest:016x}")?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Makes a failing run simpler and shows what is left of it.
fn show_shrunk(report: Report, arguments: &Explore) -> io::Result<()> {
    let (seed, steps) = (report.seed, report.steps);
    writeln!(io::stderr(), "seed {seed} fails; looking for less that fails in the same way ...")?;
    // A panic is told with the run. Hundreds of them are told once.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let Shrunk { report, runs } =
        explore::shrink(report, |reduction| explore::explore(seed, reduction, false));
    panic::set_hook(hook);
    let (before, after) = (steps, report.steps);
    let report = explore::explore(seed, &report.reduction, true);
    let form = arguments.trace.unwrap_or(Form::Short);
    let mut out = io::stdout().lock();
    writeln!(out, "\nshrunk in {runs} runs, from {before} steps of nodes to {after}:")?;
    writeln!(out, "{}", Picture { report: &report, form })
}

fn search(arguments: &Explore) -> io::Result<ExitCode> {
    let Explore { from, seeds, jobs, stop_at_first_failure, reduction, .. } = arguments;
    let next = AtomicU64::new(*from);
    let end = AtomicU64::new(from.saturating_add(*seeds));
    let calls = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let (working, finished) = mpsc::channel::<()>();
        for _ in 0..(*jobs).max(1) {
            let working = working.clone();
            let (next, end, calls, failures) = (&next, &end, &calls, &failures);
            scope.spawn(move || {
                let _until_done = working;
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let report = explore::explore(seed, reduction, false);
                    calls.fetch_add(report.calls, Ordering::Relaxed);
                    if report.failure.is_none() {
                        continue;
                    }
                    if *stop_at_first_failure {
                        // Smaller seeds that are under way are finished, so that the first failure
                        // is the same with any number of threads.
                        end.fetch_min(seed.saturating_add(1), Ordering::Relaxed);
                    }
                    // A long search may be ended before its end.
                    let failure = report.failure.as_deref().unwrap_or_default();
                    let _ = writeln!(io::stderr(), "seed {seed}: {failure}");
                    if let Ok(mut failures) = failures.lock() {
                        failures.push(report);
                    }
                }
            });
        }
        drop(working);
        if *seeds > LONG {
            let failed = || failures.lock().map_or(0, |failures| failures.len());
            let done = || next.load(Ordering::Relaxed).saturating_sub(*from);
            tell_progress(&finished, || (done(), failed()));
        }
    });
    let end = end.into_inner();
    let mut failures = failures.into_inner().unwrap_or_default();
    failures.retain(|report| report.seed < end);
    failures.sort_by_key(|report| report.seed);
    let (ran, calls, failed) = (end - from, calls.into_inner(), failures.len());
    show_failures(failures, arguments)?;
    let passed = ran - failed as u64;
    writeln!(io::stdout(), "{ran} seeds: {passed} passed, {failed} failed; {calls} client calls")?;
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Says once a minute how far the search is and how much it has found, until all of it is done.
fn tell_progress(finished: &mpsc::Receiver<()>, done: impl Fn() -> (u64, usize)) {
    const MINUTE: Duration = Duration::from_secs(60);
    let begun = Instant::now();
    while finished.recv_timeout(MINUTE) == Err(RecvTimeoutError::Timeout) {
        let (done, failed) = done();
        let rate = done as f64 / begun.elapsed().as_secs_f64();
        // Whoever closed the pipe wants no progress.
        let _ = writeln!(io::stderr(), "{done} seeds done, {failed} failed, {rate:.0} a second");
    }
}

/// Lists all failures, then shows the first one of each kind.
fn show_failures(failures: Vec<Report>, arguments: &Explore) -> io::Result<()> {
    for report in &failures {
        let failure = report.failure.as_deref().unwrap_or_default();
        let (seed, replay) = (report.seed, report.replay());
        writeln!(io::stdout(), "seed {seed}: {failure}\n{replay}")?;
    }
    let mut kinds = BTreeSet::new();
    let new = |report: &Report| kinds.insert(report.failure.as_deref().map(explore::kind));
    for report in failures.into_iter().filter(new).take(SHOWN) {
        show_shrunk(report, arguments)?;
    }
    Ok(())
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
