//! What the user of the demo sees.

use std::convert::Infallible;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tokio::time::sleep;

use super::journal::{Account, Journal};
use super::verify::Verdict;

/// How often the progress bar moves.
const FRAME: Duration = Duration::from_millis(100);

/// Lines on the standard output, and a progress bar below them on the standard error. Without a
/// terminal there is no bar.
pub(super) struct Screen {
    bar: ProgressBar,
}

impl Screen {
    /// A screen whose bar is full after `duration`. It appears with [`Screen::animate`].
    pub(super) fn new(duration: Duration) -> Self {
        let length = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let style = ProgressStyle::with_template("  {bar:40} {msg}");
        let bar = ProgressBar::new(length);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar }
    }

    /// Prints a line. When nobody reads the output, the demo goes on all the same: its exit code
    /// tells the outcome.
    pub(super) fn say(&self, line: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(io::stdout(), "{line}");
        });
    }

    /// Prints what happens while the clients write, and when.
    pub(super) fn step(&self, since: Instant, what: &str) {
        self.say(&format!("  {:>5.1} s  {what}", since.elapsed().as_secs_f64()));
    }

    /// Moves the bar, for as long as it is awaited.
    pub(super) async fn animate(&self, journal: &Journal) -> Infallible {
        let started = Instant::now();
        loop {
            let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.bar.set_position(elapsed);
            self.bar.set_message(format!("{} writes acknowledged", HumanCount(journal.count())));
            sleep(FRAME).await;
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints what came of it all.
    pub(super) fn summary(&self, account: &Account, verdict: &Verdict, gave_up: u64) {
        let count = |number| HumanCount(number).to_string();
        let millis = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0);
        let waited = |time: Option<Duration>| time.map_or("none".to_owned(), millis);
        self.say("");
        for (name, value) in [
            ("writes acknowledged", count(account.acknowledged())),
            ("tries refused", count(account.refused)),
            ("tries of unknown outcome", count(account.uncertain)),
            ("rate", format!("{:.0} writes/s", account.rate())),
            ("latency p50", millis(account.latency(50.0))),
            ("latency p99", millis(account.latency(99.0))),
            ("failover time", waited(account.failover)),
            ("longest wait of a client", waited(account.longest_wait)),
            ("acknowledged writes lost", count(verdict.lost as u64)),
            ("writes applied twice", count(verdict.repeated)),
            ("clients that gave up", count(gave_up)),
        ] {
            self.say(&format!("  {name:<26}{value:>16}"));
        }
    }
}
