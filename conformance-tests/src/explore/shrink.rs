//! A failing run is made simpler for as long as it fails in the same way.

use std::time::Duration;

use clap::ValueEnum;

use crate::explore::plan::Plan;
use crate::explore::reduction::{Part, Reduction};
use crate::explore::run::Report;
use crate::sim::network::MS;

/// The simplest failing run that was found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The run, which fails in the same way as the one that was to be shrunk.
    pub report: Report,
    /// How many runs were tried.
    pub runs: usize,
}

/// No more runs than this are tried: a few seconds.
const RUNS: usize = 1000;

/// A change is tried with so many other dice.
const OTHER_DICE: u64 = 5;

/// So many dice are thrown in the hope of a shorter run.
const THROWS: u64 = 20;

/// Nor more steps of nodes, for runs that take long. Time itself is no measure, since the result
/// must be the same on every machine.
const STEPS: u64 = 20_000_000;

/// In what way a run fails: the invariant that it breaks, or the first words of what went wrong.
/// Names of nodes and other numbers make no difference.
#[must_use]
pub fn kind(failure: &str) -> String {
    let (first, _) = failure.split_once(':').unwrap_or((failure, ""));
    if first.strip_prefix('I').is_some_and(|number| number.parse::<u8>().is_ok()) {
        return first.into();
    }
    let words = failure.split([' ', ':']).filter(|it| !it.is_empty());
    let words = words.filter(|it| it.chars().all(char::is_alphabetic));
    words.take(4).collect::<Vec<_>>().join(" ")
}

/// Takes away from a failing run whatever is not needed for it to fail in the same way. `run` runs
/// the same seed with the given reduction. The result is the same each time if each run is.
pub fn shrink(failed: Report, run: impl FnMut(&Reduction) -> Report) -> Shrunk {
    let Some(kind) = failed.failure.as_deref().map(kind) else {
        return Shrunk { report: failed, runs: 0 };
    };
    let drawn = Plan::draw(failed.seed, false);
    let mut shrinker = Shrinker { drawn, kind, best: failed, run, runs: 0, steps: 0 };
    loop {
        let before = shrinker.best.reduction.clone();
        shrinker.ended_where_it_fails();
        shrinker.fewer_parts();
        shrinker.fewer_voters();
        shrinker.fewer_calls();
        shrinker.fewer_faults();
        // Late, since it takes luck to fail in a short time, and every other change needs it again.
        shrinker.shorter();
        shrinker.luckier();
        if shrinker.best.reduction == before {
            break;
        }
    }
    shrinker.tidy();
    Shrunk { report: shrinker.best, runs: shrinker.runs }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

struct Shrinker<R> {
    /// All that the seed has drawn.
    drawn: Plan,
    kind: String,
    /// The simplest run that fails in this way.
    best: Report,
    run: R,
    runs: usize,
    steps: u64,
}

impl<R: FnMut(&Reduction) -> Report> Shrinker<R> {
    /// Whether the run still fails with this change of the reduction, which is kept in that case.
    /// Any change disturbs whatever comes later in the run, so other dice may be needed to fail
    /// again.
    fn fails_with(&mut self, change: impl FnOnce(&mut Reduction)) -> bool {
        let mut reduction = self.best.reduction.clone();
        change(&mut reduction);
        if self.plan(&reduction) == self.plan(&self.best.reduction) {
            return false;
        }
        (0..=OTHER_DICE).any(|dice| self.fails(&reduction.clone().with_dice(dice), u64::MAX))
    }

    /// Whether the run fails with the reduction, which is kept in that case, in fewer steps than
    /// these.
    fn fails(&mut self, reduction: &Reduction, steps: u64) -> bool {
        if self.runs >= RUNS || self.steps >= STEPS {
            return false;
        }
        let report = (self.run)(reduction);
        self.runs += 1;
        self.steps += report.steps;
        let same = report.failure.as_deref().map(kind).as_ref() == Some(&self.kind);
        let keep = same && report.steps < steps;
        if keep {
            self.best = report;
        }
        keep
    }

    /// Looks for dice with which the run fails soon.
    fn luckier(&mut self) {
        for dice in 1..=THROWS {
            let reduction = self.best.reduction.clone().with_dice(dice);
            self.fails(&reduction, self.best.steps);
        }
    }

    /// The plan with a reduction, in a form that can be compared.
    fn plan(&self, reduction: &Reduction) -> String {
        format!("{:?}", self.drawn.clone().reduced(reduction))
    }

    /// Ends chaos where the run fails, which changes nothing before.
    fn ended_where_it_fails(&mut self) {
        let ended = ms(self.best.ended) + 1;
        if ended < ms(self.best.plan.chaos) {
            self.fails_with(|it| it.chaos_ms = Some(ended));
        }
    }

    /// Ends chaos as early as possible.
    fn shorter(&mut self) {
        let (mut passes, mut fails) = (0, ms(self.best.plan.chaos));
        while fails - passes > 1 + fails / 16 {
            let middle = passes.midpoint(fails);
            if self.fails_with(|it| it.chaos_ms = Some(middle)) {
                fails = middle;
            } else {
                passes = middle;
            }
        }
    }

    fn fewer_parts(&mut self) {
        for part in Part::value_variants() {
            self.fails_with(|it| it.without.push(*part));
        }
    }

    fn fewer_voters(&mut self) {
        let voters = self.best.plan.options.voters as u64;
        let _ = (1..voters).find(|fewer| self.fails_with(|it| it.voters = Some(*fewer)));
    }

    fn fewer_calls(&mut self) {
        const SELDOM_MS: u64 = 10_000;
        let registers = self.best.plan.registers;
        let _ = (1..registers).find(|fewer| self.fails_with(|it| it.registers = Some(*fewer)));
        let mut every = 2 * self.best.plan.call_interval / MS;
        while every < SELDOM_MS && self.fails_with(|it| it.call_every_ms = Some(every)) {
            every *= 2;
        }
    }

    /// Takes away one half of the faults that were carried out, then quarters, and so on (Zeller
    /// and Hildebrandt's ddmin, without its complements). The last ones go first, so that the first
    /// prefix that fails is found early.
    fn fewer_faults(&mut self) {
        let mut size = self.best.faults.len().div_ceil(2);
        while size > 0 {
            let mut end = self.best.faults.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let mut kept = self.best.faults.clone();
                kept.drain(start..end.min(kept.len()));
                // Without any fault at all is another try, see `fewer_parts`.
                if !kept.is_empty() {
                    self.fails_with(|it| it.faults = kept);
                }
                end = start.min(self.best.faults.len());
            }
            size /= 2;
        }
    }

    /// Forgets what of the reduction has no effect, and brings the rest into the usual order.
    fn tidy(&mut self) {
        let plan = self.plan(&self.best.reduction);
        let reduction = self.best.reduction.clone();
        let with = |without: Vec<Part>| Reduction { without, ..reduction.clone() };
        let mut without = reduction.without.clone();
        // All kinds of faults have a word together.
        without.extend(Part::value_variants().first());
        if self.plan(&with(without.clone())) != plan {
            without = reduction.without.clone();
        }
        let known = Part::value_variants().iter().copied();
        let mut without: Vec<Part> = known.filter(|it| without.contains(it)).collect();
        for part in without.clone().into_iter().rev() {
            let fewer: Vec<Part> = without.iter().copied().filter(|it| *it != part).collect();
            if self.plan(&with(fewer.clone())) == plan {
                without = fewer;
            }
        }
        self.best.reduction = with(without);
    }
}
