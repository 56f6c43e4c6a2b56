//! A failing run as people see it.

use std::fmt;

use crate::explore::run::Report;
use crate::sim::Form;

/// A run with its plan, what went wrong in it, what happened, and how to run it again. It shows
/// what went wrong twice, so that it is on the screen at both ends of a long table.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// The run. It has no table unless it was recorded.
    pub report: &'a Report,
    /// How much of the table is shown.
    pub form: Form,
}

impl fmt::Display for Picture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { seed, plan, failure, trace, digest, calls, .. } = self.report;
        let verdict = match failure {
            Some(failure) => failure.clone(),
            None => format!("fine, {calls} calls, digest {digest:016x}"),
        };
        writeln!(f, "seed {seed}: {verdict}\n{plan}\n")?;
        writeln!(f, "{}\nseed {seed}: {verdict}", trace.table(self.form))?;
        writeln!(f, "{}", self.report.replay())
    }
}
