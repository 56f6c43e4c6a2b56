//! Durability: what leaves a node is on its disk, and what a crash may take. Rows named R and C are
//! those of the project's lists of known bugs and corner cases.

mod common;

use common::*;
use raft_core::{
    Config, ConfigError, Event, HardState, Inconsistency, Instant, LogIndex, Membership, Notice,
    Output, Raft, RequestId, Restored, StoredLog, Term, TermStart, Write,
};

/// R005, C2: neither question nor vote leaves before it can no longer be forgotten.
#[test]
fn no_vote_leaves_before_it_is_durable() {
    let mut cluster = Cluster::with(3, |config| config.pre_vote(false));
    (1..=3).for_each(|node| cluster.hold_disk(node));
    cluster.timeout(1);
    assert_eq!(cluster.under_way().count(), 0);
    cluster.persist(1);
    assert_eq!(cluster.under_way().filter(|message| is_vote(message)).count(), 2);
    cluster.deliver_all();
    assert_eq!(cluster.under_way().count(), 0, "the voters' disks are slow as well");
    cluster.persist(2);
    assert_eq!(cluster.under_way().filter(|message| is_vote_reply(message)).count(), 1);
    cluster.settle();
}

/// R005: a vote that was not durable was never given.
#[test]
fn a_crash_before_the_vote_is_durable_leaves_the_node_free_to_vote() {
    let mut node = Lone::of(3);
    node.hold_disk(1);
    assert_eq!(node.hears(2, 7, vote(at(0, 0))), []);
    node.restart(1);
    node.release_disk(1);
    assert_eq!(node.hears(3, 7, vote(at(0, 0))), [message(1, 3, 7, vote_reply(true))]);
    node.restart(1);
    assert_eq!(node.hears(2, 7, vote(at(0, 0))), [message(1, 2, 7, vote_reply(false))]);
}

/// R006, C7: term and vote are one record.
#[test]
fn term_and_vote_change_in_one_write() {
    let mut node = Lone::of(3);
    node.hold_disk(1);
    node.hears(2, 7, vote(at(0, 0)));
    let writes = node.writes(1);
    assert_eq!(writes.len(), 1);
    let expected = HardState { term: term(7), vote: Some(id(2)) };
    assert_eq!(writes[0].hard_state, Some(expected));
}

/// C5: a new term and the entries that come with it are one write.
#[test]
fn a_new_term_and_its_first_entries_are_one_write() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a"), (1, "b")], 0));
    node.hold_disk(1);
    node.hears(3, 2, append(at(1, 1), &[(2, "B")], 0));
    let writes = node.writes(1);
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].hard_state, Some(HardState { term: term(2), vote: None }));
    assert_eq!(writes[0].truncate_from, Some(index(2)));
    assert_eq!(show(writes[0].entries.iter()), "2:B");
}

/// C2: refusals that carry a newer term wait for it as well.
#[test]
fn a_refusal_waits_for_the_term_that_it_carries() {
    let mut node = Lone::of(3);
    node.hears(2, 3, append(at(0, 0), &[(3, "a")], 0));
    node.tick(2 * ELECTION);
    node.sent();
    node.hold_disk(1);
    assert_eq!(node.hears(3, 5, vote(at(0, 0))), []);
    assert_eq!(node.hears(2, 4, append(at(0, 0), &[], 0)), [], "stale, but the answer says 5");
    node.persist(1);
    let terms: Vec<Term> = node.sent().iter().map(|message| message.term).collect();
    assert_eq!(terms, [term(5), term(5)]);
}

