//! Members that come and go, through any node.

use std::fs;
use std::time::{Duration, Instant};

use conformance_tests::process::free_address;

use super::servers::{Client, HANG, Servers, eventually, fail, insist, run, succeed};

/// Waits until each of these nodes says the same of the members: the ids with their parts.
fn all_say(servers: &Servers, nodes: &[u64], expected: &[(u64, &str)]) {
    for node in nodes {
        let address = servers.at(*node);
        eventually(&format!("node {node} knows {expected:?}"), || {
            // A node that was just added fails until it hears of that.
            let list = run(&["member", "list", "--node", &address]).stdout;
            let list = String::from_utf8(list).unwrap();
            let said: Vec<_> = list.lines().map(|line| line.split_whitespace().collect()).collect();
            let same = |(words, (id, part)): (&Vec<&str>, &(u64, &str))| {
                words[1] == id.to_string() && words[3] == *part
            };
            said.len() == expected.len() && said.iter().zip(expected).all(same)
        });
    }
}

#[test]
fn members_come_and_go_through_any_node() {
    let mut servers = Servers::founded(3, 1, &[]);
    let leader = servers.leader();
    let follower = if leader == 1 { 2 } else { 1 };
    let [first, second] = [leader, follower].map(|id| servers.at(id));
    insist(&second, "SET k v");
    all_say(&servers, &[1, 2, 3], &[(1, "voter"), (2, "voter"), (3, "voter")]);
    let list = succeed(&["member", "list", "--node", &first]);
    assert_eq!(list.matches("leader").count(), 1, "{list}");
    assert_eq!(list.matches(" has ").count(), 2, "the leader knows how far both are: {list}");

    servers.get(4).started();
    let (fourth, peer) = (servers.at(4), servers.get(4).peer.clone());
    let lonely = fail(&["member", "list", "--node", &fourth]);
    assert!(lonely.contains("node 4 belongs to no cluster yet"), "{lonely}");
    let reply = Client::connect(&fourth, HANG).unwrap().ask("GET k").unwrap();
    assert!(reply.contains("not added to a cluster yet"), "{reply}");

    let added = succeed(&["member", "add", "4", &peer, "--learner", "--node", &second]);
    assert!(added.starts_with("Node 4 is a learner.\n"), "{added}");
    let founders = [(1, "voter"), (2, "voter"), (3, "voter")];
    all_say(&servers, &[1, 2, 3, 4], &[&founders[..], &[(4, "learner")]].concat());
    assert_eq!(insist(&fourth, "GET k"), "v");
    succeed(&["member", "promote", "4", "--node", &fourth]);
    all_say(&servers, &[1, 2, 3, 4], &[&founders[..], &[(4, "voter")]].concat());
    succeed(&["member", "demote", "4", "--node", &first]);
    all_say(&servers, &[1, 2, 3, 4], &[&founders[..], &[(4, "learner")]].concat());
    // Asked for a second time, it is done already.
    succeed(&["member", "add", "4", &peer, "--node", &second]);
    succeed(&["member", "add", "4", &peer, "--node", &first]);
    succeed(&["member", "remove", "4", "--node", &fourth]);
    all_say(&servers, &[1, 2, 3], &founders);
    eventually("the removed node says so", || {
        let reply = Client::connect(&fourth, HANG).and_then(|mut client| client.ask("GET k"));
        reply.is_some_and(|reply| reply.contains("this node was removed from the cluster"))
    });
    assert!(servers.get(4).terminate().success());
}

#[test]
fn a_node_can_be_moved_to_another_address_with_its_data() {
    let mut servers = Servers::founded(3, 0, &[]);
    let leader = servers.leader();
    let moved = if leader == 3 { 2 } else { 3 };
    let through = servers.at(leader);
    insist(&through, "SET before yes");
    assert!(servers.get(moved).terminate().success());
    let address = free_address();
    let words = ["member", "move", &moved.to_string(), &address, "--node", &through];
    let text = succeed(&words);
    assert!(text.contains(&format!("Node {moved} is expected at {address}.")), "{text}");
    insist(&through, "SET after yes");
    let server = servers.get(moved);
    server.data = {
        let elsewhere = server.data.with_file_name("elsewhere");
        fs::rename(&server.data, &elsewhere).unwrap();
        elsewhere
    };
    server.listen_at(&address);
    server.started();
    let there = servers.at(moved);
    for key in ["before", "after"] {
        assert_eq!(insist(&there, &format!("GET {key}")), "yes");
    }
    all_say(&servers, &[1, 2, 3], &[(1, "voter"), (2, "voter"), (3, "voter")]);
    // It counts: without one of the others the cluster needs it, and finds it there.
    servers.get(leader).kill();
    insist(&there, "SET again yes");
}

