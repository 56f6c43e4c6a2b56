//! This library.

use std::time::Duration;

use bytes::Bytes;
use raft_core::{
    Config, Event, Instant, LogIndex, Membership, NodeId, Output, Payload, Proposal, Raft,
    RequestId, Restored, Snapshot, Ticket,
};

use crate::cluster::{Cluster, Compactor, Machine};

pub(crate) struct Ours {
    nodes: [Node; 3],
    leader: usize,
    now: Instant,
    outputs: Vec<Output>,
    requests: u64,
    answered: u64,
}

struct Node {
    raft: Raft,
    inbox: Vec<Event>,
    /// What is done and was not reported yet; each stands for all before it.
    persisted: Option<Ticket>,
    applied: Option<LogIndex>,
    machine: Machine,
    compactor: Compactor,
    /// A snapshot is to be taken here, once the core knows that it is applied.
    due: Option<LogIndex>,
}

const HEARTBEAT: Duration = Duration::from_millis(100);

impl Cluster for Ours {
    const NAME: &'static str = "raft-core";

    fn start() -> Self {
        let ids = [1, 2, 3];
        let nodes = ids.map(|id| {
            let config =
                Config::new(NodeId::new(id), id).heartbeat_interval(HEARTBEAT).compaction_margin(0);
            let founders = Membership::of_voters(ids.map(NodeId::new));
            let raft = Raft::new(config, Restored::founding(founders), Instant::ORIGIN);
            Node {
                raft: raft.expect("the settings make sense"),
                inbox: Vec::new(),
                persisted: None,
                applied: None,
                machine: Machine::default(),
                compactor: Compactor::default(),
                due: None,
            }
        });
        let (now, outputs) = (Instant::ORIGIN, Vec::new());
        let mut cluster = Self { nodes, leader: 0, now, outputs, requests: 0, answered: 0 };
        // Whose patience ends first is elected.
        let patience = |id: &usize| cluster.nodes[*id].raft.deadline();
        cluster.leader = (0..3).min_by_key(patience).unwrap_or(0);
        cluster.now = patience(&cluster.leader).unwrap_or_default();
        cluster.nodes[cluster.leader].inbox.push(Event::Wake);
        cluster.run();
        cluster
    }

    fn propose(&mut self, commands: &[Bytes]) {
        let proposals = commands.iter().map(|command| {
            self.requests += 1;
            Proposal { request: RequestId::new(self.requests), command: command.clone() }
        });
        let event = Event::Propose(proposals.collect());
        self.nodes[self.leader].inbox.push(event);
        self.run();
        assert_eq!(self.answered, self.requests, "every proposal is committed");
    }

    fn settle(&mut self) {
        self.now = self.now.plus(HEARTBEAT);
        self.nodes[self.leader].inbox.push(Event::Wake);
        self.run();
    }

    fn machines(&self) -> [&Machine; 3] {
        self.nodes.each_ref().map(|node| &node.machine)
    }
}

impl Ours {
    /// Each node is given what waits for it in one step. A completed write waits for something else
    /// to happen to its node, and when nothing else happens it is it; that commands were applied is
    /// nothing that anybody waits for.
    fn run(&mut self) {
        let followers_first = self.followers_first();
        loop {
            let mut idle = true;
            for id in followers_first {
                if !self.nodes[id].inbox.is_empty() {
                    idle = false;
                    self.step(id);
                }
            }
            if !idle {
                continue;
            }
            for id in followers_first {
                if self.nodes[id].persisted.is_some() {
                    idle = false;
                    self.step(id);
                }
            }
            if idle {
                return;
            }
        }
    }

    /// The replies of all followers are there when it is the leader's turn.
    const fn followers_first(&self) -> [usize; 3] {
        [(self.leader + 1) % 3, (self.leader + 2) % 3, self.leader]
    }

    fn step(&mut self, id: usize) {
        let Node { raft, inbox, persisted, applied, .. } = &mut self.nodes[id];
        inbox.extend(persisted.take().map(Event::Persisted));
        inbox.extend(applied.take().map(Event::Applied));
        raft.step_all(self.now, inbox.drain(..), &mut self.outputs);
        self.carry_out(id);
        self.nodes[id].take_snapshot();
    }

    fn carry_out(&mut self, id: usize) {
        for output in self.outputs.drain(..) {
            match output {
                Output::Persist(write) => {
                    self.nodes[id].persisted = Some(write.ticket);
                }
                Output::Send(message) => {
                    let to = message.to.get() as usize - 1;
                    self.nodes[to].inbox.push(Event::Receive(message));
                }
                Output::Apply(entries) => {
                    let node = &mut self.nodes[id];
                    let mut applied = LogIndex::ZERO;
                    for entry in entries.iter() {
                        applied = entry.index;
                        if let Payload::Command(command) = &entry.payload {
                            node.machine.apply(command);
                        }
                    }
                    node.applied = Some(applied);
                    if node.compactor.is_due(applied.get()) {
                        node.due = Some(applied);
                    }
                }
                Output::Done { .. } => self.answered += 1,
                Output::Notice(_) | Output::DropSnapshot(_) => {}
                other => unreachable!("nobody falls behind: {other:?}"),
            }
        }
    }
}

impl Node {
    /// A snapshot without bytes: nobody is ever sent it.
    fn take_snapshot(&mut self) {
        let Some(index) = self.due else { return };
        // The core has to know first that it is applied.
        let Some((position, membership)) = self.raft.describe_snapshot(index) else { return };
        self.due = None;
        let snapshot = Snapshot { position, membership, size: 0, checksum: 0 };
        self.inbox.push(Event::SnapshotTaken(snapshot));
    }
}
