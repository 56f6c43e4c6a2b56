//! `raft-kv demo`: three servers, a killed leader, and the proof that nothing was lost.

mod cluster;
mod journal;
mod screen;
mod verify;
mod writers;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hdrhistogram::CreationError;
use indicatif::HumanCount;
use thiserror::Error;
use tokio::time::sleep;

use crate::cli::DemoArgs;
use crate::client::ClientError;
use crate::signals::Signals;
use cluster::Cluster;
use journal::Journal;
use screen::Screen;
use writers::Writers;

/// How long the cluster may take for one thing: to elect, to catch up, to read everything back.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often something that is waited for is looked at.
const POLL: Duration = Duration::from_millis(10);

/// The exit code of a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// The demo could not be played to its end.
#[derive(Debug, Error)]
pub(crate) enum DemoError {
    #[error("can't {action}")]
    Io { action: &'static str, source: io::Error },
    #[error("node {id} has exited by itself{log}")]
    Exited { id: u64, log: String },
    #[error("{what} took longer than {PATIENCE:?}{log}")]
    TooLong { what: &'static str, log: String },
    #[error("can't read back from node {id}")]
    ReadBack { id: u64, source: ClientError },
    #[error("can't measure latency")]
    Histogram(#[source] CreationError),
    #[error("no write was acknowledged, so nothing is proved")]
    Nothing,
}

impl DemoError {
    fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

/// Plays the demo. Whatever ends it, neither a process nor a file of it is left.
pub(crate) async fn run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let mut signals = Signals::new().map_err(DemoError::io("prepare to be interrupted"))?;
    let screen = Screen::new(args.duration);
    let mut cluster = Cluster::new()?;
    let outcome = tokio::select! {
        outcome = play(args, &screen, &mut cluster) => outcome,
        signal = signals.wait() => {
            screen.say(&format!("Stopped by {signal}."));
            Ok(ExitCode::from(INTERRUPTED))
        }
    };
    screen.finish();
    let removed = cluster.remove().await;
    // When both have failed, the first error is the one that matters.
    outcome.and_then(|code| removed.map(|()| code))
}

async fn play(
    args: &DemoArgs,
    screen: &Screen,
    cluster: &mut Cluster,
) -> Result<ExitCode, DemoError> {
    screen.say(&format!("Starting three servers with data in {}.", cluster.directory().display()));
    cluster.start()?;
    for node in cluster.nodes() {
        screen.say(&format!("  node {} serves clients on {}", node.id, node.client));
    }
    let (leader, term) = cluster.leader().await?;
    screen.say(&format!("Node {leader} leads in term {term}."));

    let (clients, duration) = (args.clients, args.duration);
    screen.say(&format!("{clients} clients write for {duration:?}."));
    let journal = Journal::new();
    let writers = Writers::start(clients, cluster.nodes(), &journal);
    tokio::select! {
        outcome = kill_and_restart(duration, screen, cluster, &journal) => outcome?,
        never = screen.animate(&journal) => match never {},
    }
    writers.stop().await;
    let account = journal.summarise()?;
    screen.finish();

    let acknowledged = account.acknowledged();
    if acknowledged == 0 {
        return Err(DemoError::Nothing);
    }
    screen.say(&format!("Reading {} writes back from every node.", HumanCount(acknowledged)));
    let lost = verify::lost(cluster.nodes(), &account.writes).await?;
    screen.summary(&account, lost);
    Ok(if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What happens while the clients write.
async fn kill_and_restart(
    duration: Duration,
    screen: &Screen,
    cluster: &mut Cluster,
    journal: &Journal,
) -> Result<(), DemoError> {
    let started = Instant::now();
    let third = |number| sleep((duration * number / 3).saturating_sub(started.elapsed()));
    third(1).await;
    let (victim, _) = cluster.leader().await?;
    let killed = Instant::now();
    cluster.kill(victim).await?;
    let dead = Instant::now();
    screen.say(&format!("Killed node {victim}, the leader, with SIGKILL."));
    let (leader, term) = cluster.leader().await?;
    let Some(failover) = first_write(journal, killed, dead).await else {
        return Err(cluster.too_long("the first write after the kill"));
    };
    screen.say(&format!(
        "Node {leader} leads now, in term {term}. Writes went on {failover:.1?} after the kill."
    ));

    third(2).await;
    let restarted = Instant::now();
    cluster.start()?;
    let entries = cluster.catch_up(victim).await?;
    let took = restarted.elapsed();
    screen.say(&format!("Restarted node {victim}. It had all {entries} entries after {took:.1?}."));
    third(3).await;
    Ok(())
}

/// Waits for the first acknowledged write after the kill, and returns how long clients had to do
/// without.
async fn first_write(journal: &Journal, killed: Instant, dead: Instant) -> Option<Duration> {
    while dead.elapsed() < PATIENCE {
        if let Some(failover) = journal.failover(killed, dead) {
            return Some(failover);
        }
        sleep(POLL).await;
    }
    None
}
