//! The search for an explanation of the operations on one key.

use alloc::vec::Vec;
use core::hash::Hash;

use hashbrown::HashMap;

use super::bits::{BitSet, Signature};
use super::history::ClaimOf;
use super::model::{Model, Observation};
use super::timeline::Timeline;

#[derive(Debug)]
pub(super) enum Outcome {
    Linearizable,
    /// `prefix` is the longest order found that explains some of the claims, as indices into
    /// them.
    Violation {
        prefix: Vec<usize>,
    },
    OutOfBudget,
}

/// Decides whether the claims have an explanation. Takes what it spends from `budget`.
pub(super) fn solve<M: Model>(claims: &[ClaimOf<'_, M>], budget: &mut u64) -> Outcome {
    Search::<M>::new(claims).run(budget)
}

/// The model for what the claims show.
pub(super) fn model_of<M: Model>(claims: &[ClaimOf<'_, M>]) -> M {
    let observations: Vec<_> = claims
        .iter()
        .map(|claim| Observation { op: claim.op(), ret: claim.returned().map(|(_, ret)| ret) })
        .collect();
    M::observe(&observations)
}

struct Search<'a, M: Model> {
    model: M,
    claims: &'a [ClaimOf<'a, M>],
    /// The claims with a return, as indices in order of invocation.
    returned: Vec<usize>,
    /// The claims without, in order of invocation, but for needless ones.
    unknown: Vec<Unknown<M::Op>>,
    /// The returned operations that are still to be placed.
    timeline: Timeline,
    /// What is placed, as indices into `returned` and `unknown`.
    placed_returned: BitSet,
    placed_unknown: BitSet,
    state: M::State,
    trail: Vec<Placed<M::State>>,
    explored: Explored<M::State>,
    unplaced: usize,
    longest: Longest,
}

#[derive(Debug)]
struct Unknown<Op> {
    claim: usize,
    invoked: u64,
    /// What stands for the operation.
    op: Op,
    /// The last one before with an equal `op`. It is placed first: whatever the later one could
    /// do, the earlier one can do in its place.
    twin: Option<usize>,
}

/// An operation that no unplaced operation precedes in time, so that it may be placed next.
#[derive(Debug, Clone, Copy)]
enum Candidate {
    /// The operation that an event of the timeline invokes.
    Returned { event: usize, operation: usize },
    /// An index into the unknown operations.
    Unknown(usize),
}

/// Where to look for the next candidate. Returned operations come first, so that unknown ones are
/// used only for want of another way.
#[derive(Debug, Clone, Copy)]
enum Cursor {
    /// An event of the timeline.
    Event(usize),
    /// An index into the unknown operations.
    Unknown(usize),
}

#[derive(Debug)]
struct Placed<S> {
    candidate: Candidate,
    before: S,
}

