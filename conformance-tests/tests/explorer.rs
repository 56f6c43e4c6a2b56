//! The explorer as a test: many drawn worlds, and the proof that a seed decides everything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use conformance_tests::explore::{Report, explore};

/// A debug build runs some 40 seeds a second on each core, a release build ten times as many.
const SEEDS: u64 = if cfg!(debug_assertions) { 300 } else { 1000 };

/// Runs `look` on every seed below `end`, on all cores, and returns what it found in the order of
/// the seeds.
fn on_all_cores(end: u64, look: impl Fn(u64) -> Option<String> + Sync) -> Vec<String> {
    let next = AtomicU64::new(0);
    let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < end);
    let work = || {
        std::iter::from_fn(take).filter_map(|seed| Some((seed, look(seed)?))).collect::<Vec<_>>()
    };
    let mut found: Vec<_> = thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    found.sort();
    found.into_iter().map(|(_, what)| what).collect()
}

fn replay(seed: u64) -> String {
    format!("replay: cargo run --release -p conformance-tests -- explore --seed {seed} --trace")
}

#[test]
fn drawn_worlds_stay_safe_and_recover() {
    let failures = on_all_cores(SEEDS, |seed| {
        let failure = explore(seed, false).failure?;
        Some(format!("seed {seed}: {failure}\n{}", replay(seed)))
    });
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// I20.
#[test]
fn a_seed_decides_everything_with_or_without_a_record() {
    let essence = |report: Report| (report.failure, report.digest, report.calls);
    let differences = on_all_cores(SEEDS / 10, |number| {
        // Spread, so that the sample differs from the seeds of the other test.
        let seed = number * 7919 + 1_000_000;
        let [first, again, recorded] = [false, false, true].map(|record| explore(seed, record));
        assert!(!recorded.trace.is_empty() && first.trace.is_empty(), "only one is recorded");
        let (first, again, recorded) = (essence(first), essence(again), essence(recorded));
        let same = first == again && first == recorded;
        let seen = format!("{first:?}, then {again:?}, recorded {recorded:?}");
        (!same).then(|| format!("seed {seed} is not repeatable: {seen}\n{}", replay(seed)))
    });
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

#[test]
fn other_seeds_are_other_worlds() {
    let digests: std::collections::BTreeSet<u64> =
        (0..20).map(|seed| explore(seed, false).digest).collect();
    assert_eq!(digests.len(), 20);
}
