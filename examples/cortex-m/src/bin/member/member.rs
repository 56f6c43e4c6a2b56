//! The node and what it keeps: outputs of the core are carried out here, in place.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use core::{mem, slice};

use bytes::{BufMut, Bytes, BytesMut};
use raft_chip_parts::{FlashLog, FlashSnapshots};
use raft_core::{
    Config, ConfigError, Entries, Event, Instant, Notice, Output, Payload, Raft, RequestId,
    Restored, RoleKind, Snapshot, Write,
};
use raft_node::session::MAX_OVERHEAD;
use raft_node::{Identity, IdentityError, LogStore, Peers, StoreError};
use thiserror::Error;

use crate::board::Flash;
use crate::links::Links;

/// How long a member waits for its leader: the other members have the same.
const ELECTION_TIMEOUT: Duration = Duration::from_millis(1500);
/// What is left of a message when the leader's option `--message-kib` is 8.
const MESSAGE_BYTES: usize = 8 << 10;
/// How often the leader is asked for a new snapshot at most, and how often the leadership is handed
/// over for that at most.
const RENEWAL: Duration = Duration::from_secs(2);

/// The member can't start, or can't go on.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the flash does not say who this node is: it was not provisioned")]
    NotProvisioned,
}

/// What the state machine of this example knows: it does not understand the commands, and counts them.
/// It keeps nothing across a reset, so it begins anew with the snapshot.
#[derive(Default)]
struct Machine {
    applied: u64,
    commands: u64,
    hash: u32,
}

/// One voter.
pub(crate) struct Member {
    raft: Raft,
    log: FlashLog<Flash>,
    snapshots: FlashSnapshots<Flash>,
    pub(crate) links: Links,
    peers: Peers,
    starts: u64,
    machine: Machine,
    /// What has happened and the core does not know yet.
    pub(crate) events: Vec<Event>,
    outputs: Vec<Output>,
    /// When something was last done to shorten the log, and whether this node led.
    renewed: Option<(Instant, bool)>,
    requests: u64,
    /// The bytes of snapshots that were read for others.
    served: u64,
    /// Lines for the console.
    pub(crate) news: VecDeque<String>,
}

/// The limits of a node with little memory. What the leader sends is bounded by its own settings, so
/// those of all members have to fit: `raft-kv serve --message-kib 8`.
fn config(identity: &Identity, seed: u64) -> Config {
    Config::new(identity.node(), seed)
        .election_timeout(ELECTION_TIMEOUT)
        .heartbeat_interval(ELECTION_TIMEOUT / 10)
        .outcome_timeout(ELECTION_TIMEOUT)
        .compaction_margin(16)
        .max_snapshot_chunk_bytes(MESSAGE_BYTES / 4)
        .max_in_flight_snapshot_bytes(2 * MESSAGE_BYTES)
        .max_append_bytes(MESSAGE_BYTES)
        .max_append_entries(64)
        .max_in_flight_messages(8)
        .max_in_flight_bytes(2 * MESSAGE_BYTES)
        .max_command_bytes(4 * MESSAGE_BYTES + MAX_OVERHEAD)
        .max_uncommitted_bytes(4 * MESSAGE_BYTES)
        .max_unpersisted_bytes(4 * MESSAGE_BYTES)
        .max_cached_bytes(2 * MESSAGE_BYTES)
        .max_applying_bytes(2 * MESSAGE_BYTES)
        .max_pending_requests(64)
        .max_held_messages(16)
}

/// Mixes the bits of a number (the finaliser of splitmix64).
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// What is kept with the log: how often the node has started, and who it is.
fn metadata(starts: u64, identity: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u64_le(starts);
    bytes.put_slice(identity);
    bytes.freeze()
}

impl Member {
    /// Brings the node back from its flash.
    pub(crate) fn start(now: Instant) -> Result<Self, Failure> {
        let (log, snapshots) = Flash::parts();
        let mut log = FlashLog::open(log)?;
        let snapshots = FlashSnapshots::open(snapshots)?;
        let mut kept = log.metadata()?;
        if kept.len() <= 8 {
            return Err(Failure::NotProvisioned);
        }
        let starts = kept.split_to(8).iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (starts, identity) = (starts + 1, Identity::decode(kept.clone())?);
        // The seed has to be another one at each start, and this chip has no source of randomness:
        // so the random number of the storage is mixed with a count that is written down first.
        log.set_metadata(&metadata(starts, &kept))?;
        let config = config(&identity, mix(identity.storage() ^ mix(starts)));
        let max_frame = config.max_message_bytes();
        let founding = Snapshot::initial(identity.founders().clone());
        let snapshot = snapshots.newest().cloned().unwrap_or(founding);
        let (stored, covered) = (log.restore()?, snapshot.membership.clone());
        let restored = Restored { log: stored, snapshot: Some(snapshot), ..Restored::default() };
        let raft = Raft::new(config, restored, now)?;
        let address = identity.founders().address(identity.node()).unwrap_or_default().into();
        let membership = raft.status().membership;
        let peers = Peers::new(identity, membership, address, None);
        peers.commit(covered);
        // The low bits count how often the gateway has begun anew.
        let links = Links::new(peers.clone(), max_frame, (starts as u32) << 8);
        Ok(Self {
            raft,
            log,
            snapshots,
            links,
            peers,
            starts,
            machine: Machine::default(),
            events: Vec::new(),
            outputs: Vec::new(),
            renewed: None,
            requests: 0,
            served: 0,
            news: VecDeque::new(),
        })
    }

