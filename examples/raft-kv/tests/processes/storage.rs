//! What is on the disk: snapshots, damage, and storages that belong to somebody else.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::thread;

use super::servers::{Client, HANG, Servers, eventually, fail, insist, succeed};

/// Sets so many keys over several connections, one entry of the log for each.
fn fill(address: &str, keys: u64) {
    const CONNECTIONS: u64 = 8;
    thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = Client::connect(address, HANG).unwrap();
                for key in (connection..keys).step_by(CONNECTIONS as usize) {
                    let reply = client.ask(&format!("SET key:{key} {key}"));
                    assert_eq!(reply.as_deref(), Some("+OK"));
                }
            });
        }
    });
}

/// R102: a log that begins behind a snapshot.
#[test]
fn a_node_restarts_from_its_snapshot_and_the_log_behind_it() {
    let mut servers = Servers::founded(1, 0, &["--log-margin", "0"]);
    let node = servers.at(1);
    insist(&node, "SET first x");
    fill(&node, 200);
    let text = succeed(&["snapshot", "--node", &node]);
    assert!(text.starts_with("Node 1 has a snapshot up to entry "), "{text}");
    let server = servers.get(1);
    eventually("the log is shortened", || server.number("base") > 200);
    insist(&node, "SET after the-snapshot");
    server.kill();
    server.started();
    assert_eq!(insist(&node, "GET after"), "the-snapshot");
    assert_eq!(insist(&node, "GET key:199"), "199");
    assert_eq!(insist(&node, "DBSIZE"), ":202");
    let server = servers.get(1);
    assert!(server.number("snapshot") > 200 && server.number("base") > 200);
    let status = succeed(&["status", "--node", &node]);
    for name in ["snapshot", "base", "last"] {
        assert!(status.lines().any(|line| line.trim_start().starts_with(name)), "{status}");
    }
}

#[test]
fn the_log_is_shortened_by_itself_as_the_options_say() {
    let mut servers = Servers::founded(1, 0, &["--log-margin", "10", "--snapshot-entries", "100"]);
    let node = servers.at(1);
    insist(&node, "SET first x");
    fill(&node, 500);
    let server = servers.get(1);
    eventually("snapshots follow", || server.number("snapshot") >= 400);
    eventually("the log is bounded", || server.number("last") - server.number("base") <= 211);
}

/// A node that joins when the others have nothing left of the beginning gets a snapshot; killed
/// then, it goes on from it.
#[test]
fn a_new_node_begins_with_a_snapshot() {
    let mut servers = Servers::founded(1, 1, &["--log-margin", "0"]);
    let (node, peer) = (servers.at(1), servers.get(2).peer.clone());
    insist(&node, "SET first x");
    fill(&node, 200);
    succeed(&["snapshot", "--node", &node]);
    let server = servers.get(1);
    eventually("the log is shortened", || server.number("base") > 200);
    servers.get(2).started();
    succeed(&["member", "add", "2", &peer, "--node", &node]);
    let newcomer = servers.get(2);
    assert!(newcomer.number("snapshot") > 200 && newcomer.number("base") > 200);
    newcomer.kill();
    newcomer.started();
    let newcomer = servers.at(2);
    assert_eq!(insist(&newcomer, "GET key:0"), "0");
    assert_eq!(insist(&newcomer, "DBSIZE"), ":201");
}

/// C70: what a follower needs is in no log any more.
#[test]
fn a_node_that_slept_through_a_compaction_gets_a_snapshot() {
    let mut servers = Servers::founded(3, 0, &["--log-margin", "0"]);
    let leader = servers.leader();
    let sleeper = if leader == 1 { 2 } else { 1 };
    insist(&servers.at(leader), "SET first x");
    servers.get(sleeper).kill();
    fill(&servers.at(leader), 200);
    for id in (1..=3).filter(|id| *id != sleeper) {
        succeed(&["snapshot", "--node", &servers.at(id)]);
    }
    let last = servers.get(leader).number("snapshot");
    servers.get(sleeper).started();
    let server = servers.get(sleeper);
    eventually("it has caught up", || server.number("applied") >= last);
    assert!(server.number("base") >= last, "the entries did not come one by one");
    assert_eq!(insist(&servers.at(sleeper), "DBSIZE"), ":201");
}

/// R100, R136: whatever of a snapshot is on the disk when the process dies, it is used as a whole
/// or not at all.
#[test]
fn a_node_killed_while_it_writes_snapshots_loses_nothing() {
    const ROUNDS: u64 = 6;
    let options = ["--log-margin", "0", "--snapshot-entries", "15"];
    let mut servers = Servers::new(1, 0, &options);
    let node = servers.at(1);
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        servers.get(1).start();
        insist(&node, "SET round begun");
        let address = node.clone();
        let writer = thread::spawn(move || {
            let mut client = Client::connect(&address, HANG).unwrap();
            let mut next = acknowledged;
            while client.ask(&format!("SET key:{next} {next}")).as_deref() == Some("+OK") {
                next += 1;
            }
            next
        });
        let server = servers.get(1);
        let before = server.number("snapshot");
        // Snapshots follow each other so closely that one is nearly always being written.
        eventually("snapshots", || server.number("snapshot") > before + 15 * (round + 2));
        server.kill();
        acknowledged = writer.join().unwrap();
    }
    servers.get(1).started();
    insist(&node, "SET round over");
    let mut client = Client::connect(&node, HANG).unwrap();
    for key in 0..acknowledged {
        assert_eq!(client.ask(&format!("GET key:{key}")), Some(key.to_string()), "key {key}");
    }
}

