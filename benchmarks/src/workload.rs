//! What every library is made to do.

use std::alloc::System;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use stats_alloc::{Region, StatsAlloc};

use crate::cluster::Cluster;
use crate::noraft::Noraft;
use crate::ours::Ours;
use crate::raft_rs::RaftRs;
use crate::yggr::Yggr;

/// A library, by name.
pub(crate) struct Library {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Cell, u64, &StatsAlloc<System>) -> Measured,
}

impl Library {
    const fn of<C: Cluster>() -> Self {
        Self { name: C::NAME, run: run::<C> }
    }
}

/// All of them, ours first.
pub(crate) static LIBRARIES: [Library; 5] = [
    Library::of::<Ours<true>>(),
    Library::of::<Ours<false>>(),
    Library::of::<RaftRs>(),
    Library::of::<Yggr>(),
    Library::of::<Noraft>(),
];

/// A workload: commands of so many bytes, so many of which are outstanding at a time.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) bytes: usize,
    pub(crate) window: usize,
}

/// The workloads that are compared.
pub(crate) const CELLS: [Cell; 6] = [
    Cell { bytes: 16, window: 1 },
    Cell { bytes: 16, window: 64 },
    Cell { bytes: 16, window: 1024 },
    Cell { bytes: 256, window: 1 },
    Cell { bytes: 256, window: 64 },
    Cell { bytes: 256, window: 1024 },
];

/// What a run took.
pub(crate) struct Measured {
    pub(crate) time: Duration,
    pub(crate) allocations: usize,
}

/// Elects a leader, then proposes until so many entries are applied on all three nodes.
fn run<C: Cluster>(cell: Cell, entries: u64, allocator: &StatsAlloc<System>) -> Measured {
    let mut cluster = C::start();
    let mut buffer = ReceiveBuffer::new(cell.bytes);
    let mut commands = Vec::with_capacity(cell.window);
    let region = Region::new(allocator);
    let begun = Instant::now();
    let mut left = entries;
    while left > 0 {
        let batch = left.min(cell.window as u64);
        left -= batch;
        commands.extend((0..batch).map(|_| buffer.next()));
        cluster.propose(&commands);
        commands.clear();
    }
    cluster.settle();
    let measured = Measured { time: begun.elapsed(), allocations: region.change().allocations };
    let expected = (entries, entries * cell.bytes as u64);
    let applied = cluster.machines().map(crate::cluster::Machine::applied);
    assert_eq!(applied, [expected; 3], "{} applies everything everywhere", C::NAME);
    measured
}

/// Commands as they come out of a socket: pieces of a large buffer, which it takes no memory to
/// pass on.
struct ReceiveBuffer {
    bytes: usize,
    whole: Bytes,
    rest: Bytes,
}

impl ReceiveBuffer {
    const SIZE: usize = 64 << 10;

    fn new(bytes: usize) -> Self {
        // A piece of it turns it into one that counts its pieces.
        let whole = BytesMut::zeroed(Self::SIZE).freeze();
        let rest = whole.clone();
        Self { bytes, whole, rest }
    }

    fn next(&mut self) -> Bytes {
        if self.rest.len() < self.bytes {
            self.rest = self.whole.clone();
        }
        self.rest.split_to(self.bytes)
    }
}
