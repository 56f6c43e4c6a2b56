//! The scenarios, written once for every cluster.

mod agreement;
mod clients;
mod elections;
mod persistence;

pub use agreement::*;
pub use clients::*;
pub use elections::*;
pub use persistence::*;

/// Calls a macro with the list of all scenarios: for each its name, the number of nodes that it
/// needs, and its group.
#[macro_export]
macro_rules! for_each_scenario {
    ($callback:ident!($($arguments:tt)*)) => {
        $callback! { $($arguments)*
            initial_election_2a 3 election,
            re_election_2a 3 election,
            many_elections_2a 7 election,
            basic_agree_2b 3 agreement,
            rpc_bytes_2b 3 agreement,
            follower_failure_2b 3 agreement,
            leader_failure_2b 3 agreement,
            fail_agree_2b 3 agreement,
            fail_no_agree_2b 5 agreement,
            concurrent_starts_2b 3 agreement,
            rejoin_2b 3 agreement,
            backup_2b 5 agreement,
            count_2b 3 agreement,
            persist_1_2c 3 crash,
            persist_2_2c 5 crash,
            persist_3_2c 3 crash,
            figure_8_2c 5 crash,
            unreliable_agree_2c 5 network,
            figure_8_unreliable_2c 5 network,
            reliable_churn_2c 5 crash,
            unreliable_churn_2c 5 crash,
            linearizable_clients 5 clients,
            linearizable_clients_unreliable 5 clients,
            linearizable_clients_partitions 5 clients,
            linearizable_clients_crashes 5 clients,
            linearizable_clients_all_faults 5 clients,
        }
    };
}
