//! Nodes on different runtimes are one cluster.

use super::servers::{Servers, eventually, insist, run};

#[test]
fn a_cluster_on_all_runtimes_serves_reads_and_writes_through_each_node_whoever_leads() {
    let mut servers = Servers::founded(4, 0, &[]);
    let nodes = [1, 2, 3, 4].map(|id| servers.at(id));
    for server in &servers.all {
        assert_eq!(server.info("node_runtime").as_deref(), Some(server.runtime()));
    }
    for leader in 1..=4 {
        lead(&mut servers, leader);
        for (id, node) in (1..).zip(&nodes) {
            let value = format!("led-by-{leader}-through-{id}");
            assert_eq!(insist(node, &format!("SET k {value}")), "+OK");
            // What one node has acknowledged, all of them answer at once.
            for node in &nodes {
                assert_eq!(insist(node, "GET k"), value);
            }
        }
    }
    for server in &mut servers.all {
        assert!(server.terminate().success());
    }
}

/// Makes a node the leader.
fn lead(servers: &mut Servers, id: u64) {
    let through = servers.at(id);
    eventually("the node leads", || {
        run(&["transfer", &id.to_string(), "--node", &through]);
        servers.leaders() == [id]
    });
}
