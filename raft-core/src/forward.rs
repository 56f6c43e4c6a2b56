//! Proposals that are made at a follower and appended by its leader.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::ids::{LogIndex, NodeId, RequestId, Term};
use crate::message::BatchId;
use crate::time::Instant;

/// A follower's batches whose fate at the leader is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Forwards {
    batches: BTreeMap<u64, Forward>,
    requests: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Forward {
    requests: Vec<RequestId>,
    give_up: Instant,
}

impl Forwards {
    /// How many requests wait.
    pub(crate) const fn requests(&self) -> usize {
        self.requests
    }

    pub(crate) fn insert(&mut self, sequence: u64, requests: Vec<RequestId>, give_up: Instant) {
        self.requests += requests.len();
        self.batches.insert(sequence, Forward { requests, give_up });
    }

    /// The requests of a batch that the leader has answered.
    pub(crate) fn take(&mut self, sequence: u64) -> Option<Vec<RequestId>> {
        let batch = self.batches.remove(&sequence)?;
        self.requests -= batch.requests.len();
        Some(batch.requests)
    }

    /// When the oldest batch has waited long enough.
    pub(crate) fn give_up(&self) -> Option<Instant> {
        self.batches.first_key_value().map(|(_, batch)| batch.give_up)
    }

    /// A batch that has waited long enough.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Vec<RequestId>> {
        let (sequence, batch) = self.batches.first_key_value()?;
        if now < batch.give_up {
            return None;
        }
        let sequence = *sequence;
        self.take(sequence)
    }

    pub(crate) fn into_requests(self) -> impl Iterator<Item = RequestId> {
        self.batches.into_values().flat_map(|batch| batch.requests)
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let sum: usize = self.batches.values().map(|batch| batch.requests.len()).sum();
        if sum == self.requests {
            Ok(())
        } else {
            Err("the count of forwarded requests equals its recomputation")
        }
    }
}

/// The batches that a leader has seen in its term, so that a repeated message appends nothing.
///
/// A batch that is too old to tell counts as seen: its sender then learns nothing and calls the
/// outcome unknown, which is true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SeenBatches(VecDeque<Window>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Window {
    from: NodeId,
    incarnation: u64,
    newest: u64,
    /// Bit n stands for the batch `newest - n`.
    seen: u64,
}

impl SeenBatches {
    /// More restarts of peers than this within one term are not told apart any more.
    const WINDOWS: usize = 256;

    /// Marks the batch; says whether it is seen for the first time.
    pub(crate) fn is_new(&mut self, from: NodeId, batch: BatchId) -> bool {
        let known = |w: &&mut Window| w.from == from && w.incarnation == batch.incarnation;
        if let Some(window) = self.0.iter_mut().find(known) {
            return window.is_new(batch.sequence);
        }
        if self.0.len() == Self::WINDOWS {
            self.0.pop_front();
        }
        let BatchId { incarnation, sequence } = batch;
        self.0.push_back(Window { from, incarnation, newest: sequence, seen: 1 });
        true
    }
}

impl Window {
    fn is_new(&mut self, sequence: u64) -> bool {
        if sequence > self.newest {
            let ahead = u32::try_from(sequence - self.newest).unwrap_or(u32::MAX);
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = sequence;
            return true;
        }
        let behind = u32::try_from(self.newest - sequence).unwrap_or(u32::MAX);
        let bit = 1_u64.checked_shl(behind).unwrap_or(0);
        let new = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

/// Proposals that are in some log at a known place and whose leader this node is not (any more):
/// what commits at their place decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Awaiting {
    /// With the time to stop waiting; `None` while the leader that appended it is in office.
    places: BTreeMap<Place, Option<Instant>>,
    expiring: BTreeSet<(Instant, Place)>,
}

type Place = (LogIndex, Term, RequestId);

impl Awaiting {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn insert(&mut self, index: LogIndex, term: Term, request: RequestId) {
        self.places.insert((index, term, request), None);
    }

    /// The leader is gone: from now on there is an end to the waiting.
    pub(crate) fn limit(&mut self, at: Instant) {
        for (place, give_up) in &mut self.places {
            if give_up.is_none() {
                *give_up = Some(at);
                self.expiring.insert((at, *place));
            }
        }
    }

    /// A proposal whose place is at or before `commit`.
    pub(crate) fn take_decided(&mut self, commit: LogIndex) -> Option<Place> {
        let first = self.places.first_entry()?;
        if first.key().0 > commit {
            return None;
        }
        let (place, give_up) = first.remove_entry();
        if let Some(at) = give_up {
            self.expiring.remove(&(at, place));
        }
        Some(place)
    }

    pub(crate) fn give_up(&self) -> Option<Instant> {
        self.expiring.first().map(|(at, _)| *at)
    }

    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<RequestId> {
        let (at, place) = *self.expiring.first()?;
        if at > now {
            return None;
        }
        self.expiring.pop_first();
        self.places.remove(&place);
        Some(place.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn batch(sequence: u64) -> BatchId {
        BatchId { incarnation: 7, sequence }
    }

    #[test]
    fn a_batch_is_new_once_in_whatever_order_batches_come() {
        let mut seen = SeenBatches::default();
        let from = NodeId::new(2);
        for sequence in [5, 3, 4, 70, 69, 7] {
            assert!(seen.is_new(from, batch(sequence)), "{sequence}");
            assert!(!seen.is_new(from, batch(sequence)), "{sequence}");
        }
        assert!(!seen.is_new(from, batch(5)), "70 pushed it out of the window: taken for seen");
        assert!(seen.is_new(NodeId::new(3), batch(70)), "another sender");
        let reborn = BatchId { incarnation: 8, sequence: 70 };
        assert!(seen.is_new(from, reborn), "another life of the sender");
        assert!(!seen.is_new(from, batch(69)), "the earlier life is still remembered");
        assert!(seen.is_new(from, batch(u64::MAX)));
    }
}
