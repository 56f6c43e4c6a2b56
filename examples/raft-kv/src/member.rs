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
use crate::operate::{OperateError, PAUSE, connect, members, print};

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
/// because the leader has changed in between, the members tell; then it is tried again from where
/// it was left.
pub(crate) async fn make(
    client: &mut Client,
    change: &Change,
    timeout: Duration,
) -> Result<(), ChangeError> {
    let deadline = Instant::now() + timeout;
    let mut before = settled(client, deadline).await?;
    loop {
        client.set_patience(deadline.saturating_duration_since(Instant::now()).max(PAUSE));
        let text = match client.call(request(change, &before)).await? {
            BytesFrame::SimpleString(_) => return Ok(()),
            BytesFrame::Error(text) => text,
            other => return Err(unexpected(&other).into()),
        };
        let refused = || ChangeError::Refused(text.to_string());
        if Instant::now() + PAUSE >= deadline {
            return Err(refused());
        } else if text.starts_with("UNKNOWN") || text.starts_with("MEMBERSCHANGED") {
            let now = settled(client, deadline).await.map_err(|_| refused())?;
            if is_made(change, &now) {
                return Ok(());
            } else if !is_begun(change, &before, &now) {
                return Err(refused());
            }
            before = now;
        } else if !text.starts_with("TRYAGAIN") {
            return Err(refused());
        }
        sleep(PAUSE).await;
    }
}

fn request(change: &Change, before: &RaftReport) -> Vec<Bytes> {
    let condition = ["IF".to_owned(), before.version.clone()];
    let words = ["RAFT.CHANGE".to_owned()].into_iter().chain(words(change)).chain(condition);
    words.map(Bytes::from).collect()
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

/// Whether nothing has happened to the members but, at most, the beginning of the change: a node
/// that shall vote becomes a learner first, and stays one if the leader is lost then.
fn is_begun(change: &Change, before: &RaftReport, now: &RaftReport) -> bool {
    if now.version == before.version {
        return true;
    }
    let Change::Add { id, address, learner: false } = change else { return false };
    let others = |report: &RaftReport| -> Vec<_> {
        let others = report.members.iter().filter(|(other, _)| **other != id.get());
        others.map(|(id, member)| (*id, member.part.clone(), member.address.clone())).collect()
    };
    let newcomer = now.members.get(&id.get());
    !before.members.contains_key(&id.get())
        && newcomer.is_some_and(|node| node.part == LEARNER && node.address == *address)
        && others(before) == others(now)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::scripted;

    const UNKNOWN: &str = "-UNKNOWN nobody knows\r\n";
    const MEMBERS_CHANGED: &str = "-MEMBERSCHANGED look again\r\n";
    const OK: &str = "+OK\r\n";

    /// A report on these members.
    fn members(version: &str, members: &[(u64, &str)]) -> String {
        let mut text = format!(
            "id:1\r\nrole:leader\r\nterm:1\r\nleader:1\r\ncommit:1\r\napplied:1\r\nsnapshot:0\r\n\
             base:0\r\nlast:1\r\nmembers_version:{version}\r\nmembers_joint:0\r\n"
        );
        for (id, part) in members {
            text.push_str(&format!("member{id}:part={part},address=a:{id}\r\n"));
        }
        format!("${}\r\n{text}\r\n", text.len())
    }

    /// Adds node 2 while the server answers like this. Returns what came of it and the changes that
    /// the server was asked for.
    async fn add(replies: &[&str]) -> (Result<(), ChangeError>, Vec<String>) {
        const TIMEOUT: Duration = Duration::from_secs(30);
        let replies = replies.iter().map(|reply| (*reply).to_owned()).collect();
        let (address, asked) = scripted::server(replies).await;
        let mut client = Client::connect(&address, TIMEOUT).await.unwrap();
        let change = Change::Add { id: NodeId::new(2), address: "a:2".into(), learner: false };
        let outcome = make(&mut client, &change, TIMEOUT).await;
        let mut asked = asked.await.unwrap();
        asked.retain(|request| request.starts_with("RAFT.CHANGE"));
        (outcome, asked)
    }

    #[tokio::test]
    async fn a_change_that_lost_its_leader_goes_on_from_where_it_was_left() {
        let alone = members("01", &[(1, VOTER)]);
        let begun = members("02", &[(1, VOTER), (2, LEARNER)]);
        for lost in [UNKNOWN, MEMBERS_CHANGED] {
            let (outcome, asked) = add(&[&alone, lost, &begun, OK]).await;
            assert!(outcome.is_ok(), "{outcome:?}");
            assert_eq!(asked, ["RAFT.CHANGE ADD 2 a:2 IF 01", "RAFT.CHANGE ADD 2 a:2 IF 02"]);
        }
    }

    #[tokio::test]
    async fn a_change_is_made_whoever_has_made_it() {
        let alone = members("01", &[(1, VOTER)]);
        let made = members("02", &[(1, VOTER), (2, VOTER)]);
        for lost in [UNKNOWN, MEMBERS_CHANGED] {
            let (outcome, asked) = add(&[&alone, lost, &made]).await;
            assert!(outcome.is_ok(), "{outcome:?}");
            assert_eq!(asked.len(), 1);
        }
        // It took effect after it had been found not to have begun.
        let (outcome, asked) = add(&[&alone, UNKNOWN, &alone, MEMBERS_CHANGED, &made]).await;
        assert!(outcome.is_ok(), "{outcome:?}");
        assert_eq!(asked.len(), 2);
    }

    #[tokio::test]
    async fn a_change_is_not_made_over_one_of_somebody_else() {
        let alone = members("01", &[(1, VOTER)]);
        for others in [
            members("02", &[(1, VOTER), (3, VOTER)]),
            members("02", &[(1, VOTER), (2, LEARNER), (3, LEARNER)]),
            members("02", &[(1, LEARNER), (2, LEARNER)]),
        ] {
            let (outcome, asked) = add(&[&alone, MEMBERS_CHANGED, &others]).await;
            assert!(matches!(outcome, Err(ChangeError::Refused(_))), "{outcome:?}");
            assert_eq!(asked.len(), 1);
        }
    }
}
