//! What the clients remember of their writes.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;

use super::DemoError;
use crate::store::{self, Condition, SetAnswer};

/// A minute: longer than any client waits for an answer.
const LONGEST_MICROS: u64 = 60_000_000;

/// One write. Its key and its value belong to no other write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// The client that made it, from 0 on.
    pub(super) client: u32,
    /// Which of its writes it is.
    pub(super) sequence: u64,
}

impl Write {
    pub(super) fn key(self) -> Bytes {
        format!("demo:{}:{}", self.client, self.sequence).into()
    }

    pub(super) fn value(self) -> Bytes {
        format!("write {} of client {}", self.sequence, self.client).into()
    }

    /// What goes into the log: the write, and one more on the counter of its client, which tells
    /// whether it was applied once.
    pub(super) fn command(self) -> Bytes {
        let set = store::Write::Set {
            key: self.key(),
            value: self.value(),
            condition: Condition::Always,
            answer: SetAnswer::Outcome,
        };
        store::encode(&[set, store::Write::Add { key: counter(self.client), by: 1 }])
    }
}

/// The key under which the writes of a client are counted.
pub(super) fn counter(client: u32) -> Bytes {
    format!("demo:{client}:count").into()
}

/// The memory of all clients, shared by them.
#[derive(Clone, Debug)]
pub(super) struct Journal(Arc<Mutex<Pages>>);

#[derive(Debug)]
struct Pages {
    started: Instant,
    acknowledged: Vec<Acknowledged>,
    refused: u64,
    uncertain: u64,
    /// Writes of each client that never had an answer.
    doubts: BTreeMap<u32, u64>,
    killed: Option<Instant>,
    failover: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    write: Write,
    begun: Instant,
    done: Instant,
}

impl Journal {
    /// A journal that begins now.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Pages {
            started: Instant::now(),
            acknowledged: Vec::new(),
            refused: 0,
            uncertain: 0,
            doubts: BTreeMap::new(),
            killed: None,
            failover: None,
        })))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // No entry is ever half made, so a panic elsewhere does not spoil the journal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster has promised to keep this write.
    pub(super) fn acknowledge(&self, write: Write, begun: Instant) {
        let done = Instant::now();
        self.pages().acknowledged.push(Acknowledged { write, begun, done });
    }

    /// The cluster has said that a write was not made. It is tried again.
    pub(super) fn refuse(&self) {
        self.pages().refused += 1;
    }

    /// Nobody knows whether a write was made. It is tried again.
    pub(super) fn wonder(&self) {
        self.pages().uncertain += 1;
    }

    /// A client gives up. Its last write may have been made or not.
    pub(super) fn doubt(&self, client: u32) {
        *self.pages().doubts.entry(client).or_default() += 1;
    }

    /// How many writes have been acknowledged.
    pub(super) fn count(&self) -> u64 {
        self.pages().acknowledged.len() as u64
    }

    /// How long the cluster acknowledged nothing after its leader was killed at `killed`, or `None`
    /// while that still lasts. Only writes that were begun once the leader was `dead` tell: an
    /// earlier one may be its own last work.
    pub(super) fn failover(&self, killed: Instant, dead: Instant) -> Option<Duration> {
        let mut pages = self.pages();
        // The newest are at the end, and the leader died a moment ago.
        let recent = pages.acknowledged.iter().rev().take_while(|one| one.done >= dead);
        let first = recent.filter(|one| one.begun >= dead).map(|one| one.done).min()?;
        pages.killed = Some(killed);
        pages.failover = Some(first - killed);
        pages.failover
    }

    /// Whether a write that was begun at this time or later has been acknowledged.
    pub(super) fn has_written_since(&self, time: Instant) -> bool {
        // The newest are at the end.
        let pages = self.pages();
        let mut recent = pages.acknowledged.iter().rev().take_while(|one| one.done >= time);
        recent.any(|one| one.begun >= time)
    }

    /// Ends the account.
    pub(super) fn summarise(&self, clients: u32) -> Result<Account, DemoError> {
        let pages = self.pages();
        let mut least = BTreeMap::new();
        for one in &pages.acknowledged {
            *least.entry(one.write.client).or_default() += 1;
        }
        let of = |counts: &BTreeMap<u32, u64>, client| counts.get(&client).copied().unwrap_or(0);
        let counts = (0..clients).map(|client| {
            let least = of(&least, client);
            least..=least + of(&pages.doubts, client)
        });
        let mut latencies =
            Histogram::new_with_max(LONGEST_MICROS, 3).map_err(DemoError::Histogram)?;
        for one in &pages.acknowledged {
            let micros = (one.done - one.begun).as_micros();
            latencies.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
        }
        Ok(Account {
            writes: pages.acknowledged.iter().map(|one| one.write).collect(),
            counts: counts.collect(),
            duration: pages.started.elapsed(),
            refused: pages.refused,
            uncertain: pages.uncertain,
            failover: pages.failover,
            longest_wait: pages.killed.map(|killed| longest_wait(&pages.acknowledged, killed)),
            latencies,
        })
    }
}

