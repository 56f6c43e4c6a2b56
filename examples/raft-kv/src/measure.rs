//! `raft-kv measure`: what clients notice of snapshots and of a new node, for those who work on
//! this library. The subcommand is hidden from the help.
//!
//! It founds a cluster of three processes with real files and sockets, fills it with keys, and
//! writes at a constant rate through three phases: nothing else happens; all nodes take a
//! snapshot; a follower is removed for ever and a new node is added, which gets everything.

mod load;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::time::sleep;

use crate::cli::MeasureArgs;
use crate::client::ClientError;
use crate::info::RaftReport;
use crate::local::{Address, Cluster, Ended, LocalError};
use crate::node::{Runtime, Runtimes};
use crate::operate::{OperateError, print};
use crate::signals::INTERRUPTED;
use load::{Load, Sample};

/// Snapshots are taken when a phase asks for them, and only then.
const OPTIONS: &[&str] = &["--snapshot-entries", "0", "--snapshot-mib", "0"];

/// The nodes run on what a server runs on if nothing else is said.
const RUNTIMES: Runtimes = Runtimes::All(Runtime::Tokio);

const FOUNDERS: usize = 3;
const NEWCOMER: u64 = FOUNDERS as u64 + 1;

/// How long the load runs before anything happens to the cluster.
const LEAD: Duration = Duration::from_millis(500);

/// A stall shows in the bucket in which the writes that met it were due.
const BUCKET: Duration = Duration::from_millis(100);
const BUCKETS_IN_A_LINE: usize = 20;

/// The measurement could not be made.
#[derive(Debug, Error)]
pub(crate) enum MeasureError {
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(transparent)]
    Print(#[from] OperateError),
    #[error("can't load the keys")]
    Load(#[from] ClientError),
    #[error("the cluster has no such node")]
    NoNode,
}

/// Measures, and prints a table.
pub(crate) async fn run(args: &MeasureArgs) -> Result<ExitCode, MeasureError> {
    let measure = async |cluster: &mut Cluster| measure(args, cluster).await;
    match Cluster::with(FOUNDERS, FOUNDERS + 1, RUNTIMES, OPTIONS, measure).await? {
        Ended::Done(()) => Ok(ExitCode::SUCCESS),
        Ended::Interrupted(signal) => {
            print(&format!("Stopped by {signal}.\n"))?;
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

async fn measure(args: &MeasureArgs, cluster: &mut Cluster) -> Result<(), MeasureError> {
    cluster.found()?;
    let (leader, _) = cluster.leader().await?;
    let begun = Instant::now();
    load::fill(&node(cluster, leader)?.client, args.keys, args.value_bytes).await?;
    let took = begun.elapsed();
    print(&format!(
        "Loaded {} keys of {} bytes with values of {} bytes in {took:.1?}.\n\
         Then {} writes/s over {} connections to node {leader}, the leader.\n\n\
         phase           writes  errors    p50 ms    p99 ms  worst ms  what happened\n",
        args.keys,
        load::KEY_BYTES,
        args.value_bytes,
        args.rate,
        load::CONNECTIONS,
    ))?;
    let mut details = String::new();
    for phase in [Phase::Quiet, Phase::Snapshots, Phase::NewNode] {
        let load = Load::start(&node(cluster, leader)?.client, args);
        let begun = Instant::now();
        sleep(LEAD).await;
        let what = phase.play(cluster, leader).await?;
        sleep(args.phase.saturating_sub(begun.elapsed())).await;
        let (mut samples, errors) = load.stop().await;
        print(&format!("{}{what}\n", row(phase.name(), &samples, errors)))?;
        samples.sort_unstable_by_key(|sample| sample.due);
        let _ = write!(details, "\n{}: worst ms in each {BUCKET:?}", phase.name());
        details.push_str(&buckets(begun, &samples));
    }
    Ok(print(&format!("{details}\n"))?)
}

#[derive(Clone, Copy)]
enum Phase {
    Quiet,
    Snapshots,
    NewNode,
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Snapshots => "snapshots",
            Self::NewNode => "new node",
        }
    }

    /// Does what the phase is about, and says how long that took.
    async fn play(self, cluster: &mut Cluster, leader: u64) -> Result<String, MeasureError> {
        match self {
            Self::Quiet => Ok("nothing".to_owned()),
            Self::Snapshots => snapshots(cluster).await,
            Self::NewNode => new_node(cluster, leader).await,
        }
    }
}

async fn snapshots(cluster: &mut Cluster) -> Result<String, MeasureError> {
    let begun = Instant::now();
    cluster.snapshot_everywhere().await?;
    Ok(format!(
        "all three nodes took a snapshot at once, the last was done after {:.1?}",
        begun.elapsed()
    ))
}

async fn new_node(cluster: &mut Cluster, leader: u64) -> Result<String, MeasureError> {
    let old = cluster.running().into_iter().find(|node| node.id != leader);
    let old = old.ok_or(MeasureError::NoNode)?.id;
    cluster.expel(old, leader).await?;
    cluster.stop(old).await?;
    cluster.wipe(old)?;
    cluster.start(NEWCOMER)?;
    let up = |reports: &[RaftReport]| reports.iter().find(|it| it.id == NEWCOMER).map(|_| ());
    cluster.wait_for("the start of a server", up).await?;
    let begun = Instant::now();
    cluster.add(NEWCOMER, leader).await?;
    let added = begun.elapsed();
    let report = cluster.catch_up(NEWCOMER).await?;
    Ok(format!(
        "node {old} removed and wiped; node {NEWCOMER} got a snapshot up to {}, votes {added:.1?} \
         after it was added, and has applied all after {:.1?}",
        report.snapshot,
        begun.elapsed(),
    ))
}

fn node(cluster: &Cluster, id: u64) -> Result<Address, MeasureError> {
    cluster.running().into_iter().find(|node| node.id == id).ok_or(MeasureError::NoNode)
}

fn row(name: &str, samples: &[Sample], errors: u64) -> String {
    let mut sorted: Vec<Duration> = samples.iter().map(|sample| sample.latency).collect();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        millis(sorted.get(place).copied().unwrap_or_default())
    };
    let count = sorted.len();
    format!("{name:<12}{count:>10}{errors:>8}{:>10.2}{:>10.2}{:>10.2}  ", at(50), at(99), at(100))
}

/// The worst latency of the writes that were due in each bucket.
fn buckets(begun: Instant, samples: &[Sample]) -> String {
    let mut worst: Vec<Duration> = Vec::new();
    for sample in samples {
        let place = sample.due.saturating_duration_since(begun).as_millis() / BUCKET.as_millis();
        let place = usize::try_from(place).unwrap_or_default();
        if worst.len() <= place {
            worst.resize(place + 1, Duration::ZERO);
        }
        worst[place] = worst[place].max(sample.latency);
    }
    let mut text = String::new();
    for (place, worst) in worst.into_iter().enumerate() {
        if place % BUCKETS_IN_A_LINE == 0 {
            let _ = write!(text, "\n{:>5} s ", place / 10);
        }
        let _ = write!(text, "{:>5.0}", millis(worst));
    }
    text.push('\n');
    text
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
