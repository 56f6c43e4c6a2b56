//! Small histories that people argue about, with the verdict that is right.

use conformance_tests::linearizability::models::{
    AppendList, AppendListAction, AppendListRet, Keyed, Register, RegisterAction, RegisterRet,
    Text, TextAction, TextRet,
};
use conformance_tests::linearizability::{History, HistoryError, Model, Report, Verdict, check};

use AppendListAction::Append;
use RegisterAction::{Cas, Read, Write};
use RegisterRet::{Swapped, Value, Written};

const BUDGET: u64 = 10_000;

/// One call on key 0: client, invocation, and return with result, or `None` if unknown.
type Call<A, R> = (u64, u64, A, Option<(u64, R)>);

fn history<K: Copy, A, R>(
    key: K,
    calls: impl IntoIterator<Item = Call<A, R>>,
) -> History<Keyed<K, A>, R> {
    let mut history = History::new();
    for (client, invoked, action, outcome) in calls {
        let id = history.invoke(client, invoked, Keyed::new(key, action));
        match outcome {
            Some((at, ret)) => history.returned(id, at, ret).unwrap(),
            None => history.unknown(id).unwrap(),
        }
    }
    history
}

fn register(calls: impl IntoIterator<Item = Call<RegisterAction, RegisterRet>>) -> Verdict {
    check::<Register>(&history(0, calls), BUDGET)
}

fn list(calls: impl IntoIterator<Item = Call<AppendListAction, AppendListRet>>) -> Verdict {
    check::<AppendList>(&history(0, calls), BUDGET)
}

fn read(client: u64, invoked: u64, returned: u64, value: u64) -> Call<RegisterAction, RegisterRet> {
    (client, invoked, Read, Some((returned, Value(Some(value)))))
}

fn write(
    client: u64,
    invoked: u64,
    returned: u64,
    value: u64,
) -> Call<RegisterAction, RegisterRet> {
    (client, invoked, Write(value), Some((returned, Written)))
}

fn unknown_write(client: u64, invoked: u64, value: u64) -> Call<RegisterAction, RegisterRet> {
    (client, invoked, Write(value), None)
}

fn items(
    client: u64,
    invoked: u64,
    returned: u64,
    items: &[u64],
) -> Call<AppendListAction, AppendListRet> {
    (
        client,
        invoked,
        AppendListAction::Read,
        Some((returned, AppendListRet::Items(items.to_vec()))),
    )
}

fn append(
    client: u64,
    invoked: u64,
    returned: u64,
    item: u64,
) -> Call<AppendListAction, AppendListRet> {
    (client, invoked, Append(item), Some((returned, AppendListRet::Appended)))
}

#[track_caller]
fn assert_pass(verdict: Verdict) {
    assert!(verdict.is_linearizable(), "{verdict}");
}

#[track_caller]
fn assert_violation(verdict: Verdict) -> Report {
    match verdict {
        Verdict::Violation(report) => *report,
        other => panic!("expected a violation, got: {other}"),
    }
}

#[test]
fn an_empty_history_is_linearizable() {
    assert_pass(register([]));
}

#[test]
fn a_read_during_a_write_may_see_the_old_or_the_new_value() {
    for seen in [1, 2] {
        assert_pass(register([write(1, 0, 1, 1), write(1, 2, 9, 2), read(2, 3, 4, seen)]));
    }
}

#[test]
fn calls_that_touch_in_time_are_concurrent() {
    assert_pass(register([write(1, 0, 1, 1), write(1, 2, 5, 2), read(2, 5, 6, 1)]));
    assert_violation(register([write(1, 0, 1, 1), write(1, 2, 5, 2), read(2, 6, 7, 1)]));
}

#[test]
fn a_stale_read_is_a_violation() {
    let report =
        assert_violation(register([write(1, 0, 1, 1), write(1, 2, 3, 2), read(2, 4, 5, 1)]));
    assert_eq!(report.rows().len(), 3);
}

#[test]
fn two_reads_that_see_a_value_go_back_are_a_violation_even_during_the_write() {
    let calls = [write(1, 0, 1, 1), write(1, 2, 9, 2), read(2, 3, 4, 2), read(3, 5, 6, 1)];
    assert_violation(register(calls));
}

#[test]
fn a_read_of_an_empty_register_after_a_write_is_a_violation() {
    assert_violation(register([write(1, 0, 1, 1), (2, 2, Read, Some((3, Value(None))))]));
    assert_pass(register([write(1, 0, 2, 1), (2, 1, Read, Some((3, Value(None))))]));
}