/// The longest time, from `since` on, that any one client went without an acknowledgement between
/// two of its writes.
fn longest_wait(acknowledged: &[Acknowledged], since: Instant) -> Duration {
    let mut by_client: Vec<_> =
        acknowledged.iter().map(|one| (one.write.client, one.done)).collect();
    by_client.sort_unstable();
    let next = by_client.iter().skip(1);
    let waits = by_client
        .iter()
        .zip(next)
        .filter(|((client, _), (same, after))| client == same && *after > since)
        .map(|((_, before), (_, after))| *after - (*before).max(since));
    waits.max().unwrap_or_default()
}

/// What came of all the writes.
pub(super) struct Account {
    /// The acknowledged ones.
    pub(super) writes: Vec<Write>,
    /// How many writes of each client were applied, if nothing was lost or repeated.
    pub(super) counts: Vec<RangeInclusive<u64>>,
    pub(super) duration: Duration,
    pub(super) refused: u64,
    pub(super) uncertain: u64,
    pub(super) failover: Option<Duration>,
    pub(super) longest_wait: Option<Duration>,
    /// Of the acknowledged writes, in microseconds.
    pub(super) latencies: Histogram<u64>,
}

impl Account {
    pub(super) fn acknowledged(&self) -> u64 {
        self.writes.len() as u64
    }

    /// Acknowledged writes in a second.
    pub(super) fn rate(&self) -> f64 {
        self.writes.len() as f64 / self.duration.as_secs_f64().max(f64::EPSILON)
    }

    /// The latency that so many percent of the acknowledged writes did not exceed.
    pub(super) fn latency(&self, percent: f64) -> Duration {
        Duration::from_micros(self.latencies.value_at_percentile(percent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged(client: u32, start: Instant, begun: u64, done: u64) -> Acknowledged {
        let at = |millis| start + Duration::from_millis(millis);
        let write = Write { client, sequence: begun };
        Acknowledged { write, begun: at(begun), done: at(done) }
    }

    #[test]
    fn failover_ends_with_the_first_write_that_was_begun_after_the_death() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let journal = Journal::new();
        journal.pages().acknowledged.push(acknowledged(0, start, 90, 108));
        assert_eq!(journal.failover(at(100), at(105)), None);
        journal.pages().acknowledged.extend([
            acknowledged(1, start, 106, 400),
            acknowledged(0, start, 108, 390),
            acknowledged(0, start, 391, 395),
        ]);
        assert_eq!(journal.failover(at(100), at(105)), Some(Duration::from_millis(290)));
    }

    #[test]
    fn the_longest_wait_is_that_of_one_client_after_the_kill() {
        let start = Instant::now();
        let since = start + Duration::from_millis(100);
        let acknowledged = [
            acknowledged(0, start, 0, 10),
            acknowledged(1, start, 0, 95),
            acknowledged(1, start, 95, 300),
            acknowledged(0, start, 280, 350),
            acknowledged(1, start, 301, 400),
        ];
        assert_eq!(longest_wait(&acknowledged, since), Duration::from_millis(250));
        assert_eq!(longest_wait(&[], since), Duration::ZERO);
    }
}
