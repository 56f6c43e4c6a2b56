//! Model checking of the production core, with stateright: every order of deliveries, losses,
//! repetitions, timeouts, crashes and completions of disks, within bounds.
//!
//! The state of a node is a [`raft_core::Raft`], and what happens is its
//! [`step_all`](raft_core::Raft::step_all); nothing of the protocol is written here a second time.
//! The network is a set of messages: each may be delivered now, later, never, or more than once.

mod history;
mod node;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use raft_core::{Config, Event, Membership, Message, NodeId, Proposal, RoleKind};
use stateright::{Model, Property};

use self::history::{History, command_of};
use self::node::{Effects, Node};

/// How far the exploration goes.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// How many nodes there are.
    pub(crate) nodes: u64,
    /// The members that found the cluster.
    pub(crate) founders: Membership,
    /// No node starts an election for a later term.
    pub(crate) terms: u64,
    /// How many commands clients propose, at whoever leads.
    pub(crate) commands: u8,
    /// How many reads clients begin, at whoever believes to lead.
    pub(crate) reads: u8,
    /// How many crashes there are.
    pub(crate) crashes: u8,
    /// How many heartbeats there are.
    pub(crate) heartbeats: u8,
    /// The changes of membership, which are asked for in this order.
    pub(crate) changes: Vec<Arc<Membership>>,
    /// Whether disks complete writes at once, so that their orders add no states.
    pub(crate) prompt_disks: bool,
    /// How often a message is delivered and still comes again.
    pub(crate) repetitions: u8,
    /// So many of the nodes campaign, the first ones.
    pub(crate) active: u64,
    /// Settings of all nodes.
    pub(crate) adjust: fn(Config) -> Config,
}

/// The property that no state may break.
pub(crate) const LAWS: &str = "the laws of Raft hold";

impl Bounds {
    /// Three voters, two of which campaign; nothing but elections, and the entries of new leaders.
    fn elections(terms: u64) -> Self {
        Self {
            nodes: 3,
            founders: voters([1, 2, 3]),
            terms,
            commands: 0,
            reads: 0,
            crashes: 0,
            heartbeats: 0,
            changes: Vec::new(),
            prompt_disks: true,
            repetitions: 0,
            active: 2,
            adjust: |config| config,
        }
    }

    /// All that are explored.
    pub(crate) fn all() -> Vec<Case> {
        [Self::of_one_term(), Self::of_changes(), Self::of_several_terms()].concat()
    }

    fn of_one_term() -> Vec<Case> {
        let one = Self { active: 1, ..Self::elections(1) };
        vec![
            case("command", "a command", Self { commands: 1, ..one.clone() }),
            case(
                "repeated",
                "a command, and one message comes twice",
                Self { commands: 1, repetitions: 1, ..one.clone() },
            ),
            case(
                "disk",
                "a command, and every order of completions of the disks",
                Self { commands: 1, prompt_disks: false, ..one.clone() },
            ),
            case(
                "disk-crash",
                "the same, and a crash, which may lose writes",
                Self { commands: 1, crashes: 1, prompt_disks: false, ..one.clone() },
            ),
            case("read", "a command, a read", Self { commands: 1, reads: 1, ..one.clone() }),
            case(
                "candidates",
                "all three campaign, a command",
                Self { active: 3, commands: 1, ..one.clone() },
            ),
            case(
                "rivals",
                "two candidates in one term, a crash, and one message comes twice",
                Self { active: 2, crashes: 1, repetitions: 1, ..one },
            ),
        ]
    }

    /// Changes of membership.
    fn of_changes() -> Vec<Case> {
        let one = Self { active: 1, ..Self::elections(1) };
        let alone = Self { founders: voters([1]), ..one.clone() };
        let grown = vec![voters([1, 2]).into(), voters([1, 2, 3]).into()];
        vec![
            case(
                "growth",
                "a lone voter becomes two, then three",
                Self { changes: grown.clone(), heartbeats: 1, ..alone.clone() },
            ),
            case(
                "growth-two-terms",
                "the same, in two terms, with two candidates",
                Self { changes: grown, terms: 2, active: 2, ..alone },
            ),
            case(
                "third-voter",
                "two voters become three",
                Self {
                    founders: voters([1, 2]),
                    changes: vec![voters([1, 2, 3]).into()],
                    ..one.clone()
                },
            ),
            case(
                "replacement",
                "a fourth node takes the place of the third",
                Self { nodes: 4, changes: vec![voters([1, 2, 4]).into()], ..one },
            ),
        ]
    }

