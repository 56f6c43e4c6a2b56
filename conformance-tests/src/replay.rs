//! Recordings of real nodes, replayed in words.

use std::fmt;
use std::io::{self, Write};

use raft_node::core::{Event, Instant, Output};
use raft_node::recording::{Divergence, Recording};

use crate::sim::describe;

/// Gives a core what went into that of a real node, and writes a line for each thing that happened
/// to it and that followed; then how the core is at the end.
///
/// # Errors
/// The writer failed, or the core does not go the way of the recording ([`Divergence`]): what was
/// written until then shows where.
pub fn replay(recording: &Recording, out: &mut impl Write) -> io::Result<()> {
    let mut written = Ok(());
    let result = recording.replay_with(|step, outputs, _| {
        let mut line = |what: &dyn fmt::Display| {
            if written.is_ok() {
                written = writeln!(out, "{:>15.3}  {what}", millis(step.at));
            }
        };
        step.events.iter().for_each(|event| line(&happened(event)));
        outputs.iter().for_each(|output| line(&format_args!("  {}", followed(output))));
    });
    written?;
    let raft = result.map_err(|divergence: Divergence| io::Error::other(divergence))?;
    let (steps, version) = (recording.steps().len(), recording.version());
    writeln!(out, "{steps} steps, recorded by version {version}, went the same way")?;
    writeln!(out, "{:?} {}", raft.status().id, describe::status(&raft.status()))
}

fn millis(at: Instant) -> f64 {
    at.as_nanos() as f64 / 1e6
}

fn happened(event: &Event) -> String {
    match event {
        Event::Wake => "is woken".into(),
        Event::Receive(message) => describe::message(message),
        Event::Persisted(ticket) => format!("has written {ticket:?}"),
        Event::Applied(index) => format!("has applied {index:?}"),
        Event::Loaded { from, entries } => {
            format!("has loaded from {from:?}: {}", describe::entries(entries))
        }
        Event::Propose(proposals) => {
            let requests: Vec<_> = proposals.iter().map(|proposal| proposal.request).collect();
            format!("is asked to propose {requests:?}")
        }
        other => format!("{other:?}"),
    }
}

fn followed(output: &Output) -> String {
    match output {
        Output::Persist(write) => format!("{:?}: {}", write.ticket, describe::write(write)),
        Output::Send(message) => describe::sent(message),
        Output::Apply(entries) => format!("applies {}", describe::entries(entries)),
        Output::Done { request, outcome } => format!("answers {request:?}: {outcome:?}"),
        Output::Notice(notice) => describe::notice(notice),
        other => format!("{other:?}"),
    }
}
