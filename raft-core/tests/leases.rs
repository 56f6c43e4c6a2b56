//! Reads by lease, and what followers owe a leader that relies on them. Rows named R and C are
//! those of the project's lists of known bugs and corner cases.

mod common;

use std::time::Duration;

use common::*;
use raft_core::{
    Body, Config, ConfigError, Event, Message, Outcome, Raft, Refusal, Restored, RoleKind,
};

/// A tenth of the election timeout may be lost to drifting clocks.
const DRIFT_PPM: u32 = 100_000;
const LEASE: Duration = Duration::from_millis(900);

fn leased(config: Config) -> Config {
    config.read_leases(DRIFT_PPM)
}

fn readable(at_index: u64) -> Option<Outcome> {
    Some(Outcome::Readable { index: index(at_index) })
}

/// Node 1 of three, which leads and whose first entry is committed.
fn lone_leader() -> Lone {
    let mut node = Lone::with(3, leased);
    node.lead();
    for from in [2, 3] {
        node.hears(from, 1, accepted(1, 1));
    }
    node
}

fn newest_number(sent: &[Message]) -> u64 {
    sent.iter().filter_map(append_of).map(|append| append.sequence).max().expect("a heartbeat")
}

/// A beat: its messages are sent now. Returns the number of the newest one.
fn beat(node: &mut Lone) -> u64 {
    node.tick(HEARTBEAT);
    newest_number(&node.sent())
}

fn answer(node: &mut Lone, from: u64, number: u64) {
    node.hears(from, 1, accepted_numbered(number, 1, 1));
}

fn serves_by_lease(node: &mut Lone) -> bool {
    let read = node.read(1);
    node.outcome(read) == readable(1)
}

#[test]
fn a_lease_saves_the_messages_of_a_read() {
    let mut cluster = Cluster::with(3, leased);
    cluster.run(3 * ELECTION);
    let leader = cluster.leaders()[0];
    let before = cluster.world.appends;
    let reads: Vec<_> = (0..100).map(|_| cluster.read(leader)).collect();
    assert!(reads.iter().all(|read| cluster.outcome(*read) == readable(1)));
    assert_eq!(cluster.world.appends, before);
    cluster.settle();
}

/// Also the read of a follower costs the leader no round.
#[test]
fn a_follower_reads_by_the_lease_of_its_leader() {
    let mut cluster = Cluster::with(3, leased);
    cluster.run(3 * ELECTION);
    let leader = cluster.leaders()[0];
    let follower = leader % 3 + 1;
    let write = cluster.propose(leader, "x");
    let third = follower % 3 + 1;
    cluster.cut(leader, follower);
    cluster.run(HEARTBEAT);
    assert!(matches!(cluster.outcome(write), Some(Outcome::Committed { .. })), "by {third}");
    cluster.heal();
    let read = cluster.read(follower);
    cluster.deliver(|message| matches!(message.body, Body::ReadIndex { .. }));
    let answers = cluster.deliver(|it| matches!(it.body, Body::ReadIndexReply { .. }));
    assert_eq!((answers, cluster.outcome(read)), (1, None), "told at once, and not yet applied");
    cluster.run(HEARTBEAT);
    assert_eq!((cluster.outcome(read), cluster.applied(follower)), (readable(2), "x".into()));
    cluster.settle();
}

/// R131, C80: an answer proves that the leader was heard some time after the question was sent.
#[test]
fn a_lease_counts_from_the_sending() {
    let mut node = lone_leader();
    let number = beat(&mut node);
    node.tick(HEARTBEAT * 6);
    answer(&mut node, 2, number);
    assert!(serves_by_lease(&mut node));
    node.host_mut(1).clock = node.host(1).clock.plus(HEARTBEAT * 3 - Duration::from_nanos(1));
    assert!(serves_by_lease(&mut node), "less than {LEASE:?} since the beat");
    node.host_mut(1).clock = node.host(1).clock.plus(Duration::from_nanos(1));
    assert!(!serves_by_lease(&mut node));
    answer(&mut node, 2, number);
    assert!(!serves_by_lease(&mut node), "a late copy renews nothing");
}

/// R086: whatever the reason of a pause, nobody promised anything for the time after the lease.
#[test]
fn a_lease_is_over_after_a_pause() {
    let mut node = lone_leader();
    let number = beat(&mut node);
    answer(&mut node, 2, number);
    assert!(serves_by_lease(&mut node));
    node.host_mut(1).clock = node.host(1).clock.plus(LEASE);
    node.sent();
    assert!(!serves_by_lease(&mut node));
    let number = newest_number(&node.sent());
    answer(&mut node, 3, number);
    assert!(serves_by_lease(&mut node), "and comes back with the next answer");
}

