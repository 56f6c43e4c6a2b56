//! Real processes, killed, stopped and cut off from each other while clients ask them for this and
//! that: what the clients see must be linearizable, and when the faults are over everything must go
//! on.
//!
//! Everything is drawn from a seed, which a failure tells, yet in real time no two runs are the
//! same. `NEMESIS_SEED` sets the seed, and `NEMESIS_SECONDS` how long there are faults.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what goes wrong in a test fails the test")]

#[path = "../support/client.rs"]
mod client;
mod clients;
mod cluster;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use conformance_tests::linearizability::check;
use conformance_tests::linearizability::models::{Text, TextAction, TextRet};
use conformance_tests::real::Flow;

use clients::{Asker, Clients, Desk, TextHistory};
use cluster::{Cluster, Link};
use plan::{Cut, Fault, Ways, What, Whom};

/// How long there are faults if nothing else is said, in seconds.
const SECONDS: u64 = 12;

/// Longer than anything here may take once everything is healed. Only a failing test waits for it.
const HANG: Duration = Duration::from_secs(60);

/// Steps that the checker may take for each key.
const CHECK_BUDGET: u64 = 10_000_000;

#[test]
fn nodes_on_tokio_stay_linearizable_whatever_the_nemesis_does() {
    play("nodes_on_tokio", &["tokio"; 3]);
}

#[test]
fn nodes_on_async_std_stay_linearizable_whatever_the_nemesis_does() {
    play("nodes_on_async_std", &["async-std"; 3]);
}

#[test]
fn nodes_on_smol_stay_linearizable_whatever_the_nemesis_does() {
    play("nodes_on_smol", &["smol"; 3]);
}

#[test]
fn nodes_on_threads_stay_linearizable_whatever_the_nemesis_does() {
    play("nodes_on_threads", &["sync"; 3]);
}

#[test]
fn nodes_on_different_runtimes_stay_linearizable_whatever_the_nemesis_does() {
    play("nodes_on_different_runtimes", &["tokio", "smol", "sync", "async-std", "tokio"]);
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no whole number: {text}")))
}

