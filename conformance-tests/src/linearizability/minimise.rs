//! Makes a violation small enough to read.
//!
//! Operations can't simply be left out: without its write, an innocent read would look like a
//! read of a value that was never written. Two reductions are safe, because an explanation of the
//! whole history would also explain what is left: to stop the history early, and to treat a
//! returned operation as one with an unknown outcome. What needless unknown operations remain is
//! then left out by the model's own judgement.

use alloc::vec::Vec;

use super::history::{Claim, ClaimOf};
use super::model::Model;
use super::search::{Outcome, model_of, solve};

/// A set of claims without explanation. `prefix` is the longest order found for some of them, as
/// indices into `claims`.
#[derive(Debug)]
pub(super) struct Evidence<'a, Op, Ret> {
    pub(super) claims: Vec<Claim<'a, Op, Ret>>,
    pub(super) prefix: Vec<usize>,
}

/// Reduces claims that are known to have no explanation, as `cost` steps have proven, spending at
/// most `budget` steps more. The result has no explanation either.
pub(super) fn minimise<'a, M: Model>(
    claims: &[ClaimOf<'a, M>],
    prefix: Vec<usize>,
    cost: u64,
    budget: u64,
) -> Evidence<'a, M::Op, M::Ret> {
    let evidence = Evidence { claims: claims.to_vec(), prefix };
    let mut minimiser = Minimiser::<M> { evidence, cost, budget };
    minimiser.stop_early();
    minimiser.relax();
    minimiser.evidence
}

/// A trial that takes this many times the steps of the last proof is given up. Evidence that
/// would be so much harder to check is no gain, and one hard trial must not use up the budget.
const PATIENCE: u64 = 4;

/// What each trial may take, however simple the last proof was.
const SMALL_TRIAL: u64 = 1_000;

struct Minimiser<'a, M: Model> {
    evidence: Evidence<'a, M::Op, M::Ret>,
    /// The steps that it took to prove that the evidence has no explanation.
    cost: u64,
    budget: u64,
}

impl<'a, M: Model> Minimiser<'a, M> {
    /// Finds the earliest time at which the history was already beyond explanation. Each start of
    /// a linearizable history is linearizable, so halving finds it.
    fn stop_early(&mut self) {
        let whole = self.evidence.claims.clone();
        let mut ends: Vec<u64> =
            whole.iter().filter_map(|claim| Some(claim.returned()?.0)).collect();
        ends.sort_unstable();
        ends.dedup();
        let (mut low, mut high) = (0, ends.len().saturating_sub(1));
        while low < high {
            let middle = low.midpoint(high);
            if self.try_claims(until(&whole, ends[middle])) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
    }

    /// Relaxes as many claims as possible: many at once first, then fewer, at last one by one.
    fn relax(&mut self) {
        let mut size = self.evidence.claims.len();
        while size > 0 {
            let mut start = 0;
            while start < self.evidence.claims.len() {
                // A success may take claims out, so that others move up to the same start.
                if !self.try_to_relax(start, size) {
                    start += size;
                }
            }
            size /= 2;
        }
    }

    fn try_to_relax(&mut self, start: usize, size: usize) -> bool {
        let mut claims = self.evidence.claims.clone();
        let mut changed = false;
        for claim in claims.iter_mut().skip(start).take(size) {
            changed |= claim.returned().is_some();
            *claim = claim.relaxed();
        }
        changed && self.try_claims(claims)
    }

    /// Takes over the claims if they are proven to have no explanation.
    fn try_claims(&mut self, mut claims: Vec<ClaimOf<'a, M>>) -> bool {
        let model = model_of::<M>(&claims);
        claims.retain(|claim| claim.returned().is_some() || model.reduce(claim.op()).is_some());
        let limit = self.budget.min(self.cost.saturating_mul(PATIENCE).max(SMALL_TRIAL));
        let mut rest = limit;
        let outcome = solve::<M>(&claims, &mut rest);
        let spent = limit - rest;
        self.budget -= spent;
        match outcome {
            Outcome::Violation { prefix } => {
                self.evidence = Evidence { claims, prefix };
                self.cost = spent;
                true
            }
            Outcome::Linearizable | Outcome::OutOfBudget => false,
        }
    }
}

/// What the claims were at a time: calls of the future are gone, and calls that had not returned
/// have an unknown outcome.
fn until<'a, Op, Ret>(claims: &[Claim<'a, Op, Ret>], end: u64) -> Vec<Claim<'a, Op, Ret>> {
    claims
        .iter()
        .filter(|claim| claim.invoked() <= end)
        .map(|claim| match claim.returned() {
            Some((at, _)) if at > end => claim.relaxed(),
            _ => *claim,
        })
        .collect()
}
