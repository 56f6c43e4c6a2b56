//! The report of `INFO`, and how the other commands of this program read it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::process;
use std::time::Duration;

use raft_node::NodeStatus;
use raft_node::core::{Membership, NodeId, RoleKind};
use thiserror::Error;

use crate::admin;
use crate::node::Runtime;

/// The role of a node that leads, in reports.
const LEADER: &str = "leader";

/// What a member is while no voters are replaced, in reports.
pub(crate) const VOTER: &str = "voter";
pub(crate) const LEARNER: &str = "learner";

/// What a report is made of.
pub(crate) struct Facts {
    pub(crate) address: SocketAddr,
    /// Of the node.
    pub(crate) runtime: Runtime,
    pub(crate) uptime: Duration,
    pub(crate) clients: usize,
    pub(crate) max_clients: usize,
    /// Nothing once the node has stopped.
    pub(crate) status: Option<NodeStatus>,
}

/// Writes the named sections, or all of them if none is named.
pub(crate) fn report(facts: &Facts, sections: &[&str]) -> String {
    let all = ["all", "default", "everything"];
    let wanted =
        |name: &str| sections.is_empty() || sections.iter().any(|s| *s == name || all.contains(s));
    let mut parts = Vec::new();
    if wanted("server") {
        parts.push(server(facts));
    }
    if wanted("clients") {
        let (clients, most) = (facts.clients, facts.max_clients);
        parts.push(format!("# Clients\r\nconnected_clients:{clients}\r\nmaxclients:{most}\r\n"));
    }
    if wanted("raft") {
        parts.push(facts.status.as_ref().map_or("# Raft\r\nrole:stopped\r\n".into(), raft));
    }
    if wanted("members") {
        parts.push(facts.status.as_ref().map_or("# Members\r\n".into(), members));
    }
    parts.join("\r\n")
}

fn server(facts: &Facts) -> String {
    format!(
        "# Server\r\nraft_kv_version:{}\r\nprocess_id:{}\r\n\
         tcp_port:{}\r\nuptime_in_seconds:{}\r\nnode_runtime:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        process::id(),
        facts.address.port(),
        facts.uptime.as_secs(),
        facts.runtime,
    )
}

fn raft(status: &NodeStatus) -> String {
    let mut text = "# Raft\r\n".to_owned();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string can't fail.
        let _ = write!(text, "{name}:{value}\r\n");
    };
    let raft = &status.raft;
    line("id", &raft.id);
    line("role", &role(raft.role));
    line("term", &raft.term);
    match raft.leader {
        Some(leader) => line("leader", &leader),
        None => line("leader", &"none"),
    }
    line("commit", &raft.commit);
    line("applied", &raft.applied);
    line("snapshot", &raft.snapshot);
    line("base", &raft.base);
    line("last", &raft.last);
    if let Some(contact) = raft.last_quorum_contact {
        line("quorum_silent_ms", &status.now.since(contact).as_millis());
    }
    line("dropped_malformed", &raft.dropped.malformed);
    if let Some(why) = &status.snapshot_failure {
        line("snapshot_failure", &why.replace(char::is_control, " "));
    }
    text
}

/// Who belongs to the cluster, and, on the leader, how far each of the others is.
fn members(status: &NodeStatus) -> String {
    let raft = &status.raft;
    let members = &raft.membership;
    let mut text = format!(
        "# Members\r\nmembers_version:{:08x}\r\nmembers_joint:{}\r\nmembers:{}\r\n",
        admin::version(members),
        u8::from(members.is_joint()),
        members.members().count(),
    );
    for id in members.members() {
        let (part, address) = (part(members, id), members.address(id).unwrap_or_default());
        let _ = write!(text, "member{id}:part={part},address={address}");
        if let Some(peer) = raft.peers.iter().find(|peer| peer.id == id) {
            let silent = status.now.since(peer.heard).as_millis();
            let _ = write!(text, ",matched={},silent_ms={silent}", peer.matched);
            if let Some((sent, size)) = peer.snapshot {
                let _ = write!(text, ",snapshot_sent={sent},snapshot_size={size}");
            }
        }
        text.push_str("\r\n");
    }
    text
}

/// What a member is. While the voters change, two sets of them count.
fn part(members: &Membership, id: NodeId) -> &'static str {
    let within = |list: &[NodeId]| list.contains(&id);
    match (within(members.voters()), within(members.outgoing()), within(members.learners())) {
        (true, false, _) if members.is_joint() => "incoming voter",
        (true, ..) => VOTER,
        (false, true, true) => "outgoing voter and learner",
        (false, true, false) => "outgoing voter",
        (false, false, _) => LEARNER,
    }
}

const fn role(role: RoleKind) -> &'static str {
    match role {
        RoleKind::Follower => "follower",
        RoleKind::PreCandidate => "pre-candidate",
        RoleKind::Candidate => "candidate",
        RoleKind::Leader => LEADER,
    }
}

