//! The settings of the nodes of a run.

use std::time::Duration;

use raft_node::core::Config;

use crate::sim::random::chance;

/// Settings, drawn so that each limit is sometimes tiny.
pub(super) fn tune(config: Config, tuning: u64) -> Config {
    let mut rng = fastrand::Rng::with_seed(tuning);
    // What is not in memory is loaded, and may be cut meanwhile.
    let cached = if chance(&mut rng, 300) { 0 } else { 16 << 20 };
    let mut tiny = |usual: usize, least: usize| if chance(&mut rng, 150) { least } else { usual };
    let config = config
        .max_append_entries(tiny(8192, 1))
        .max_append_bytes(tiny(1 << 20, 1))
        .max_in_flight_messages(tiny(128, 1))
        .max_in_flight_bytes(tiny(8 << 20, 1))
        .max_uncommitted_bytes(tiny(64 << 20, 500))
        .max_unpersisted_bytes(tiny(64 << 20, 500))
        .max_cached_bytes(cached)
        .max_applying_bytes(tiny(8 << 20, 1))
        .max_pending_requests(tiny(65_536, 4))
        .max_held_messages(tiny(1024, 8));
    // Snapshots have tens to hundreds of bytes.
    let chunk = [1, 7, 50, 1 << 18, 1 << 18, 1 << 18][rng.usize(0..6)];
    let window = [1, 60, 1 << 22, 1 << 22][rng.usize(0..4)];
    let disk_timeout = if chance(&mut rng, 300) { rng.u64(500..2000) } else { 5000 };
    config
        .max_snapshot_chunk_bytes(chunk)
        .max_in_flight_snapshot_bytes(window)
        .disk_timeout(Duration::from_millis(disk_timeout))
}
