//! Draws from the one source of randomness of a run.

use core::ops::Range;

/// Whether something happens that happens so many times in 1,000.
pub(crate) fn chance(rng: &mut fastrand::Rng, per_thousand: u64) -> bool {
    per_thousand > 0 && rng.u64(0..1000) < per_thousand
}

/// A number of the range, or its start if the range is empty.
pub(crate) fn within(rng: &mut fastrand::Rng, range: &Range<u64>) -> u64 {
    if range.is_empty() { range.start } else { rng.u64(range.clone()) }
}
