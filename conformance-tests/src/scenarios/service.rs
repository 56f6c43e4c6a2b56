//! The labs' tests of a service on top of Raft: clients that never give up a command, while the
//! cluster fails in every way.
//!
//! The service is the suite's registers, wrapped in sessions. Where the labs append markers to a
//! text, here every written value is unique, and the oracle counts how often it was applied.

use alloc::format;
use alloc::vec::Vec;

use crate::cluster::{CallId, Cluster, Network, Setup};
use crate::lab::Lab;
use crate::machine::{Command, decode_value, query};
use crate::scenarios::load::{Keys, Load};

/// A snapshot follows after so many entries, where there are snapshots.
const EVERY: u64 = 20;
/// How long a log may be once everything is applied.
const LOG_LIMIT: u64 = 2 * EVERY;
/// How long a log may be at any time, as in the labs.
const BUSY_LOG_LIMIT: u64 = 8 * EVERY;

/// What the clients have to bear.
#[derive(Clone, Copy)]
struct Trial {
    clients: usize,
    keys: Keys,
    unreliable: bool,
    partitions: bool,
    crashes: bool,
    snapshots: bool,
}

impl Trial {
    const fn of(clients: usize) -> Self {
        Self {
            clients,
            keys: Keys::Own,
            unreliable: false,
            partitions: false,
            crashes: false,
            snapshots: false,
        }
    }

    const fn unreliable(self) -> Self {
        Self { unreliable: true, ..self }
    }

    const fn partitions(self) -> Self {
        Self { partitions: true, ..self }
    }

    const fn crashes(self) -> Self {
        Self { crashes: true, ..self }
    }

    const fn snapshots(self) -> Self {
        Self { snapshots: true, ..self }
    }