/// R086: a clock that runs backward does not say how much time has passed.
#[test]
fn a_clock_that_runs_backward_ends_the_lease() {
    let mut node = lone_leader();
    let number = beat(&mut node);
    answer(&mut node, 2, number);
    assert!(serves_by_lease(&mut node));
    let now = node.host(1).clock;
    node.host_mut(1).clock = raft_core::Instant::from_nanos(now.as_nanos() - 1_000_000);
    assert!(!serves_by_lease(&mut node));
    answer(&mut node, 3, number);
    assert!(!serves_by_lease(&mut node), "the old beat is worth nothing now");
    node.host_mut(1).clock = now;
    let number = beat(&mut node);
    answer(&mut node, 3, number);
    assert!(serves_by_lease(&mut node), "and comes back when time goes on");
}

/// R086: the vote comes with a time before that of the last step, so the first messages of the leader
/// went out earlier than it says.
#[test]
fn a_leader_that_is_elected_as_the_clock_runs_backward_has_no_lease_from_then() {
    let mut node = Lone::with(3, leased);
    node.timeout(1);
    node.hears(2, 0, pre_vote_reply(true));
    let now = node.host(1).clock;
    node.host_mut(1).clock = raft_core::Instant::from_nanos(now.as_nanos() - 1_000_000);
    // The clock is right again before anything else happens.
    node.hold_disk(1);
    node.hears(2, 1, vote_reply(true));
    assert!(node.leads(1));
    node.host_mut(1).clock = now;
    node.release_disk(1);
    for from in [2, 3] {
        node.hears(from, 1, accepted(1, 1));
    }
    assert!(!serves_by_lease(&mut node));
    let number = beat(&mut node);
    answer(&mut node, 3, number);
    assert!(serves_by_lease(&mut node));
}

/// R081: what the leaders before have committed is not known yet.
#[test]
fn a_new_leader_serves_nothing_by_lease_before_its_first_commit() {
    let mut node = Lone::with(3, leased);
    node.lead();
    let number = beat(&mut node);
    for from in [2, 3] {
        node.hears(from, 1, accepted_numbered(number, 0, 0));
    }
    let read = node.read(1);
    assert_eq!(node.outcome(read), None);
    node.hears(3, 1, Body::ReadIndex { sequence: 7 });
    assert!(node.sent().iter().all(is_append), "nor for others");
    let number = beat(&mut node);
    node.hears(2, 1, accepted_numbered(number, 1, 1));
    assert_eq!(node.outcome(read), readable(1));
}

/// R085, R132, C81: from the moment that the other one may campaign, and for the rest of the term.
#[test]
fn a_transfer_ends_the_lease_even_if_it_fails() {
    let mut node = lone_leader();
    let number = beat(&mut node);
    answer(&mut node, 2, number);
    node.propose(1, "x");
    node.hears(3, 1, accepted(2, 2));
    let transfer = node.transfer(1, Some(2));
    assert!(!node.sent().iter().any(|it| it.body == Body::TimeoutNow));
    let read = node.read(1);
    assert_eq!(node.outcome(read), readable(2), "nobody was told to campaign");
    node.hears(2, 1, accepted(2, 2));
    assert!(node.sent().is_empty() && node.outcome(transfer).is_none());
    let read = node.read(1);
    assert_eq!(node.outcome(read), None);
    for _ in 0..12 {
        let number = beat(&mut node);
        [2, 3].into_iter().for_each(|from| answer(&mut node, from, number));
    }
    let reason = Refusal::TransferFailed;
    assert_eq!(node.outcome(transfer), Some(Outcome::Refused { reason, leader: Some(id(1)) }));
    assert!(!serves_by_lease(&mut node), "the wish may still be on its way");
}