    fn of_several_terms() -> Vec<Case> {
        let two = Self::elections(2);
        vec![
            case(
                "two-terms",
                "two candidates, two terms, a command",
                Self { commands: 1, ..two.clone() },
            ),
            case(
                "two-terms-read",
                "two candidates, two terms, a command, a read",
                Self { commands: 1, reads: 1, ..two.clone() },
            ),
            case(
                "two-terms-crash",
                "two candidates, two terms, a crash",
                Self { crashes: 1, ..two.clone() },
            ),
            case(
                "two-terms-disk",
                "two candidates, two terms, every order of completions",
                Self { prompt_disks: false, ..two.clone() },
            ),
            case(
                "re-elected",
                "of two voters one leads, crashes and leads again; one entry in each message",
                Self {
                    nodes: 2,
                    founders: voters([1, 2]),
                    active: 1,
                    crashes: 1,
                    adjust: |config| config.max_append_entries(1),
                    ..two.clone()
                },
            ),
            case("three-terms", "two candidates, three terms", Self::elections(3)),
            case(
                "figure-8",
                "two candidates, four terms: more than can be explored, to be walked",
                Self { terms: 4, adjust: |config| config.max_append_entries(1), ..two },
            ),
        ]
    }
}

/// Bounds with a name.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What happens within them, besides what always may.
    pub(crate) what: &'static str,
    pub(crate) bounds: Bounds,
}

const fn case(name: &'static str, what: &'static str, bounds: Bounds) -> Case {
    Case { name, what, bounds }
}

fn voters<const N: usize>(ids: [u64; N]) -> Membership {
    Membership::of_voters(ids.map(NodeId::new))
}

/// One state of everything.
#[derive(Clone)]
pub(crate) struct World {
    nodes: Vec<(u64, Arc<Node>)>,
    network: Vec<(u64, Arc<Message>)>,
    history: Arc<History>,
    left: Left,
}

/// What may still happen.
#[derive(Clone, Debug, Hash)]
struct Left {
    commands: u8,
    reads: u8,
    crashes: u8,
    heartbeats: u8,
    repetitions: u8,
    changes: usize,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// A node receives a message.
    Deliver(Arc<Message>),
    /// A node receives a message, which will come once more.
    Repeat(Arc<Message>),
    /// A node's timer runs out: it campaigns, or sends heartbeats.
    TimeOut(usize),
    /// A node's disk completes a write.
    Sync(usize),
    /// A node crashes and starts again; so many of the writes that were not synced survive.
    Crash(usize, usize),
    /// A client proposes a command at a node.
    Propose(usize),
    /// A client begins a read at a leader.
    Read(usize),
    /// Somebody asks a node for the next change of membership.
    Change(usize),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deliver(message) | Self::Repeat(message) => {
                let Message { from, to, term, body } = &**message;
                let again = if matches!(self, Self::Repeat(_)) { ", and will again" } else { "" };
                write!(f, "{to} hears from {from} in {term}: {body:?}{again}")
            }
            Self::TimeOut(place) => write!(f, "n{}: its timer runs out", place + 1),
            Self::Sync(place) => write!(f, "n{}: a write is durable", place + 1),
            Self::Crash(place, kept) => {
                write!(f, "n{}: crashes and restarts; {kept} of its writes survive", place + 1)
            }
            Self::Propose(place) => write!(f, "n{}: a client proposes a command", place + 1),
            Self::Read(place) => write!(f, "n{}: a client reads", place + 1),
            Self::Change(place) => write!(f, "n{}: is asked for the next change", place + 1),
        }
    }
}

