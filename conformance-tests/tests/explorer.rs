//! The explorer as a test: many drawn worlds, and the proof that a seed decides everything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use clap::{Parser, ValueEnum};
use conformance_tests::explore::{
    Part, Picture, Plan, Reduction, Report, Shrunk, explore, kind, shrink,
};
use conformance_tests::sim::Form;

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

/// The run as the seed draws it.
fn whole() -> Reduction {
    Reduction::default()
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    reduction: Reduction,
}

fn parse(options: &str) -> Result<Reduction, String> {
    let words = std::iter::once("explore").chain(options.split_whitespace());
    Line::try_parse_from(words).map(|line| line.reduction).map_err(|error| error.to_string())
}

#[test]
fn drawn_worlds_stay_safe_and_recover() {
    let failures = on_all_cores(SEEDS, |seed| {
        let report = explore(seed, &whole(), false);
        let failure = report.failure.as_ref()?;
        Some(format!("seed {seed}: {failure}\n{}", report.replay()))
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
        let reduced = Reduction { voters: Some(3), chaos_ms: Some(4000), ..whole() };
        let reduction = if number % 2 == 0 { whole() } else { reduced };
        let [first, again, recorded] =
            [false, false, true].map(|record| explore(seed, &reduction, record));
        let replay = first.replay();
        assert!(!recorded.trace.is_empty() && first.trace.is_empty(), "only one is recorded");
        let (first, again, recorded) = (essence(first), essence(again), essence(recorded));
        let same = first == again && first == recorded;
        let seen = format!("{first:?}, then {again:?}, recorded {recorded:?}");
        (!same).then(|| format!("seed {seed} is not repeatable: {seen}\n{replay}"))
    });
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

#[test]
fn other_seeds_are_other_worlds() {
    let digests: std::collections::BTreeSet<u64> =
        (0..20).map(|seed| explore(seed, &whole(), false).digest).collect();
    assert_eq!(digests.len(), 20);
}

/// A planted oracle: it calls it a failure that a link is cut one way.
fn distrustful(seed: u64, reduction: &Reduction) -> Report {
    let mut report = explore(seed, reduction, true);
    let table = report.trace.table(Form::Full).to_string();
    let cut = table.lines().find(|line| line.contains("cut-one-way"));
    report.failure = cut.map(|line| format!("I99: {}", line.trim()));
    report
}

/// A seed that fails by that oracle, and has much in it that is not needed for that.
fn first_that_fails() -> Report {
    let mut reports = (0..).map(|seed| distrustful(seed, &whole()));
    let fails = |report: &Report| report.failure.is_some() && report.faults.len() > 50;
    reports.find(fails).expect("some seed cuts a link")
}

#[test]
fn a_failing_seed_is_shrunk_to_what_it_takes_to_fail_and_always_to_the_same() {
    let failed = first_that_fails();
    let seed = failed.seed;
    let again = || shrink(failed.clone(), |reduction| distrustful(seed, reduction));
    let (Shrunk { report, runs }, other) = (again(), again());
    assert_eq!((&report.reduction, report.digest), (&other.report.reduction, other.report.digest));
    assert!(report.failure.as_ref().is_some_and(|it| kind(it) == "I99"), "{:?}", report.failure);
    assert!(runs > 0 && report.steps < failed.steps, "{} of {}", report.steps, failed.steps);
    assert_eq!(report.faults.len(), 1, "one cut is enough: {}", report.reduction);
    let plan = report.plan.to_string();
    assert!(plan.starts_with("nodes: 1 voter\n"), "{plan}");
    assert!(
        plan.contains("a good network; faults for") && plan.contains(": cut-one-way\n"),
        "{plan}"
    );
    let line =
        parse(&report.reduction.to_string()).expect("the line that is printed is understood");
    assert_eq!(line, report.reduction);
    assert_eq!(explore(seed, &line, false).digest, report.digest, "and it replays the run");
}

#[test]
fn a_seed_that_passes_is_not_shrunk() {
    let passed = explore(0, &whole(), false);
    let shrunk = shrink(passed.clone(), |_| panic!("nothing is tried"));
    assert_eq!((shrunk.runs, shrunk.report.digest), (0, passed.digest));
}

#[test]
fn every_part_can_be_named_and_left_out() {
    let plan =
        |seed, reduction: &Reduction| format!("{:?}", Plan::draw(seed, false).reduced(reduction));
    for part in Part::value_variants() {
        let reduction = parse(&format!("--without {part}")).expect("a known word");
        assert_eq!(reduction, Reduction { without: vec![*part], ..whole() });
        let differs = (0..300).any(|seed| plan(seed, &reduction) != plan(seed, &whole()));
        assert!(differs, "without {part} every plan stays the same");
    }
    for number in ["--voters 1", "--chaos-ms 100", "--faults 2,5", "--registers 1"] {
        let reduction = parse(number).expect("a known option");
        assert_eq!(reduction.to_string(), format!(" {number}"));
        let differs = (0..20).any(|seed| plan(seed, &reduction) != plan(seed, &whole()));
        assert!(differs, "{number} changes no plan");
    }
}

#[test]
fn unknown_parts_are_refused_with_a_list_of_the_known_ones() {
    let refusal = parse("--without loss,gravity").expect_err("no such part");
    assert!(refusal.contains("gravity"), "{refusal}");
    for part in Part::value_variants() {
        assert!(refusal.contains(&part.to_string()), "{part} is not in: {refusal}");
    }
    assert!(parse("--voters 0").is_err() && parse("--registers 0").is_err());
}

/// No part is needed for a run to be sound: what fails without some part is a bug, or the explorer
/// would shrink failures to something else.
#[test]
fn what_is_left_of_a_world_stays_safe_and_recovers_too() {
    let parts = Part::value_variants();
    let failures = on_all_cores(parts.len() as u64 * 4, |number| {
        let without = vec![parts[number as usize % parts.len()], parts[number as usize / 4]];
        let report = explore(number + 2_000_000, &Reduction { without, ..whole() }, false);
        Some(format!("{}\n{}", report.failure.as_ref()?, report.replay()))
    });
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn failures_are_of_one_kind_whatever_the_nodes_and_numbers() {
    assert_eq!(kind("I5: leader n2 of t2 counts copies of i23"), "I5");
    assert_ne!(kind("I5: leader n2"), kind("I15: leader n2"));
    let core = |node: u8| kind(&format!("an invariant of the core at n{node}: it has {node} logs"));
    assert_eq!(core(1), core(2));
    assert_ne!(
        kind("a panic: index 7 out of bounds"),
        kind("a panic: attempt to add with overflow")
    );
}

#[test]
fn a_failure_is_shown_with_its_plan_a_table_and_the_line_that_replays_it() {
    let report = first_that_fails();
    let picture = Picture { report: &report, form: Form::Short }.to_string();
    let lines: Vec<&str> = picture.lines().collect();
    let verdict = format!("seed {}: I99: ", report.seed);
    assert!(lines[0].starts_with(&verdict), "{}", lines[0]);
    assert!(lines[1].starts_with("nodes: ") && lines[2].starts_with("trouble: "));
    assert!(lines[3].starts_with("clients: ") && lines[4].is_empty());
    assert_eq!(lines[5], "  time in ms  node  what happened");
    let (table, end) = lines[6..].split_at(lines.len() - 6 - 3);
    assert!((20..=202).contains(&table.len()), "{} lines", table.len());
    for line in table {
        let columns = line.chars().count() <= 160 && line.get(12..14) == Some("  ");
        assert!(columns && line.get(18..20) == Some("  "), "{line}");
    }
    assert!(table.iter().any(|line| line.get(14..18) == Some("n1  ")), "nodes have their names");
    assert!(end[0].is_empty() && end[1].starts_with(&verdict), "{}", end[1]);
    assert_eq!(end[2], report.replay());
    let full = Picture { report: &report, form: Form::Full }.to_string();
    assert!(full.lines().count() > lines.len() && !full.contains("left out"));
}
