//! Whether a write continues a log. Every store asks before it changes anything.

use raft_core::{LogIndex, LogPosition, Term, Write};

/// What a log looks like from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The place before the first entry.
    pub begin_after: LogPosition,
    /// The last entry; the index of `begin_after` if there are none.
    pub last: LogIndex,
}

/// Checks that `write` fits a log with these bounds, and says what is left of it when the removals
/// of the write are carried out: the new entries go behind that. `term_at` tells the terms of the
/// entries; for those that it does not know the terms are not checked.
///
/// # Errors
/// It does not continue the log, for this reason: see
/// [`StoreError::OutOfOrder`](crate::StoreError::OutOfOrder).
pub fn check(
    write: &Write,
    log: Bounds,
    term_at: impl Fn(LogIndex) -> Option<Term>,
) -> Result<Bounds, &'static str> {
    let left = after_removals(write, log, &term_at)?;
    let empty = left.last == left.begin_after.index;
    let last_term = if empty { Some(left.begin_after.term) } else { term_at(left.last) };
    match write.entries.first() {
        Some(first) if first.index != left.last.next() => {
            Err("its entries do not begin right behind the last entry")
        }
        Some(first) if last_term.is_some_and(|term| first.term < term) => {
            Err("the term of its entries is below the last term")
        }
        _ => Ok(left),
    }
}

fn after_removals(
    write: &Write,
    log: Bounds,
    term_at: impl Fn(LogIndex) -> Option<Term>,
) -> Result<Bounds, &'static str> {
    let old = log.begin_after;
    let kept = write.truncate_from.map_or(log.last, |from| log.last.min(from.prev()));
    if kept < old.index {
        return Err("it replaces entries that a snapshot covers");
    }
    let begin_after = write.begin_after.unwrap_or(old);
    if begin_after == old {
        return Ok(Bounds { begin_after, last: kept });
    }
    if begin_after.index <= old.index {
        return Err("the log would begin earlier, or behind another entry at the same place");
    }
    // A snapshot may replace entries of other terms, but then it replaces all that follow them.
    let contradicts = |term| term != begin_after.term;
    if begin_after.index < kept && term_at(begin_after.index).is_some_and(contradicts) {
        return Err("entries would stay behind one that is not in the log");
    }
    Ok(Bounds { begin_after, last: kept.max(begin_after.index) })
}
