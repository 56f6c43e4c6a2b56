//! The checker against a search that tries each order of each choice of operations, on small
//! random histories. The objects are written down a second time here, without any cleverness.

use conformance_tests::linearizability::models::{
    AppendList, AppendListAction, AppendListRet, Keyed, Register, RegisterAction, RegisterRet,
    Text, TextAction, TextRet,
};
use conformance_tests::linearizability::{History, Model, Verdict, check};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::fmt::Debug;

const BUDGET: u64 = 1_000_000;

/// A call on the only key. The outcome is unknown without a return.
#[derive(Debug, Clone)]
struct Call<A, R> {
    invoked: u64,
    action: A,
    returned: Option<(u64, R)>,
}

/// The object under test as a function from state and action to the next state and the answer.
trait Object {
    type Model: Model<Op = Keyed<Self::Key, Self::Action>, Ret = Self::Ret>;
    type Key: Default + Clone;
    type Action: Clone + Debug;
    type Ret: Clone + PartialEq + Debug;
    type State: Default;
    fn run(state: &Self::State, action: &Self::Action) -> (Self::State, Self::Ret);
}

type CallOf<O> = Call<<O as Object>::Action, <O as Object>::Ret>;

/// Whether the calls that are left have an explanation, starting from `state`.
fn explainable<O: Object>(state: &O::State, left: &[CallOf<O>]) -> bool {
    if left.iter().all(|call| call.returned.is_none()) {
        return true;
    }
    (0..left.len()).any(|index| {
        let mut left = left.to_vec();
        let next = left.remove(index);
        let overtakes = |other: &CallOf<O>| {
            other.returned.as_ref().is_some_and(|(returned, _)| *returned < next.invoked)
        };
        if left.iter().any(overtakes) {
            return false;
        }
        let (state, answer) = O::run(state, &next.action);
        next.returned.as_ref().is_none_or(|(_, ret)| *ret == answer)
            && explainable::<O>(&state, &left)
    })
}

/// Each call is made by a client of its own, named by the position of the call.
fn verdict<O: Object>(calls: &[CallOf<O>]) -> Verdict {
    let mut history = History::new();
    for (client, call) in (0..).zip(calls) {
        let op = Keyed::new(O::Key::default(), call.action.clone());
        let id = history.invoke(client, call.invoked, op);
        if let Some((at, ret)) = &call.returned {
            history.returned(id, *at, ret.clone()).unwrap();
        }
    }
    check::<O::Model>(&history, BUDGET)
}

/// The verdict must be right. The report of a violation must be evidence: with nothing but the
/// results and return times of its essential operations, there still is no explanation.
fn agrees<O: Object>(calls: &[CallOf<O>]) -> Result<(), TestCaseError> {
    let expected = explainable::<O>(&O::State::default(), calls);
    match verdict::<O>(calls) {
        Verdict::Linearizable => prop_assert!(expected, "a violation was missed"),
        Verdict::Violation(report) => {
            prop_assert!(!expected, "a false alarm: {}", report);
            let mut relaxed = calls.to_vec();
            for (client, call) in (0..).zip(&mut relaxed) {
                if !report.rows().iter().any(|row| row.is_essential() && row.client() == client) {
                    call.returned = None;
                }
            }
            let still = explainable::<O>(&O::State::default(), &relaxed);
            prop_assert!(!still, "the report is no evidence: {}", report);
            let placed = report.rows().iter().filter(|row| row.position().is_some()).count();
            prop_assert!(placed < report.rows().len());
        }
        Verdict::OutOfBudget { .. } => prop_assert!(false, "six operations ran out of budget"),
    }
    Ok(())
}

fn calls<A: Debug + Clone, R: Debug + Clone>(
    pair: impl Strategy<Value = (A, R)>,
) -> impl Strategy<Value = Vec<Call<A, R>>> {
    let call = (0u64..12, option::weighted(0.75, 0u64..8), pair).prop_map(
        |(invoked, length, (action, ret))| Call {
            invoked,
            action,
            returned: length.map(|length| (invoked + length, ret)),
        },
    );
    vec(call, 1..=6)
}

