//! Patience with a peer that can't be reached.

use core::time::Duration;

/// A peer that does not answer, takes nothing or, as a stranger, does not greet for so long is cut
/// off.
pub const PATIENCE: Duration = Duration::from_secs(5);

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// How long to wait before the next attempt: twice as long each time, up to a second.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The time to wait now.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait
    }
}