#[derive(Debug, Default)]
struct Longest {
    returned: usize,
    prefix: Vec<usize>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(claims: &'a [ClaimOf<'a, M>]) -> Self {
        let model = model_of::<M>(claims);
        let mut order: Vec<usize> = (0..claims.len()).collect();
        order.sort_by_key(|&claim| claims[claim].invoked());
        let (returned, unknown): (Vec<usize>, Vec<usize>) =
            order.into_iter().partition(|&claim| claims[claim].returned().is_some());
        let unknown = reduce(&model, claims, &unknown);
        let intervals: Vec<(u64, u64)> = returned
            .iter()
            .filter_map(|&claim| Some((claims[claim].invoked(), claims[claim].returned()?.0)))
            .collect();
        Self {
            claims,
            timeline: Timeline::new(&intervals),
            placed_returned: BitSet::with_capacity(returned.len()),
            placed_unknown: BitSet::with_capacity(unknown.len()),
            state: model.init(),
            trail: Vec::new(),
            explored: Explored::default(),
            unplaced: returned.len(),
            longest: Longest::default(),
            model,
            returned,
            unknown,
        }
    }

    fn run(mut self, budget: &mut u64) -> Outcome {
        let mut from = self.first();
        while self.unplaced > 0 {
            if let Some(candidate) = self.candidate(from) {
                let Some(rest) = budget.checked_sub(1) else {
                    return Outcome::OutOfBudget;
                };
                *budget = rest;
                let placed = self.place(candidate);
                from = if placed { self.first() } else { self.after(candidate) };
            } else if let Some(next) = self.retreat() {
                from = next;
            } else {
                return Outcome::Violation { prefix: self.longest.prefix };
            }
        }
        Outcome::Linearizable
    }

    fn first(&self) -> Cursor {
        Cursor::Event(self.timeline.first())
    }

    fn after(&self, candidate: Candidate) -> Cursor {
        match candidate {
            Candidate::Returned { event, .. } => Cursor::Event(self.timeline.after(event)),
            Candidate::Unknown(index) => Cursor::Unknown(index + 1),
        }
    }

    fn candidate(&self, from: Cursor) -> Option<Candidate> {
        let start = match from {
            Cursor::Event(event) => match self.timeline.invocation(event) {
                Some(operation) => return Some(Candidate::Returned { event, operation }),
                None => 0,
            },
            Cursor::Unknown(index) => index,
        };
        let horizon = self.timeline.horizon();
        (start..self.unknown.len())
            .take_while(|&index| self.unknown[index].invoked <= horizon)
            .find(|&index| {
                let twin = self.unknown[index].twin;
                !self.placed_unknown.contains(index)
                    && twin.is_none_or(|twin| self.placed_unknown.contains(twin))
            })
            .map(Candidate::Unknown)
    }

    /// Places an operation, unless that is impossible or leads nowhere new.
    fn place(&mut self, candidate: Candidate) -> bool {
        let Some(state) = self.step(&self.state, candidate) else {
            return false;
        };
        if self.is_pointless(candidate, &state) {
            return false;
        }
        self.mark(candidate);
        let returned = self.placed_returned.signature();
        if !self.explored.insert(returned, state.clone(), &self.placed_unknown) {
            self.unmark(candidate);
            return false;
        }
        let before = core::mem::replace(&mut self.state, state);
        self.trail.push(Placed { candidate, before });
        true
    }

    /// Whether another way leads to the same state, with fewer unknown operations or with an
    /// unknown operation later: without `candidate`, without the unknown operation placed just
    /// before it, or with these two swapped. That way is open, because an unknown operation
    /// precedes nothing in time, and it is explored from an earlier point of the trail. Each
    /// such way puts a returned operation first or uses fewer unknown ones, so that the argument
    /// does not go in circles.
    fn is_pointless(&self, candidate: Candidate, after: &M::State) -> bool {
        let is_unknown = matches!(candidate, Candidate::Unknown(_));
        if is_unknown && *after == self.state {
            return true;
        }
        let Some(Placed { candidate: last @ Candidate::Unknown(_), before }) = self.trail.last()
        else {
            return false;
        };
        let Some(without) = self.step(before, candidate) else {
            return false;
        };
        without == *after
            || (!is_unknown && self.step(&without, *last).is_some_and(|state| state == *after))
    }

    /// Takes back the operation that was placed last and says where to go on from.
    fn retreat(&mut self) -> Option<Cursor> {
        self.remember_longest();
        let Placed { candidate, before } = self.trail.pop()?;
        self.unmark(candidate);
        self.state = before;
        Some(self.after(candidate))
    }

    /// Keeps the trail, up to its last returned operation, if it explains more of them than any
    /// trail before.
    fn remember_longest(&mut self) {
        let returned = self.returned.len() - self.unplaced;
        if returned > self.longest.returned {
            let last = self
                .trail
                .iter()
                .rposition(|placed| matches!(placed.candidate, Candidate::Returned { .. }));
            let useful = last.map_or(0, |last| last + 1);
            let prefix =
                self.trail.iter().take(useful).map(|placed| self.claim(placed.candidate)).collect();
            self.longest = Longest { returned, prefix };
        }
    }

    fn claim(&self, candidate: Candidate) -> usize {
        match candidate {
            Candidate::Returned { operation, .. } => self.returned[operation],
            Candidate::Unknown(index) => self.unknown[index].claim,
        }
    }

    fn step(&self, state: &M::State, candidate: Candidate) -> Option<M::State> {
        match candidate {
            Candidate::Returned { operation, .. } => {
                let claim = &self.claims[self.returned[operation]];
                self.model.step(state, claim.op(), claim.returned().map(|(_, ret)| ret))
            }
            Candidate::Unknown(index) => self.model.step(state, &self.unknown[index].op, None),
        }
    }

    fn mark(&mut self, candidate: Candidate) {
        match candidate {
            Candidate::Returned { event, operation } => {
                self.timeline.lift(event);
                self.placed_returned.insert(operation);
                self.unplaced -= 1;
            }
            Candidate::Unknown(index) => self.placed_unknown.insert(index),
        }
    }

    fn unmark(&mut self, candidate: Candidate) {
        match candidate {
            Candidate::Returned { event, operation } => {
                self.timeline.unlift(event);
                self.placed_returned.remove(operation);
                self.unplaced += 1;
            }
            Candidate::Unknown(index) => self.placed_unknown.remove(index),
        }
    }
}

