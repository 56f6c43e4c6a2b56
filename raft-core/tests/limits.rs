//! Limits: every queue has one, and at the limit there is a clear answer. Rows named R and C are
//! those of the project's lists of known bugs and corner cases.

mod common;

use std::time::Duration;

use common::*;
use raft_core::{Config, ConfigError, Instant, Outcome, Raft, Refusal, RequestId, Restored};

/// What the entry itself counts besides its command.
fn entry_bytes() -> usize {
    entry(1, 1, "").size()
}

fn refusal(cluster: &Cluster, request: RequestId) -> Option<Refusal> {
    match cluster.outcome(request) {
        Some(Outcome::Refused { reason, .. }) => Some(reason),
        _ => None,
    }
}

/// C47: a command that can never go is refused for good, the others of its event are not.
#[test]
fn a_command_above_the_limit_is_refused_and_its_neighbours_are_not() {
    let mut cluster = Cluster::with(3, |config| config.max_command_bytes(3));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    for node in [1, 3] {
        let requests = cluster.propose_all(node, &["abc", "abcd", "ab"]);
        let too_large = Refusal::TooLarge { size: 4, limit: 3 };
        assert_eq!(refusal(&cluster, requests[1]), Some(too_large));
        cluster.deliver_all();
        for request in [requests[0], requests[2]] {
            assert!(matches!(cluster.outcome(request), Some(Outcome::Committed { .. })));
        }
    }
    cluster.settle();
    assert_eq!(cluster.applied(2), "abc ab abc ab");
}

#[test]
fn a_forwarded_command_above_the_leaders_limit_is_refused_with_its_batch() {
    let mut cluster =
        Cluster::each(3, |n, config| config.max_command_bytes(if n == 1 { 3 } else { 9 }));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let requests = cluster.propose_all(3, &["ab", "abcd"]);
    cluster.deliver_all();
    assert!(requests.iter().all(|request| refusal(&cluster, *request).is_some()));
    cluster.settle();
    assert_eq!(cluster.applied(2), "");
}

/// C47, R127: the uncommitted tail of a leader is bounded, but one command always goes.
#[test]
fn a_leader_refuses_proposals_beyond_its_uncommitted_bytes() {
    let limit = 2 * (entry_bytes() + 1);
    let mut cluster = Cluster::with(3, move |config| config.max_uncommitted_bytes(limit));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let requests = cluster.propose_all(1, &["a", "b", "c"]);
    assert_eq!(refusal(&cluster, requests[2]), Some(Refusal::Overloaded));
    assert_eq!(cluster.outcome(requests[1]), None);
    cluster.deliver_all();
    let large = "larger than the limit altogether, by far and without doubt, even on 64 bits: \
                 it goes all the same because nothing else is under way";
    let request = cluster.propose(1, large);
    cluster.deliver_all();
    assert!(matches!(cluster.outcome(request), Some(Outcome::Committed { .. })));
    cluster.settle();
}

/// The empty entry of a new leader is never refused, however full its log is (C47).
#[test]
fn a_leader_at_its_limits_can_still_begin_its_term() {
    let mut cluster = Cluster::with(3, |config| {
        config.max_uncommitted_bytes(1).max_unpersisted_bytes(1).max_append_bytes(1)
    });
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.isolate(1);
    cluster.propose(1, "x");
    cluster.elect(2);
    cluster.settle();
}

#[test]
fn a_leader_refuses_proposals_that_its_disk_can_not_keep_up_with() {
    let mut cluster = Cluster::with(1, |config| config.max_unpersisted_bytes(200));
    cluster.elect(1);
    cluster.hold_disk(1);
    let requests: Vec<_> = (0..10).map(|_| cluster.propose(1, "x")).collect();
    let kept = requests.iter().filter(|request| cluster.outcome(**request).is_none()).count();
    assert_eq!(kept, 200 / (entry_bytes() + 1));
    assert!(cluster.status(1).unpersisted_bytes <= 200);
    assert_eq!(refusal(&cluster, requests[9]), Some(Refusal::Overloaded));
    cluster.release_disk(1);
    let request = cluster.propose(1, "y");
    assert!(matches!(cluster.outcome(request), Some(Outcome::Committed { .. })));
    cluster.settle();
}