/// R085: the whole story. The read sees what the new leader has written, or is not answered.
#[test]
fn no_read_is_stale_while_a_transfer_is_on_its_way() {
    let mut cluster = Cluster::with(3, leased);
    cluster.run(3 * ELECTION);
    let old = cluster.leaders()[0];
    let (new, third) = (old % 3 + 1, (old + 1) % 3 + 1);
    cluster.transfer(old, Some(new));
    cluster.cut(new, old);
    cluster.cut(third, old);
    cluster.deliver(|message| matches!(message.body, Body::TimeoutNow));
    cluster.run(HEARTBEAT);
    assert!(cluster.leads(new) && cluster.leads(old), "both, in different terms");
    let write = cluster.propose(new, "x");
    cluster.run(HEARTBEAT);
    assert!(matches!(cluster.outcome(write), Some(Outcome::Committed { .. })));
    let read = cluster.read(old);
    cluster.run(HEARTBEAT);
    assert_eq!(cluster.outcome(read), None);
    cluster.settle();
}

/// A follower owes its leader silence, also in the name of its life before a crash.
#[test]
fn a_restarted_follower_does_not_vote_too_early() {
    let mut node = Lone::with(3, leased);
    node.tick(10 * ELECTION);
    node.sent();
    node.hears(2, 1, append(at(0, 0), &[], 0));
    node.tick(HEARTBEAT);
    node.restart(1);
    assert_eq!(node.hears(3, 2, vote(at(0, 0))), []);
    assert_eq!(node.hears(3, 1, vote(at(0, 0))), [message(1, 3, 1, vote_reply(false))]);
    assert_eq!(node.hears(3, 1, pre_vote(at(0, 0))), [message(1, 3, 1, pre_vote_reply(false))]);
    node.host_mut(1).clock = node.host(1).clock.plus(ELECTION);
    assert_eq!(node.hears(3, 2, vote(at(0, 0))), [message(1, 3, 2, vote_reply(true))]);

    let mut node = Lone::with(3, |config| config);
    node.restart(1);
    assert_eq!(node.hears(3, 2, vote(at(0, 0))), [message(1, 3, 2, vote_reply(true))], "no lease");
}

/// A newer term takes the leader away, and not what is owed to it.
#[test]
fn a_follower_that_learns_of_a_newer_term_does_not_vote_too_early() {
    let strays: [Body; 3] = [vote_reply(false), pre_vote_reply(false), rejected(0, at(0, 0))];
    for stray in strays {
        let mut node = Lone::with(3, leased);
        node.hears(2, 1, append(at(0, 0), &[], 0));
        node.hears(3, 5, stray);
        assert_eq!((node.term(1), node.status(1).leader), (5, None));
        assert_eq!(node.hears(3, 5, vote(at(0, 0))), [message(1, 3, 5, vote_reply(false))]);
        assert_eq!(node.hears(3, 6, vote(at(0, 0))), []);
        node.host_mut(1).clock = node.host(1).clock.plus(ELECTION);
        assert_eq!(node.hears(3, 6, vote(at(0, 0))), [message(1, 3, 6, vote_reply(true))]);
    }
}

/// R087: a leader that campaigns itself gets no earlier votes than others.
#[test]
fn what_is_owed_to_a_leader_does_not_end_with_its_own_campaign() {
    let mut node = Lone::with(3, leased);
    node.hears(2, 1, append(at(0, 0), &[], 0));
    assert_eq!(node.hears(2, 2, vote(at(0, 0))), []);
    assert_eq!(node.hears(2, 1, pre_vote(at(0, 0))), [message(1, 2, 1, pre_vote_reply(false))]);
    assert_eq!(node.hears(3, 2, vote(at(0, 0))), []);
    node.host_mut(1).clock = node.host(1).clock.plus(ELECTION);
    assert_eq!(node.hears(2, 2, vote(at(0, 0))), [message(1, 2, 2, vote_reply(true))]);
}

/// The wish of the leader is what ends its own lease, so that it binds nobody.
#[test]
fn a_candidate_that_the_leader_wants_gets_the_vote_at_once() {
    let mut node = Lone::with(3, leased);
    node.hears(2, 1, append(at(0, 0), &[], 0));
    let wanted = Body::Vote { last: at(0, 0), transfer: true };
    assert_eq!(node.hears(3, 2, wanted), [message(1, 3, 2, vote_reply(true))]);
}

/// C81: forgetting a leader would break a promise to it.
#[test]
fn a_leader_is_forgotten_only_where_there_are_no_leases() {
    for forgets in [true, false] {
        let mut node = Lone::with(3, move |config| if forgets { config } else { leased(config) });
        node.hears(2, 1, append(at(0, 0), &[], 0));
        node.step(1, Event::ForgetLeader);
        assert_eq!(node.status(1).leader.is_none(), forgets);
        let granted = node.hears(3, 2, vote(at(0, 0))) == [message(1, 3, 2, vote_reply(true))];
        assert_eq!(granted, forgets);
    }
    let mut node = lone_leader();
    node.step(1, Event::ForgetLeader);
    assert!(node.leads(1), "a leader has nobody to forget");
}

