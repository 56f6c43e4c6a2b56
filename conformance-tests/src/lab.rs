//! The harness of the lab tests: what they check again and again, on any cluster.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use bytes::Bytes;
use raft_node::core::{RoleKind, Term};
use raft_node::{RequestError, session};

use crate::cluster::{CallId, Cluster, Setup};
use crate::machine::{Command, decode_value};

/// No scenario takes so many election timeouts, unless something does not get on.
const LIMIT: f64 = 120.0;

/// A cluster with the verbs of the labs. Every verb also asks the oracle, so a scenario fails at
/// the first sign that replicas differ.
pub struct Lab<C: Cluster> {
    /// The cluster itself, for scenarios that need more.
    pub cluster: C,
    sessions: bool,
    marks: u64,
    tried: usize,
    /// Every proposal of a mark. All are judged at the end.
    proposals: Vec<(CallId, Bytes)>,
    /// How many election timeouts the scenario has waited.
    waited: f64,
}

impl<C: Cluster> Lab<C> {
    /// Starts and connects all nodes.
    pub fn begin(cluster: C) -> Self {
        Self::of(cluster, false)
    }

    /// The same, of nodes that are set up in a certain way.
    pub fn begin_with(mut cluster: C, setup: Setup) -> Self {
        cluster.set_up(setup);
        Self::of(cluster, setup.sessions)
    }

    fn of(cluster: C, sessions: bool) -> Self {
        let (proposals, waited) = (Vec::new(), 0.0);
        let mut lab = Self { cluster, sessions, marks: 0, tried: 0, proposals, waited };
        lab.start_all();
        lab
    }

    /// Starts all nodes that are down, and connects all.
    pub fn start_all(&mut self) {
        for node in 0..self.size() {
            if !self.cluster.is_running(node) {
                self.cluster.start(node);
            }
            self.cluster.connect(node);
        }
    }

    /// Crashes all nodes that run.
    pub fn crash_all(&mut self) {
        for node in 0..self.size() {
            if self.cluster.is_running(node) {
                self.cluster.crash(node);
            }
        }
    }

    /// The number of nodes.
    pub fn size(&self) -> usize {
        self.cluster.size()
    }

    /// The time of so many election timeouts.
    pub fn timeouts(&self, count: f64) -> Duration {
        self.cluster.election_timeout().mul_f64(count)
    }

    /// How many rounds of an endless scenario to run.
    pub fn rounds(&self, whole: u64) -> u64 {
        // The product is a small positive number.
        ((whole as f64 * self.cluster.effort()) as u64).max(1)
    }

    /// Lets so many election timeouts pass.
    pub fn sleep(&mut self, timeouts: f64) {
        let time = self.timeouts(timeouts);
        self.cluster.wait(time);
        self.waited += timeouts;
        self.check();
    }

    /// Fails if any two replicas differ.
    pub fn check(&mut self) {
        let violation = self.cluster.oracle(|oracle| oracle.violation().map(str::to_owned));
        self.demand(violation.is_none(), || violation.unwrap_or_default());
    }

    /// Fails the scenario, with how to run it again, unless `holds`.
    #[track_caller]
    pub fn demand(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        assert!(holds, "{}\n{}", otherwise(), self.cluster.replay());
    }

    /// Lets time pass until `holds`, at most so many timeouts; says whether it came to hold.
    pub fn until(&mut self, timeouts: f64, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        const STEPS: f64 = 50.0;
        let steps = (timeouts * STEPS) as u64;
        for _ in 0..steps {
            if holds(self) {
                return true;
            }
            self.sleep(1.0 / STEPS);
        }
        holds(self)
    }

    fn connected_roles(&mut self) -> Vec<(usize, RoleKind, Term)> {
        let mut roles = Vec::new();
        for node in 0..self.size() {
            if self.cluster.is_connected(node)
                && let Some((role, term)) = self.cluster.role(node)
            {
                roles.push((node, role, term));
            }
        }
        roles
    }

    /// The connected node that believes that it leads, of the highest term. Two leaders of one term
    /// fail the scenario.
    #[track_caller]
    pub fn leader_now(&mut self) -> Option<usize> {
        let roles = self.connected_roles();
        let leaders: Vec<_> =
            roles.iter().filter(|(_, role, _)| *role == RoleKind::Leader).collect();
        for (at, (first, _, term)) in leaders.iter().enumerate() {
            let twin = leaders.iter().skip(at + 1).find(|(_, _, other)| other == term);
            self.demand(twin.is_none(), || {
                format!("two leaders in term {term}: {first}, {twin:?}")
            });
        }
        leaders.iter().max_by_key(|(_, _, term)| *term).map(|(node, ..)| *node)
    }

