//! The checks for state machines, on good ones and on ones with the faults that they look for.
#![allow(missing_docs, reason = "tests are described by their names")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use conformance_tests::contract::{BrokenContract, is_deterministic, survives_crashes};
use raft_node::core::LogIndex;
use raft_node::{FrozenState, StateMachine};

fn commands() -> Vec<Bytes> {
    (0..30_u8).map(|nth| vec![nth % 7; usize::from(nth % 4)].into()).collect()
}

/// What is wrong with a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Answers depend on the instance.
    KnowsItself,
    /// The snapshot is in the order of a hash map.
    Unordered,
    /// Restoring adds to what is there.
    Merges,
    /// The snapshot lacks something that answers depend on.
    Forgets,
    /// The frozen state is the one at the time of writing.
    Thaws,
}

/// Counts how often each command came.
struct Counts {
    fault: Fault,
    instance: u64,
    total: u64,
    counts: HashMap<Bytes, u64>,
    /// The state after the newest command, where frozen states may find it.
    newest: Arc<Mutex<Vec<u8>>>,
}

impl Counts {
    fn new(fault: Fault, instance: u64) -> Self {
        let (counts, newest) = (HashMap::new(), Arc::default());
        Self { fault, instance, total: 0, counts, newest }
    }

    fn state(&self) -> Vec<u8> {
        let mut counts: Vec<_> = self.counts.iter().collect();
        if self.fault != Fault::Unordered {
            counts.sort();
        }
        let total = if self.fault == Fault::Forgets { 0 } else { self.total };
        let counts = counts.into_iter().map(|(command, count)| {
            let head = [command.len() as u8, *count as u8];
            [&head, command.as_ref()].concat()
        });
        [vec![total as u8], counts.collect::<Vec<_>>().concat()].concat()
    }
}

impl StateMachine for Counts {
    fn apply(&mut self, _: LogIndex, command: Bytes) -> Bytes {
        self.total += 1;
        *self.counts.entry(command).or_default() += 1;
        *self.newest.lock().unwrap() = self.state();
        let own = if self.fault == Fault::KnowsItself { self.instance } else { 0 };
        (self.total + own).to_string().into()
    }

    fn query(&self, _: Bytes) -> Bytes {
        Bytes::new()
    }

    fn snapshot(&self) -> FrozenState {
        let (state, newest) = (self.state(), self.newest.clone());
        let thaws = self.fault == Fault::Thaws;
        Box::new(move |to| {
            let written = if thaws { newest.lock().unwrap().clone() } else { state };
            to.write_all(&written)
        })
    }

    fn restore(&mut self, _: LogIndex, state: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        state.read_to_end(&mut bytes)?;
        let (total, mut rest) = bytes.split_first().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.total = u64::from(*total);
        if self.fault != Fault::Merges {
            self.counts.clear();
        }
        while let [length, count, more @ ..] = rest {
            let (command, others) = more.split_at(usize::from(*length));
            self.counts.insert(Bytes::copy_from_slice(command), u64::from(*count));
            rest = others;
        }
        Ok(())
    }
}

fn determinism_of(fault: Fault) -> Result<(), BrokenContract> {
    let instances = Cell::new(0);
    let make = || {
        instances.set(instances.get() + 1);
        Counts::new(fault, instances.get())
    };
    // A command that is not among the first half, for the restored machine to forget.
    let commands = [commands(), vec!["only once".into(); 30]].concat();
    is_deterministic(make, &commands)
}

/// R126.
#[test]
fn a_machine_that_does_the_same_each_time_passes() {
    determinism_of(Fault::None).unwrap();
    let make = || Counts::new(Fault::None, 0);
    is_deterministic(make, &[]).unwrap();
    is_deterministic(make, &["one".into()]).unwrap();
}

/// R126: replicas would drift apart.
#[test]
fn a_machine_that_depends_on_anything_but_its_commands_is_found_out() {
    let error = determinism_of(Fault::KnowsItself).unwrap_err();
    let text = "command 1: a second machine answers b\"3\", not b\"2\"";
    assert_eq!(error.to_string(), text);
    let error = determinism_of(Fault::Unordered).unwrap_err();
    assert!(matches!(error, BrokenContract::Snapshot { .. }), "{error}");
    let error = determinism_of(Fault::Merges).unwrap_err();
    assert!(matches!(error, BrokenContract::Snapshot { number: 60, .. }), "{error}");
    let error = determinism_of(Fault::Forgets).unwrap_err();
    assert!(matches!(error, BrokenContract::Answer { number: 31, .. }), "{error}");
    let error = determinism_of(Fault::Thaws).unwrap_err();
    assert!(matches!(error, BrokenContract::Snapshot { number: 30, .. }), "{error}");
}