    /// When the node wants to be woken up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.raft.deadline()
    }

    /// Gives the core what has happened, and carries out what follows, until nothing follows.
    pub(crate) fn advance(&mut self, now: Instant) -> Result<(), Failure> {
        while !self.events.is_empty() || self.raft.deadline().is_some_and(|at| at <= now) {
            let Self { raft, log, events, outputs, .. } = self;
            // The flash has a write when the call that makes it returns.
            let write = |write: &Write| log.append(slice::from_ref(write));
            raft.step_durably(now, mem::take(events), write, outputs)?;
            let mut outputs = mem::take(&mut self.outputs);
            for output in outputs.drain(..) {
                self.carry_out(output)?;
            }
            self.outputs = outputs;
        }
        if let Some(identity) = self.peers.take_unsaved() {
            self.log.set_metadata(&metadata(self.starts, &identity))?;
        }
        self.renew(now);
        Ok(())
    }

    fn carry_out(&mut self, output: Output) -> Result<(), Failure> {
        let event = match output {
            // Only a write that is under way could make this come; here every write is made in its step.
            Output::Persist(write) => {
                self.log.append(slice::from_ref(&write))?;
                Event::Persisted(write.ticket)
            }
            Output::Load { from, through, max_bytes } => {
                Event::Loaded { from, entries: self.log.load(from, through, max_bytes)? }
            }
            Output::Apply(entries) => match entries.last().map(|entry| entry.index) {
                Some(last) => {
                    self.machine.apply(&entries);
                    self.peers.commit_those_of(&entries);
                    Event::Applied(last)
                }
                None => return Ok(()),
            },
            Output::Restore(snapshot) => {
                self.machine.restore(&snapshot);
                self.peers.commit(snapshot.membership.clone());
                Event::Applied(snapshot.position.index)
            }
            Output::ReadSnapshot { snapshot, offset, max_bytes } => {
                let data = self.snapshots.read(&snapshot, offset, max_bytes)?;
                self.served += data.as_ref().map_or(0, |data| data.len() as u64);
                Event::SnapshotRead { snapshot, offset, data }
            }
            Output::WriteSnapshot(piece) => {
                self.snapshots.receive(&piece.snapshot, piece.offset, &piece.data)?;
                let through = piece.offset + piece.data.len() as u64;
                Event::SnapshotWritten { snapshot: piece.snapshot, attempt: piece.attempt, through }
            }
            Output::DropSnapshot(snapshot) => return Ok(self.snapshots.remove(&snapshot)?),
            Output::Send(message) => {
                self.links.send(&message);
                return Ok(());
            }
            // Nobody asks this node for anything but to hand over.
            Output::Done { .. } => return Ok(()),
            Output::Notice(notice) => {
                self.take_notice(notice);
                return Ok(());
            }
        };
        self.events.push(event);
        Ok(())
    }

    fn take_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Leadership { role, term, leader } => {
                let leader = leader.map_or(0, |leader| leader.get());
                self.news.push_back(alloc::format!("{role:?} in term {term}, leader {leader}"));
            }
            Notice::Membership(membership) => self.peers.adopt(membership),
            // A follower needs a snapshot of now, and this node can't make one.
            Notice::SnapshotWanted => self.hand_over(),
        }
    }

    fn hand_over(&mut self) {
        self.requests += 1;
        let request = RequestId::new(self.requests);
        self.events.push(Event::TransferLeadership { request, to: None });
    }

    /// A node that takes no snapshots would fill its flash. So when the entries of its log take half a
    /// bank, it gives up its state, which is nothing but a count, and the leader sends a snapshot, up
    /// to which the log is cut. If it leads itself, it hands over first.
    fn renew(&mut self, now: Instant) {
        let leads = self.raft.status().role == RoleKind::Leader;
        let recent = self.renewed.is_some_and(|(at, led)| led == leads && now.since(at) < RENEWAL);
        if self.log.entry_bytes() < self.log.bank_bytes() / 2 || recent {
            return;
        }
        self.renewed = Some((now, leads));
        if leads {
            self.hand_over();
            self.news.push_back("the log is half full: another node shall lead".into());
        } else {
            self.events.push(Event::StateLost);
            self.news.push_back("the log is half full: a new snapshot is asked for".into());
        }
    }

    /// How the node stands, in one line.
    pub(crate) fn status(&self) -> String {
        let status = self.raft.status();
        let Machine { applied, commands, hash } = self.machine;
        alloc::format!(
            "status role={:?} term={} leader={} commit={} applied={applied} commands={commands} \
             hash={hash:08x} snapshot={} served={} last={} starts={}",
            status.role,
            status.term,
            status.leader.map_or(0, |leader| leader.get()),
            status.commit,
            status.snapshot,
            self.served,
            status.last,
            self.starts,
        )
    }
}

impl Machine {
    fn apply(&mut self, entries: &Entries) {
        for entry in entries.iter() {
            if let Payload::Command(command) = &entry.payload {
                self.commands += 1;
                let mut hasher = crc32fast::Hasher::new_with_initial(self.hash);
                hasher.update(command);
                self.hash = hasher.finalize();
            }
            self.applied = entry.index.get();
        }
    }

    fn restore(&mut self, snapshot: &Snapshot) {
        let applied = snapshot.position.index.get();
        *self = Self { applied, commands: 0, hash: snapshot.checksum };
    }
}