struct RegisterObject;

impl Object for RegisterObject {
    type Model = Register;
    type Key = u64;
    type Action = RegisterAction;
    type Ret = RegisterRet;
    type State = Option<u64>;

    fn run(state: &Option<u64>, action: &RegisterAction) -> (Option<u64>, RegisterRet) {
        match action {
            RegisterAction::Read => (*state, RegisterRet::Value(*state)),
            RegisterAction::Write(value) => (Some(*value), RegisterRet::Written),
            RegisterAction::Cas { expected, new } if expected == state => {
                (Some(*new), RegisterRet::Swapped(true))
            }
            RegisterAction::Cas { .. } => (*state, RegisterRet::Swapped(false)),
        }
    }
}

fn register_pair() -> impl Strategy<Value = (RegisterAction, RegisterRet)> {
    let value = || option::weighted(0.8, 0u64..3);
    prop_oneof![
        value().prop_map(|value| (RegisterAction::Read, RegisterRet::Value(value))),
        (0u64..3).prop_map(|value| (RegisterAction::Write(value), RegisterRet::Written)),
        (value(), 0u64..3, any::<bool>()).prop_map(|(expected, new, done)| {
            (RegisterAction::Cas { expected, new }, RegisterRet::Swapped(done))
        }),
    ]
}

struct ListObject;

impl Object for ListObject {
    type Model = AppendList;
    type Key = u64;
    type Action = AppendListAction;
    type Ret = AppendListRet;
    type State = Vec<u64>;

    fn run(state: &Vec<u64>, action: &AppendListAction) -> (Vec<u64>, AppendListRet) {
        match action {
            AppendListAction::Read => (state.clone(), AppendListRet::Items(state.clone())),
            AppendListAction::Append(item) => {
                ([state.as_slice(), &[*item]].concat(), AppendListRet::Appended)
            }
        }
    }
}

/// Reads are mostly starts of one list, as otherwise almost no history is linearizable.
fn list_pair() -> impl Strategy<Value = (AppendListAction, AppendListRet)> {
    let read = |items| (AppendListAction::Read, AppendListRet::Items(items));
    prop_oneof![
        2 => (0usize..=3).prop_map(move |len| read([0, 1, 0][..len].to_vec())),
        1 => vec(0u64..2, 0..3).prop_map(read),
        4 => (0u64..3).prop_map(|item| (AppendListAction::Append(item), AppendListRet::Appended)),
    ]
}

struct TextObject;

impl Object for TextObject {
    type Model = Text;
    type Key = String;
    type Action = TextAction;
    type Ret = TextRet;
    type State = String;

    fn run(state: &String, action: &TextAction) -> (String, TextRet) {
        match action {
            TextAction::Get => (state.clone(), TextRet::Value(state.clone())),
            TextAction::Put(text) => (text.clone(), TextRet::Done),
            TextAction::Append(end) => (format!("{state}{end}"), TextRet::Done),
        }
    }
}

fn text_pair() -> impl Strategy<Value = (TextAction, TextRet)> {
    prop_oneof![
        3 => "[ab]{0,3}".prop_map(|text| (TextAction::Get, TextRet::Value(text))),
        2 => "[ab]{0,2}".prop_map(|text| (TextAction::Put(text), TextRet::Done)),
        2 => "[ab]{0,2}".prop_map(|text| (TextAction::Append(text), TextRet::Done)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn register_verdicts_are_those_of_brute_force(calls in calls(register_pair())) {
        agrees::<RegisterObject>(&calls)?;
    }

    #[test]
    fn append_list_verdicts_are_those_of_brute_force(calls in calls(list_pair())) {
        agrees::<ListObject>(&calls)?;
    }

    #[test]
    fn text_verdicts_are_those_of_brute_force(calls in calls(text_pair())) {
        agrees::<TextObject>(&calls)?;
    }
}
