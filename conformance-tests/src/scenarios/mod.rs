//! The scenarios, written once for every cluster.

mod agreement;
mod clients;
mod elections;
mod load;
mod membership;
mod persistence;
mod rsm;
mod service;
mod snapshots;

pub use agreement::*;
pub use clients::*;
pub use elections::*;
pub use membership::*;
pub use persistence::*;
pub use rsm::*;
pub use service::*;
pub use snapshots::*;

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
            snapshot_install_unreliable_2d 3,
            snapshot_install_un_crash_2d 3,
            snapshot_all_crash_unreliable_2d 3,
            snapshot_init_unreliable_2d 3,
            unreliable_3a 5,
            unreliable_one_key_3a 3,
            persist_concurrent_unreliable_3a 5,
            persist_partition_unreliable_3a 5,
            persist_partition_unreliable_linearizable_3a 7,
            snapshot_unreliable_3b 5,
            snapshot_unreliable_recover_3b 5,
            snapshot_unreliable_recover_concurrent_partition_3b 5,
            snapshot_unreliable_recover_concurrent_partition_linearizable_3b 7,
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
            linearizable_clients_leases 5,
            snapshot_basic_2d 3,
            snapshot_install_2d 3,
            snapshot_install_crash_2d 3,
            snapshot_all_crash_2d 3,
            snapshot_init_2d 3,
            snapshot_on_request 3,
            basic_3a 5,
            speed_3a 3,
            concurrent_3a 5,
            one_partition_3a 5,
            many_partitions_one_client_3a 5,
            many_partitions_many_clients_3a 5,
            persist_one_client_3a 5,
            persist_concurrent_3a 5,
            persist_partition_3a 5,
            speed_3b 3,
            snapshot_rpc_3b 3,
            snapshot_size_3b 3,
            snapshot_recover_3b 5,
            snapshot_recover_many_clients_3b 5,
            basic_4a 3,
            concurrent_4a 3,
            leader_failure_4a 3,
            leader_partition_4a 3,
            restart_replay_4a 3,
            shutdown_4a 3,
            graceful_shutdown_4a 3,
            restart_submit_4a 3,
            snapshot_4c 3,
            grow_from_one_to_five 5,
            replace_every_node 6,
            learner_becomes_a_voter 3,
            remove_the_leader 3,
            add_a_node_that_is_far_behind 4,
            removed_node_comes_back 4,
            change_during_a_partition 5,
            transfer_under_load 3,
            rolling_restart 3,
            $($more)*
        }
    };
}
