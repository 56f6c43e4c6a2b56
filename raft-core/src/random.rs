//! Randomness without a hidden source.

use core::time::Duration;

use crate::time::nanos;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): enough to
/// keep election timeouts apart, small enough to be part of the state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A duration of at least `base` and less than twice `base`.
    pub(crate) fn once_to_twice(&mut self, base: Duration) -> Duration {
        let base = nanos(base).max(1);
        Duration::from_nanos(base.saturating_add(self.next() % base))
    }
}
