//! One suite for every store, for authors of their own: contract, order, atomicity, crashes at every
//! step, reopening, compaction.
//!
//! Say how to open your store, and let a macro define the tests:
//!
//! ```
//! use conformance_tests::storage::LogPlace;
//! use raft_node::MemoryLog;
//!
//! #[derive(Default)]
//! struct Mine(MemoryLog);
//!
//! impl LogPlace for Mine {
//!     type Store = MemoryLog;
//!
//!     fn open(&self) -> MemoryLog {
//!         self.0.clone()
//!     }
//! }
//!
//! conformance_tests::log_store_suite!(my_log, Mine);
//! ```
//!
//! What no suite can do for a store is to cut the power: only its author knows what the medium may
//! lose. [`LogPlace::crash`] is the place to say it.

pub mod crash;
pub mod log;
mod log_random;
pub mod snapshots;
mod snapshots_random;
pub mod values;

use raft_node::{LogStore, SnapshotStore};

/// A place where a log is kept, empty at first, which can be opened again and again.
pub trait LogPlace: Default {
    /// The store under test.
    type Store: LogStore;

    /// Opens the store that is here. No other one is open then.
    fn open(&self) -> Self::Store;

    /// Ends a store as a crash of its process does. Dropping it is close enough if it writes
    /// nothing when it is dropped. A store on a medium of your own that can lose what was not
    /// synced should lose it here.
    fn crash(&self, store: Self::Store) {
        drop(store);
    }
}

/// A place where snapshots are kept, empty at first, which can be opened again and again.
pub trait SnapshotPlace: Default {
    /// The store under test.
    type Store: SnapshotStore;

    /// Opens the store that is here. No other one is open then.
    fn open(&self) -> Self::Store;

    /// Ends a store as a crash of its process does, see [`LogPlace::crash`].
    fn crash(&self, store: Self::Store) {
        drop(store);
    }
}

/// Runs random uses of a log store beside a list.
///
/// # Panics
/// They differ; the message has the shortest use that was found, and the seed.
pub fn log_matches_a_list<P: LogPlace>() {
    log_random::run::<P>();
}

/// Runs random uses of a snapshot store beside a list.
///
/// # Panics
/// They differ; the message has the shortest use that was found, and the seed.
pub fn snapshots_match_a_list<P: SnapshotPlace>() {
    snapshots_random::run::<P>();
}

/// Defines one test for each check of a log store, in a module of this name.
#[macro_export]
macro_rules! log_store_suite {
    ($module:ident, $place:ty) => {
        mod $module {
            use super::*;

            $crate::store_checks!(
                $place,
                log,
                [
                    a_new_log_is_empty,
                    what_was_appended_is_there_after_reopening,
                    entries_from_the_truncation_on_are_replaced,
                    the_newest_hard_state_wins,
                    load_gives_at_least_one_entry_and_then_what_fits,
                    a_range_beyond_the_log_gives_no_entries,
                    a_write_that_does_not_continue_the_log_is_refused,
                    a_log_compacted_entirely_goes_on_at_the_right_index_and_term,
                    a_log_that_does_not_reach_a_snapshot_is_empty_and_goes_on_behind_it,
                    entries_behind_a_snapshot_stay,
                    a_load_that_begins_with_a_compacted_entry_gives_none,
                    a_write_that_contradicts_a_snapshot_is_refused,
                    metadata_is_empty_at_first_and_survives,
                ]
            );
            $crate::store_checks!(
                $place,
                crash,
                [a_crash_at_any_write_leaves_the_writes_before_it,]
            );

            #[test]
            fn random_writes_and_reopens_match_a_list() {
                $crate::storage::log_matches_a_list::<$place>();
            }
        }
    };
}

/// Defines one test for each check of a snapshot store, in a module of this name.
#[macro_export]
macro_rules! snapshot_store_suite {
    ($module:ident, $place:ty) => {
        mod $module {
            use super::*;

            $crate::store_checks!(
                $place,
                snapshots,
                [
                    a_new_store_has_no_snapshot,
                    a_snapshot_of_any_size_reads_back_and_survives,
                    a_snapshot_received_in_pieces_is_the_same,
                    a_read_gives_at_least_one_byte_and_at_most_what_was_asked_for,
                    the_newest_is_the_one_with_the_highest_position_and_the_others_are_removed,
                    what_was_not_completed_is_never_seen,
                    a_first_piece_begins_anew_whatever_was_there,
                    pieces_that_do_not_follow_each_other_are_refused,
                    a_received_snapshot_with_a_wrong_checksum_is_refused,
                    a_removed_snapshot_is_gone_and_its_readers_go_on,
                    removing_a_snapshot_that_is_arriving_gives_it_up,
                    a_snapshot_that_is_here_may_be_written_again,
                    own_and_received_snapshots_are_written_at_once,
                ]
            );
            $crate::store_checks!(
                $place,
                crash,
                [
                    a_crash_while_a_snapshot_is_taken_leaves_the_old_one_or_the_whole_new_one,
                    a_crash_while_a_snapshot_arrives_leaves_the_old_one_or_the_whole_new_one,
                ]
            );

            #[test]
            fn random_steps_match_a_list() {
                $crate::storage::snapshots_match_a_list::<$place>();
            }
        }
    };
}

/// The body of the suites of stores.
#[doc(hidden)]
#[macro_export]
macro_rules! store_checks {
    ($place:ty, $kind:ident, [$($check:ident),* $(,)?]) => {$(
        #[test]
        fn $check() {
            $crate::storage::$kind::$check::<$place>();
        }
    )*};
}
