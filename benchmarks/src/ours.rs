//! This library.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use raft_core::{
    Config, Event, Instant, LogIndex, Membership, NodeId, Output, Payload, Proposal, Raft,
    RequestId, Restored, Snapshot,
};

use crate::cluster::{Cluster, Compactor, Machine};

pub(crate) struct Ours {
    nodes: [Node; 3],
    now: Instant,
    outputs: Vec<Output>,
    requests: u64,
    answered: u64,
}

struct Node {
    raft: Raft,
    inbox: VecDeque<Event>,
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
                inbox: VecDeque::new(),
                machine: Machine::default(),
                compactor: Compactor::default(),
                due: None,
            }
        });
        let (now, outputs) = (Instant::ORIGIN, Vec::new());
        let mut cluster = Self { nodes, now, outputs, requests: 0, answered: 0 };
        cluster.now = cluster.nodes[0].raft.deadline().expect("a follower waits");
        cluster.nodes[0].inbox.push_back(Event::Wake);
        cluster.run();
        cluster
    }

    fn propose(&mut self, commands: &[Bytes]) {
        let proposals = commands.iter().map(|command| {
            self.requests += 1;
            Proposal { request: RequestId::new(self.requests), command: command.clone() }
        });
        let event = Event::Propose(proposals.collect());
        self.nodes[0].inbox.push_back(event);
        self.run();
        assert_eq!(self.answered, self.requests, "every proposal is committed");
    }

    fn settle(&mut self) {
        self.now = self.now.plus(HEARTBEAT);
        self.nodes[0].inbox.push_back(Event::Wake);
        self.run();
    }

    fn machines(&self) -> [&Machine; 3] {
        self.nodes.each_ref().map(|node| &node.machine)
    }
}

impl Ours {
    fn run(&mut self) {
        while self.nodes.iter().any(|node| !node.inbox.is_empty()) {
            for id in 0..3 {
                while let Some(event) = self.nodes[id].inbox.pop_front() {
                    self.nodes[id].raft.step_into(event.at(self.now), &mut self.outputs);
                    self.carry_out(id);
                }
                self.nodes[id].take_snapshot();
            }
        }
    }

    fn carry_out(&mut self, id: usize) {
        for output in self.outputs.drain(..) {
            match output {
                Output::Persist(write) => {
                    self.nodes[id].inbox.push_back(Event::Persisted(write.ticket));
                }
                Output::Send(message) => {
                    let to = message.to.get() as usize - 1;
                    self.nodes[to].inbox.push_back(Event::Receive(message));
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
                    node.inbox.push_back(Event::Applied(applied));
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
        let Some(index) = self.due.take() else { return };
        let (position, membership) =
            self.raft.describe_snapshot(index).expect("the index is applied and not compacted");
        let snapshot = Snapshot { position, membership, size: 0, checksum: 0 };
        self.inbox.push_back(Event::SnapshotTaken(snapshot));
    }
}