    const fn on(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    fn begin<C: Cluster>(self, mut cluster: C) -> Lab<C> {
        cluster.set_network(Network { unreliable: self.unreliable, long_reordering: false });
        let snapshot_every = self.snapshots.then_some(EVERY);
        Lab::begin_with(cluster, Setup { snapshot_every, sessions: true, ..Setup::default() })
    }

    fn run<C: Cluster>(self, cluster: C) {
        let mut lab = self.begin(cluster);
        let mut load = Load::new(self.clients, self.keys);
        for _ in 0..lab.rounds(3) {
            load.run(&mut lab, 1.0);
            for _ in 0..4 {
                if self.partitions {
                    split_at_random(&mut lab);
                }
                let longer = lab.cluster.random(200) as f64 / 1000.0;
                load.run(&mut lab, 1.0 + longer);
                if self.snapshots {
                    busy_logs_are_short(&mut lab);
                }
            }
            lab.cluster.heal();
            if self.crashes {
                lab.crash_all();
                load.run(&mut lab, 1.0);
                lab.start_all();
            }
            load.makes_progress(&mut lab, 2);
            load.settle(&mut lab);
        }
        lab.cluster.set_network(Network::default());
        let size = lab.size();
        lab.agree(size, true);
        load.makes_progress(&mut lab, 1);
        load.settle(&mut lab);
        if self.snapshots {
            lab.logs_shrink_to(LOG_LIMIT);
        } else {
            no_snapshots(&mut lab);
        }
        lab.end();
    }
}

/// Puts each node on one of two sides.
fn split_at_random<C: Cluster>(lab: &mut Lab<C>) {
    let sides: Vec<bool> = (0..lab.size()).map(|_| lab.cluster.random(2) == 0).collect();
    lab.cluster.heal();
    lab.cluster.partition(&sides);
}

/// With a policy logs do not have to wait for rest to be cut.
fn busy_logs_are_short<C: Cluster>(lab: &mut Lab<C>) {
    let longest = lab.longest_log();
    lab.demand(longest <= BUSY_LOG_LIMIT, || {
        format!("a log of {longest} entries under load, the limit is {BUSY_LOG_LIMIT}")
    });
}

/// Without a policy nothing is ever cut off a log.
fn no_snapshots<C: Cluster>(lab: &mut Lab<C>) {
    let commands = lab.commands() as u64;
    for node in 0..lab.size() {
        let length = lab.cluster.log_length(node).unwrap_or(u64::MAX);
        lab.demand(length >= commands, || {
            format!("node {node} has {length} entries of {commands} commands and more")
        });
    }
}

/// One client.
pub fn basic_3a<C: Cluster>(cluster: C) {
    Trial::of(1).run(cluster);
}

/// Commands are replicated at once, not with the next heartbeat: one after the other takes less
/// than half a heartbeat interval each.
pub fn speed_3a<C: Cluster>(cluster: C) {
    speed(Lab::begin(cluster)).end();
}

/// The same while snapshots are taken and the log is cut.
pub fn speed_3b<C: Cluster>(cluster: C) {
    let setup = Setup { snapshot_every: Some(EVERY), ..Setup::default() };
    let mut lab = speed(Lab::begin_with(cluster, setup));
    lab.logs_shrink_to(LOG_LIMIT);
    lab.end();
}

fn speed<C: Cluster>(mut lab: Lab<C>) -> Lab<C> {
    let leader = lab.one_leader();
    let count = lab.rounds(1000);
    let mut steps = 0;
    for _ in 0..count {
        let (call, _) = lab.propose(leader);
        let answered = lab.until(5.0, |lab| {
            steps += 1;
            lab.cluster.answer(call).is_some()
        });
        let answer = lab.cluster.answer(call);
        lab.demand(answered && matches!(answer, Some(Ok(_))), || format!("{answer:?}"));
    }
    // A step is a fiftieth of an election timeout, and so a fifth of a heartbeat interval. The
    // first look comes before any time has passed.
    let waits = steps - count;
    lab.demand(waits * 2 <= count * 5, || format!("{waits} steps for {count} commands"));
    lab
}

/// Several clients.
pub fn concurrent_3a<C: Cluster>(cluster: C) {
    Trial::of(5).run(cluster);
}

/// Several clients on a network that loses messages.
pub fn unreliable_3a<C: Cluster>(cluster: C) {
    Trial::of(5).unreliable().run(cluster);
}

/// The same, all on one register.
pub fn unreliable_one_key_3a<C: Cluster>(cluster: C) {
    let trial = Trial::of(5).unreliable();
    let mut lab = trial.begin(cluster);
    let mut load = Load::new(trial.clients, Keys::Shared(1));
    load.makes_progress(&mut lab, 10);
    load.settle(&mut lab);
    lab.end();
}

/// Clients of the majority go on, those of the minority wait, and none is told anything wrong.
pub fn one_partition_3a<C: Cluster>(cluster: C) {
    const KEY: u64 = 1;
    let mut lab = Lab::begin(cluster);
    write(&mut lab, 0, KEY, 13);
    let leader = lab.one_leader();
    let outside = lab.after(leader, 1);
    let sides: Vec<bool> = (0..5).map(|node| node == leader || node == outside).collect();
    let inside = lab.after(leader, 2);
    lab.cluster.partition(&sides);
    write(&mut lab, inside, KEY, 14);
    read_is(&mut lab, inside, KEY, 14);

    // A leader that is cut off must not answer reads either (R079). A client that does not give up
    // asks the other node of its side, again and again.
    let stuck = lab.cluster.propose(leader, Command::Write { key: KEY, value: 15 }.encode());
    let command = Command::Write { key: KEY, value: 17 }.encode();
    let mut patient =
        Patient { call: |cluster: &mut C| cluster.propose(outside, command.clone()), open: None };
    let blind = [leader, outside].map(|node| lab.cluster.read(node, query(KEY)));
    let done = lab.until(1.0, |lab| patient.answer(&mut lab.cluster).is_some());
    lab.demand(!done, || "a minority has written".into());
    for call in blind.into_iter().chain([stuck]) {
        let answer = lab.cluster.answer(call);
        lab.demand(!matches!(answer, Some(Ok(_))), || format!("a minority said {answer:?}"));
    }
    read_is(&mut lab, inside, KEY, 14);
    write(&mut lab, inside, KEY, 16);

    lab.cluster.heal();
    let done = lab.until(5.0, |lab| patient.answer(&mut lab.cluster).is_some());
    lab.demand(done, || "a write that had waited for the others came to nothing".into());
    read_is(&mut lab, inside, KEY, 17);
    let answered = lab.until(5.0, |lab| {
        blind.iter().chain([&stuck]).all(|call| lab.cluster.answer(*call).is_some())
    });
    lab.demand(answered, || "somebody who had waited was never answered".into());
    let answer = lab.cluster.answer(stuck);
    lab.demand(!matches!(answer, Some(Ok(_))), || format!("an old leader said {answer:?}"));
    for call in blind {
        // A read that waited may be answered after all, but not with what it could have seen alone.
        if let Some(Ok(value)) = lab.cluster.answer(call) {
            let value = decode_value(&value).flatten();
            lab.demand(value != Some(13), || "a minority has answered with old data".into());
        }
    }
    read_is(&mut lab, outside, KEY, 17);
    write(&mut lab, outside, KEY, 15);
    read_is(&mut lab, inside, KEY, 15);
    lab.end();
}

/// One client while the cluster is split again and again.
pub fn many_partitions_one_client_3a<C: Cluster>(cluster: C) {
    Trial::of(1).partitions().run(cluster);
}

/// Several clients while the cluster is split again and again.
pub fn many_partitions_many_clients_3a<C: Cluster>(cluster: C) {
    Trial::of(5).partitions().run(cluster);
}

/// One client, and all nodes crash.
pub fn persist_one_client_3a<C: Cluster>(cluster: C) {
    Trial::of(1).crashes().run(cluster);
}

/// Several clients, and all nodes crash.
pub fn persist_concurrent_3a<C: Cluster>(cluster: C) {
    Trial::of(5).crashes().run(cluster);
}

/// The same on a network that loses messages.
pub fn persist_concurrent_unreliable_3a<C: Cluster>(cluster: C) {
    Trial::of(5).crashes().unreliable().run(cluster);
}

/// Crashes and partitions.
pub fn persist_partition_3a<C: Cluster>(cluster: C) {
    Trial::of(5).crashes().partitions().run(cluster);
}

/// Crashes, partitions and a network that loses messages.
pub fn persist_partition_unreliable_3a<C: Cluster>(cluster: C) {
    Trial::of(5).crashes().partitions().unreliable().run(cluster);
}

/// The same with many clients on few registers.
pub fn persist_partition_unreliable_linearizable_3a<C: Cluster>(cluster: C) {
    Trial::of(15).on(Keys::Shared(5)).crashes().partitions().unreliable().run(cluster);
}

/// A majority cuts its logs although the third node does not answer; that one gets a snapshot, and
/// is then a part of another majority.
pub fn snapshot_rpc_3b<C: Cluster>(cluster: C) {
    let [a, b, c, d, e] = [1000, 1001, 1002, 1003, 1004];
    let mut lab =
        Lab::begin_with(cluster, Setup { snapshot_every: Some(EVERY), ..Setup::default() });
    write(&mut lab, 0, a, 1);
    lab.cluster.partition(&[false, false, true]);
    for key in 0..50 {
        write(&mut lab, 0, key, key);
    }
    lab.sleep(1.0);
    write(&mut lab, 1, b, 2);
    let short = lab.until(10.0, |lab| {
        [0, 1].iter().all(|node| lab.cluster.log_length(*node).is_some_and(|it| it <= LOG_LIMIT))
    });
    lab.demand(short, || "a node that is cut off keeps the others from cutting their logs".into());

    lab.cluster.heal();
    lab.cluster.partition(&[false, true, false]);
    write(&mut lab, 0, c, 3);
    write(&mut lab, 2, d, 4);
    for (key, value) in [(a, 1), (b, 2), (c, 3), (d, 4), (1, 1), (49, 49)] {
        read_is(&mut lab, 2, key, value);
    }
    lab.cluster.heal();
    write(&mut lab, 1, e, 5);
    for (key, value) in [(c, 3), (e, 5), (1, 1)] {
        read_is(&mut lab, 1, key, value);
    }
    lab.agree(3, true);
    lab.logs_shrink_to(LOG_LIMIT);
    lab.end();
}

/// Logs stay short however long the same register is written.
pub fn snapshot_size_3b<C: Cluster>(cluster: C) {
    let mut lab =
        Lab::begin_with(cluster, Setup { snapshot_every: Some(EVERY), ..Setup::default() });
    for _ in 0..lab.rounds(200) {
        for value in [0, 1] {
            write(&mut lab, 0, 7, value);
            read_is(&mut lab, 1, 7, value);
        }
    }
    lab.logs_shrink_to(LOG_LIMIT);
    lab.end();
}

/// Restarts from snapshots, under one client.
pub fn snapshot_recover_3b<C: Cluster>(cluster: C) {
    Trial::of(1).crashes().snapshots().run(cluster);
}

/// Restarts from snapshots, under many clients.
pub fn snapshot_recover_many_clients_3b<C: Cluster>(cluster: C) {
    Trial::of(20).crashes().snapshots().run(cluster);
}

/// Snapshots on a network that loses messages.
pub fn snapshot_unreliable_3b<C: Cluster>(cluster: C) {
    Trial::of(5).unreliable().snapshots().run(cluster);
}

/// Restarts from snapshots on a network that loses messages.
pub fn snapshot_unreliable_recover_3b<C: Cluster>(cluster: C) {
    Trial::of(5).crashes().unreliable().snapshots().run(cluster);
}

/// The same with partitions.
pub fn snapshot_unreliable_recover_concurrent_partition_3b<C: Cluster>(cluster: C) {
    Trial::of(5).crashes().partitions().unreliable().snapshots().run(cluster);
}

/// The same with many clients on few registers.
pub fn snapshot_unreliable_recover_concurrent_partition_linearizable_3b<C: Cluster>(cluster: C) {
    let trial = Trial::of(15).on(Keys::Shared(5)).crashes().partitions().unreliable();
    trial.snapshots().run(cluster);
}

/// Writes a register through a node, without sessions: it is done only where twice is harmless.
#[track_caller]
fn write<C: Cluster>(lab: &mut Lab<C>, node: usize, key: u64, value: u64) {
    let command = Command::Write { key, value }.encode();
    ask(lab, |cluster| cluster.propose(node, command.clone()));
}

#[track_caller]
fn read_is<C: Cluster>(lab: &mut Lab<C>, node: usize, key: u64, value: u64) {
    let answer = ask(lab, |cluster| cluster.read(node, query(key)));
    let found = decode_value(&answer).flatten();
    lab.demand(found == Some(value), || format!("register {key}: {found:?}, not {value}"));
}

/// Asks again and again until there is an answer.
#[track_caller]
fn ask<C: Cluster>(lab: &mut Lab<C>, call: impl FnMut(&mut C) -> CallId) -> bytes::Bytes {
    let mut patient = Patient { call, open: None };
    let mut answer = None;
    lab.until(20.0, |lab| {
        answer = patient.answer(&mut lab.cluster);
        answer.is_some()
    });
    lab.demand(answer.is_some(), || "never answered".into());
    answer.unwrap_or_default()
}

/// Somebody who asks again whenever there is no success.
struct Patient<F> {
    call: F,
    open: Option<CallId>,
}

impl<F> Patient<F> {
    /// The answer, if it has come.
    fn answer<C: Cluster>(&mut self, cluster: &mut C) -> Option<bytes::Bytes>
    where
        F: FnMut(&mut C) -> CallId,
    {
        let id = *self.open.get_or_insert_with(|| (self.call)(cluster));
        let answer = cluster.answer(id)?;
        if answer.is_err() {
            self.open = None;
        }
        answer.ok()
    }
}