impl World {
    /// What is wrong, if anything is.
    pub(crate) fn flaw(&self) -> Option<&'static str> {
        self.history.flaw()
    }

    fn start(bounds: &Bounds) -> Self {
        let node = |id| Node::new(id, &bounds.founders, bounds.adjust, bounds.prompt_disks);
        let nodes = (1..=bounds.nodes).map(node).map(|node| (node.fingerprint(), Arc::new(node)));
        Self {
            nodes: nodes.collect(),
            network: Vec::new(),
            history: Arc::default(),
            left: Left {
                commands: bounds.commands,
                reads: bounds.reads,
                crashes: bounds.crashes,
                heartbeats: bounds.heartbeats,
                repetitions: bounds.repetitions,
                changes: bounds.changes.len(),
            },
        }
    }

    /// Changes a node, and judges what follows. Says whether anything has changed.
    fn at(&mut self, place: usize, act: impl FnOnce(&mut Node, &mut Effects) -> bool) -> bool {
        let mut node = Node::clone(&self.nodes[place].1);
        let mut effects = Effects::default();
        if !act(&mut node, &mut effects) {
            return false;
        }
        let fingerprint = node.fingerprint();
        let changed = fingerprint != self.nodes[place].0;
        self.nodes[place] = (fingerprint, Arc::new(node));
        let before = self.network.len();
        for message in effects.sent.drain(..) {
            self.send(message);
        }
        let spoke = self.network.len() > before;
        if changed || !effects.done.is_empty() {
            let nodes: Vec<&Node> = self.nodes.iter().map(|(_, node)| &**node).collect();
            Arc::make_mut(&mut self.history).judge(&nodes, place, &effects);
        }
        changed || spoke
    }

    /// Puts a message into the network, unless it is there.
    fn send(&mut self, message: Message) {
        let key = node::hash_of(&message);
        if let Err(place) = self.network.binary_search_by_key(&key, |(key, _)| *key) {
            self.network.insert(place, (key, Arc::new(message)));
        }
    }

    fn carry_out(&mut self, bounds: &Bounds, action: &Action) -> bool {
        match action {
            Action::Deliver(message) => {
                let place = place_of(message.to);
                self.network.retain(|(_, it)| !Arc::ptr_eq(it, message));
                // A message that has no effect now may have one later.
                self.ask(place, Event::Receive(Message::clone(message)))
            }
            Action::Repeat(message) => {
                self.left.repetitions -= 1;
                self.ask(place_of(message.to), Event::Receive(Message::clone(message)))
            }
            Action::TimeOut(place) => {
                let (role, term) = self.nodes[*place].1.role();
                if role == RoleKind::Leader {
                    self.left.heartbeats -= 1;
                    return self.at(*place, Node::time_out);
                }
                // A candidate whose own vote is not on its disk only goes on waiting.
                self.at(*place, Node::time_out) && self.nodes[*place].1.role().1 > term
            }
            Action::Sync(place) => self.at(*place, Node::sync),
            Action::Crash(place, survivors) => {
                self.left.crashes -= 1;
                self.at(*place, |node, _| {
                    node.crash(*survivors, &bounds.founders, bounds.adjust);
                    true
                })
            }
            Action::Propose(place) => {
                self.left.commands -= 1;
                let request = Arc::make_mut(&mut self.history).ask_command();
                let proposal = Proposal { request, command: command_of(request) };
                self.ask(*place, Event::Propose(vec![proposal]))
            }
            Action::Read(place) => {
                self.left.reads -= 1;
                let request = Arc::make_mut(&mut self.history).ask_read();
                self.ask(*place, Event::Read(request))
            }
            Action::Change(place) => {
                let target = bounds.changes[bounds.changes.len() - self.left.changes].clone();
                self.left.changes -= 1;
                let request = Arc::make_mut(&mut self.history).ask_change();
                self.ask(*place, Event::ChangeMembership { request, target, only_if: None })
            }
        }
    }

    fn ask(&mut self, place: usize, event: Event) -> bool {
        self.at(place, |node, effects| {
            node.step(event, effects);
            true
        })
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (fingerprint, _) in &self.nodes {
            fingerprint.hash(state);
        }
        for (key, _) in &self.network {
            key.hash(state);
        }
        self.history.hash(state);
        self.left.hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        node::hash_of(self) == node::hash_of(other)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles: Vec<_> = self.nodes.iter().map(|(_, node)| node.role()).collect();
        f.debug_struct("World").field("roles", &roles).field("history", &self.history).finish()
    }
}

fn place_of(id: NodeId) -> usize {
    usize::try_from(id.get()).unwrap_or(usize::MAX).wrapping_sub(1)
}

impl Model for Bounds {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::start(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.history.flaw().is_some() {
            return;
        }
        let messages = || world.network.iter().map(|(_, message)| message.clone());
        actions.extend(messages().map(Action::Deliver));
        if world.left.repetitions > 0 {
            actions.extend(messages().map(Action::Repeat));
        }
        for (place, (_, node)) in world.nodes.iter().enumerate() {
            let (role, term) = node.role();
            let leads = role == RoleKind::Leader;
            let active = (place as u64) < self.active;
            let may =
                if leads { world.left.heartbeats > 0 } else { active && term.get() < self.terms };
            if may {
                actions.push(Action::TimeOut(place));
            }
            if node.unsynced() > 0 {
                actions.push(Action::Sync(place));
            }
            if world.left.crashes > 0 {
                actions.extend((0..=node.unsynced()).map(|kept| Action::Crash(place, kept)));
            }
            if leads && world.left.commands > 0 {
                actions.push(Action::Propose(place));
            }
            if leads && world.left.reads > 0 {
                actions.push(Action::Read(place));
            }
            if leads && world.left.changes > 0 {
                actions.push(Action::Change(place));
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.carry_out(self, &action).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(LAWS, |_, world: &World| world.history.flaw().is_none())]
    }
}
