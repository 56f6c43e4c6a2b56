//! Which messages arrive, and when.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use raft_node::core::{Body, Message};

use crate::cluster::Network as Mode;
use crate::sim::random::{chance, within};

/// Milliseconds in nanoseconds.
pub(crate) const MS: u64 = 1_000_000;

/// The links between the nodes.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) mode: Mode,
    /// One-way delay of a healthy link, in nanoseconds.
    pub(crate) delay: Range<u64>,
    /// Losses per 1,000 messages, besides those of the mode.
    pub(crate) loss: u64,
    /// Requests per 1,000 that arrive up to three seconds later than the others.
    pub(crate) late_requests: u64,
    /// The same for answers.
    pub(crate) late_answers: u64,
    /// Repetitions per 1,000 messages.
    pub(crate) duplication: u64,
    /// Of 1,000 pieces of snapshots so many are damaged on their way.
    pub(crate) damage: u64,
    connected: Vec<bool>,
    side: Vec<bool>,
    /// One-way cuts: `cut[from][to]`.
    cut: Vec<Vec<bool>>,
}

impl Network {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            mode: Mode::default(),
            delay: MS / 5..MS,
            loss: 0,
            late_requests: 0,
            late_answers: 0,
            duplication: 0,
            damage: 0,
            connected: vec![false; size],
            side: vec![false; size],
            cut: vec![vec![false; size]; size],
        }
    }

    pub(crate) fn set_connected(&mut self, node: usize, connected: bool) {
        self.connected[node] = connected;
    }

    pub(crate) fn is_connected(&self, node: usize) -> bool {
        self.connected[node]
    }

    pub(crate) fn partition(&mut self, sides: &[bool]) {
        self.side.copy_from_slice(sides);
    }

    pub(crate) fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        self.cut[from][to] = cut;
    }

    pub(crate) fn heal(&mut self) {
        self.side.fill(false);
        for row in &mut self.cut {
            row.fill(false);
        }
    }

    pub(crate) fn is_up(&self, from: usize, to: usize) -> bool {
        self.connected[from]
            && self.connected[to]
            && self.side[from] == self.side[to]
            && !self.cut[from][to]
    }

    /// What arrives of a message. A damaged piece of a snapshot stands for a damage that no link
    /// notices: it may as well have happened on the disk from which it was read.
    pub(crate) fn carry(&self, mut message: Message, rng: &mut fastrand::Rng) -> Message {
        if let Body::SnapshotChunk(chunk) = &mut message.body
            && !chunk.data.is_empty()
            && chance(rng, self.damage)
        {
            let mut data = chunk.data.to_vec();
            let at = rng.usize(0..data.len());
            data[at] ^= 1 << rng.u8(0..8);
            chunk.data = data.into();
        }
        message
    }

    /// After how long the copies of a message arrive; none if it is lost.
    pub(crate) fn arrivals(&self, message: &Message, rng: &mut fastrand::Rng) -> Vec<u64> {
        if chance(rng, self.loss) || (self.mode.unreliable && chance(rng, 100)) {
            return Vec::new();
        }
        let copies = if chance(rng, self.duplication) { 2 } else { 1 };
        (0..copies).map(|_| self.delay_of(message, rng)).collect()
    }

    fn delay_of(&self, message: &Message, rng: &mut fastrand::Rng) -> u64 {
        let mut delay = within(rng, &self.delay);
        let late = if is_request(message) { self.late_requests } else { self.late_answers };
        if chance(rng, late) {
            delay += within(rng, &(0..3000 * MS));
        }
        if self.mode.unreliable {
            delay += within(rng, &(0..27 * MS));
        }
        if self.mode.long_reordering && !is_request(message) && rng.u64(0..3) < 2 {
            // Short delays are more likely than long ones.
            let span = 1 + rng.u64(0..2000);
            delay += (200 + rng.u64(0..span)) * MS;
        }
        delay
    }
}

