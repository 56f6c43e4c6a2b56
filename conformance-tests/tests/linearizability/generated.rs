//! Long histories of a simulated object, and what becomes of them when one answer is falsified.

use conformance_tests::linearizability::models::{
    AppendList, AppendListAction, AppendListRet, Keyed, Register, RegisterAction, RegisterRet,
};
use conformance_tests::linearizability::{History, Verdict, check};
use std::collections::BTreeMap;

use RegisterAction::{Cas, Read, Write};
use RegisterRet::{Swapped, Value, Written};

const BUDGET: u64 = 10_000_000;

/// Splitmix64: enough randomness for a test, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[derive(Clone, Copy)]
struct Load {
    operations: u64,
    keys: u64,
    clients: u64,
    /// How many in a hundred calls get no answer. Half of them take effect, some long after.
    unknown_percent: u64,
}

/// When and where a call is made, takes effect and returns. Effects have distinct times.
struct Plan {
    client: u64,
    key: u64,
    invoked: u64,
    effect: Option<u64>,
    returned: Option<u64>,
}

/// Clients that make one call after another. A client whose call got no answer goes on under
/// a new name, as the old call is still open.
fn plans(load: Load, random: &mut Random) -> Vec<Plan> {
    let mut clients: Vec<(u64, u64)> = (0..load.clients).map(|client| (client, 0)).collect();
    let mut names = load.clients;
    (0..load.operations)
        .map(|number| {
            let slot = (number % load.clients) as usize;
            let (client, free_at) = clients[slot];
            let invoked = free_at + 1 + random.below(50);
            let effect = invoked + 1 + random.below(100);
            let returned = effect + 1 + random.below(100);
            clients[slot] = (client, returned);
            let mut plan = Plan {
                client,
                key: random.below(load.keys),
                invoked,
                effect: Some(effect * load.operations + number),
                returned: Some(returned),
            };
            if random.chance(load.unknown_percent) {
                names += 1;
                clients[slot].0 = names;
                plan.returned = None;
                let late = effect + random.below(5_000);
                plan.effect = random.chance(50).then_some(late * load.operations + number);
            }
            plan
        })
        .collect()
}

#[derive(Clone)]
struct Call<A, R> {
    client: u64,
    key: u64,
    invoked: u64,
    action: A,
    returned: Option<(u64, R)>,
}

/// Carries out the plans on real objects, in order of their effects.
fn simulate<S: Default, A, R>(
    load: Load,
    seed: u64,
    mut action: impl FnMut(&mut Random, &S, u64) -> A,
    run: impl Fn(&mut S, &A) -> R,
) -> Vec<Call<A, R>> {
    let mut random = Random(seed);
    let mut plans = plans(load, &mut random);
    // Calls without effect come last, when no answer depends on them any more.
    plans.sort_by_key(|plan| plan.effect.unwrap_or(u64::MAX));
    let mut objects: BTreeMap<u64, S> = BTreeMap::new();
    (1..)
        .zip(plans)
        .map(|(unique, plan)| {
            let object = objects.entry(plan.key).or_default();
            let action = action(&mut random, object, unique);
            let ret = plan.effect.is_some().then(|| run(object, &action));
            let Plan { client, key, invoked, returned, .. } = plan;
            Call { client, key, invoked, action, returned: returned.zip(ret) }
        })
        .collect()
}

fn registers(load: Load, seed: u64) -> Vec<Call<RegisterAction, RegisterRet>> {
    let action = |random: &mut Random, state: &Option<u64>, unique| match random.below(10) {
        0..4 => Read,
        4..8 => Write(unique),
        8 => Cas { expected: *state, new: unique },
        _ => Cas { expected: Some(random.below(unique)), new: unique },
    };
    simulate(load, seed, action, |state, action| match action {
        Read => Value(*state),
        Write(value) => {
            *state = Some(*value);
            Written
        }
        Cas { expected, new } => {
            let swapped = expected == state;
            if swapped {
                *state = Some(*new);
            }
            Swapped(swapped)
        }
    })
}

fn lists(load: Load, seed: u64) -> Vec<Call<AppendListAction, AppendListRet>> {
    let action = |random: &mut Random, _: &Vec<u64>, unique| match random.below(2) {
        0 => AppendListAction::Read,
        _ => AppendListAction::Append(unique),
    };
    simulate(load, seed, action, |state: &mut Vec<u64>, action| match action {
        AppendListAction::Read => AppendListRet::Items(state.clone()),
        AppendListAction::Append(item) => {
            state.push(*item);
            AppendListRet::Appended
        }
    })
}

fn history<A: Clone, R: Clone>(calls: &[Call<A, R>]) -> History<Keyed<u64, A>, R> {
    let mut history = History::new();
    for call in calls {
        let op = Keyed::new(call.key, call.action.clone());
        let id = history.invoke(call.client, call.invoked, op);
        if let Some((at, ret)) = &call.returned {
            history.returned(id, *at, ret.clone()).unwrap();
        }
    }
    history
}

