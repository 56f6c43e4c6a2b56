//! The report of `INFO`, and how the other commands of this program read it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::process;
use std::time::Duration;

use raft_node::core::{NodeId, RoleKind, Status};
use thiserror::Error;

/// The role of a node that leads, in reports.
const LEADER: &str = "leader";

/// What a report is made of.
pub(crate) struct Facts<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) uptime: Duration,
    pub(crate) clients: usize,
    pub(crate) max_clients: usize,
    pub(crate) id: NodeId,
    pub(crate) peers: &'a [(NodeId, String)],
    /// Nothing once the node has stopped.
    pub(crate) status: Option<Status>,
}

/// Writes the named sections, or all of them if none is named.
pub(crate) fn report(facts: &Facts<'_>, sections: &[String]) -> String {
    let all = ["all", "default", "everything"];
    let wanted = |name: &str| {
        sections.is_empty() || sections.iter().any(|s| s == name || all.contains(&s.as_str()))
    };
    let mut parts = Vec::new();
    if wanted("server") {
        parts.push(server(facts));
    }
    if wanted("clients") {
        let (clients, most) = (facts.clients, facts.max_clients);
        parts.push(format!("# Clients\r\nconnected_clients:{clients}\r\nmaxclients:{most}\r\n"));
    }
    if wanted("raft") {
        parts.push(raft(facts));
    }
    parts.join("\r\n")
}

fn server(facts: &Facts<'_>) -> String {
    format!(
        "# Server\r\nraft_kv_version:{}\r\nprocess_id:{}\r\n\
         tcp_port:{}\r\nuptime_in_seconds:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        process::id(),
        facts.address.port(),
        facts.uptime.as_secs(),
    )
}

fn raft(facts: &Facts<'_>) -> String {
    let mut text = format!("# Raft\r\nid:{}\r\n", facts.id);
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string can't fail.
        let _ = write!(text, "{name}:{value}\r\n");
    };
    let Some(status) = &facts.status else {
        line("role", &"stopped");
        return text;
    };
    line("role", &role(status.role));
    line("term", &status.term);
    match status.leader {
        Some(leader) => line("leader", &leader),
        None => line("leader", &"none"),
    }
    line("commit", &status.commit);
    line("applied", &status.applied);
    line("last", &status.last);
    line("peers", &facts.peers.len());
    for (id, address) in facts.peers {
        let progress = status.peers.iter().find(|peer| peer.id == *id);
        let matched = progress.map_or(String::new(), |peer| format!(",matched={}", peer.matched));
        line(&format!("peer{id}"), &format!("address={address}{matched}"));
    }
    text
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

/// The raft section of a report, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RaftReport {
    pub(crate) id: u64,
    pub(crate) role: String,
    pub(crate) term: u64,
    pub(crate) leader: Option<u64>,
    pub(crate) commit: u64,
    pub(crate) applied: u64,
    pub(crate) last: u64,
    /// Each member and what is known about it.
    pub(crate) peers: BTreeMap<u64, String>,
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
        let peer = |(name, value): (&&str, &&str)| {
            let id = name.strip_prefix("peer")?.parse().ok()?;
            Some((id, value.replace(',', ", ").replace('=', " ")))
        };
        Ok(Self {
            id: number("id")?,
            role: word("role")?.to_owned(),
            term: number("term")?,
            leader,
            commit: number("commit")?,
            applied: number("applied")?,
            last: number("last")?,
            peers: pairs.iter().filter_map(peer).collect(),
        })
    }

    pub(crate) fn leads(&self) -> bool {
        self.role == LEADER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Raft\r\nid:2\r\nrole:follower\r\nterm:3\r\nleader:1\r\ncommit:10\r\n\
         applied:9\r\nlast:11\r\npeers:2\r\npeer1:address=127.0.0.1:7101,matched=8\r\n\
         peer2:address=[::1]:7102\r\n";

    #[test]
    fn a_report_is_read_back() {
        let report = RaftReport::parse(TEXT).unwrap();
        assert_eq!((report.id, report.term, report.leader), (2, 3, Some(1)));
        assert_eq!((report.commit, report.applied, report.last), (10, 9, 11));
        assert!(!report.leads());
        let peers = [(1, "address 127.0.0.1:7101, matched 8"), (2, "address [::1]:7102")];
        assert_eq!(report.peers, peers.map(|(id, text)| (id, text.to_owned())).into());
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
