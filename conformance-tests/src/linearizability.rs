//! Decides whether what clients saw can be explained by one object that executes one operation
//! at a time: linearizability (Herlihy and Wing, "Linearizability: A Correctness Condition for
//! Concurrent Objects", TOPLAS 12(3), 1990).
//!
//! Record a [`History`], choose a [`Model`] (ready-made ones are in [`models`]) and [`check`]:
//!
//! ```
//! use conformance_tests::linearizability::models::{Keyed, Register, RegisterAction, RegisterRet};
//! use conformance_tests::linearizability::{History, check};
//!
//! let mut history = History::new();
//! let write = history.invoke(1, 0, Keyed::new(7, RegisterAction::Write(3)));
//! let read = history.invoke(2, 5, Keyed::new(7, RegisterAction::Read));
//! history.returned(read, 8, RegisterRet::Value(Some(3)))?;
//! history.unknown(write)?;
//!
//! let verdict = check::<Register>(&history, 10_000_000);
//! assert!(verdict.is_linearizable(), "{verdict}");
//! # Ok::<(), conformance_tests::linearizability::HistoryError>(())
//! ```
//!
//! # How it works
//!
//! - The search is that of Wing and Gong, "Testing and Verifying Concurrent Objects", JPDC 17,
//!   1993: place, one after the other, operations that no unplaced operation precedes in time,
//!   and go back when the model contradicts an observed result.
//! - Lowe, "Testing for Linearizability", Concurrency and Computation 29(4), 2017: a situation,
//!   meaning the set of placed operations and the state of the object, is explored only once.
//! - Horn and Kroening, "Faster Linearizability Checking via P-compositionality", FORTE 2015:
//!   operations on independent keys are checked apart.
//!
//! An operation with an unknown outcome may take effect at any time after its invocation, or
//! never. Taken naively, each doubles the work. These arguments keep the work small, and none
//! changes the verdict:
//!
//! - Using fewer unknown operations to get to the same place is never worse, because those left
//!   may still be used and need not be. A situation is skipped when another with the same
//!   returned operations, the same state and a subset of the unknown ones was explored.
//! - An unknown operation is placed as late as possible: not where it changes nothing, not where
//!   the next operation wipes out its effect, and not where it could as well come after the next
//!   operation. What remains are the places right before an operation that depends on it.
//! - Of equal unknown operations the one that was invoked first is used first.
//! - A model may leave unknown operations out or make them equal: see [`Model::reduce`].

mod bits;
mod history;
mod minimise;
mod model;
pub mod models;
mod report;
mod search;
mod timeline;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use history::{History, HistoryError, OperationId};
pub use model::{Model, Observation};
pub use report::{Report, Row};

use history::ClaimOf;
use search::Outcome;

/// What [`check`] found. Only [`Verdict::Linearizable`] is a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a verdict that nobody reads lets every violation pass"]
pub enum Verdict {
    /// The history has an explanation.
    Linearizable,
    /// The history has no explanation; the report shows the heart of the contradiction.
    Violation(Box<Report>),
    /// The search stopped before it knew, for at least one key, and no other key has a
    /// violation. Treat it as a failure: nothing has been verified. Either raise the budget, or
    /// make histories shorter, keys more numerous or written values unique.
    OutOfBudget {
        /// The first key that was not decided, as its `Debug` text.
        key: String,
        /// How many operations of that key had to be placed.
        operations: usize,
    },
}

impl Verdict {
    /// Whether the history was proven linearizable. False for a violation and for a search that
    /// ran out of budget. Use it as `assert!(verdict.is_linearizable(), "{verdict}")`.
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Verdict::Linearizable)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Linearizable => f.write_str("linearizable"),
            Verdict::Violation(report) => report.fmt(f),
            Verdict::OutOfBudget { key, operations } => write!(
                f,
                "undecided: the budget ran out on key {key} with {operations} operations; \
                 raise the budget or spread the load over more keys"
            ),
        }
    }
}

/// Checks a history against the sequential behaviour that `M` describes.
///
/// `budget` is the number of steps that the search may spend on each key, where a step tries to
/// place one operation and calls [`Model::step`] up to three times. It is a count and not a time,
/// so the same history gives the same verdict on every machine. A typical key needs a few steps
/// per operation, a key with much concurrency or many unknown operations thousands; ten million is
/// generous. Memory grows with the situations explored, of which there are fewer than steps. When
/// a violation is found, making its report small may cost the budget once more.
///
/// Keys are checked in their order and the first violation ends the check. A violation on any key
/// is reported even when the budget ran out on another.
pub fn check<M: Model>(history: &History<M::Op, M::Ret>, budget: u64) -> Verdict {
    let mut partitions: BTreeMap<M::Key, Vec<ClaimOf<'_, M>>> = BTreeMap::new();
    for claim in history.claims() {
        partitions.entry(M::key(claim.op())).or_default().push(claim);
    }
    let mut verdict = Verdict::Linearizable;
    for (key, claims) in partitions {
        let mut rest = budget;
        match search::solve::<M>(&claims, &mut rest) {
            Outcome::Linearizable => {}
            Outcome::Violation { prefix } => {
                let evidence = minimise::minimise::<M>(&claims, prefix, budget - rest, budget);
                let report = Report::new::<M>(&key, claims.len(), &evidence);
                return Verdict::Violation(Box::new(report));
            }
            Outcome::OutOfBudget if verdict.is_linearizable() => {
                let operations = claims.len();
                verdict = Verdict::OutOfBudget { key: format!("{key:?}"), operations };
            }
            Outcome::OutOfBudget => {}
        }
    }
    verdict
}
