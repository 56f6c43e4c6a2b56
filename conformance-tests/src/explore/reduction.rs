//! What is taken away from a drawn run, in words of the command line, so that one line replays it.

use std::fmt;
use std::sync::LazyLock;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use crate::explore::faults::Fault;

/// What is taken away from the run that a seed draws. Nothing by default. A run never gets more of
/// anything than the seed has drawn.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Reduction {
    /// Leaves out parts of the run: kinds of faults, or circumstances.
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    pub without: Vec<Part>,
    /// Founds the cluster with at most so many voters.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=7))]
    pub voters: Option<u64>,
    /// Ends the time of faults after so many milliseconds.
    #[arg(long, value_name = "N")]
    pub chaos_ms: Option<u64>,
    /// Carries out only these faults, by the numbers that the trace gives them.
    #[arg(long, value_delimiter = ',', value_name = "NUMBER")]
    pub faults: Vec<u64>,
    /// Has the clients use at most so many registers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub registers: Option<u64>,
    /// Has the clients call no more often than once in so many milliseconds, on average.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub call_every_ms: Option<u64>,
    /// Throws other dice: the same plan, with other delays, losses and choices on the way.
    #[arg(long, value_name = "N")]
    pub dice: Option<u64>,
}

impl Reduction {
    /// The same with dice that come so many after these.
    pub(crate) fn with_dice(self, further: u64) -> Self {
        let dice = self.dice.unwrap_or_default().wrapping_add(further);
        Self { dice: (dice > 0).then_some(dice), ..self }
    }
}

impl fmt::Display for Reduction {
    /// The options of the command line, with a space before each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { without, voters, chaos_ms, faults, registers, call_every_ms, dice } = self;
        list(f, "without", without)?;
        list(f, "faults", faults)?;
        let numbers = [
            ("voters", voters),
            ("chaos-ms", chaos_ms),
            ("registers", registers),
            ("call-every-ms", call_every_ms),
            ("dice", dice),
        ];
        numbers.iter().try_for_each(|(name, number)| match number {
            Some(number) => write!(f, " --{name} {number}"),
            None => Ok(()),
        })
    }
}

fn list<T: ToString>(f: &mut fmt::Formatter<'_>, name: &str, items: &[T]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    write!(f, " --{name} {}", items.join(","))
}

/// A part of a run that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part(pub(crate) Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Fault(Fault),
    Circumstance(Circumstance),
}

/// What makes a run more difficult, besides faults of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Circumstance {
    /// Faults of all kinds
    Faults,
    /// Lost messages
    Loss,
    /// Messages that arrive twice
    Duplication,
    /// Pieces of snapshots that arrive damaged
    Damage,
    /// Messages that arrive seconds later than others
    Late,
    /// Links that are slow all the time
    Delays,
    /// Disks, state machines and writers of snapshots that are slow
    Slowness,
    /// Clocks that run fast or slow, or start anywhere
    Skew,
    /// Events that are given to the core together
    Gather,
    /// Nodes whose disks have completed a write when they have got it
    AtOnce,
    /// Tiny limits in the configuration of the nodes
    TinyLimits,
    /// Snapshots that nodes take by themselves, and compaction with them
    Snapshots,
    /// Snapshots that can't be written
    SnapshotFailures,
    /// Clients with sessions
    Sessions,
    /// Members that are preferred as leaders
    Priorities,
    /// Read leases
    Leases,
    /// Learners in the first configuration
    Learners,
    /// Nodes with empty disks that are there to be added
    Joiners,
    /// Elections without pre-vote or check-quorum: both are switched on
    BareElections,
    /// The encoding of messages on their way
    Encoding,
}

static PARTS: LazyLock<Vec<Part>> = LazyLock::new(|| {
    let circumstances = Circumstance::value_variants().iter().copied().map(Kind::Circumstance);
    let faults = Fault::value_variants().iter().copied().map(Kind::Fault);
    circumstances.chain(faults).map(Part).collect()
});

impl ValueEnum for Part {
    fn value_variants<'a>() -> &'a [Self] {
        &PARTS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self.0 {
            Kind::Fault(fault) => fault.to_possible_value(),
            Kind::Circumstance(circumstance) => circumstance.to_possible_value(),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&word(self))
    }
}

/// The word of the command line for a value of it.
pub(crate) fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