/// A forgotten leader that is not gone is followed again, and what waited for it is answered.
#[test]
fn a_forgotten_leader_that_speaks_is_followed_again() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    let write = cluster.propose(2, "x");
    let read = cluster.read(2);
    let change = cluster.change(2, &voters(&[1, 2]));
    let transfer = cluster.transfer(2, Some(3));
    cluster.step(2, Event::ForgetLeader);
    assert_eq!(cluster.status(2).leader, None);
    assert_eq!(cluster.outcome(write), Some(Outcome::Unknown));
    assert_eq!(cluster.outcome(change), Some(Outcome::Unknown));
    let reason = Refusal::NoLeader;
    assert_eq!(cluster.outcome(read), Some(Outcome::Refused { reason, leader: None }));
    assert_eq!(
        cluster.outcome(transfer),
        Some(Outcome::Refused { reason, leader: None }),
        "it waited for the change"
    );
    cluster.run(HEARTBEAT);
    assert_eq!((cluster.status(2).leader, cluster.term(2)), (Some(id(1)), 1));
    cluster.settle();
}

/// Both halves of a joint configuration have to have promised.
#[test]
fn a_lease_takes_a_majority_of_each_half_of_a_joint_configuration() {
    let mut node = Lone::with(3, leased);
    node.hears(2, 1, append(at(0, 0), &[(1, "{1 4 5 | 1 2 3}")], 0));
    node.tick(2 * ELECTION);
    node.sent();
    for from in 2..=5 {
        node.hears(from, 1, pre_vote_reply(true));
    }
    for from in 2..=5 {
        node.hears(from, 2, vote_reply(true));
    }
    assert!(node.leads(1));
    for from in [2, 4] {
        node.hears(from, 2, accepted(2, 2));
    }
    assert_eq!(node.members(1), "{1 4 5}", "the joint configuration is committed");
    node.host_mut(1).clock = node.host(1).clock.plus(LEASE);
    node.wake(1);
    let sent = node.sent();
    let number = sent.iter().filter_map(append_of).map(|it| it.sequence).max().unwrap();
    let read = |node: &mut Lone| {
        let read = node.read(1);
        node.outcome(read) == readable(2)
    };
    node.hears(2, 2, accepted_numbered(number, 2, 2));
    assert!(!read(&mut node), "node 2 is no voter any more");
    node.hears(5, 2, accepted_numbered(number, 2, 2));
    assert!(read(&mut node));
}

/// Nobody else can ever lead.
#[test]
fn a_lone_voter_needs_no_lease() {
    let mut cluster = Cluster::with(1, leased);
    cluster.run(3 * ELECTION);
    cluster.tick(100 * ELECTION);
    let read = cluster.read(1);
    assert_eq!(cluster.outcome(read), readable(1));
    cluster.settle();
}

/// A leader that stepped down answers nothing from a lease that would still run.
#[test]
fn a_lease_ends_with_the_leadership() {
    let mut node = lone_leader();
    let number = beat(&mut node);
    answer(&mut node, 2, number);
    assert!(serves_by_lease(&mut node));
    node.hears(3, 2, vote_reply(false));
    assert_eq!(node.role(1), RoleKind::Follower);
    let read = node.read(1);
    let reason = Refusal::NoLeader;
    assert_eq!(node.outcome(read), Some(Outcome::Refused { reason, leader: None }));
}

/// Without check-quorum nobody keeps the promise that a lease rests on.
#[test]
fn leases_without_check_quorum_are_refused() {
    let config = Config::new(id(1), 1).check_quorum(false).read_leases(0);
    let founders = Restored::founding(voters(&[1, 2, 3]));
    let made = Raft::new(config, founders, raft_core::Instant::ORIGIN);
    assert_eq!(made.err(), Some(ConfigError::LeaseWithoutQuorum));
}

/// A clock that may be off by everything allows no lease.
#[test]
fn a_drift_of_everything_leaves_no_lease() {
    let mut node = Lone::with(3, |config| config.read_leases(1_000_000));
    node.lead();
    let is_read = |message: &Message| is_append(message);
    for from in [2, 3] {
        node.hears(from, 1, accepted(1, 1));
    }
    let read = node.read(1);
    assert_eq!(node.outcome(read), None);
    assert!(node.sent().iter().any(is_read));
}