const SMALL: Load = Load { operations: 120, keys: 2, clients: 5, unknown_percent: 10 };

#[test]
fn histories_of_a_simulated_object_are_linearizable() {
    for seed in 0..200 {
        let verdict = check::<Register>(&history(&registers(SMALL, seed)), BUDGET);
        assert!(verdict.is_linearizable(), "registers, seed {seed}: {verdict}");
        let verdict = check::<AppendList>(&history(&lists(SMALL, seed)), BUDGET);
        assert!(verdict.is_linearizable(), "lists, seed {seed}: {verdict}");
    }
}

/// Makes one read of a register answer what another read of that register answered. It may by
/// chance have been a possible answer.
fn falsify(calls: &mut [Call<RegisterAction, RegisterRet>], random: &mut Random) -> bool {
    let reads: Vec<usize> = (0..calls.len())
        .filter(|&index| matches!(calls[index].returned, Some((_, Value(_)))))
        .collect();
    let [victim, source] = [(); 2].map(|()| reads[random.below(reads.len() as u64) as usize]);
    let stolen = calls[source].returned.clone();
    let same_key = calls[victim].key == calls[source].key;
    match (&mut calls[victim].returned, stolen) {
        (Some((_, ret)), Some((_, stolen))) if same_key && *ret != stolen => {
            *ret = stolen;
            true
        }
        _ => false,
    }
}

#[test]
fn most_reads_that_answer_what_another_read_answered_are_caught() {
    let (mut falsified, mut caught, mut rows) = (0, 0, 0);
    for seed in 0..200 {
        let mut calls = registers(SMALL, seed);
        if !falsify(&mut calls, &mut Random(seed)) {
            continue;
        }
        falsified += 1;
        match check::<Register>(&history(&calls), BUDGET) {
            Verdict::Linearizable => {}
            Verdict::Violation(report) => {
                caught += 1;
                rows += report.rows().len();
            }
            verdict @ Verdict::OutOfBudget { .. } => panic!("seed {seed}: {verdict}"),
        }
    }
    assert!(falsified > 50, "only {falsified} histories were falsified");
    assert!(caught * 10 > falsified * 8, "only {caught} of {falsified} were caught");
    assert!(rows < caught * 8, "{rows} rows for {caught} violations are too many to read");
}

#[test]
fn a_list_with_an_item_missing_is_caught_and_its_report_is_short() {
    for seed in 0..50 {
        let mut calls = lists(SMALL, seed);
        let longest = calls
            .iter_mut()
            .filter_map(|call| match &mut call.returned {
                Some((_, AppendListRet::Items(items))) => Some(items),
                _ => None,
            })
            .max_by_key(|items| items.len())
            .unwrap();
        longest.remove(longest.len() / 2);
        match check::<AppendList>(&history(&calls), BUDGET) {
            Verdict::Violation(report) => {
                let essential = report.rows().iter().filter(|row| row.is_essential()).count();
                assert!(essential <= 3, "seed {seed}: {report}");
            }
            verdict => panic!("seed {seed}: {verdict}"),
        }
    }
}

#[test]
fn ten_thousand_operations_need_few_steps_each() {
    let load = Load { operations: 10_000, keys: 20, clients: 10, unknown_percent: 0 };
    let verdict = check::<Register>(&history(&registers(load, 1)), 5_000);
    assert!(verdict.is_linearizable(), "{verdict}");
    let verdict = check::<AppendList>(&history(&lists(load, 1)), 5_000);
    assert!(verdict.is_linearizable(), "{verdict}");
}

#[test]
fn hundreds_of_unknown_operations_on_one_key_stay_affordable() {
    let load = Load { operations: 2_000, keys: 1, clients: 5, unknown_percent: 20 };
    for seed in 0..5 {
        let verdict = check::<Register>(&history(&registers(load, seed)), BUDGET);
        assert!(verdict.is_linearizable(), "registers, seed {seed}: {verdict}");
        let verdict = check::<AppendList>(&history(&lists(load, seed)), BUDGET);
        assert!(verdict.is_linearizable(), "lists, seed {seed}: {verdict}");
    }
}

#[test]
fn a_violation_among_a_hundred_unknown_operations_is_found() {
    let load = Load { operations: 500, keys: 1, clients: 5, unknown_percent: 20 };
    for seed in 0..3 {
        let mut calls = registers(load, seed);
        let mut random = Random(seed);
        while !falsify(&mut calls, &mut random) {}
        let verdict = check::<Register>(&history(&calls), BUDGET);
        assert!(matches!(verdict, Verdict::Violation(_)), "seed {seed}: {verdict}");
    }
}
