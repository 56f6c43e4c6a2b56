//! `raft-kv status`, `transfer` and `snapshot`: one question to one node, for people.

use std::fmt::{Display, Write as _};
use std::io::{self, Write as _};
use std::time::Duration;

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::cli::{NodeArgs, TransferArgs};
use crate::client::{Client, ClientError, unexpected};
use crate::info::{MemberReport, RaftReport};

/// How long a node may take to say how it stands.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before something is tried again that is refused at the moment.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

/// A snapshot takes as long as the disk takes for the whole state.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(3600);

/// The node could not be asked, did not do it, or its answer could not be printed.
#[derive(Debug, Error)]
pub(crate) enum OperateError {
    #[error("can't ask {address}")]
    Ask { address: String, source: ClientError },
    /// What the node said instead.
    #[error("{0}")]
    Refused(String),
    #[error("node {0} belongs to no cluster yet; ask a node that does to add it")]
    NoCluster(u64),
    #[error("can't print the answer")]
    Print(#[from] io::Error),
}

impl OperateError {
    /// What to say of an error at this address.
    pub(crate) fn ask(address: &str) -> impl Fn(ClientError) -> Self + use<> {
        let address = address.to_owned();
        move |source| Self::Ask { address: address.clone(), source }
    }

    /// An error reply, without the first word, which is for programs.
    pub(crate) fn refused(text: &str) -> Self {
        Self::Refused(text.split_once(' ').map_or(text, |(_, rest)| rest).to_owned())
    }
}

/// Connects to the node and asks how it stands.
pub(crate) async fn connect(node: &str) -> Result<(Client, RaftReport), OperateError> {
    let failed = OperateError::ask(node);
    let mut client = Client::connect(node, PATIENCE).await.map_err(&failed)?;
    let report = client.report().await.map_err(failed)?;
    Ok((client, report))
}

/// `raft-kv status`.
pub(crate) async fn status(args: &NodeArgs) -> Result<(), OperateError> {
    let (_, report) = connect(&args.node).await?;
    print(&describe(&report))
}

/// `raft-kv transfer`.
pub(crate) async fn transfer(args: &TransferArgs) -> Result<(), OperateError> {
    let (mut client, _) = connect(&args.node.node).await?;
    let id = args.id.map(|id| id.to_string().into());
    let request: Vec<Bytes> = ["RAFT.TRANSFER".into()].into_iter().chain(id).collect();
    let reply = while_tried_again(&mut client, &request).await;
    let leader = number(&args.node.node, reply)?;
    print(&format!("Node {leader} leads.\n"))
}

/// Sends a request until the answer is another one than to try it again: the leader may be new, or
/// about to hand over.
async fn while_tried_again(
    client: &mut Client,
    request: &[Bytes],
) -> Result<BytesFrame, ClientError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.call(request.to_vec()).await? {
            BytesFrame::Error(text)
                if text.starts_with("TRYAGAIN") && Instant::now() + PAUSE < deadline =>
            {
                sleep(PAUSE).await;
            }
            reply => return Ok(reply),
        }
    }
}

/// `raft-kv snapshot`.
pub(crate) async fn snapshot(args: &NodeArgs) -> Result<(), OperateError> {
    let (mut client, report) = connect(&args.node).await?;
    client.set_patience(SNAPSHOT_PATIENCE);
    let reply = client.call(vec!["RAFT.SNAPSHOT".into()]).await;
    let index = number(&args.node, reply)?;
    print(&format!("Node {} has a snapshot up to entry {index}.\n", report.id))
}

fn number(node: &str, reply: Result<BytesFrame, ClientError>) -> Result<i64, OperateError> {
    match reply.map_err(OperateError::ask(node))? {
        BytesFrame::Integer(number) => Ok(number),
        BytesFrame::Error(text) => Err(OperateError::refused(&text)),
        other => Err(OperateError::ask(node)(unexpected(&other))),
    }
}

/// Prints to the standard output.
pub(crate) fn print(text: &str) -> Result<(), OperateError> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn describe(report: &RaftReport) -> String {
    let leader = match report.leader {
        Some(leader) if leader == report.id => "this node".to_owned(),
        Some(leader) => format!("node {leader}"),
        None => "unknown".to_owned(),
    };
    let mut text = format!("Node {}\n", report.id);
    let mut line = |name: &str, value: &dyn Display| {
        // Writing to a string can't fail.
        let _ = writeln!(text, "  {name:<10}{value}");
    };
    line("role", &report.role);
    line("term", &report.term);
    line("leader", &leader);
    line("commit", &report.commit);
    line("applied", &report.applied);
    line("snapshot", &report.snapshot);
    line("base", &report.base);
    line("last", &report.last);
    if let Some(silent) = report.quorum_silent_ms {
        line("quorum", &format!("answered {silent} ms ago"));
    }
    if let Some(malformed) = report.dropped_malformed {
        line("malformed", &format!("{malformed} messages"));
    }
    if let Some(why) = &report.snapshot_failure {
        line("trouble", &format!("the last snapshot could not be written: {why}"));
    }
    text + &members(report)
}

/// The members as a table.
pub(crate) fn members(report: &RaftReport) -> String {
    let mut text = String::new();
    for (id, member) in &report.members {
        let leads = if report.leader == Some(*id) { "leader" } else { "" };
        let MemberReport { part, address, .. } = member;
        let progress = progress(member, report.last);
        let line = format!("  member {id:<4}{address:<22}{part:<16}{leads:<8}{progress}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn progress(member: &MemberReport, last: u64) -> String {
    /// A member that is silent for as long is worth a word.
    const SILENCE_MS: u64 = 1000;
    let Some(matched) = member.matched else { return String::new() };
    let mut text = match member.snapshot {
        Some((sent, size)) => format!("receives a snapshot, {sent} of {size} bytes"),
        None if matched == last => format!("has all up to {matched}"),
        None => format!("has up to {matched} of {last}"),
    };
    if let Some(silent) = member.silent_ms.filter(|silent| *silent > SILENCE_MS) {
        let _ = write!(text, ", not heard for {:.1} s", silent as f64 / 1000.0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::scripted;

    #[tokio::test]
    async fn a_transfer_is_tried_again_while_the_leader_asks_for_that() {
        let [again, done] = ["-TRYAGAIN no leader\r\n", ":2\r\n"].map(str::to_owned);
        let (address, asked) = scripted::server(vec![again.clone(), again, done]).await;
        let mut client = Client::connect(&address, PATIENCE).await.unwrap();
        let request = ["RAFT.TRANSFER".into(), "2".into()];
        let reply = while_tried_again(&mut client, &request).await;
        assert_eq!(number(&address, reply).unwrap(), 2);
        assert_eq!(asked.await.unwrap(), ["RAFT.TRANSFER 2"; 3]);
    }

    #[test]
    fn progress_names_what_an_operator_looks_for() {
        let member = |matched, snapshot, silent_ms| MemberReport {
            matched,
            snapshot,
            silent_ms,
            ..MemberReport::default()
        };
        for (report, text) in [
            (member(None, None, None), ""),
            (member(Some(9), None, Some(3)), "has all up to 9"),
            (member(Some(4), None, Some(2500)), "has up to 4 of 9, not heard for 2.5 s"),
            (member(Some(0), Some((1, 7)), Some(3)), "receives a snapshot, 1 of 7 bytes"),
        ] {
            assert_eq!(progress(&report, 9), text);
        }
    }
}
