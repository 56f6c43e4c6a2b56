//! The node's own snapshots, and the room that they make in its log (paper, section 7).

use crate::shared::Arc;

use crate::entry::LogPosition;
use crate::ids::LogIndex;
use crate::membership::Membership;
use crate::outbox::Outbox;
use crate::raft::Raft;
use crate::role::Role;
use crate::snapshot::Snapshot;

/// While a follower holds up compaction, the log is cut in steps of so many entries: each step is a
/// write.
const STEP: u64 = 1024;

/// So many snapshots that were given up are remembered.
const DOOMED: usize = 16;

impl Raft {
    /// What a snapshot of the state machine after the entry at `index` has to say of the log: the
    /// entry's position and the configuration in force there. `None` for an entry that is not
    /// applied, or that an earlier snapshot covers, or whose configuration this node does not
    /// know: a node that was added and got the log from its first entry on does not know the
    /// founders, only the configurations that came after them.
    #[must_use]
    pub fn describe_snapshot(&self, index: LogIndex) -> Option<(LogPosition, Arc<Membership>)> {
        let newest = self.snapshot.as_ref().map_or(LogIndex::ZERO, |it| it.position.index);
        // What the state machine had applied before it lost its state does not count.
        if index <= newest || index > self.applier.applied() {
            return None;
        }
        let term = self.log.term_at(index)?;
        let (_, membership) = self.log.membership_at(index)?;
        if membership.is_empty() {
            return None;
        }
        Some((LogPosition { index, term }, membership.clone()))
    }

    pub(crate) fn on_snapshot_taken(&mut self, snapshot: Snapshot, out: &mut Outbox<'_>) {
        let described = self.describe_snapshot(snapshot.position.index);
        let doomed = self.doomed_snapshots.contains(&snapshot);
        if doomed || described != Some((snapshot.position, snapshot.membership.clone())) {
            // One that the leader sent may have overtaken it, or the very same was given up while
            // it arrived, and the host may get to know that only now.
            self.dropped.stale += 1;
            return self.drop_snapshot(snapshot, out);
        }
        self.replace_snapshot(snapshot);
    }

    /// From now on this is the newest snapshot.
    pub(crate) fn replace_snapshot(&mut self, snapshot: Snapshot) {
        let index = snapshot.position.index;
        self.doomed_snapshots.retain(|doomed| doomed.position.index > index);
        let old = self.snapshot.replace(snapshot);
        let useless = |old: &Snapshot| {
            old.position.index > LogIndex::ZERO && self.snapshot.as_ref() != Some(old)
        };
        self.old_snapshots.extend(old.filter(useless));
    }

    /// Gives up a snapshot, unless it is the very one that this node relies on, an older one that
    /// is still in use, or one that is just arriving.
    pub(crate) fn drop_snapshot(&mut self, snapshot: Snapshot, out: &mut Outbox<'_>) {
        let arrives = self.receiving.as_ref().is_some_and(|it| it.is_of(&snapshot));
        let relied_on = self.snapshot.as_ref() == Some(&snapshot);
        if arrives || relied_on || self.old_snapshots.contains(&snapshot) {
            return;
        }
        let newest = self.snapshot.as_ref().map_or(LogIndex::ZERO, |it| it.position.index);
        if snapshot.position.index > newest {
            if self.doomed_snapshots.len() >= DOOMED {
                self.doomed_snapshots.remove(0);
            }
            self.doomed_snapshots.push(snapshot.clone());
        }
        out.drop_snapshot(snapshot);
    }

    /// Drops entries that the newest snapshot covers, but for a margin that saves followers which
    /// are a little behind from being sent the snapshot.
    pub(crate) fn compact(&mut self) {
        let Some(snapshot) = &self.snapshot else { return };
        let covered = snapshot.position.index.get();
        let limit = covered.saturating_sub(self.config.compaction_margin);
        let limit = LogIndex::new(limit).unwrap_or_default().min(self.log.durable());
        let base = self.log.base().index;
        if limit <= base {
            return;
        }
        let to = limit.min(self.needed_after());
        if to <= base || (to < limit && to.since(base) < STEP) {
            return;
        }
        self.log.compact(to);
        if let Role::Leader(leader) = &mut self.role {
            for peer in &mut leader.peers {
                if peer.next <= to && !matches!(peer.state, crate::progress::State::Snapshot(_)) {
                    peer.probe(to);
                }
            }
        }
    }
}
