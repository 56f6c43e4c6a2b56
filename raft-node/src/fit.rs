//! Whether a write continues a log. Every store asks before it changes anything.

use raft_core::{LogIndex, Term, Write};

/// The last entry that stays when `write` is carried out on a log that ends at `last`.
pub(crate) fn kept(write: &Write, last: LogIndex) -> LogIndex {
    write.truncate_from.map_or(last, |from| last.min(from.prev()))
}

/// Checks that the entries of `write` follow the entry at `kept`, whose term is `term` (zero when
/// nothing is kept). An error says what does not fit.
pub(crate) fn check(write: &Write, kept: LogIndex, term: Term) -> Result<(), &'static str> {
    match write.entries.first() {
        Some(first) if first.index != kept.next() => {
            Err("its entries do not begin right behind the last entry")
        }
        Some(first) if first.term < term => Err("the term of its entries is below the last term"),
        _ => Ok(()),
    }
}