/// R036, C1: the tail is overwritten and written anew while the first write is on its way.
#[test]
fn a_late_completion_does_not_vouch_for_a_rewritten_tail() {
    let mut node = Lone::of(7);
    node.hears(2, 2, append(at(0, 0), &[(1, ""), (1, ""), (1, ""), (2, "")], 4));
    node.hold_disk(1);
    node.hears(2, 2, append(at(4, 2), &[(2, "five"), (2, "six")], 4));
    node.hears(3, 3, append(at(4, 2), &[(3, "")], 4));
    node.hears(4, 4, append(at(4, 2), &[(4, "five"), (4, "six")], 4));
    assert_eq!(node.sent(), []);
    node.persist_oldest(1);
    assert_eq!((node.sent(), node.status(1).durable), (vec![], index(4)), "the write of term 2");
    node.persist_oldest(1);
    assert_eq!((node.sent(), node.status(1).durable), (vec![], index(4)), "the write of term 3");
    let heartbeat = node.hears(4, 4, append(at(6, 4), &[], 4));
    assert_eq!(heartbeat, [], "not even the term is durable");
    node.persist_oldest(1);
    let acks: Vec<_> = node.sent().iter().filter_map(accepted_of).collect();
    assert!(acks.contains(&(6, 6)), "{acks:?}");
    assert_eq!(node.status(1).durable, index(6));
}

/// C6: the same entry again after it was cut is a new write, and acknowledged as such.
#[test]
fn an_entry_that_comes_back_after_it_was_cut_is_written_again() {
    let mut node = Lone::of(5);
    node.hears(2, 1, append(at(0, 0), &[(1, "a")], 1));
    node.hold_disk(1);
    node.hears(2, 1, append(at(1, 1), &[(1, "b")], 1));
    node.hears(3, 2, append(at(1, 1), &[(2, "B")], 1));
    node.hears(4, 3, append(at(1, 1), &[(1, "b"), (3, "c")], 1));
    let writes = node.writes(1);
    assert_eq!(writes.len(), 3);
    assert_eq!(writes[2].truncate_from, Some(index(2)));
    assert_eq!(show(writes[2].entries.iter()), "1:b 3:c");
    node.persist_oldest(1);
    assert_eq!(node.status(1).durable, index(1), "the first b is gone");
    node.persist(1);
    assert_eq!((node.status(1).durable, node.log(1)), (index(3), "1:a 1:b 3:c".into()));
}

/// R037: completions may skip tickets, and those that come late are ignored.
#[test]
fn one_completion_stands_for_all_writes_before_it() {
    let mut cluster = Cluster::new(1);
    cluster.elect(1);
    cluster.hold_disk(1);
    cluster.propose(1, "a");
    cluster.propose(1, "b");
    let tickets: Vec<_> = cluster.writes(1).iter().map(|write| write.ticket).collect();
    cluster.persist(1);
    assert_eq!(cluster.commit(1), 3);
    cluster.step(1, Event::Persisted(tickets[0]));
    cluster.step(1, Event::Persisted(tickets[1]));
    assert_eq!((cluster.commit(1), cluster.status(1).dropped.stale), (3, 2));
    cluster.settle();
}

/// A ticket that was never minted vouches for nothing.
#[test]
fn a_completion_of_a_write_that_was_never_asked_for_is_ignored() {
    let mut other = Cluster::new(1);
    other.elect(1);
    other.propose_all(1, &["x"]);
    other.hold_disk(1);
    other.propose(1, "y");
    let foreign = other.writes(1)[0].ticket;
    let mut node = Lone::of(3);
    node.step(1, Event::Persisted(foreign));
    assert_eq!((node.status(1).durable, node.status(1).dropped.stale), (LogIndex::ZERO, 1));
}

/// R038b: a repeated or empty message is answered with what is durable, not with what came.
#[test]
fn an_answer_to_a_heartbeat_promises_only_what_is_durable() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a")], 0));
    node.hold_disk(1);
    assert_eq!(node.hears(2, 1, append(at(1, 1), &[(1, "b"), (1, "c")], 0)), []);
    let reply = node.hears(2, 1, append(at(1, 1), &[(1, "b"), (1, "c")], 0));
    assert_eq!(accepted_of(&reply[0]), Some((3, 1)));
    let reply = node.hears(2, 1, append(at(3, 1), &[], 0));
    assert_eq!(accepted_of(&reply[0]), Some((3, 1)));
    node.persist(1);
    assert_eq!(node.sent().iter().filter_map(accepted_of).collect::<Vec<_>>(), [(3, 3)]);
}

