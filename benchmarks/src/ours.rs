//! This library, with either kind of host: one whose writes are durable when the call that makes them
//! returns, and one that is told later.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use raft_core::{
    Config, Entry, Event, Instant, LogIndex, Membership, NodeId, Output, Payload, Proposal, Raft,
    RequestId, Restored, Snapshot, Ticket, Write,
};

use crate::cluster::{Cluster, Compactor, Machine};

pub(crate) struct Ours<const AT_ONCE: bool> {
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
    /// What is durable and was not reported yet.
    persisted: Option<Ticket>,
    /// What is applied and was not reported yet.
    applied: Option<LogIndex>,
    machine: Machine,
    compactor: Compactor,
    /// A snapshot is to be taken here, once the core knows that it is applied.
    due: Option<LogIndex>,
}

const HEARTBEAT: Duration = Duration::from_millis(100);

impl<const AT_ONCE: bool> Cluster for Ours<AT_ONCE> {
    const NAME: &'static str = if AT_ONCE { "raft-core" } else { "raft-core, told later" };

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

impl<const AT_ONCE: bool> Ours<AT_ONCE> {
    /// Each node is given what waits for it in one step. A completed write that is told later waits
    /// for something else to happen to its node, and when nothing else happens it is it; that
    /// commands were applied is nothing that anybody waits for.
    fn run(&mut self) {
        let followers_first = self.followers_first();
        let mut idle = false;
        while !idle {
            idle = true;
            for id in followers_first {
                if !self.nodes[id].inbox.is_empty() {
                    idle = false;
                    self.step(id);
                }
            }
            if !AT_ONCE && idle {
                for id in followers_first {
                    if self.nodes[id].persisted.is_some() {
                        idle = false;
                        self.step(id);
                    }
                }
            }
        }
    }

    /// The replies of all followers are there when it is the leader's turn.
    const fn followers_first(&self) -> [usize; 3] {
        [(self.leader + 1) % 3, (self.leader + 2) % 3, self.leader]
    }

    fn step(&mut self, id: usize) {
        let durable = |_: &Write| Ok::<(), Infallible>(());
        let Node { raft, inbox, persisted, applied, .. } = &mut self.nodes[id];
        if let Some(ticket) = persisted.take_if(|_| !AT_ONCE) {
            inbox.push(Event::Persisted(ticket));
        }
        if let Some(index) = applied.take() {
            inbox.push(Event::Applied(index));
        }
        if AT_ONCE {
            let Ok(()) = raft.step_durably(self.now, inbox.drain(..), durable, &mut self.outputs);
        } else {
            raft.step_all(self.now, inbox.drain(..), &mut self.outputs);
        }
        self.carry_out(id);
        self.nodes[id].take_snapshot();
    }

    fn carry_out(&mut self, id: usize) {
        for output in self.outputs.drain(..) {
            match &output {
                Output::Send(message) => {
                    let to = message.to.get() as usize - 1;
                    if let Output::Send(message) = output {
                        self.nodes[to].inbox.push(Event::Receive(message));
                    }
                }
                Output::Apply(entries) => self.nodes[id].apply(entries),
                Output::Persist(write) => self.nodes[id].persisted = Some(write.ticket),
                Output::Done { .. } => self.answered += 1,
                Output::Notice(_) | Output::DropSnapshot(_) => {}
                other => unreachable!("nobody falls behind: {other:?}"),
            }
        }
    }
}

impl Node {
    fn apply(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.applied = Some(entry.index);
            if let Payload::Command(command) = &entry.payload {
                self.machine.apply(command);
            }
        }
        let applied = self.applied.unwrap_or_default();
        if self.compactor.is_due(applied.get()) {
            self.due = Some(applied);
        }
    }

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
