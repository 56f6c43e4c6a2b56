//! The verbs of a script.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use raft_core::{
    Body, Config, Event, LogIndex, Membership, Message, NodeId, Outcome, Proposal, RequestId,
    RoleKind, Status, Write,
};

use super::build::{ELECTION, command_of, id, is_append, show};
use super::host::{Host, Settings};
use super::world::World;

/// Nodes, numbered from 1, in the hands of a script.
pub(crate) struct Cluster {
    hosts: BTreeMap<u64, Host>,
    pub(crate) world: World,
    next_request: u64,
}

impl Cluster {
    /// A cluster of `size` voters with default settings.
    pub(crate) fn new(size: u64) -> Self {
        Self::with(size, |config| config)
    }

    /// A cluster of `size` voters, their settings adjusted.
    pub(crate) fn with(size: u64, adjust: impl Fn(Config) -> Config + 'static) -> Self {
        Self::each(size, move |_, config| adjust(config))
    }

    /// A cluster of `size` voters, the settings of each adjusted by its number.
    pub(crate) fn each(size: u64, adjust: impl Fn(u64, Config) -> Config + 'static) -> Self {
        let adjust = Rc::new(adjust);
        let settings = |n| -> Settings {
            let adjust = Rc::clone(&adjust);
            let founders = Membership::of_voters((1..=size).map(id));
            Settings::new(founders, move |seed| adjust(n, Config::new(id(n), seed)))
        };
        Self::of((1..=size).map(settings))
    }

    /// A cluster of nodes with these settings. Members without settings are left to the script.
    pub(crate) fn of(settings: impl IntoIterator<Item = Settings>) -> Self {
        let host = |settings| {
            let host = Host::new(settings);
            (host.id.get(), host)
        };
        let hosts = settings.into_iter().map(host).collect();
        Self { hosts, world: World::default(), next_request: 0 }
    }

    pub(crate) fn host(&self, node: u64) -> &Host {
        &self.hosts[&node]
    }

    pub(crate) fn host_mut(&mut self, node: u64) -> &mut Host {
        self.hosts.get_mut(&node).expect("a node of this cluster")
    }

    pub(crate) fn nodes(&self) -> Vec<u64> {
        self.hosts.keys().copied().collect()
    }

    // ---- What happens to a node.

    /// Steps a node with an event, then with all that its surroundings say to it at once.
    pub(crate) fn step(&mut self, node: u64, event: Event) {
        let mut next = Some(event);
        for _ in 0..10_000 {
            let Some(event) = next else { return };
            let host = self.hosts.get_mut(&node).expect("a node of this cluster");
            let outputs = host.step(event.clone());
            self.world.take(host, &event, outputs);
            next = host.next_completion();
        }
        unreachable!("node {node} never comes to rest");
    }

    /// Lets the node catch up with surroundings that are no longer slow.
    fn catch_up(&mut self, node: u64) {
        if let Some(event) = self.host_mut(node).next_completion() {
            self.step(node, event);
        }
    }

    pub(crate) fn wake(&mut self, node: u64) {
        self.step(node, Event::Wake);
    }

    pub(crate) fn propose(&mut self, node: u64, command: &str) -> RequestId {
        self.propose_all(node, &[command])[0]
    }

    /// Proposes all commands in one event.
    pub(crate) fn propose_all(&mut self, node: u64, commands: &[&str]) -> Vec<RequestId> {
        let requests: Vec<_> = commands.iter().map(|_| self.new_request(node)).collect();
        let pair = |(request, command): (&RequestId, &&str)| Proposal {
            request: *request,
            command: command.as_bytes().to_vec().into(),
        };
        let proposals = requests.iter().zip(commands).map(pair).collect();
        self.step(node, Event::Propose(proposals));
        requests
    }

    pub(crate) fn read(&mut self, node: u64) -> RequestId {
        let request = self.new_request(node);
        self.step(node, Event::Read(request));
        request
    }

    /// Asks a node to make these the members.
    pub(crate) fn change(&mut self, node: u64, target: &Membership) -> RequestId {
        self.change_if(node, target, None)
    }

    pub(crate) fn change_if(
        &mut self,
        node: u64,
        target: &Membership,
        only_if: Option<&Membership>,
    ) -> RequestId {
        let request = self.new_request(node);
        let (target, only_if) = (target.clone().into(), only_if.cloned().map(Into::into));
        self.step(node, Event::ChangeMembership { request, target, only_if });
        request
    }