    /// The connected leader of the highest term, which must turn up in time. Two leaders of one
    /// term fail the scenario.
    #[track_caller]
    pub fn one_leader(&mut self) -> usize {
        let mut leader = None;
        // The labs look every half timeout; a leader that is deposed meanwhile is no leader.
        for _ in 0..10 {
            let jitter = self.cluster.random(100) as f64 / 1000.0;
            self.sleep(0.45 + jitter);
            leader = self.leader_now();
            if leader.is_some() {
                break;
            }
        }
        self.demand(leader.is_some(), || "no leader within five election timeouts".into());
        leader.unwrap_or_default()
    }

    /// Fails if a connected node believes that it leads.
    #[track_caller]
    pub fn no_leader(&mut self) {
        let leader = self.leader_now();
        self.demand(leader.is_none(), || format!("node {leader:?} leads without a majority"));
    }

    /// The term that all connected nodes agree on.
    #[track_caller]
    pub fn one_term(&mut self) -> Term {
        let roles = self.connected_roles();
        let term = roles.first().map_or(Term::ZERO, |(_, _, term)| *term);
        let agreed = roles.iter().all(|(_, _, other)| *other == term);
        self.demand(agreed, || format!("nodes disagree on the term: {roles:?}"));
        term
    }

    /// A command that no other call has made.
    pub fn fresh(&mut self) -> Bytes {
        self.fresh_of(8)
    }

    /// The same, of at least so many bytes.
    pub fn fresh_of(&mut self, size: usize) -> Bytes {
        self.marks += 1;
        let mut mark = self.marks.to_le_bytes().to_vec();
        mark.resize(size.max(8), 0x5a);
        Command::Mark(mark.into()).encode()
    }

    /// Proposes a fresh command at a node; the command is returned to be looked for.
    pub fn propose(&mut self, node: usize) -> (CallId, Bytes) {
        let command = self.fresh();
        (self.propose_command(node, &command), command)
    }

    fn propose_command(&mut self, node: usize, command: &Bytes) -> CallId {
        let bytes = if self.sessions { session::plain(command) } else { command.clone() };
        let call = self.cluster.propose(node, bytes);
        self.proposals.push((call, command.clone()));
        call
    }

    /// What became of a proposal: the number among all commands that it was answered with; `None`
    /// while nobody knows.
    #[track_caller]
    pub fn place(&mut self, call: CallId) -> Option<Result<usize, RequestError>> {
        let answer = match self.cluster.answer(call)? {
            Ok(answer) => answer,
            Err(error) => return Some(Err(error)),
        };
        let mark = if self.sessions { session::decode(answer).ok() } else { Some(answer) };
        let place = mark.as_deref().and_then(decode_value).flatten();
        self.demand(place.is_some(), || format!("call {} has a garbled answer", call.0));
        Some(Ok(usize::try_from(place.unwrap_or_default()).unwrap_or(usize::MAX)))
    }

    /// The number of proposals of marks so far.
    pub fn proposals(&self) -> usize {
        self.proposals.len()
    }

    /// How many proposals are in the log, as far as their answers say: at least those that
    /// succeeded, at most those that may have.
    pub fn proposed(&mut self) -> RangeInclusive<usize> {
        let (mut least, mut most) = (0, 0);
        for (call, _) in &self.proposals {
            let answer = self.cluster.answer(*call);
            least += usize::from(matches!(answer, Some(Ok(_))));
            most += usize::from(!is_refused(answer.as_ref()));
        }
        least..=most
    }

    /// Waits until every proposal is answered. Fails unless all are, and all answers are true: what
    /// succeeded is where its answer says, and what was certainly refused or lost is nowhere.
    #[track_caller]
    pub fn all_truly_answered(&mut self) {
        let open = |lab: &mut Self| {
            let open = lab.proposals.iter().find(|(call, _)| lab.cluster.answer(*call).is_none());
            open.map(|(call, _)| *call)
        };
        self.until(20.0, |lab| open(lab).is_none());
        let unanswered = open(self);
        self.demand(unanswered.is_none(), || format!("{unanswered:?} was never answered"));
        let commands: Vec<Bytes> =
            self.cluster.oracle(|oracle| oracle.commands().cloned().collect());
        // A command that was proposed again may be in the log as often as it was not refused.
        let mut may_appear: BTreeMap<Bytes, usize> = BTreeMap::new();
        let mut taken: BTreeMap<usize, CallId> = BTreeMap::new();
        for (call, command) in self.proposals.clone() {
            let answer = self.place(call);
            *may_appear.entry(command.clone()).or_default() +=
                usize::from(!is_refused(answer.as_ref()));
            let Some(Ok(place)) = answer else { continue };
            let there = place.checked_sub(1).and_then(|before| commands.get(before));
            self.demand(there == Some(&command), || {
                format!("call {} succeeded as command {place}, where {there:?} is", call.0)
            });
            let twin = taken.insert(place, call);
            self.demand(twin.is_none(), || format!("{twin:?} and {call:?} are both at {place}"));
        }
        for command in commands {
            if let Some(left) = may_appear.get_mut(&command) {
                self.demand(*left > 0, || format!("{command:?} was refused, and it was applied"));
                *left -= 1;
            }
        }
    }

