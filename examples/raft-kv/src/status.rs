//! `raft-kv status`: how one node stands, for people.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use thiserror::Error;

use crate::cli::StatusArgs;
use crate::client::{Client, ClientError};
use crate::info::RaftReport;

const PATIENCE: Duration = Duration::from_secs(5);

/// The node could not be asked, or the answer not be printed.
#[derive(Debug, Error)]
pub(crate) enum StatusError {
    #[error("can't ask {address}")]
    Ask { address: String, source: ClientError },
    #[error("can't print the answer")]
    Print(#[from] io::Error),
}

/// Asks the node and prints what it says.
pub(crate) async fn run(args: &StatusArgs) -> Result<(), StatusError> {
    let ask = async { Client::connect(&args.client, PATIENCE).await?.report().await };
    let failed = |source| StatusError::Ask { address: args.client.clone(), source };
    let report = ask.await.map_err(failed)?;
    Ok(io::stdout().write_all(describe(&report).as_bytes())?)
}

fn describe(report: &RaftReport) -> String {
    let leader = match report.leader {
        Some(leader) if leader == report.id => "this node".to_owned(),
        Some(leader) => format!("node {leader}"),
        None => "unknown".to_owned(),
    };
    let mut text = format!("Node {}\n", report.id);
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string can't fail.
        let _ = writeln!(text, "  {name:<10}{value}");
    };
    line("role", &report.role);
    line("term", &report.term);
    line("leader", &leader);
    line("commit", &report.commit);
    line("applied", &report.applied);
    line("last", &report.last);
    for (id, peer) in &report.peers {
        line(&format!("peer {id}"), peer);
    }
    text
}
