//! Model checking of the production core: everything that can happen, within bounds that are small
//! enough for every test run. `examples/model.rs` goes further.
//!
//! The numbers of states are not asserted for their own sake: a model that explores next to nothing
//! would hold every law.

#[path = "../model/mod.rs"]
mod model;

use model::{Bounds, Case, LAWS};
use stateright::{Checker, Model};

/// Explores everything, and demands that all laws hold and that there was much to explore.
fn explore(name: &str, at_least: usize) {
    let case = Bounds::all().into_iter().find(|case| case.name == name);
    let Case { what, bounds, .. } = case.expect("there are bounds of this name");
    let checker = bounds.checker().threads(2).spawn_dfs().join();
    let report = checker.discovery(LAWS).map(|path| {
        let flaw = path.last_state().flaw();
        let steps: Vec<String> = path.into_actions().iter().map(ToString::to_string).collect();
        let replay = "cargo run --release -p conformance-tests --example model --";
        format!("{what}: {flaw:?}, by\n{}\nreplay: {replay} {name}", steps.join("\n"))
    });
    assert!(report.is_none(), "{}", report.unwrap_or_default());
    let states = checker.unique_state_count();
    assert!(states >= at_least, "{name} has only {states} states");
}

#[test]
fn a_command_is_safe_in_every_order_of_messages() {
    explore("command", 300);
    explore("repeated", 2000);
}

#[test]
fn three_candidates_in_one_term_are_safe_in_every_order_of_messages() {
    explore("candidates", 3000);
}

#[test]
fn slow_disks_are_safe_in_every_order_of_their_completions() {
    explore("disk", 2000);
}

#[test]
fn a_crash_at_any_time_with_any_loss_of_writes_is_safe() {
    explore("disk-crash", 30_000);
}

#[test]
fn a_cluster_that_grows_under_changing_leaders_is_safe() {
    explore("third-voter", 100);
    explore("growth-two-terms", 10_000);
}

#[test]
fn a_leader_that_leads_again_after_a_crash_is_safe() {
    explore("re-elected", 500);
}