    /// Asks a node to let another one lead.
    pub(crate) fn transfer(&mut self, node: u64, to: Option<u64>) -> RequestId {
        let request = self.new_request(node);
        let to = to.map(NodeId::new);
        self.step(node, Event::TransferLeadership { request, to });
        request
    }

    /// Adds a node to the world, not to the cluster: it is blank and waits to be added.
    pub(crate) fn join(&mut self, node: u64, adjust: impl Fn(Config) -> Config + 'static) {
        let settings =
            Settings::new(Membership::new(), move |seed| adjust(Config::new(id(node), seed)));
        let mut host = Host::new(settings);
        host.clock = self.hosts.values().map(|host| host.clock).max().unwrap_or(host.clock);
        host.start();
        self.hosts.insert(node, host);
    }

    fn new_request(&mut self, node: u64) -> RequestId {
        self.next_request += 1;
        let request = RequestId::new(self.next_request);
        self.world.requests.insert(request, (node, None));
        request
    }

    /// The answer to a request, if there is one yet.
    pub(crate) fn outcome(&self, request: RequestId) -> Option<Outcome> {
        self.world.requests[&request].1
    }

    // ---- Disk and state machine.

    pub(crate) fn hold_disk(&mut self, node: u64) {
        self.host_mut(node).slow_disk = true;
    }

    /// From now on the disk has completed a write when it has got it.
    pub(crate) fn write_at_once(&mut self, node: u64) {
        self.host_mut(node).writes_at_once = true;
    }

    /// Ends the holding, and makes everything durable that waits.
    pub(crate) fn release_disk(&mut self, node: u64) {
        self.host_mut(node).slow_disk = false;
        self.catch_up(node);
    }

    /// The writes of a held disk that are not durable.
    pub(crate) fn writes(&self, node: u64) -> Vec<Write> {
        self.host(node).writes.iter().cloned().collect()
    }

    /// Makes the oldest write durable that waits.
    pub(crate) fn persist_oldest(&mut self, node: u64) {
        let ticket = self.host_mut(node).write_out(1).expect("a write that waits");
        self.step(node, Event::Persisted(ticket));
    }

    /// Makes all writes durable that wait, and says so with the newest ticket only.
    pub(crate) fn persist(&mut self, node: u64) {
        let ticket = self.host_mut(node).write_out(usize::MAX).expect("a write that waits");
        self.step(node, Event::Persisted(ticket));
    }

    pub(crate) fn hold_machine(&mut self, node: u64) {
        self.host_mut(node).slow_machine = true;
    }

    /// Lets a held state machine apply the oldest run that waits.
    pub(crate) fn apply_oldest(&mut self, node: u64) {
        let index = self.host_mut(node).apply_run().expect("a run that waits");
        self.step(node, Event::Applied(index));
    }

    pub(crate) fn release_machine(&mut self, node: u64) {
        self.host_mut(node).slow_machine = false;
        self.catch_up(node);
    }

    /// Makes a snapshot of a node's state machine as it is.
    pub(crate) fn take_snapshot(&mut self, node: u64) {
        let event = self.host_mut(node).take_snapshot().expect("something new for a snapshot");
        self.step(node, event);
    }

    pub(crate) fn hold_snapshots(&mut self, node: u64) {
        self.host_mut(node).slow_snapshots = true;
    }

    /// Does one thing that a held store of snapshots was asked for.
    pub(crate) fn snapshot_job(&mut self, node: u64) {
        let event = self.host_mut(node).snapshot_job().expect("a job for the store");
        self.step(node, event);
    }

    pub(crate) fn release_snapshots(&mut self, node: u64) {
        self.host_mut(node).slow_snapshots = false;
        self.catch_up(node);
    }

    /// The configuration in force at a node, such as `{1 2 3}`.
    pub(crate) fn members(&self, node: u64) -> String {
        super::build::show_members(&self.status(node).membership)
    }

    pub(crate) fn hold_loads(&mut self, node: u64) {
        self.host_mut(node).slow_loads = true;
    }

    pub(crate) fn release_loads(&mut self, node: u64) {
        self.host_mut(node).slow_loads = false;
        self.catch_up(node);
    }

    /// The node loses what is not durable, and its clients.
    pub(crate) fn crash(&mut self, node: u64) {
        self.host_mut(node).crash();
        self.world.forget_requests_of(node);
    }