fn play(test: &str, runtimes: &[&'static str]) {
    let seed = setting("NEMESIS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    let seconds = setting("NEMESIS_SECONDS").unwrap_or(SECONDS);
    let cluster = Cluster::start(runtimes);
    let desk = Desk::new(cluster.addresses());
    let mut nemesis =
        Nemesis { cluster, active: BTreeMap::new(), began: Instant::now(), story: String::new() };
    let outcome = nemesis.play(&desk, seed, Duration::from_secs(seconds));
    let Nemesis { mut cluster, story, .. } = nemesis;
    match outcome {
        Ok(seen) => println!("seed {seed}: {seen} requests are linearizable\n{story}"),
        Err(why) => panic!(
            "seed {seed}: {why}\nagain, as far as real time allows:\n    \
             NEMESIS_SEED={seed} NEMESIS_SECONDS={seconds} cargo test -p raft-kv --test nemesis \
             {test}\nwhat the nemesis did:\n{story}{}",
            cluster.last_words()
        ),
    }
}

/// Does to a cluster what the plan says.
struct Nemesis {
    cluster: Cluster,
    /// What the faults that have begun have really struck, by their places in the plan.
    active: BTreeMap<usize, Struck>,
    began: Instant,
    story: String,
}

enum Struck {
    Killed(BTreeSet<u64>),
    Paused(BTreeSet<u64>),
    Cut(BTreeMap<Link, Flow>),
}

impl Nemesis {
    /// Returns how many requests were made.
    fn play(&mut self, desk: &Desk, seed: u64, time: Duration) -> Result<usize, String> {
        let mut auditor = Asker::new(desk);
        self.insist_everywhere(desk, &mut auditor)?;
        let clients = Clients::start(desk, seed);
        let faults = plan::draw(seed, desk.nodes(), time);
        self.began = Instant::now();
        self.strike(&faults)?;
        self.tell("everything is healed");
        self.insist_everywhere(desk, &mut auditor)?;
        self.tell("every node has served a write");
        let mut history = clients.stop()?;
        let agreed = self.compare(desk, &mut auditor);
        history.absorb(auditor.history());
        self.cluster.are_alive()?;
        // What clients saw says more than that the nodes differ.
        verdict(&history)?;
        agreed.map(|()| history.len())
    }

    fn tell(&mut self, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        let _ = writeln!(self.story, "{at:>8.3} s  {what}");
    }

    /// Begins and ends the faults in time.
    fn strike(&mut self, faults: &[Fault]) -> Result<(), String> {
        let begins = faults.iter().enumerate().map(|(at, fault)| (fault.begins, true, at));
        let ends = faults.iter().enumerate().map(|(at, fault)| (fault.ends, false, at));
        let mut events: Vec<(Duration, bool, usize)> = begins.chain(ends).collect();
        events.sort_unstable();
        for (at, begins, place) in events {
            thread::sleep(at.saturating_sub(self.began.elapsed()));
            self.cluster.are_alive()?;
            let fault = &faults[place];
            if begins { self.begin(place, fault) } else { self.end(place) }
        }
        Ok(())
    }

    fn begin(&mut self, place: usize, fault: &Fault) {
        let lasts = (fault.ends - fault.begins).as_secs_f64();
        let (what, struck) = match &fault.what {
            What::Kill(whom) => {
                let (ids, name) = self.find(whom);
                (format!("kills {name}"), Struck::Killed(self.cluster.kill(&ids)))
            }
            What::Pause(whom) => {
                let (ids, name) = self.find(whom);
                (format!("stops {name}"), Struck::Paused(self.cluster.pause(&ids)))
            }
            What::Cut(cut) => {
                let (ids, name) = self.find(&cut.side);
                (format!("{cut} {name}"), Struck::Cut(self.links(cut, &ids)))
            }
        };
        self.tell(&format!("[{place}] {what}, for {lasts:.3} s"));
        self.active.insert(place, struck);
        self.cut();
    }

    fn end(&mut self, place: usize) {
        match self.active.remove(&place) {
            Some(Struck::Killed(ids)) => self.cluster.start_nodes(&ids),
            Some(Struck::Paused(ids)) => self.cluster.go_on(&ids),
            Some(Struck::Cut(_)) | None => self.cut(),
        }
        self.tell(&format!("[{place}] is over"));
    }

    /// Brings the links in line with the cuts that are not over. Of two cuts of a link the later
    /// one counts.
    fn cut(&self) {
        let mut links = BTreeMap::new();
        for struck in self.active.values() {
            if let Struck::Cut(cut) = struck {
                links.extend(cut.iter().map(|(link, flow)| (*link, *flow)));
            }
        }
        self.cluster.cut(&links);
    }

    /// Who is meant, and what to call them.
    fn find(&self, whom: &Whom) -> (BTreeSet<u64>, String) {
        match whom {
            Whom::Leader(stand_in) => match self.cluster.leader() {
                Some(leader) => ([leader].into(), format!("the leader, node {leader}")),
                None => ([*stand_in].into(), format!("node {stand_in}, as nobody leads")),
            },
            Whom::Nodes(ids) => (ids.clone(), format!("nodes {ids:?}")),
        }
    }

    fn links(&self, cut: &Cut, side: &BTreeSet<u64>) -> BTreeMap<Link, Flow> {
        let mut links = BTreeMap::new();
        for other in self.cluster.ids().difference(side) {
            if cut.from.is_some_and(|from| from != *other && !side.contains(&from)) {
                continue;
            }
            for one in side {
                if cut.ways != Ways::Deaf {
                    links.insert((*one, *other), cut.flow);
                }
                if cut.ways != Ways::Mute {
                    links.insert((*other, *one), cut.flow);
                }
            }
        }
        links
    }

    /// Writes through each node, and tries again until it has.
    fn insist_everywhere(&mut self, desk: &Desk, auditor: &mut Asker) -> Result<(), String> {
        let key = desk.keys().pop().unwrap_or_default();
        for node in desk.places() {
            self.insist("serves a write", auditor, node, &key, |auditor| {
                TextAction::Append(auditor.token())
            })?;
        }
        Ok(())
    }

    /// Reads every key through each node, which must all say the same: nobody writes any more.
    fn compare(&mut self, desk: &Desk, auditor: &mut Asker) -> Result<(), String> {
        let mut first: BTreeMap<String, TextRet> = BTreeMap::new();
        for node in desk.places() {
            for key in desk.keys() {
                let told =
                    self.insist("serves a read", auditor, node, &key, |_| TextAction::Get)?;
                let known = first.entry(key.clone()).or_insert_with(|| told.clone());
                if *known != told {
                    let id = node + 1;
                    return Err(format!("{key} is {known:?} on node 1 and {told:?} on node {id}"));
                }
            }
        }
        Ok(())
    }

    /// Asks one node until it answers.
    fn insist(
        &mut self,
        what: &str,
        auditor: &mut Asker,
        node: usize,
        key: &str,
        action: impl Fn(&mut Asker) -> TextAction,
    ) -> Result<TextRet, String> {
        auditor.turn_to(node);
        let give_up = Instant::now() + HANG;
        loop {
            let action = action(auditor);
            if let Some(told) = auditor.ask(key, action)? {
                return Ok(told);
            }
            self.cluster.are_alive()?;
            if Instant::now() >= give_up {
                return Err(format!(
                    "node {} does not come to the point where it {what}",
                    node + 1
                ));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn verdict(history: &TextHistory) -> Result<(), String> {
    let verdict = check::<Text>(history, CHECK_BUDGET);
    if verdict.is_linearizable() { Ok(()) } else { Err(verdict.to_string()) }
}