/// Acknowledgements that wait for one write leave as one message, which says all of it.
#[test]
fn a_heartbeat_before_the_disk_has_answered_does_not_swallow_an_acknowledgement() {
    let mut node = Lone::of(3);
    node.hold_disk(1);
    node.hears(2, 1, append(at(0, 0), &[(1, "a"), (1, "b")], 0));
    node.hears(2, 1, append_numbered(2, at(2, 1), &[], 0));
    node.persist(1);
    let acks: Vec<_> = node.sent().iter().filter_map(accepted_of).collect();
    assert!(acks.contains(&(2, 2)), "{acks:?}");
}

#[test]
fn acknowledgements_of_one_leader_are_merged() {
    let mut node = Lone::of(3);
    node.hold_disk(1);
    for n in 0..10 {
        let prev = if n == 0 { at(0, 0) } else { at(n, 1) };
        node.hears(2, 1, append(prev, &[(1, "x")], 0));
    }
    node.persist(1);
    assert_eq!(node.sent().iter().filter_map(accepted_of).collect::<Vec<_>>(), [(10, 10)]);
}

/// C12, C13: what was to be said to an old leader is not said to a new one, nor at all.
#[test]
fn a_completion_after_a_change_of_term_answers_nobody() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a")], 0));
    node.hold_disk(1);
    node.hears(2, 1, append(at(1, 1), &[(1, "b")], 0));
    node.hears(3, 2, append(at(1, 1), &[], 0));
    node.persist(1);
    let acks: Vec<_> = node.sent().iter().map(|m| (m.to, m.term, accepted_of(m))).collect();
    assert_eq!(acks, [(id(3), term(2), Some((1, 1)))]);
}

/// C12: the disk may hold more than the current leader has matched; only that is acknowledged.
#[test]
fn an_acknowledgement_covers_what_the_current_leader_has_matched() {
    let mut node = Lone::of(3);
    node.hears(2, 1, append(at(0, 0), &[(1, "a"), (1, "b"), (1, "c")], 0));
    let reply = node.hears(3, 2, append(at(1, 1), &[], 0));
    assert_eq!(accepted_of(&reply[0]), Some((1, 1)));
}

/// C13: the completion of a leader's own write after it has stepped down commits nothing.
#[test]
fn a_leaders_own_completion_after_it_stepped_down_commits_nothing() {
    let mut node = Lone::of(3);
    node.lead();
    node.hold_disk(1);
    node.propose(1, "x");
    node.hears(3, 2, vote_reply(false));
    node.persist(1);
    assert_eq!((node.commit(1), node.sent()), (0, vec![]));
}

/// C10: the log of a candidate is on its disk when it asks for votes.
#[test]
fn a_candidate_asks_for_votes_with_the_log_that_is_on_its_disk() {
    let mut node = Lone::with(3, |config| config.pre_vote(false));
    node.hold_disk(1);
    node.hears(2, 1, append(at(0, 0), &[(1, "a"), (1, "b")], 0));
    node.timeout(1);
    node.persist_oldest(1);
    let before = node.sent();
    assert!(!before.iter().any(is_vote), "{before:?}");
    node.persist_oldest(1);
    let asked = node.sent();
    assert_eq!(asked, [message(1, 2, 2, vote(at(2, 1))), message(1, 3, 2, vote(at(2, 1)))]);
}

/// C10, C13: a question that waits for the disk is not asked when the campaign is over, because the
/// log that it speaks of may have been cut.
#[test]
fn a_candidate_that_has_found_its_leader_asks_for_no_votes() {
    let mut node = Lone::with(3, |config| config.pre_vote(false));
    node.hears(2, 1, append(at(0, 0), &[(1, "a"), (1, "b"), (1, "c")], 0));
    node.hold_disk(1);
    node.timeout(1);
    node.hears(3, 2, append(at(1, 1), &[(2, "B")], 0));
    node.persist(1);
    assert_eq!(node.sent().iter().filter(|message| is_vote(message)).count(), 0);
    assert_eq!(node.log(1), "1:a 2:B");
}

