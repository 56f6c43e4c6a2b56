//! `yggr-core`.

use std::collections::VecDeque;

use bytes::Bytes;
use yggr_core::{
    Action, Engine, EngineConfig, Event, Incoming, LogIndex, LogPayload, NodeId, RoleState,
    StaticEnv,
};

use crate::cluster::{Cluster, Compactor, Machine};

pub(crate) struct Yggr {
    nodes: [Node; 3],
}

struct Node {
    engine: Engine<Bytes>,
    inbox: VecDeque<Event<Bytes>>,
    machine: Machine,
    compactor: Compactor,
}

impl Cluster for Yggr {
    const NAME: &'static str = "yggr-core";

    fn start() -> Self {
        let ids = [1, 2, 3].map(|id| NodeId::new(id).expect("ids are not zero"));
        let nodes = ids.map(|id| {
            let timeout = 10 * id.get();
            let config = EngineConfig::default();
            Node {
                engine: Engine::with_config(id, ids, Box::new(StaticEnv(timeout)), 1, config),
                inbox: VecDeque::new(),
                machine: Machine::default(),
                compactor: Compactor::default(),
            }
        });
        let mut cluster = Self { nodes };
        for _ in 0..10 {
            for node in &mut cluster.nodes {
                node.inbox.push_back(Event::Tick);
            }
            cluster.run();
        }
        assert!(matches!(cluster.nodes[0].engine.role(), RoleState::Leader(_)));
        cluster
    }

    fn propose(&mut self, commands: &[Bytes]) {
        let before = self.nodes[0].machine.applied().0;
        let event = match commands {
            [command] => Event::ClientProposal(command.clone()),
            commands => Event::ClientProposalBatch(commands.to_vec()),
        };
        self.nodes[0].inbox.push_back(event);
        self.run();
        let after = self.nodes[0].machine.applied().0;
        assert_eq!(after - before, commands.len() as u64, "every proposal is committed");
    }

    fn settle(&mut self) {
        self.nodes[0].inbox.push_back(Event::Tick);
        self.run();
    }

    fn machines(&self) -> [&Machine; 3] {
        self.nodes.each_ref().map(|node| &node.machine)
    }
}

impl Yggr {
    fn run(&mut self) {
        while self.nodes.iter().any(|node| !node.inbox.is_empty()) {
            for id in 0..3 {
                while let Some(event) = self.nodes[id].inbox.pop_front() {
                    let actions = self.nodes[id].engine.step(event);
                    self.carry_out(id, actions);
                }
            }
        }
    }

    fn carry_out(&mut self, id: usize, actions: Vec<Action<Bytes>>) {
        for action in actions {
            match action {
                Action::Send { to, message } => {
                    let from = self.nodes[id].engine.id();
                    let event = Event::Incoming(Incoming { from, message });
                    self.nodes[to.get() as usize - 1].inbox.push_back(event);
                }
                Action::Apply(entries) => {
                    let node = &mut self.nodes[id];
                    let mut applied = LogIndex::ZERO;
                    for entry in entries {
                        applied = entry.id.index;
                        if let LogPayload::Command(command) = entry.payload {
                            node.machine.apply(&command);
                        }
                    }
                    if node.compactor.is_due(applied.get()) {
                        let bytes = Vec::new();
                        let event = Event::SnapshotTaken { last_included_index: applied, bytes };
                        node.inbox.push_back(event);
                    }
                }
                // In memory, what the engine keeps is all that there is to keep.
                _ => {}
            }
        }
    }
}