    pub(crate) fn restart(&mut self, node: u64) {
        if self.host(node).raft.is_some() {
            self.crash(node);
        }
        self.host_mut(node).start();
    }

    // ---- The network.

    /// Delivers every message, and those that follow from it, until there is none.
    pub(crate) fn deliver_all(&mut self) {
        for _ in 0..100_000 {
            let Some(message) = self.world.bag.pop_front() else {
                return;
            };
            self.receive(message);
        }
        unreachable!("the nodes never stop talking");
    }

    /// Delivers the messages under way that are picked, but not what follows from them.
    pub(crate) fn deliver(&mut self, pick: impl Fn(&Message) -> bool) -> usize {
        let picked = self.lose(pick);
        let count = picked.len();
        picked.into_iter().for_each(|message| self.receive(message));
        count
    }

    /// Takes the picked messages off the network. They are lost unless the script delivers them
    /// later with [`receive`](Self::receive).
    pub(crate) fn lose(&mut self, pick: impl Fn(&Message) -> bool) -> Vec<Message> {
        let (picked, rest) = self.world.bag.drain(..).partition(pick);
        self.world.bag = rest;
        Vec::from_iter::<std::collections::VecDeque<_>>(picked)
    }

    /// All messages under way.
    pub(crate) fn under_way(&self) -> impl Iterator<Item = &Message> {
        self.world.bag.iter()
    }

    /// Delivers a message that the script kept or made.
    pub(crate) fn receive(&mut self, message: Message) {
        let Some(host) = self.hosts.get_mut(&message.to.get()) else {
            return;
        };
        if is_append(&message) || matches!(message.body, Body::SnapshotChunk(_)) {
            host.heard = host.clock;
        }
        self.step(message.to.get(), Event::Receive(message));
    }

