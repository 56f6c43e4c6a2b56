//! A plan in words.

use std::fmt;

use crate::explore::plan::{Plan, USUAL_DELAY, USUAL_DISK_DELAY};
use crate::explore::reduction::word;
use crate::sim::Options;
use crate::sim::network::MS;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "nodes: {}", self.nodes().join(", "))?;
        writeln!(f, "trouble: {}; {}", self.network().join(", "), self.faults_in_words())?;
        write!(f, "clients: {}", self.clients())
    }
}

impl Plan {
    fn nodes(&self) -> Vec<String> {
        let Options { voters, learners, joiners, snapshot_every, disk_delay, .. } = &self.options;
        let Options {
            pre_vote, check_quorum, leases, clock_skew, gather, at_once, load_delay, ..
        } = &self.options;
        let slow_disks = disk_delay.end > USUAL_DISK_DELAY;
        let parts = [
            Some(number_of(*voters as u64, "voter")),
            (*learners > 0).then(|| number_of(*learners as u64, "learner")),
            (*joiners > 0).then(|| format!("{joiners} more to be added")),
            snapshot_every.map(|every| format!("snapshots every {every} entries")),
            self.tiny_limits.then(|| "some tiny limits".into()),
            leases.map(|_| "leases".into()),
            self.priorities.then(|| "preferred leaders".into()),
            (!pre_vote).then(|| "no pre-vote".into()),
            (!check_quorum).then(|| "no check-quorum".into()),
            (*clock_skew > 0).then(|| "skewed clocks".into()),
            (load_delay.end > 0).then(|| format!("loads of up to {} ms", load_delay.end / MS)),
            slow_disks.then(|| format!("disks of up to {} ms", disk_delay.end / MS)),
            (*gather > 0).then(|| "events gathered".into()),
            (*at_once > 0)
                .then(|| format!("writes at once on {}", number_of(*at_once as u64, "node"))),
        ];
        parts.into_iter().flatten().collect()
    }

    fn network(&self) -> Vec<String> {
        let rates = [
            (self.loss, "lost"),
            (self.duplication, "doubled"),
            (self.damage, "damaged pieces of snapshots"),
            (self.late_requests, "late requests"),
            (self.late_answers, "late answers"),
        ];
        let rates = rates.into_iter().filter(|(rate, _)| *rate > 0);
        let mut parts: Vec<String> =
            rates.map(|(rate, what)| format!("{:.1} % {what}", rate as f64 / 10.0)).collect();
        if self.max_delay > USUAL_DELAY {
            parts.push(format!("delays of up to {} ms", self.max_delay / MS));
        }
        if parts.is_empty() {
            parts.push("a good network".into());
        }
        parts
    }

    fn faults_in_words(&self) -> String {
        let kinds: Vec<String> = self.kinds_of_faults().map(|fault| word(&fault)).collect();
        let ms = self.chaos.as_millis();
        if kinds.is_empty() {
            return format!("no faults for {ms} ms");
        }
        let some = if self.only.is_empty() {
            format!("about every {} ms", self.fault_interval / MS)
        } else {
            let numbers: Vec<String> = self.only.iter().map(u64::to_string).collect();
            format!("only number {}", numbers.join(", "))
        };
        format!("faults for {ms} ms, {some}: {}", kinds.join(", "))
    }

    fn clients(&self) -> String {
        let (every, registers) = (self.call_interval / MS, number_of(self.registers, "register"));
        let sessions = match self.sessions as u64 {
            0 => String::new(),
            sessions => format!("; {} besides", number_of(sessions, "session")),
        };
        format!("about a call every {every} ms on {registers}{sessions}")
    }
}

fn number_of(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