/// C62: a node whose disk is gone has forgotten what it promised.
#[test]
fn a_node_that_was_wiped_is_refused_and_can_be_replaced() {
    let mut servers = Servers::founded(3, 1, &[]);
    insist(&servers.at(1), "SET k v");
    let all_there = |servers: &mut Servers| {
        let last = servers.get(1).number("commit");
        (1..=3).all(|id| servers.get(id).number("applied") >= last)
    };
    eventually("all have met", || all_there(&mut servers));
    let leader = servers.leader();
    let victim = if leader == 3 { 2 } else { 3 };
    let server = servers.get(victim);
    server.kill();
    fs::remove_dir_all(&server.data).unwrap();
    server.start();
    let reason = "the node's storage is not the one that it had before: wiped, or an id used twice";
    eventually("the wiped node is told", || server.log().contains(reason));
    assert_eq!(server.info("leader").as_deref(), Some("none"));
    assert_eq!(server.number("applied"), 0);
    server.kill();

    let through = servers.at(leader);
    succeed(&["member", "remove", &victim.to_string(), "--node", &through]);
    servers.get(4).started();
    let peer = servers.get(4).peer.clone();
    succeed(&["member", "add", "4", &peer, "--node", &through]);
    assert_eq!(insist(&servers.at(4), "GET k"), "v");
}

#[test]
fn a_server_that_still_opens_its_log_can_be_stopped() {
    let mut servers = Servers::new(1, 0, &[]);
    let server = servers.get(1);
    // Whoever opens a pipe waits for the other end.
    let log = server.data.join("log");
    fs::create_dir_all(&log).unwrap();
    assert!(Command::new("mkfifo").arg(log.join("lock")).status().unwrap().success());
    for signal in ["INT", "TERM", "HUP"] {
        server.start();
        eventually("the server listens", || TcpStream::connect(&server.client).is_ok());
        server.signal(signal);
        assert!(server.ended().success());
    }
}

#[test]
fn a_server_that_was_started_wrongly_says_what_is_wrong() {
    let mut servers = Servers::founded(2, 0, &[]);
    let [peer, other] = [1, 2].map(|id| servers.get(id).peer.clone());
    insist(&servers.at(1), "SET k v");
    let (data, fresh) = (servers.get(1).data.clone(), servers.get(1).data.with_file_name("fresh"));
    servers.get(1).kill();
    let (data, fresh) = (data.to_str().unwrap(), fresh.to_str().unwrap());
    let [one, two] = [format!("--peer=1={peer}"), format!("--peer=2={other}")];
    let three = format!("--peer=3={peer}");
    let listen = format!("--listen={peer}");
    for (id, dir, words, reason) in [
        ("3", fresh, [&*one, &*two].as_slice(), "node 3 is not among the peers"),
        ("1", fresh, &[&*one, &*one], "node 1 is given twice among the peers"),
        (
            "1",
            fresh,
            &[&*one, "--dial=2=a:1", "--dial=2=a:2"],
            "it is said twice where to dial node 2",
        ),
        ("4", fresh, &["--join", "--listen=0.0.0.0:7104"], "others can't dial 0.0.0.0:7104"),
        ("3", data, &[&*two, &*three], "belongs to another node (1 of cluster 0)"),
        ("1", data, &[&*one, &*two, "--cluster=7"], "belongs to another node (1 of cluster 0)"),
        ("1", data, &[&*one, &*three], "was founded with other members"),
        ("4", data, &["--join", &*listen], "belongs to another node (1 of cluster 0)"),
    ] {
        let client = servers.at(1);
        let start = ["serve", "--id", id, "--client", &client, "--data-dir", dir];
        let text = fail(&[&start[..], words].concat());
        assert!(text.contains(reason), "{words:?}: {text}");
        assert!(!fs::exists(fresh).unwrap(), "nothing was made: {words:?}");
    }
    // None of it has changed anything.
    servers.get(1).start();
    assert_eq!(insist(&servers.at(1), "GET k"), "v");
    let in_use = fail(&[
        "serve",
        "--id",
        "2",
        "--client",
        "127.0.0.1:0",
        "--data-dir",
        servers.get(2).data.to_str().unwrap(),
        &one,
        &two,
    ]);
    assert!(in_use.contains("in use already"), "{in_use}");
}
