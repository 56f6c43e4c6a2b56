//! `raft-kv member`: the members of the cluster, seen and changed through any node.

use std::time::Duration;

use bytes::Bytes;
use raft_node::core::NodeId;
use redis_protocol::resp2::types::BytesFrame;
use tokio::time::{Instant, sleep};

use crate::admin::Change;
use crate::cli::{ChangeArgs, MemberAction, MemberArgs};
use crate::client::{Client, ClientError, unexpected};
use crate::info::{LEARNER, RaftReport, VOTER};
use crate::operate::{OperateError, connect, members, print};

/// The pause before a change is tried again while another one is under way.
const PAUSE: Duration = Duration::from_millis(200);

/// Shows or changes the members.
pub(crate) async fn run(args: &MemberArgs) -> Result<(), OperateError> {
    let (mut client, report) = connect(&args.node.node).await?;
    if report.members.is_empty() {
        return Err(OperateError::NoCluster(report.id));
    }
    let (change, ChangeArgs { timeout }, done) = match &args.action {
        MemberAction::List => return print(&members(&report)),
        MemberAction::Add { id, address, learner, change } => {
            let part = if *learner { "a learner" } else { "a voter" };
            let done = format!("Node {id} is {part}.");
            (Change::Add { id: *id, address: address.clone(), learner: *learner }, change, done)
        }
        MemberAction::Move { id, address, change } => {
            let done = format!("Node {id} is expected at {address}.");
            (Change::Move { id: *id, address: address.clone() }, change, done)
        }
        MemberAction::Remove { id, change } => {
            let done = format!(
                "Node {id} is no member any more: stop it. It can't come back; a new node on that \
                 machine needs an empty data directory and an id that was never used."
            );
            (Change::Remove(*id), change, done)
        }
        MemberAction::Promote { id, change } => {
            (Change::Promote(*id), change, format!("Node {id} is a voter."))
        }
        MemberAction::Demote { id, change } => {
            (Change::Demote(*id), change, format!("Node {id} is a learner."))
        }
    };
    make(&mut client, &change, *timeout).await.map_err(|error| match error {
        ChangeError::Client(source) => OperateError::ask(&args.node.node)(source),
        ChangeError::Refused(text) => OperateError::refused(&text),
    })?;
    print(&format!("{done}\n"))?;
    match client.report().await {
        Ok(report) => print(&members(&report)),
        // The change is made; a node that was removed need not tell who is left.
        Err(_) => Ok(()),
    }
}

/// A change was not made, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The error reply.
    #[error("{0}")]
    Refused(String),
}

/// Makes a change, on the condition that the members are still those at the beginning. While the
/// leader is new or makes another change, it is tried again. If nobody knows what came of it,
/// because the leader has changed in between, the members tell.
pub(crate) async fn make(
    client: &mut Client,
    change: &Change,
    timeout: Duration,
) -> Result<(), ChangeError> {
    let deadline = Instant::now() + timeout;
    let before = settled(client, deadline).await?;
    let request: Vec<Bytes> = ["RAFT.CHANGE".to_owned()]
        .into_iter()
        .chain(words(change))
        .chain(["IF".to_owned(), before.version.clone()])
        .map(Bytes::from)
        .collect();
    loop {
        client.set_patience(deadline.saturating_duration_since(Instant::now()).max(PAUSE));
        let text = match client.call(request.clone()).await? {
            BytesFrame::SimpleString(_) => return Ok(()),
            BytesFrame::Error(text) => text,
            other => return Err(unexpected(&other).into()),
        };
        let refused = || ChangeError::Refused(text.to_string());
        if Instant::now() + PAUSE >= deadline {
            return Err(refused());
        } else if text.starts_with("UNKNOWN") {
            let now = settled(client, deadline).await.map_err(|_| refused())?;
            if is_made(change, &now) {
                return Ok(());
            } else if now.version != before.version {
                return Err(refused());
            }
        } else if !text.starts_with("TRYAGAIN") {
            return Err(refused());
        }
        sleep(PAUSE).await;
    }
}

fn words(change: &Change) -> Vec<String> {
    let (word, id) = match change {
        Change::Add { id, address, learner } => {
            let mut words = vec!["ADD".to_owned(), id.to_string(), address.clone()];
            words.extend(learner.then(|| "LEARNER".to_owned()));
            return words;
        }
        Change::Move { id, address } => {
            return vec!["MOVE".to_owned(), id.to_string(), address.clone()];
        }
        Change::Remove(id) => ("REMOVE", id),
        Change::Promote(id) => ("PROMOTE", id),
        Change::Demote(id) => ("DEMOTE", id),
    };
    vec![word.to_owned(), id.to_string()]
}

/// Whether the members are as the change wants them.
fn is_made(change: &Change, report: &RaftReport) -> bool {
    let member = |id: &NodeId| report.members.get(&id.get());
    let is = |id, part| member(id).is_some_and(|member| member.part == part);
    let at = |id, address: &String| member(id).is_some_and(|member| member.address == *address);
    match change {
        Change::Add { id, address, learner: true } => is(id, LEARNER) && at(id, address),
        Change::Add { id, address, learner: false } => is(id, VOTER) && at(id, address),
        Change::Move { id, address } => at(id, address),
        Change::Promote(id) => is(id, VOTER),
        Change::Demote(id) => is(id, LEARNER),
        Change::Remove(id) => member(id).is_none(),
    }
}

/// Waits until no set of voters is taking over from another, and returns how the node stands then.
async fn settled(client: &mut Client, deadline: Instant) -> Result<RaftReport, ClientError> {
    loop {
        let report = client.latest_report().await?;
        if !report.joint || Instant::now() + PAUSE >= deadline {
            return Ok(report);
        }
        sleep(PAUSE).await;
    }
}
