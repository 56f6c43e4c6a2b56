//! The scenarios, written once for every cluster.

mod agreement;
mod clients;
mod elections;
mod persistence;

pub use agreement::*;
pub use clients::*;
pub use elections::*;
pub use persistence::*;

/// Calls a macro with the list of all scenarios: for each its name and the number of nodes that it
/// needs.
#[macro_export]
macro_rules! for_each_scenario {
    ($callback:ident!($($arguments:tt)*)) => {
        $crate::for_each_scenario_over_tcp! { $callback!($($arguments)*)
            rpc_bytes_2b 3,
            count_2b 3,
            unreliable_agree_2c 5,
            figure_8_unreliable_2c 5,
            unreliable_churn_2c 5,
            linearizable_clients_unreliable 5,
            linearizable_clients_all_faults 5,
        }
    };
}

/// The same for the scenarios that need no network that loses messages or counts them: links that
/// can be cut are enough, as TCP connections are.
#[macro_export]
macro_rules! for_each_scenario_over_tcp {
    ($callback:ident!($($arguments:tt)*) $($more:tt)*) => {
        $callback! { $($arguments)*
            initial_election_2a 3,
            re_election_2a 3,
            many_elections_2a 7,
            basic_agree_2b 3,
            follower_failure_2b 3,
            leader_failure_2b 3,
            fail_agree_2b 3,
            fail_no_agree_2b 5,
            concurrent_starts_2b 3,
            rejoin_2b 3,
            backup_2b 5,
            persist_1_2c 3,
            persist_2_2c 5,
            persist_3_2c 3,
            figure_8_2c 5,
            reliable_churn_2c 5,
            linearizable_clients 5,
            linearizable_clients_partitions 5,
            linearizable_clients_crashes 5,
            $($more)*
        }
    };
}