    /// The most entries that the log of any running node has.
    pub fn longest_log(&mut self) -> u64 {
        (0..self.size()).filter_map(|node| self.cluster.log_length(node)).max().unwrap_or_default()
    }

    /// Waits until every running node's log has at most so many entries.
    #[track_caller]
    pub fn logs_shrink_to(&mut self, limit: u64) {
        let short = self.until(10.0, |lab| lab.longest_log() <= limit);
        let longest = self.longest_log();
        self.demand(short, || format!("a log of {longest} entries, the limit is {limit}"));
    }

    /// How many replicas have applied command number `ordinal`.
    pub fn count(&mut self, ordinal: usize) -> usize {
        self.cluster.oracle(|oracle| oracle.count(ordinal))
    }

    /// The number of commands that anybody has applied.
    pub fn commands(&mut self) -> usize {
        self.cluster.oracle(|oracle| oracle.len())
    }

    /// Gets a fresh command applied by at least `replicas` nodes and returns its ordinal. With
    /// `retry` it is proposed again when an attempt comes to nothing, so it may be applied twice.
    #[track_caller]
    pub fn agree(&mut self, replicas: usize, retry: bool) -> usize {
        let command = self.fresh();
        self.agree_on(&command, replicas, retry)
    }

    /// [`agree`](Lab::agree) on a given command.
    #[track_caller]
    pub fn agree_on(&mut self, command: &Bytes, replicas: usize, retry: bool) -> usize {
        let mut ordinal = None;
        // Forty timeouts in all, two for each attempt: a network that delays answers for seconds on
        // a machine with other things to do takes its time, and whoever agrees sooner waits for
        // nothing.
        for attempt in 0..20 {
            if attempt > 0 && !retry {
                break;
            }
            if !self.until(2.0, |lab| lab.submit(command)) {
                continue;
            }
            let found = self.until(2.0, |lab| {
                let place = lab.cluster.oracle(|oracle| {
                    oracle.ordinal_of(command, 0).filter(|place| oracle.count(*place) >= replicas)
                });
                ordinal = place;
                place.is_some()
            });
            if found {
                break;
            }
        }
        self.check();
        self.demand(ordinal.is_some(), || format!("no agreement among {replicas} nodes"));
        ordinal.unwrap_or_default()
    }

    /// Proposes at some connected leader, trying the nodes in turn; says whether there was one.
    fn submit(&mut self, command: &Bytes) -> bool {
        let size = self.size();
        for step in 1..=size {
            let node = (self.tried + step) % size;
            let leads = self.cluster.role(node).is_some_and(|(role, _)| role == RoleKind::Leader);
            if leads && self.cluster.is_connected(node) {
                self.tried = node;
                self.propose_command(node, command);
                return true;
            }
        }
        false
    }

    /// Waits until `replicas` nodes have applied command number `ordinal`; says whether they did.
    pub fn applied(&mut self, ordinal: usize, replicas: usize) -> bool {
        self.until(25.0, |lab| lab.count(ordinal) >= replicas)
    }

    /// Ends the scenario: one last look at all replicas, all answers and the time that it took.
    pub fn end(mut self) {
        self.all_truly_answered();
        self.check();
        let waited = self.waited;
        self.demand(waited <= LIMIT, || {
            format!("{waited} election timeouts, the limit is {LIMIT}")
        });
    }

    /// Crashes a node and starts it again, connected.
    pub fn restart(&mut self, node: usize) {
        self.cluster.crash(node);
        self.cluster.start(node);
        self.cluster.connect(node);
    }

    /// The node `steps` places after `node`.
    pub fn after(&self, node: usize, steps: usize) -> usize {
        (node + steps) % self.size()
    }

    /// Cuts several nodes off.
    pub fn disconnect(&mut self, nodes: impl IntoIterator<Item = usize>) {
        for node in nodes {
            self.cluster.disconnect(node);
        }
    }

    /// Connects several nodes.
    pub fn connect(&mut self, nodes: impl IntoIterator<Item = usize>) {
        for node in nodes {
            self.cluster.connect(node);
        }
    }
}

/// Whether the answer says that the proposal is certainly not in the log, and never will be.
fn is_refused<T>(answer: Option<&Result<T, RequestError>>) -> bool {
    matches!(answer, Some(Err(error)) if error.is_certain())
}