#[test]
fn a_read_of_a_value_never_written_is_a_violation_shown_alone() {
    let calls = [write(1, 0, 1, 1), read(2, 2, 3, 1), read(2, 4, 5, 7), write(1, 6, 7, 8)];
    let report = assert_violation(register(calls));
    assert_eq!(report.rows().len(), 1);
    assert_eq!(report.rows()[0].result(), Some("Value(Some(7))"));
    assert_eq!(report.operations(), 4);
}

#[test]
fn two_successful_swaps_from_the_same_value_are_a_lost_update() {
    let swap =
        |client, new, done| (client, 2, Cas { expected: Some(1), new }, Some((5, Swapped(done))));
    assert_violation(register([write(1, 0, 1, 1), swap(1, 2, true), swap(2, 3, true)]));
    assert_pass(register([write(1, 0, 1, 1), swap(1, 2, true), swap(2, 3, false)]));
}

#[test]
fn a_lost_acknowledged_append_is_a_violation() {
    let calls =
        [append(1, 0, 1, 1), append(2, 2, 3, 2), append(1, 4, 5, 3), items(2, 6, 7, &[1, 3])];
    assert_violation(list(calls));
}

#[test]
fn an_unknown_write_that_is_applied_twice_is_a_violation() {
    let calls = [unknown_write(1, 0, 1), read(2, 1, 2, 1), write(2, 3, 4, 2), read(3, 5, 6, 1)];
    assert_violation(register(calls));
    let calls = [(1, 0, Append(1), None), append(2, 1, 2, 2), items(2, 3, 4, &[1, 2, 1])];
    assert_violation(list(calls));
}

#[test]
fn an_unknown_write_may_take_effect_late() {
    let calls = [
        write(1, 0, 1, 1),
        unknown_write(2, 2, 2),
        read(3, 100, 101, 1),
        write(3, 102, 103, 3),
        read(3, 104, 105, 2),
    ];
    assert_pass(register(calls));
}

#[test]
fn an_unknown_write_may_never_take_effect() {
    assert_pass(register([write(1, 0, 1, 1), unknown_write(2, 2, 2), read(3, 100, 101, 1)]));
}

#[test]
fn an_unknown_write_takes_no_effect_before_its_invocation() {
    assert_violation(register([read(1, 0, 1, 5), unknown_write(2, 2, 5)]));
    assert_pass(register([read(1, 0, 2, 5), unknown_write(2, 2, 5)]));
}

#[test]
fn a_refused_swap_can_be_the_only_trace_of_an_unknown_write() {
    let refused = (1, 2, Cas { expected: Some(1), new: 9 }, Some((3, Swapped(false))));
    assert_violation(register([write(1, 0, 1, 1), refused.clone()]));
    assert_pass(register([write(1, 0, 1, 1), unknown_write(2, 1, 2), refused]));
}

#[test]
fn unknown_swaps_can_form_a_chain() {
    let swap = |client, expected, new| (client, 2, Cas { expected: Some(expected), new }, None);
    let calls = [write(1, 0, 1, 1), swap(2, 2, 3), swap(3, 1, 2), read(1, 5, 6, 3)];
    assert_pass(register(calls));
    let calls = [write(1, 0, 1, 1), swap(2, 2, 3), read(1, 5, 6, 3)];
    assert_violation(register(calls));
}

#[test]
fn a_failed_write_must_not_be_seen() {
    let mut history = history(0, [read(2, 1, 2, 1)]);
    let failed = history.invoke(1, 0, Keyed::new(0, Write(1)));
    history.failed(failed).unwrap();
    assert_violation(check::<Register>(&history, BUDGET));
}

#[test]
fn text_follows_puts_and_appends() {
    let done = |client, at, action| (client, at, action, Some((at + 1, TextRet::Done)));
    let get = |at, value: &str| {
        (9, at, TextAction::Get, Some((at + 1, TextRet::Value(value.to_owned()))))
    };
    let put = |text: &str| TextAction::Put(text.to_owned());
    let append = |text: &str| TextAction::Append(text.to_owned());
    let verdict = |last: &str| {
        let mut history = History::new();
        let calls = [
            get(0, ""),
            done(1, 2, put("hidden")),
            done(1, 4, put("a")),
            (2, 5, append("late"), None),
            done(1, 6, append("b")),
            get(8, "ab"),
            get(10, last),
        ];
        for (client, at, action, outcome) in calls {
            let id = history.invoke(client, at, Keyed::new("k".to_owned(), action));
            if let Some((at, ret)) = outcome {
                history.returned(id, at, ret).unwrap();
            }
        }
        check::<Text>(&history, BUDGET)
    };
    assert_pass(verdict("ab"));
    assert_pass(verdict("ablate"));
    assert_violation(verdict("alateb"));
    assert_violation(verdict("b"));
    assert_violation(verdict("ablatelate"));
}