/// R097: after a restart everything after the state machine's own index is applied again.
#[test]
fn a_restart_applies_what_the_state_machine_lacks_and_no_more() {
    for keeps_machine in [false, true] {
        let mut cluster = Cluster::new(3);
        for node in 1..=3 {
            cluster.host_mut(node).keeps_machine = keeps_machine;
        }
        cluster.elect(1);
        cluster.propose(1, "a");
        cluster.run(HEARTBEAT);
        cluster.hold_machine(2);
        cluster.propose(1, "b");
        cluster.run(HEARTBEAT);
        assert_eq!((cluster.commit(2), cluster.applied(2)), (3, "a".into()));
        cluster.restart(2);
        assert_eq!(cluster.commit(2), if keeps_machine { 2 } else { 0 });
        assert_eq!(cluster.host(2).applies.len(), 0, "nothing is known to be committed");
        cluster.settle();
        assert_eq!(cluster.applied(2), "a b");
    }
}

/// C50: a state machine that outlives a crash is never ahead of the log on the disk.
#[test]
fn nothing_is_applied_before_it_is_on_the_nodes_own_disk() {
    let mut cluster = Cluster::new(3);
    cluster.host_mut(3).keeps_machine = true;
    cluster.elect(1);
    cluster.run(HEARTBEAT);
    cluster.hold_disk(3);
    cluster.propose(1, "x");
    cluster.run(2 * HEARTBEAT);
    assert_eq!((cluster.commit(3), cluster.applied(3)), (2, String::new()));
    cluster.restart(3);
    cluster.settle();
    assert_eq!(cluster.applied(3), "x");
}

/// R095.
#[test]
fn all_nodes_may_crash_at_once_and_lose_nothing_that_was_answered() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    let mut answered = String::new();
    for round in 0..10 {
        let leader = cluster.leaders()[0];
        let command = format!("c{round}");
        let request = cluster.propose(leader, &command);
        cluster.run(HEARTBEAT);
        assert!(cluster.outcome(request).is_some());
        answered = format!("{answered}{}{command}", if round == 0 { "" } else { " " });
        (1..=3).for_each(|node| cluster.hold_disk(node));
        cluster.propose(leader, &format!("unanswered {round}"));
        cluster.lose(|_| true);
        (1..=3).for_each(|node| cluster.restart(node));
        (1..=3).for_each(|node| cluster.release_disk(node));
        cluster.run(10 * ELECTION);
        assert_eq!(cluster.applied(leader), answered);
    }
    cluster.settle();
}

fn stored(hard_term: u64, terms: &[(u64, u64)], last: u64) -> StoredLog {
    let start =
        |(first, of_term): &(u64, u64)| TermStart { first: index(*first), term: term(*of_term) };
    let hard_state = HardState { term: term(hard_term), vote: None };
    let terms = terms.iter().map(start).collect();
    StoredLog { hard_state, terms, last: index(last), ..StoredLog::default() }
}

fn start(log: StoredLog, applied: u64) -> Result<Raft, ConfigError> {
    let config = raft_core::Config::new(id(1), 1);
    Raft::new(
        config,
        Restored { log, applied: index(applied), snapshot: None },
        raft_core::Instant::ORIGIN,
    )
}

/// R008: a log without the hard state that belongs to it is no log to start from.
#[test]
fn a_log_that_is_ahead_of_the_hard_state_is_refused() {
    let ahead = Inconsistency::TermAhead { log: term(9), hard_state: term(0) };
    let refused = start(stored(0, &[(1, 9)], 4), 0).map(|_| ());
    assert_eq!(refused, Err(ConfigError::Inconsistent(ahead)));
    assert!(start(stored(9, &[(1, 9)], 4), 0).is_ok());
}

/// R099: lost entries are reported, and nobody panics.
#[test]
fn a_state_machine_that_is_ahead_of_the_log_is_refused() {
    let lost = Inconsistency::AppliedBeyondLog { applied: index(5), last: index(4) };
    let refused = start(stored(1, &[(1, 1)], 4), 5).map(|_| ());
    assert_eq!(refused, Err(ConfigError::Inconsistent(lost)));
    assert!(start(stored(1, &[(1, 1)], 4), 4).is_ok());
}