/// R127: a follower drops what its disk can't keep up with, and gets it again.
#[test]
fn a_follower_drops_entries_beyond_its_unpersisted_bytes() {
    let mut cluster = Cluster::with(3, |config| config.max_unpersisted_bytes(400));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.hold_disk(3);
    for _ in 0..30 {
        cluster.propose(1, "x");
        cluster.deliver_all();
        assert!(cluster.status(3).unpersisted_bytes <= 400);
    }
    assert!(cluster.status(3).dropped.over_limit > 0);
    assert_eq!(cluster.commit(1), 31);
    cluster.settle();
}

/// R127: what is with the state machine is bounded, and it gets everything in the end.
#[test]
fn a_slow_state_machine_is_given_a_bounded_number_of_bytes() {
    let one = entry_bytes() + 1;
    let mut cluster = Cluster::with(1, move |config| config.max_applying_bytes(3 * one));
    cluster.elect(1);
    cluster.hold_machine(1);
    for _ in 0..20 {
        cluster.propose(1, "x");
    }
    let with_machine =
        |cluster: &Cluster| -> usize { cluster.host(1).applies.iter().map(Apply::size).sum() };
    for _ in 0..20 {
        assert!(with_machine(&cluster) <= 3 * one, "{}", with_machine(&cluster));
        cluster.apply_oldest(1);
    }
    cluster.settle();
    assert_eq!(cluster.host(1).machine.len(), 21);
}

/// R034, C48: a single entry above the limit is applied, alone and in its place.
#[test]
fn the_limit_of_the_state_machine_skips_nothing_and_never_blocks() {
    let mut cluster = Cluster::with(1, |config| {
        config.max_applying_bytes(1).max_cached_bytes(0).max_command_bytes(100)
    });
    cluster.elect(1);
    let large = "l".repeat(100);
    cluster.propose_all(1, &["a", &large, "b"]);
    assert_eq!(cluster.applied(1), format!("a {large} b"));
    cluster.restart(1);
    cluster.elect(1);
    assert_eq!(cluster.applied(1), format!("a {large} b"));
    assert!(cluster.host(1).loads_asked >= 4, "after a restart the log has to be read back");
    cluster.settle();
}

#[test]
fn after_a_restart_the_log_is_read_back_in_bounded_pieces() {
    let one = entry_bytes() + 1;
    let mut cluster = Cluster::with(1, move |config| config.max_applying_bytes(5 * one));
    cluster.elect(1);
    for _ in 0..50 {
        cluster.propose(1, "x");
    }
    cluster.restart(1);
    cluster.hold_loads(1);
    cluster.elect(1);
    assert_eq!(cluster.host(1).loads.len(), 1);
    let (from, _, max_bytes) = cluster.host(1).loads[0];
    assert_eq!((from, max_bytes), (index(1), 5 * one));
    cluster.settle();
    assert_eq!(cluster.host(1).machine.len(), 52);
}

#[test]
fn the_cached_tail_is_bounded_once_it_is_durable() {
    let mut cluster = Cluster::with(1, |config| config.max_cached_bytes(300));
    cluster.elect(1);
    cluster.hold_disk(1);
    for _ in 0..20 {
        cluster.propose(1, "x");
    }
    assert!(cluster.status(1).cached_bytes > 300, "what is not on the disk is nowhere else");
    cluster.release_disk(1);
    assert!(cluster.status(1).cached_bytes <= 300);
    cluster.settle();
}