    /// From now on everything between `node` and the others is lost.
    pub(crate) fn isolate(&mut self, node: u64) {
        for other in self.nodes() {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// From now on everything between a node of `group` and one outside is lost.
    pub(crate) fn partition(&mut self, group: &[u64]) {
        for from in self.nodes() {
            for to in self.nodes() {
                if group.contains(&from) != group.contains(&to) {
                    self.cut(from, to);
                }
            }
        }
    }

    /// Cuts one direction of a link.
    pub(crate) fn cut(&mut self, from: u64, to: u64) {
        self.world.cut.insert((from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.world.cut.clear();
    }

    // ---- Time.

    /// Lets time pass; messages stay under way.
    pub(crate) fn tick(&mut self, time: Duration) {
        self.advance(time, false);
    }

    /// Lets time pass; messages arrive at once.
    pub(crate) fn run(&mut self, time: Duration) {
        self.deliver_all();
        self.advance(time, true);
    }

    fn advance(&mut self, time: Duration, deliver: bool) {
        let mut left = time;
        for _ in 0..20_000 {
            let wait = |(node, host): (&u64, &Host)| {
                let deadline = host.raft.as_ref()?.deadline()?;
                Some((deadline.since(host.clock), *node))
            };
            let due = self.hosts.iter().filter_map(wait).min().filter(|(wait, _)| *wait <= left);
            let wait = due.map_or(left, |(wait, _)| wait);
            for host in self.hosts.values_mut() {
                host.clock = host.clock.plus(wait);
            }
            left -= wait;
            let Some((_, node)) = due else { return };
            self.wake(node);
            if deliver {
                self.deliver_all();
            }
        }
        unreachable!("the nodes never stop waking up");
    }

    /// Turns the clock of one node forward until it campaigns.
    pub(crate) fn timeout(&mut self, node: u64) {
        assert!(!self.leads(node), "a leader has no reason to campaign");
        for _ in 0..1000 {
            let host = self.host_mut(node);
            // A node whose disk has hung for long waits for nothing but the disk.
            let Some(deadline) = host.raft.as_ref().and_then(raft_core::Raft::deadline) else {
                return;
            };
            host.clock = deadline.max(host.clock);
            self.wake(node);
            if self.role(node) != RoleKind::Follower {
                return;
            }
        }
        unreachable!("node {node} never campaigns");
    }

    /// Turns the clocks of all nodes but one forward by so much that they no longer shield a
    /// leader, and by so little that they do not campaign.
    pub(crate) fn lose_patience(&mut self, except: u64) {
        for (node, host) in &mut self.hosts {
            if *node != except {
                host.clock = host.clock.max(host.heard.plus(ELECTION));
            }
        }
    }

    /// Makes a node the leader of those that it can reach. All messages are delivered.
    pub(crate) fn elect(&mut self, node: u64) {
        self.try_elect(node, Self::deliver_all);
    }

    /// Makes a node the leader, but its first `Append`s are lost.
    pub(crate) fn elect_silently(&mut self, node: u64) {
        self.try_elect(node, |cluster| while cluster.deliver(|m| !is_append(m)) > 0 {});
        self.lose(|_| true);
    }

    fn try_elect(&mut self, node: u64, deliver: impl Fn(&mut Self)) {
        // The first campaign may have to learn a newer term.
        for _ in 0..3 {
            self.lose_patience(node);
            self.timeout(node);
            deliver(self);
            if self.leads(node) {
                return;
            }
        }
        unreachable!("node {node} is not elected");
    }

    // ---- What a script looks at.

    pub(crate) fn status(&self, node: u64) -> Status {
        self.host(node).raft.as_ref().expect("a node that is up").status()
    }

    pub(crate) fn role(&self, node: u64) -> RoleKind {
        self.status(node).role
    }

    pub(crate) fn leads(&self, node: u64) -> bool {
        self.role(node) == RoleKind::Leader
    }

    pub(crate) fn term(&self, node: u64) -> u64 {
        self.status(node).term.get()
    }

    pub(crate) fn commit(&self, node: u64) -> u64 {
        self.status(node).commit.get()
    }

    /// The leaders of the newest term. A node that was removed and does not know it may be of a
    /// newer one.
    pub(crate) fn leaders(&self) -> Vec<u64> {
        let up = |node: &u64| self.host(*node).raft.is_some();
        let up: Vec<u64> = self.nodes().into_iter().filter(up).collect();
        let leads = up.iter().copied().filter(|node| self.leads(*node));
        let Some(newest) = leads.max_by_key(|node| self.term(*node)) else { return Vec::new() };
        let members = self.status(newest).membership;
        let term =
            up.iter().filter(|node| members.is_voter(id(**node))).map(|node| self.term(*node));
        let term = term.max().unwrap_or(0).max(self.term(newest));
        up.into_iter().filter(|node| self.leads(*node) && self.term(*node) == term).collect()
    }

    /// The log on a node's disk, such as `1: 1:x 2:`.
    pub(crate) fn log(&self, node: u64) -> String {
        show(&self.host(node).disk.log)
    }

    /// The commands that a node's state machine has got.
    pub(crate) fn applied(&self, node: u64) -> String {
        let commands = self.host(node).machine.iter().map(command_of);
        commands.filter(|command| !command.is_empty()).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn next_of(&self, leader: u64, peer: u64) -> LogIndex {
        let peers = self.status(leader).peers;
        peers.iter().find(|status| status.id == id(peer)).expect("a peer").next
    }

    pub(crate) fn matched(&self, leader: u64, peer: u64) -> u64 {
        let peers = self.status(leader).peers;
        peers.iter().find(|status| status.id == id(peer)).expect("a peer").matched.get()
    }

    // ---- The end of a script.

    /// Repairs everything that is broken.
    pub(crate) fn repair(&mut self) {
        self.heal();
        for node in self.nodes() {
            if self.host(node).raft.is_none() {
                self.restart(node);
            }
            self.release_disk(node);
            self.release_machine(node);
            self.release_loads(node);
            self.release_snapshots(node);
        }
    }

    /// Repairs everything that is broken and demands that the cluster becomes one again: a leader,
    /// equal logs, equal state machines, and an answer for every request.
    pub(crate) fn settle(&mut self) {
        self.repair();
        self.run(20 * ELECTION);
        assert_eq!(self.leaders().len(), 1, "a leader after everything was repaired");
        let committed = self.world.committed();
        let leader = self.leaders()[0];
        let members = self.status(leader).membership;
        for node in self.nodes().into_iter().filter(|node| members.contains(id(*node))) {
            let base = self.host(node).disk.begin_after.index.get() as usize;
            assert_eq!(self.host(node).disk.log, committed[base..], "the log of node {node}");
            assert_eq!(self.host(node).machine, committed, "the state machine of node {node}");
        }
        let open = self.world.requests.iter().filter(|(_, (_, answer))| answer.is_none());
        assert_eq!(open.count(), 0, "requests without an answer");
    }
}