/// Finds what stands for each operation with an unknown outcome, given in order of invocation.
fn reduce<M: Model>(model: &M, claims: &[ClaimOf<'_, M>], order: &[usize]) -> Vec<Unknown<M::Op>> {
    let mut latest: HashMap<M::Op, usize> = HashMap::new();
    order
        .iter()
        .filter_map(|&claim| Some((claim, model.reduce(claims[claim].op())?)))
        .enumerate()
        .map(|(index, (claim, op))| {
            let twin = latest.insert(op.clone(), index);
            Unknown { claim, invoked: claims[claim].invoked(), op, twin }
        })
        .collect()
}

/// The situations that were explored. For each set of returned operations and each state it holds
/// sets of unknown operations of which none contains another: a larger set has no way out that
/// the smaller one lacks.
struct Explored<S> {
    situations: HashMap<(Signature, S), Vec<BitSet>>,
}

impl<S> Default for Explored<S> {
    fn default() -> Self {
        Self { situations: HashMap::new() }
    }
}

impl<S: Eq + Hash> Explored<S> {
    /// Adds a situation; false if it was explored already, or one at least as good was.
    fn insert(&mut self, returned: Signature, state: S, unknown: &BitSet) -> bool {
        let explored = self.situations.entry((returned, state)).or_default();
        if explored.iter().any(|smaller| smaller.is_subset(unknown)) {
            return false;
        }
        explored.retain(|larger| !unknown.is_subset(larger));
        explored.push(unknown.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[usize]) -> BitSet {
        let mut set = BitSet::with_capacity(8);
        numbers.iter().for_each(|&number| set.insert(number));
        set
    }

    #[test]
    fn a_situation_is_explored_again_only_with_unknown_operations_to_spare() {
        let mut explored = Explored::default();
        let mut insert = |returned: &[usize], state: u64, unknown: &[usize]| {
            explored.insert(set(returned).signature(), state, &set(unknown))
        };
        assert!(insert(&[0], 7, &[1, 2]));
        assert!(!insert(&[0], 7, &[1, 2]));
        assert!(!insert(&[0], 7, &[1, 2, 3]), "it can do no more than the first");
        assert!(insert(&[0], 7, &[3]), "it still has what the first has used");
        assert!(insert(&[0], 7, &[1]), "it has one more to use than the first");
        assert!(!insert(&[0], 7, &[1, 4]));
        assert!(insert(&[0], 8, &[1]), "another state is another situation");
        assert!(insert(&[0, 1], 7, &[1]), "so are other returned operations");
    }
}