/// A report is not one of this program: another kind of server, or another version.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the report of the server has no proper '{0}'; is it a raft-kv server?")]
pub(crate) struct ReportError(&'static str);

/// The sections `raft` and `members` of a report, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RaftReport {
    pub(crate) id: u64,
    pub(crate) role: String,
    pub(crate) term: u64,
    pub(crate) leader: Option<u64>,
    pub(crate) commit: u64,
    pub(crate) applied: u64,
    /// Up to where the newest snapshot goes.
    pub(crate) snapshot: u64,
    /// The index before the first entry of the log.
    pub(crate) base: u64,
    pub(crate) last: u64,
    /// How many milliseconds ago a majority last answered. Only a leader knows.
    pub(crate) quorum_silent_ms: Option<u64>,
    /// How many messages made no sense; nothing if the server does not tell.
    pub(crate) dropped_malformed: Option<u64>,
    pub(crate) snapshot_failure: Option<String>,
    /// Names the members, for changes on condition.
    pub(crate) version: String,
    /// Whether one set of voters is taking over from another.
    pub(crate) joint: bool,
    pub(crate) members: BTreeMap<u64, MemberReport>,
}

/// What a node says of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberReport {
    pub(crate) part: String,
    pub(crate) address: String,
    /// What the member has for certain. Only the leader knows it, of the others.
    pub(crate) matched: Option<u64>,
    /// How many milliseconds ago it was heard.
    pub(crate) silent_ms: Option<u64>,
    /// How much of a snapshot it was sent, and how large that is, in bytes.
    pub(crate) snapshot: Option<(u64, u64)>,
}

impl RaftReport {
    pub(crate) fn parse(text: &str) -> Result<Self, ReportError> {
        let pairs: BTreeMap<&str, &str> =
            text.lines().filter_map(|line| line.split_once(':')).collect();
        let word = |name| pairs.get(name).copied().ok_or(ReportError(name));
        let number = |name| word(name)?.parse().map_err(|_| ReportError(name));
        let leader = match word("leader")? {
            "none" => None,
            _ => Some(number("leader")?),
        };
        let member = |(name, value): (&&str, &&str)| {
            Some((name.strip_prefix("member")?.parse().ok()?, MemberReport::parse(value)))
        };
        Ok(Self {
            id: number("id")?,
            role: word("role")?.to_owned(),
            term: number("term")?,
            leader,
            commit: number("commit")?,
            applied: number("applied")?,
            snapshot: number("snapshot")?,
            base: number("base")?,
            last: number("last")?,
            quorum_silent_ms: pairs.get("quorum_silent_ms").and_then(|text| text.parse().ok()),
            dropped_malformed: pairs.get("dropped_malformed").and_then(|text| text.parse().ok()),
            snapshot_failure: pairs.get("snapshot_failure").map(|why| (*why).to_owned()),
            version: word("members_version")?.to_owned(),
            joint: number("members_joint")? > 0,
            members: pairs.iter().filter_map(member).collect(),
        })
    }

    pub(crate) fn leads(&self) -> bool {
        self.role == LEADER
    }
}

impl MemberReport {
    fn parse(text: &str) -> Self {
        let mut report = Self::default();
        let (mut sent, mut size) = (None, None);
        for (name, value) in text.split(',').filter_map(|field| field.split_once('=')) {
            let number = value.parse().ok();
            match name {
                "part" => report.part = value.to_owned(),
                "address" => report.address = value.to_owned(),
                "matched" => report.matched = number,
                "silent_ms" => report.silent_ms = number,
                "snapshot_sent" => sent = number,
                "snapshot_size" => size = number,
                // Something of a newer version.
                _ => {}
            }
        }
        report.snapshot = sent.zip(size);
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Raft\r\nid:2\r\nrole:follower\r\nterm:3\r\nleader:1\r\ncommit:10\r\n\
         applied:9\r\nsnapshot:5\r\nbase:4\r\nlast:11\r\nquorum_silent_ms:7\r\n\
         dropped_malformed:2\r\n\r\n# Members\r\n\
         members_version:0badcafe\r\nmembers_joint:0\r\nmembers:2\r\n\
         member1:part=voter,address=127.0.0.1:7101,matched=8,silent_ms=3,snapshot_sent=1,\
         snapshot_size=2\r\nmember2:part=learner,address=[::1]:7102\r\n";

    #[test]
    fn a_report_is_read_back() {
        let report = RaftReport::parse(TEXT).unwrap();
        assert_eq!((report.id, report.term, report.leader), (2, 3, Some(1)));
        assert_eq!((report.commit, report.applied, report.last), (10, 9, 11));
        assert_eq!((report.snapshot, report.base), (5, 4));
        assert_eq!((report.quorum_silent_ms, report.dropped_malformed), (Some(7), Some(2)));
        assert_eq!((report.version.as_str(), report.joint), ("0badcafe", false));
        assert!(!report.leads());
        let voter = MemberReport {
            part: "voter".into(),
            address: "127.0.0.1:7101".into(),
            matched: Some(8),
            silent_ms: Some(3),
            snapshot: Some((1, 2)),
        };
        let learner = MemberReport {
            part: "learner".into(),
            address: "[::1]:7102".into(),
            ..MemberReport::default()
        };
        assert_eq!(report.members, [(1, voter), (2, learner)].into());
        let headless = RaftReport::parse(&TEXT.replace("leader:1", "leader:none")).unwrap();
        assert_eq!(headless.leader, None);
    }

    #[test]
    fn a_report_of_another_server_is_an_error_that_names_what_is_missing() {
        assert_eq!(RaftReport::parse("# Server\r\nredis_version:7"), Err(ReportError("leader")));
        let broken = TEXT.replace("term:3", "term:x");
        assert_eq!(RaftReport::parse(&broken), Err(ReportError("term")));
    }
}