#[test]
fn requests_beyond_the_limit_are_refused_on_leader_and_follower() {
    let mut cluster = Cluster::with(3, |config| config.max_pending_requests(4));
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    for node in [1, 3] {
        let mut requests = vec![cluster.read(node)];
        requests.extend(cluster.propose_all(node, &["a", "b", "c", "d"]));
        requests.push(cluster.read(node));
        assert_eq!(cluster.status(node).pending_requests, 4);
        for request in &requests[4..] {
            assert_eq!(refusal(&cluster, *request), Some(Refusal::Overloaded));
        }
        cluster.deliver_all();
        for request in &requests[..4] {
            assert!(refusal(&cluster, *request).is_none() && cluster.outcome(*request).is_some());
        }
        assert_eq!(cluster.status(node).pending_requests, 0);
    }
    cluster.settle();
}

/// Requests that wait for news of a lost leader count as well.
#[test]
fn requests_of_an_earlier_leadership_count_towards_the_limit() {
    let mut node = Lone::with(3, |config| config.max_pending_requests(2));
    node.lead();
    node.propose_all(1, &["a", "b"]);
    node.hears(2, 2, append(at(0, 0), &[], 0));
    assert_eq!(node.status(1).pending_requests, 2);
    let request = node.propose(1, "c");
    assert_eq!(refusal(&node, request), Some(Refusal::Overloaded));
    node.tick(2 * ELECTION);
    assert_eq!(node.status(1).pending_requests, 0);
}

#[test]
fn messages_that_wait_for_the_disk_are_bounded() {
    let mut node = Lone::with(3, |config| config.max_held_messages(1));
    node.hold_disk(1);
    // One for each member, and the one of the limit.
    for from in [2, 3, 2, 3, 2, 3] {
        node.hears(from, 1, vote(at(0, 0)));
    }
    assert_eq!((node.status(1).held_messages, node.status(1).dropped.over_limit), (4, 2));
    node.persist(1);
    let (yes, no) = (message(1, 2, 1, vote_reply(true)), message(1, 3, 1, vote_reply(false)));
    let expected = [yes.clone(), no.clone(), yes, no];
    assert_eq!(node.sent(), expected);
}

