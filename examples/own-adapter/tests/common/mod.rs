//! What all tests of this crate share.

use std::time::Duration;

use raft_node::Settings;
use raft_node::core::NodeId;

/// A node of a cluster at these addresses; the first is that of node 1.
pub(crate) fn settings(id: u64, addresses: &[String]) -> Settings {
    let settings = Settings::new(NodeId::new(id)).election_timeout(Duration::from_millis(60));
    (1..).zip(addresses).fold(settings, |settings, (peer, address)| {
        settings.peer(NodeId::new(peer), address.clone())
    })
}
