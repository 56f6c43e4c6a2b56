//! What an adapter has to bear, the same for all of them: peers that hang, read slowly, talk nonsense
//! or belong elsewhere; load that never ends; stops at any moment; futures that are dropped; panics
//! and broken disks. Nobody else may notice, everybody who waits is answered, and nothing is left.
//!
//! The list is written once against [`Bootstrap`](crate::real::Bootstrap). An adapter runs it with a
//! line in each of two test files:
//!
//! ```text
//! conformance_tests::behaviour_suite!(MyBootstrap::new());
//! ```
//!
//! ```text
//! conformance_tests::process_suite!(MyBootstrap::new());
//! ```
//!
//! The second is for what looks at the whole process (its threads, files, tasks, who wakes up), so
//! nothing else may be in its file. It needs Linux.
//!
//! Deadlines are generous: they only tell "slow" from "never". Where a time is asserted, it is less
//! than the time that the mistake would take.
//!
//! # Panics
//! Each function is a test and panics when it fails.

mod alone;
mod clients;
mod dropped;
mod load;
mod members;
mod neighbours;
mod peers;
mod places;
mod snapshots;
mod start;
mod stop;

pub use alone::*;
pub use dropped::*;
pub use load::*;
pub use members::*;
pub use peers::*;
pub use snapshots::*;
pub use start::*;
pub use stop::*;

/// Defines one test for each behaviour that an adapter has to have, see
/// [`behaviour`](crate::behaviour). The argument makes its [`Bootstrap`](crate::real::Bootstrap).
#[macro_export]
macro_rules! behaviour_suite {
    ($bootstrap:expr) => {
        mod behaviour {
            use super::*;

            $crate::behaviour_tests!($bootstrap;
                a_port_that_is_taken_is_an_error_that_names_it_and_harms_nobody,
                a_node_without_an_address_does_not_start,
                settings_that_make_no_sense_leave_the_port_free,
                a_store_that_panics_at_the_start_is_an_error_and_leaves_the_port_free,
                a_state_machine_that_panics_at_the_start_is_an_error_and_leaves_the_port_free,
                founding_again_is_harmless,
                a_node_that_comes_back_without_its_disk_is_refused_with_the_reason,
                watchers_see_a_leader_go_and_another_one_come,
                strangers_are_cut_off_and_nobody_else_notices,
                a_peer_that_talks_nonsense_after_its_hello_is_cut_off,
                a_new_connection_of_a_peer_takes_the_place_of_the_old_one,
                a_connection_resets_the_patience_between_dials,
                a_peer_that_says_nothing_is_dialled_anew,
                a_node_in_the_company_of_the_silent_stops_at_once,
                a_peer_that_is_gone_or_hangs_holds_nobody_up,
                a_peer_that_reads_slowly_or_not_at_all_holds_nobody_up,
                a_thousand_readers_get_answers_all_the_time,
                a_full_load_of_proposals_delays_neither_heartbeats_nor_peers,
                a_leader_with_a_slow_disk_and_a_slow_state_machine_stays_leader,
                a_snapshot_of_many_windows_is_transferred_while_writes_go_on,
                a_node_whose_state_is_lost_is_given_that_of_the_leader,
                a_shutdown_answers_everybody_who_waits_and_frees_the_port,
                a_shutdown_under_load_answers_every_waiter,
                a_node_that_is_dropped_stops,
                a_node_that_has_been_waited_for_can_still_be_stopped,
                a_panic_in_apply_stops_that_node_and_acknowledges_nothing_false,
                a_follower_whose_disk_fails_stops_and_its_leader_sees_it,
                futures_and_handles_may_be_dropped_at_any_point,
            );
        }
    };
}

/// Defines the tests that look at the whole process: the only ones in their file, see
/// [`behaviour`](crate::behaviour).
#[macro_export]
macro_rules! process_suite {
    ($bootstrap:expr) => {
        mod process {
            use super::*;

            $crate::behaviour_tests!($bootstrap;
                an_idle_single_node_never_wakes_up,
                an_idle_cluster_wakes_up_for_heartbeats_only,
                a_thousand_starts_and_stops_leave_nothing_behind,
                a_start_that_is_given_up_at_any_point_leaves_nothing_behind,
            );
        }
    };
}

/// The body of [`behaviour_suite!`] and of [`process_suite!`].
#[doc(hidden)]
#[macro_export]
macro_rules! behaviour_tests {
    ($bootstrap:expr; $($name:ident,)*) => {$(
        #[test]
        fn $name() {
            $crate::behaviour::$name($bootstrap);
        }
    )*};
}