/// Whether a message asks for something, rather than answering.
pub(crate) const fn is_request(message: &Message) -> bool {
    match message.body {
        Body::PreVote { .. }
        | Body::Vote { .. }
        | Body::Append(_)
        | Body::Propose { .. }
        | Body::ReadIndex { .. }
        | Body::SnapshotChunk(_)
        | Body::TimeoutNow
        | Body::Control { .. } => true,
        Body::PreVoteReply { .. }
        | Body::VoteReply { .. }
        | Body::AppendReply(_)
        | Body::ProposeReply { .. }
        | Body::ReadIndexReply { .. }
        | Body::SnapshotReply(_)
        | Body::ControlReply { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;

    use bytes::Bytes;
    use raft_node::core::{LogPosition, Membership, NodeId, Snapshot, SnapshotChunk, Term};

    use super::*;

    fn message() -> Message {
        let (from, to) = (NodeId::new(0), NodeId::new(1));
        Message { from, to, term: Term::ZERO, body: Body::PreVoteReply { granted: true } }
    }

    #[test]
    fn links_are_up_between_connected_nodes_of_one_side_without_a_cut() {
        let mut network = Network::new(3);
        assert!(!network.is_up(0, 1), "nobody is connected at first");
        network.set_connected(0, true);
        network.set_connected(1, true);
        assert!(network.is_up(0, 1) && network.is_up(1, 0) && !network.is_up(0, 2));
        network.set_cut(0, 1, true);
        assert!(!network.is_up(0, 1) && network.is_up(1, 0), "a cut is one-way");
        network.heal();
        network.partition(&[true, false, false]);
        assert!(!network.is_up(0, 1) && !network.is_up(1, 0));
        network.heal();
        assert!(network.is_up(0, 1));
    }

    #[test]
    fn damage_flips_one_bit_of_pieces_of_snapshots_at_the_drawn_rate() {
        let members = Membership::of_voters([NodeId::new(1)]);
        let snapshot = Snapshot { position: LogPosition::default(), ..Snapshot::initial(members) };
        let piece = |data: &'static [u8]| {
            let data = Bytes::from_static(data);
            let chunk = SnapshotChunk { snapshot: snapshot.clone(), offset: 0, data, sequence: 1 };
            Message { body: Body::SnapshotChunk(Box::new(chunk)), ..message() }
        };
        let network = Network { damage: 500, ..Network::new(2) };
        let mut rng = fastrand::Rng::with_seed(1);
        let mut damaged = 0;
        for _ in 0..1000 {
            for whole in [message(), piece(b"")] {
                assert_eq!(network.carry(whole.clone(), &mut rng), whole, "nothing to damage");
            }
            let Body::SnapshotChunk(chunk) = network.carry(piece(b"abc"), &mut rng).body else {
                panic!("a piece stays a piece")
            };
            let pairs = chunk.data.iter().zip(b"abc");
            let bits: u32 = pairs.map(|(now, before)| (now ^ before).count_ones()).sum();
            assert!(chunk.data.len() == 3 && bits <= 1, "{:?}", chunk.data);
            damaged += bits;
        }
        assert!((450..550).contains(&damaged), "half are damaged: {damaged}");
    }

    #[test]
    fn loss_duplication_and_delay_have_the_drawn_rates() {
        let mut network = Network::new(2);
        let mut rng = fastrand::Rng::with_seed(1);
        let mut copies = |network: &Network| -> Vec<u64> {
            (0..10_000).flat_map(|_| network.arrivals(&message(), &mut rng)).collect()
        };
        let healthy = copies(&network);
        assert_eq!(healthy.len(), 10_000);
        assert!(healthy.iter().all(|delay| network.delay.contains(delay)));
        network.mode.unreliable = true;
        let kept = copies(&network).len();
        assert!((8800..9200).contains(&kept), "a tenth is lost: {kept}");
        network.mode.unreliable = false;
        network.duplication = 500;
        let doubled = copies(&network).len();
        assert!((14_500..15_500).contains(&doubled), "half are doubled: {doubled}");
        network.duplication = 0;
        network.mode.long_reordering = true;
        let late = copies(&network).iter().filter(|delay| **delay > 200 * MS).count();
        assert!((6300..7000).contains(&late), "two thirds are late: {late}");
    }
}