#[test]
fn a_large_event_of_proposals_is_forwarded_in_bounded_messages() {
    let mut node = Lone::with(3, |config| config.max_append_entries(3));
    node.hears(2, 1, append(at(0, 0), &[], 0));
    node.propose_all(1, &["x"; 8]);
    let sizes: Vec<usize> = node
        .sent()
        .iter()
        .map(|message| match &message.body {
            raft_core::Body::Propose { commands, .. } => commands.len(),
            other => unreachable!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [3, 3, 2]);
}

/// No message is larger than a link is told to carry.
#[test]
fn every_message_fits_the_size_that_the_settings_promise() {
    let adjust = |config: Config| config.max_append_bytes(500).max_command_bytes(300);
    let bound = adjust(Config::new(id(1), 0)).max_message_bytes();
    let mut cluster = Cluster::with(3, adjust);
    cluster.elect(1);
    let (large, small) = ("l".repeat(300), "s");
    for _ in 0..5 {
        cluster.propose_all(1, &[small, small, &large, &large, small]);
        cluster.propose_all(2, &[&large, small, &large, small]);
        for _ in 0..10 {
            for message in cluster.under_way() {
                let mut bytes = Vec::new();
                message.encode(&mut bytes);
                assert!(bytes.len() <= bound, "{} bytes: {message:?}", bytes.len());
            }
            cluster.deliver(|_| true);
        }
    }
    cluster.settle();
}

#[test]
fn settings_that_make_no_sense_are_refused_with_the_reason() {
    let of = || Config::new(id(1), 1);
    let refused = |config: Config| {
        Raft::new(config, Restored::default(), Instant::ORIGIN).map(|_| ()).unwrap_err()
    };
    let ms = Duration::from_millis;
    let leases = of().read_leases(100);
    assert_eq!(refused(leases.check_quorum(false)), ConfigError::LeaseWithoutQuorum);
    let zero = Duration::ZERO;
    assert_eq!(refused(of().election_timeout(zero)), ConfigError::ZeroTimeout);
    assert_eq!(refused(of().heartbeat_interval(zero)), ConfigError::ZeroTimeout);
    let slow = of().election_timeout(ms(100)).heartbeat_interval(ms(51));
    let reason = ConfigError::HeartbeatTooSlow { heartbeat: ms(51), election: ms(100) };
    assert_eq!(refused(slow), reason);
    assert!(
        Raft::new(
            of().election_timeout(ms(100)).heartbeat_interval(ms(50)),
            Restored::default(),
            Instant::ORIGIN,
        )
        .is_ok()
    );
}

type Adjust = fn(Config) -> Config;

#[test]
fn a_limit_of_zero_is_refused_by_its_name() {
    let zeroes: [(&str, Adjust); 10] = [
        ("max_append_bytes", |config| config.max_append_bytes(0)),
        ("max_append_entries", |config| config.max_append_entries(0)),
        ("max_in_flight_messages", |config| config.max_in_flight_messages(0)),
        ("max_in_flight_bytes", |config| config.max_in_flight_bytes(0)),
        ("max_command_bytes", |config| config.max_command_bytes(0)),
        ("max_uncommitted_bytes", |config| config.max_uncommitted_bytes(0)),
        ("max_unpersisted_bytes", |config| config.max_unpersisted_bytes(0)),
        ("max_applying_bytes", |config| config.max_applying_bytes(0)),
        ("max_pending_requests", |config| config.max_pending_requests(0)),
        ("max_held_messages", |config| config.max_held_messages(0)),
    ];
    for (limit, adjust) in zeroes {
        let config = adjust(Config::new(id(1), 1));
        let refused = Raft::new(config, Restored::default(), Instant::ORIGIN).map(|_| ());
        assert_eq!(refused, Err(ConfigError::ZeroLimit { limit }));
    }
    let cacheless = Config::new(id(1), 1).max_cached_bytes(0);
    assert!(Raft::new(cacheless, Restored::default(), Instant::ORIGIN).is_ok());
}

/// With every limit at its least the cluster is slow, and still works.
#[test]
fn a_cluster_works_with_every_limit_at_its_least() {
    let mut cluster = Cluster::with(3, |config| {
        config
            .max_append_bytes(1)
            .max_append_entries(1)
            .max_in_flight_messages(1)
            .max_in_flight_bytes(1)
            .max_command_bytes(1)
            .max_uncommitted_bytes(1)
            .max_unpersisted_bytes(1)
            .max_cached_bytes(0)
            .max_applying_bytes(1)
            .max_pending_requests(1)
            .max_held_messages(2)
    });
    cluster.run(20 * ELECTION);
    let mut expected = Vec::new();
    for _ in 0..10 {
        let leader = cluster.leaders()[0];
        let request = cluster.propose(leader, "x");
        cluster.run(ELECTION);
        if matches!(cluster.outcome(request), Some(Outcome::Committed { .. })) {
            expected.push("x");
        }
    }
    assert_eq!(expected.len(), 10);
    cluster.settle();
    assert_eq!(cluster.applied(1), expected.join(" "));
}

/// R127, I19: a follower whose disk is slow drops entries. It is sent them again with heartbeats,
/// not as fast as the network goes.
#[test]
fn a_follower_that_drops_entries_is_not_flooded() {
    let mut cluster = Cluster::with(3, |config| {
        config.max_cached_bytes(0).max_append_entries(1).max_unpersisted_bytes(300)
    });
    cluster.elect(1);
    cluster.hold_disk(3);
    for _ in 0..5 {
        cluster.propose(1, "thirty-four bytes of a command ...");
        cluster.run(HEARTBEAT);
    }
    let before = cluster.world.appends;
    cluster.run(HEARTBEAT);
    let sent = cluster.world.appends - before;
    assert!(sent < 20, "{sent} messages in one heartbeat interval");
    cluster.settle();
}
