//! What the nemesis does and when, drawn from a seed.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use conformance_tests::real::Flow;
use fastrand::Rng;

/// How long a fault lasts, in milliseconds: some are over before anybody could campaign, most are
/// not (the election timeout is 300 ms).
const LASTS: Range<u64> = 200..2200;

/// How long after the beginning of a fault the next one begins, in milliseconds. So faults overlap,
/// and the cluster has some quiet in between.
const APART: Range<u64> = 200..2400;

/// One fault. It ends within the time of the plan, so that everything is healed then.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) begins: Duration,
    pub(crate) ends: Duration,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// SIGKILL, and another start at the end.
    Kill(Whom),
    /// SIGSTOP, and SIGCONT at the end.
    Pause(Whom),
    /// The links between some nodes and others.
    Cut(Cut),
}

#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) side: Whom,
    /// The other side; everybody else if no node is named.
    pub(crate) from: Option<u64>,
    pub(crate) ways: Ways,
    pub(crate) flow: Flow,
}

/// In which direction a cut goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ways {
    Both,
    /// Nothing comes from the side; it hears everything.
    Mute,
    /// Nothing comes to the side; it is heard.
    Deaf,
}

#[derive(Debug)]
pub(crate) enum Whom {
    /// Whoever leads when the fault begins; the node with this number if nobody is known to.
    Leader(u64),
    Nodes(BTreeSet<u64>),
}

/// Draws the faults of so much time for the nodes 1 to `nodes`, in the order in which they begin.
pub(crate) fn draw(seed: u64, nodes: u64, time: Duration) -> Vec<Fault> {
    let mut dice = Rng::with_seed(seed);
    let mut faults = Vec::new();
    let mut begins = Duration::from_millis(dice.u64(APART));
    while begins < time {
        let ends = time.min(begins + Duration::from_millis(dice.u64(LASTS)));
        faults.push(Fault { begins, ends, what: what(&mut dice, nodes) });
        begins += Duration::from_millis(dice.u64(APART));
    }
    faults
}

fn what(dice: &mut Rng, nodes: u64) -> What {
    match dice.u32(0..100) {
        0..15 => What::Kill(leader(dice, nodes)),
        15..30 => What::Kill(some(dice, nodes)),
        30..37 => What::Kill(Whom::Nodes((1..=nodes).collect())),
        37..48 => What::Pause(leader(dice, nodes)),
        48..56 => What::Pause(some(dice, nodes)),
        _ => What::Cut(cut(dice, nodes)),
    }
}

fn cut(dice: &mut Rng, nodes: u64) -> Cut {
    let (side, from) = match dice.u32(0..10) {
        0..4 => (leader(dice, nodes), None),
        4..7 => (some(dice, nodes), None),
        7..9 => (leader(dice, nodes), Some(node(dice, nodes))),
        _ => (Whom::Nodes([node(dice, nodes)].into()), Some(node(dice, nodes))),
    };
    let ways = match dice.u32(0..4) {
        0..2 => Ways::Both,
        2 => Ways::Mute,
        _ => Ways::Deaf,
    };
    let flow = if dice.bool() { Flow::Held } else { Flow::Swallowed };
    Cut { side, from, ways, flow }
}

fn node(dice: &mut Rng, nodes: u64) -> u64 {
    dice.u64(1..=nodes)
}

fn leader(dice: &mut Rng, nodes: u64) -> Whom {
    Whom::Leader(node(dice, nodes))
}

/// At least one node, and not all of them.
fn some(dice: &mut Rng, nodes: u64) -> Whom {
    let mut all: Vec<u64> = (1..=nodes).collect();
    dice.shuffle(&mut all);
    let count = dice.usize(1..all.len());
    Whom::Nodes(all.into_iter().take(count).collect())
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.flow {
            Flow::Swallowed => "swallows ",
            Flow::Held | Flow::Open => "holds back ",
        })?;
        f.write_str(match self.ways {
            Ways::Both => "what goes between the rest and",
            Ways::Mute => "what comes from",
            Ways::Deaf => "what goes to",
        })?;
        match self.from {
            Some(node) => write!(f, ", as far as node {node} is concerned,"),
            None => Ok(()),
        }
    }
}