#[test]
fn a_list_of_terms_that_contradicts_itself_is_refused() {
    let largest = LogIndex::MAX.get();
    let cases: [(&[(u64, u64)], u64); 10] = [
        (&[], 1),
        (&[(1, 1)], 0),
        (&[(2, 1)], 3),
        (&[(1, 0)], 3),
        (&[(1, 2), (2, 1)], 3),
        (&[(1, 1), (2, 1)], 3),
        (&[(1, 1), (1, 2)], 3),
        (&[(1, 1), (4, 2)], 3),
        (&[(1, 1)], largest),
        (&[(1, 1)], largest - 1),
    ];
    for (terms, last) in cases {
        let refused = start(stored(5, terms, last), 0).map(|_| ());
        let expected = Inconsistency::Terms { last: index(last) };
        assert_eq!(refused, Err(ConfigError::Inconsistent(expected)), "{terms:?}, {last}");
    }
    assert!(start(stored(5, &[(1, 1), (4, 2)], 4), 0).is_ok());
}

#[test]
fn a_hard_state_in_the_largest_term_is_refused() {
    assert!(start(stored(Term::MAX.get(), &[], 0), 0).is_err());
    assert!(start(stored(Term::MAX.get() - 1, &[], 0), 0).is_ok());
}

/// Node 1 of so many voters, without a host.
fn bare(voters: u64) -> Raft {
    let founders = Membership::of_voters((1..=voters).map(id));
    let restored = Restored::founding(founders);
    Raft::new(Config::new(id(1), 1), restored, Instant::ORIGIN).expect("a sound configuration")
}

/// R005, R038: what a host writes at once is promised in the same step, and not before.
#[test]
fn a_host_that_writes_at_once_gets_the_promises_in_the_same_step() {
    let mut raft = bare(3);
    let append = message(2, 1, 1, append(at(0, 0), &[(1, "a")], 0));
    let (mut writes, mut outputs) = (Vec::new(), Vec::new());
    let write = |write: &Write| {
        writes.push(write.clone());
        Ok::<(), ()>(())
    };
    raft.step_durably(Instant::ORIGIN, [Event::Receive(append)], write, &mut outputs).unwrap();
    let [Write { hard_state: Some(HardState { term: entered, .. }), entries, .. }] = &writes[..]
    else {
        panic!("term and entry are one write: {writes:?}");
    };
    assert_eq!((*entered, entries.len()), (term(1), 1));
    let promises = outputs.iter().filter(|output| match output {
        Output::Send(message) => message.body == accepted(1, 1),
        Output::Persist(_) => panic!("it is written already"),
        _ => false,
    });
    assert_eq!(promises.count(), 1, "{outputs:?}");
}

/// What one write has made durable leads to the next in the same step.
#[test]
fn a_sole_voter_that_writes_at_once_is_elected_and_commits_in_one_step() {
    let mut raft = bare(1);
    let (mut tickets, mut outputs) = (Vec::new(), Vec::new());
    let write = |write: &Write| {
        tickets.push((write.ticket, write.hard_state.is_some(), write.entries.len()));
        Ok::<(), ()>(())
    };
    let patience = raft.deadline().unwrap();
    raft.step_durably(patience, [Event::Wake], write, &mut outputs).unwrap();
    let [(vote, true, 0), (first, false, 1)] = tickets[..] else {
        panic!("first the vote, then the first entry of the term: {tickets:?}");
    };
    assert!(vote < first);
    let applies = outputs.iter().filter(|output| matches!(output, Output::Apply(_)));
    assert_eq!((applies.count(), raft.status().commit), (1, index(1)));
}

/// R007: after a write that failed nothing may leave the node.
#[test]
fn of_a_step_whose_write_fails_nothing_is_to_be_carried_out() {
    let mut raft = bare(3);
    let mut outputs = vec![Output::Notice(Notice::SnapshotWanted)];
    let append = message(2, 1, 1, append(at(0, 0), &[(1, "a")], 0));
    let events = [Event::Read(RequestId::new(1)), Event::Receive(append)];
    let step = raft.step_durably(Instant::ORIGIN, events, |_| Err("no space"), &mut outputs);
    assert_eq!(step, Err("no space"));
    assert_eq!(outputs, [Output::Notice(Notice::SnapshotWanted)], "only what was there before");
}
