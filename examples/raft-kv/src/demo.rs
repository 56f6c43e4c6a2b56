//! `raft-kv demo`: a cluster whose leader is killed and whose members change while clients write,
//! and the proof that nothing was lost, nothing was applied twice, and no client had to give up.

mod cast;
mod journal;
mod screen;
mod verify;
mod writers;

use std::process::ExitCode;
use std::time::Instant;

use hdrhistogram::CreationError;
use indicatif::HumanCount;
use thiserror::Error;

use crate::cli::DemoArgs;
use crate::client::ClientError;
use crate::local::{Address, Cluster, Ended, LocalError};
use crate::signals::INTERRUPTED;
use cast::Cast;
use journal::Journal;
use screen::Screen;
use writers::Writers;

/// How many servers found the cluster. One more is added later.
const FOUNDERS: usize = 3;

/// However short the demo is, snapshots leave nothing of the log from which a new node could begin.
const OPTIONS: &[&str] = &["--log-margin", "0"];

/// The demo could not be played to its end.
#[derive(Debug, Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error("can't read back from node {id}")]
    ReadBack { id: u64, source: ClientError },
    #[error("node {0} was added without a snapshot, although the others have compacted their logs")]
    NoSnapshot(u64),
    #[error("can't measure latency")]
    Histogram(#[source] CreationError),
    #[error("no write was acknowledged, so nothing is proved")]
    Nothing,
}

/// Plays the demo. Whatever ends it, neither a process nor a file of it is left.
pub(crate) async fn run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let screen = Screen::new(args.duration);
    let play = async |cluster: &mut Cluster| play(args, &screen, cluster).await;
    let ended = Cluster::with(FOUNDERS, FOUNDERS + 1, args.runtime, OPTIONS, play).await;
    screen.finish();
    Ok(match ended? {
        Ended::Done(code) => code,
        Ended::Interrupted(signal) => {
            screen.say(&format!("Stopped by {signal}."));
            ExitCode::from(INTERRUPTED)
        }
    })
}

async fn play(
    args: &DemoArgs,
    screen: &Screen,
    cluster: &mut Cluster,
) -> Result<ExitCode, DemoError> {
    screen.say(&format!("Starting three servers with data in {}.", cluster.directory().display()));
    cluster.found()?;
    for node in cluster.running() {
        let Address { id, client, runtime, .. } = node;
        screen.say(&format!("  node {id} ({runtime}) serves clients on {client}"));
    }
    let (leader, term) = cluster.leader().await?;
    screen.say(&format!("Node {leader} leads in term {term}."));

    let (clients, duration) = (args.clients, args.duration);
    screen.say(&format!("{clients} clients write for {duration:?}."));
    let journal = Journal::new();
    let writers = Writers::start(clients, &cluster.running(), &journal);
    let cast = Cast { duration, started: Instant::now(), screen, cluster, journal: &journal };
    tokio::select! {
        outcome = cast.play(&writers) => outcome?,
        never = screen.animate(&journal) => match never {},
    }
    let gave_up = writers.stop().await;
    let account = journal.summarise(clients)?;
    screen.finish();

    let acknowledged = account.acknowledged();
    if acknowledged == 0 {
        return Err(DemoError::Nothing);
    }
    screen.say(&format!("Reading {} writes back from every node.", HumanCount(acknowledged)));
    let verdict = verify::verify(&cluster.running(), &account).await?;
    screen.summary(&account, &verdict, gave_up);
    let good = verdict.lost == 0 && verdict.repeated == 0 && gave_up == 0;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