#[test]
fn keys_are_independent_and_the_report_names_the_broken_one() {
    let mut history = History::new();
    for key in 0..10 {
        let id = history.invoke(key, 0, Keyed::new(key, Write(1)));
        history.returned(id, 1, Written).unwrap();
        let id = history.invoke(key, 2, Keyed::new(key, Read));
        history.returned(id, 3, Value(Some(if key == 6 { 2 } else { 1 }))).unwrap();
    }
    assert_eq!(assert_violation(check::<Register>(&history, BUDGET)).key(), "6");
}

#[test]
fn a_search_that_runs_out_of_budget_is_not_a_pass() {
    let calls = || (0..20).map(|n| write(n, n, 100 + n, n));
    let verdict = check::<Register>(&history(0, calls()), 19);
    assert_eq!(verdict, Verdict::OutOfBudget { key: "0".to_owned(), operations: 20 });
    assert!(!verdict.is_linearizable());
    assert_pass(check::<Register>(&history(0, calls()), 20));
}

#[test]
fn a_violation_is_reported_even_when_another_key_runs_out_of_budget() {
    let mut all = history(0, (0..20).map(|n| write(n, n, 100 + n, n)));
    all.absorb(history(1, [read(1, 0, 1, 9)]));
    assert_eq!(assert_violation(check::<Register>(&all, 5)).key(), "1");
}

#[test]
fn absorbed_calls_that_are_still_open_have_an_unknown_outcome() {
    let mut all = history(0, [read(1, 5, 6, 3)]);
    let mut other = History::new();
    let id = other.invoke(2, 0, Keyed::new(0, Write(3)));
    all.absorb(other);
    assert_eq!(all.len(), 2);
    assert_eq!(all.returned(id, 9, Written), Err(HistoryError::NotOpen(id)));
    assert_pass(check::<Register>(&all, BUDGET));
}

#[test]
fn a_call_is_resolved_at_most_once_and_not_before_it_began() {
    let mut history = History::<Keyed<u64, RegisterAction>, RegisterRet>::new();
    let id = history.invoke(1, 10, Keyed::new(0, Read));
    let early = history.returned(id, 9, Value(None));
    assert_eq!(early, Err(HistoryError::ReturnsBeforeInvocation { invoked: 10, returned: 9 }));
    history.returned(id, 10, Value(None)).unwrap();
    assert_eq!(history.failed(id), Err(HistoryError::NotOpen(id)));
    assert_eq!(history.unknown(id), Err(HistoryError::NotOpen(id)));
}

#[test]
fn the_report_is_a_table_of_the_few_operations_that_matter() {
    let noise = (0..100)
        .flat_map(|n| [write(3, 10 * n, 10 * n + 1, n), read(4, 10 * n + 2, 10 * n + 3, n)]);
    let core = [write(1, 2000, 2001, 500), write(1, 2002, 2003, 501), read(2, 2004, 2005, 500)];
    let later = [write(3, 3000, 3001, 600), unknown_write(5, 2000, 700)];
    let report = assert_violation(register(noise.chain(core).chain(later)));
    let expected = "\
not linearizable: 3 of 205 operations on key 0 clash
  order  client  invoked  returned  operation      result
      1       1     2000      2001  0: Write(500)  Written
      2       1     2002      2003  0: Write(501)  Written
      -       2     2004      2005  0: Read        Value(Some(500))
order: the longest order found; '-' has no place in it
all other operations, and results (in brackets), could as well be unknown";
    assert_eq!(report.to_string(), expected);
}

/// A counter whose whole history is one partition, with nothing but the required methods.
#[derive(Default)]
struct Counter;

impl Model for Counter {
    type Key = ();
    type Op = ();
    type Ret = u64;
    type State = u64;

    fn key((): &()) {}

    fn init(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, (): &(), ret: Option<&u64>) -> Option<u64> {
        let next = state + 1;
        ret.is_none_or(|ret| *ret == next).then_some(next)
    }
}

#[test]
fn a_model_of_ones_own_needs_only_the_required_methods() {
    let verdict = |results: [u64; 3]| {
        let mut history = History::new();
        history.invoke(9, 0, ());
        for (at, result) in (1..).zip(results) {
            let id = history.invoke(1, 10 * at, ());
            history.returned(id, 10 * at + 1, result).unwrap();
        }
        check::<Counter>(&history, BUDGET)
    };
    assert_pass(verdict([1, 2, 3]));
    assert_pass(verdict([1, 3, 4]));
    assert_violation(verdict([1, 3, 5]));
    assert_violation(verdict([1, 1, 2]));
}