/// Nobody is at the addresses that the cluster knows, as if each node had tunnels to the others.
#[test]
fn a_node_dials_the_others_where_it_is_told_to() {
    let mut servers = Servers::new(3, 0, &[]);
    let known: Vec<String> = servers.all.iter().map(|server| server.peer.clone()).collect();
    let addresses = [1, 2, 3].map(|id| (id, free_address()));
    for server in &mut servers.all {
        for (id, address) in &addresses {
            if *id == server.id {
                server.listen_at(address);
            } else {
                server.dial(*id, address);
            }
        }
        server.start();
    }
    servers.leader();
    for (id, _) in &addresses {
        insist(&servers.at(*id), "SET k v");
    }
    let list = succeed(&["member", "list", "--node", &servers.at(1)]);
    assert!(known.iter().all(|address| list.contains(address)), "{known:?}: {list}");
}

#[test]
fn changes_that_make_no_sense_are_refused_with_a_reason() {
    let servers = Servers::founded(1, 0, &[]);
    let node = servers.at(1);
    for (words, reason) in [
        (["member", "remove", "1"].as_slice(), "node 1 is the last voter"),
        (&["member", "demote", "1"], "node 1 is the last voter"),
        (&["member", "promote", "9"], "node 9 is no member"),
        (&["member", "add", "1", "127.0.0.1:1"], "node 1 is a member already, at 127.0.0.1:"),
        (&["member", "move", "9", "127.0.0.1:1"], "node 9 is no member"),
        (&["transfer", "9"], "there is no such voter to hand over to"),
    ] {
        let text = fail(&[words, &["--node", &node]].concat());
        assert!(text.contains(reason), "{words:?}: {text}");
    }
}

/// C64: a node that can't be reached stays a learner, and holds up nobody.
#[test]
fn a_node_that_does_not_run_stays_a_learner_and_can_be_removed() {
    let mut servers = Servers::founded(1, 1, &["--election-timeout", "100ms"]);
    let (node, peer) = (servers.at(1), servers.get(2).peer.clone());
    let text = fail(&["member", "add", "2", &peer, "--node", &node]);
    assert!(text.contains("node 2 does not catch up with the log and stays a learner"), "{text}");
    all_say(&servers, &[1], &[(1, "voter"), (2, "learner")]);
    insist(&node, "SET k v");
    succeed(&["member", "remove", "2", "--node", &node]);
    all_say(&servers, &[1], &[(1, "voter")]);
}

/// C59: the leader leads until its own removal is committed, and then hands over.
#[test]
fn the_leader_can_be_removed_through_itself_or_another_node() {
    let mut servers = Servers::founded(3, 0, &[]);
    for through_itself in [false, true] {
        let leader = servers.leader();
        let running: Vec<u64> = servers.all.iter().map(|server| server.id).collect();
        let others: Vec<u64> = running.into_iter().filter(|id| *id != leader).collect();
        let through = servers.at(if through_itself { leader } else { others[0] });
        insist(&through, &format!("SET removed:{leader} yes"));
        succeed(&["member", "remove", &leader.to_string(), "--node", &through]);
        assert!(servers.get(leader).terminate().success());
        servers.all.retain(|server| server.id != leader);
        insist(&servers.at(others[0]), "SET after it");
        assert_eq!(insist(&servers.at(others[0]), &format!("GET removed:{leader}")), "yes");
    }
    assert_eq!(insist(&servers.at(servers.all[0].id), "DBSIZE"), ":3");
}

/// U40: a leader that leaves cleanly.
#[test]
fn a_leader_that_is_told_to_stop_has_handed_over_when_it_ends() {
    const ELECTION_TIMEOUT: Duration = Duration::from_secs(4);
    let mut servers = Servers::founded(3, 0, &["--election-timeout", "4s"]);
    let old = servers.leader();
    insist(&servers.at(old), "SET k v");
    let moved = succeed(&["transfer", "--node", &servers.at(old)]);
    let new = servers.leader();
    assert_eq!(moved, format!("Node {new} leads.\n"));
    assert_ne!(old, new);
    let back = succeed(&["transfer", &old.to_string(), "--node", &servers.at(new)]);
    assert_eq!(back, format!("Node {old} leads.\n"));
    insist(&servers.at(old), "SET k w");
    assert!(servers.get(old).terminate().success());
    let ended = Instant::now();
    servers.leader();
    // Nobody has had the time to miss it.
    assert!(ended.elapsed() < ELECTION_TIMEOUT / 2);
}

#[test]
fn a_second_signal_ends_a_server_that_is_still_handing_over() {
    let mut servers = Servers::founded(2, 0, &["--election-timeout", "4s"]);
    let leader = servers.leader();
    // Nobody is left to take over, which the leader finds out only when it has waited for that.
    servers.get(3 - leader).kill();
    let server = servers.get(leader);
    server.signal("TERM");
    eventually("it has begun to stop", || server.log().contains("stopping"));
    server.signal("TERM");
    assert_eq!(server.ended().code(), Some(130));
}