/// When a machine on disk writes its index.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Index {
    WithTheData,
    /// Once for several commands.
    Later,
    /// Before the data, which wait for others.
    Earlier,
    /// It is always one too high.
    Wrong,
    /// Not when a snapshot is restored.
    NotRestored,
}

/// Adds up the lengths of commands, in a file.
struct Sum {
    index: Index,
    directory: PathBuf,
    sum: u64,
    applied: u64,
}

impl Sum {
    fn open(directory: &Path, index: Index) -> Self {
        let number = |name| fs::read_to_string(directory.join(name)).ok()?.parse().ok();
        // Data and index in one file are as good as atomic here.
        let both: Option<String> = fs::read_to_string(directory.join("both")).ok();
        let both = both.and_then(|text| {
            let (sum, applied) = text.split_once(' ')?;
            Some((sum.parse().ok()?, applied.parse().ok()?))
        });
        let (sum, applied) = both.unwrap_or_else(|| {
            (number("sum").unwrap_or_default(), number("index").unwrap_or_default())
        });
        Self { index, directory: directory.to_owned(), sum, applied }
    }

    fn write(&self, name: &str, what: impl ToString) {
        fs::write(self.directory.join(name), what.to_string()).unwrap();
    }

    fn store(&self) {
        let Self { sum, applied, .. } = self;
        match self.index {
            Index::WithTheData | Index::NotRestored => {
                self.write("both", format!("{sum} {applied}"))
            }
            Index::Wrong => self.write("both", format!("{sum} {}", applied + 1)),
            Index::Later => {
                self.write("sum", sum);
                if applied % 4 == 0 {
                    self.write("index", applied);
                }
            }
            Index::Earlier => {
                self.write("index", applied);
                if applied % 4 == 0 {
                    self.write("sum", sum);
                }
            }
        }
    }
}

impl StateMachine for Sum {
    fn apply(&mut self, index: LogIndex, command: Bytes) -> Bytes {
        self.sum += command.len() as u64;
        self.applied = index.get();
        self.store();
        self.sum.to_string().into()
    }

    fn query(&self, _: Bytes) -> Bytes {
        self.sum.to_string().into()
    }

    fn snapshot(&self) -> FrozenState {
        let sum = self.sum;
        Box::new(move |to| to.write_all(&sum.to_le_bytes()))
    }

    fn restore(&mut self, index: LogIndex, state: &mut dyn Read) -> io::Result<()> {
        let mut bytes = [0; 8];
        state.read_exact(&mut bytes)?;
        self.sum = u64::from_le_bytes(bytes);
        if self.index != Index::NotRestored {
            self.applied = index.get();
        }
        self.store();
        Ok(())
    }

    fn applied(&self) -> LogIndex {
        LogIndex::new(self.applied).unwrap()
    }
}

/// R098.
#[test]
fn a_machine_that_stores_its_index_with_its_data_passes() {
    survives_crashes(|directory| Sum::open(directory, Index::WithTheData), &commands()).unwrap();
    // A machine in memory is rebuilt from the log each time.
    survives_crashes(|_| Counts::new(Fault::None, 0), &commands()).unwrap();
}

/// R098: commands would be applied twice, or not at all.
#[test]
fn a_machine_that_stores_its_index_apart_from_its_data_is_found_out() {
    let check = |index| survives_crashes(|directory| Sum::open(directory, index), &commands());
    for index in [Index::Later, Index::Earlier] {
        let error = check(index).unwrap_err();
        let noticed =
            matches!(error, BrokenContract::Answer { who: "a machine after a crash", .. });
        assert!(noticed, "{index:?}: {error}");
    }
    let error = check(Index::Wrong).unwrap_err();
    assert!(matches!(error, BrokenContract::Ahead { .. }), "{error}");
    // It is restored twice, which does no harm.
    check(Index::NotRestored).unwrap();
}
