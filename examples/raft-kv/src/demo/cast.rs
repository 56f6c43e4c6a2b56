//! What happens to the cluster while the clients write.

use std::time::{Duration, Instant};

use indicatif::HumanCount;
use tokio::time::sleep;

use super::journal::Journal;
use super::screen::Screen;
use super::writers::Writers;
use super::{DemoError, FOUNDERS};
use crate::info::RaftReport;
use crate::local::{Cluster, PATIENCE, POLL};

/// The acts have as many sixths of the time.
const ACTS: u32 = 6;

/// The node that is added.
const NEWCOMER: u64 = FOUNDERS as u64 + 1;

/// The play.
pub(super) struct Cast<'a> {
    pub(super) duration: Duration,
    pub(super) started: Instant,
    pub(super) screen: &'a Screen,
    pub(super) cluster: &'a mut Cluster,
    pub(super) journal: &'a Journal,
}

impl Cast<'_> {
    /// Plays all acts.
    pub(super) async fn play(mut self, writers: &Writers) -> Result<(), DemoError> {
        self.wait_for_act(1).await;
        let victim = self.kill_the_leader().await?;
        self.wait_for_act(2).await;
        self.restart(victim).await?;
        self.wait_for_act(3).await;
        self.compact().await?;
        self.add_a_node(writers).await?;
        self.wait_for_act(4).await;
        self.remove_the_leader(writers).await?;
        self.wait_for_act(ACTS).await;
        Ok(())
    }

    /// An act that took longer than its time makes the next one begin later.
    async fn wait_for_act(&self, act: u32) {
        sleep((self.duration * act / ACTS).saturating_sub(self.started.elapsed())).await;
    }

    fn say(&self, what: &str) {
        self.screen.step(self.started, what);
    }

    async fn kill_the_leader(&mut self) -> Result<u64, DemoError> {
        let (victim, _) = self.cluster.leader().await?;
        let killed = Instant::now();
        self.cluster.kill(victim).await?;
        let dead = Instant::now();
        self.say(&format!("Killed node {victim}, the leader, with SIGKILL."));
        let (leader, term) = self.cluster.leader().await?;
        let failover = self
            .notice("the first write after the kill", |journal| journal.failover(killed, dead))
            .await?;
        self.say(&format!(
            "Node {leader} leads now, in term {term}. Writes went on {failover:.1?} after the kill."
        ));
        Ok(victim)
    }

    /// Waits until the journal of the clients says what is wanted.
    async fn notice<T>(
        &self,
        what: &'static str,
        find: impl Fn(&Journal) -> Option<T>,
    ) -> Result<T, DemoError> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(found) = find(self.journal) {
                return Ok(found);
            }
            sleep(POLL).await;
        }
        Err(self.cluster.too_long(what).into())
    }

    /// Waits for a write that is begun now or later and acknowledged.
    async fn writes_go_on(&self, what: &'static str) -> Result<(), DemoError> {
        let now = Instant::now();
        self.notice(what, |journal| journal.has_written_since(now).then_some(())).await
    }

    async fn restart(&mut self, victim: u64) -> Result<(), DemoError> {
        let restarted = Instant::now();
        self.cluster.start(victim)?;
        let report = self.cluster.catch_up(victim).await?;
        let (entries, took) = (HumanCount(report.applied), restarted.elapsed());
        self.say(&format!(
            "Restarted node {victim}. It had all {entries} entries after {took:.1?}."
        ));
        self.writes_go_on("the first write after the restart").await
    }

    /// Snapshots on all nodes, which shorten their logs.
    async fn compact(&mut self) -> Result<(), DemoError> {
        for node in self.cluster.running() {
            let asked = Instant::now();
            let report = self.cluster.snapshot(node.id).await?;
            let took = asked.elapsed();
            let RaftReport { snapshot, base, last, .. } = report;
            self.say(&format!(
                "Node {} took a snapshot up to entry {} in {took:.1?}; its log keeps {} entries.",
                node.id,
                HumanCount(snapshot),
                HumanCount(last.saturating_sub(base)),
            ));
        }
        self.writes_go_on("the first write after the snapshots").await
    }

    /// A fourth node. What the others have compacted can only come with a snapshot.
    async fn add_a_node(&mut self, writers: &Writers) -> Result<(), DemoError> {
        self.cluster.start(NEWCOMER)?;
        let newcomer = self.cluster.running().into_iter().find(|node| node.id == NEWCOMER);
        let runtime = newcomer.map(|node| format!(" ({})", node.runtime)).unwrap_or_default();
        self.say(&format!("Started node {NEWCOMER}{runtime}, which is no member yet."));
        self.cluster
            .wait_for("the start of a server", |reports| {
                reports.iter().any(|report| report.id == NEWCOMER).then_some(())
            })
            .await?;
        let begun = Instant::now();
        let through = self.somebody_else(NEWCOMER)?;
        self.cluster.add(NEWCOMER, through).await?;
        let report = self.cluster.catch_up(NEWCOMER).await?;
        if report.base == 0 {
            return Err(DemoError::NoSnapshot(NEWCOMER));
        }
        writers.tell(&self.cluster.running());
        self.say(&format!(
            "Added node {NEWCOMER}: it has a snapshot up to {}, the entries behind it, and a vote \
             after {:.1?}.",
            HumanCount(report.snapshot),
            begun.elapsed(),
        ));
        self.writes_go_on("the first write after the addition").await
    }

    /// The leader removes itself, asked through another node, and hands over.
    async fn remove_the_leader(&mut self, writers: &Writers) -> Result<(), DemoError> {
        let (old, _) = self.cluster.leader().await?;
        let begun = Instant::now();
        let through = self.somebody_else(old)?;
        self.cluster.expel(old, through).await?;
        let (took, new) = (begun.elapsed(), self.successor(old).await?);
        self.say(&format!(
            "Removed node {old}, the leader, through node {through}, in {took:.1?}. Node {} leads \
             now, in term {}.",
            new.0, new.1
        ));
        self.cluster.stop(old).await?;
        writers.tell(&self.cluster.running());
        self.say(&format!("Stopped node {old}."));
        self.writes_go_on("the first write after the removal").await
    }

    async fn successor(&mut self, old: u64) -> Result<(u64, u64), DemoError> {
        let find = |reports: &[RaftReport]| {
            let leader = reports.iter().find(|report| report.leads() && report.id != old)?;
            Some((leader.id, leader.term))
        };
        Ok(self.cluster.wait_for("the election of a successor", find).await?)
    }

    /// A running node other than this one.
    fn somebody_else(&self, than: u64) -> Result<u64, DemoError> {
        let mut others = self.cluster.running().into_iter().filter(|node| node.id != than);
        others.next().map(|node| node.id).ok_or(DemoError::Nothing)
    }
}
