//! A violation as a table for people.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::history::Claim;
use super::minimise::Evidence;
use super::model::Model;

/// The heart of a violation: a few operations on one key that no order explains. All others may be
/// thought of as operations with an unknown outcome, and still there is no explanation. The
/// `Display` is a table in order of invocation, with a legend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    key: String,
    operations: usize,
    rows: Vec<Row>,
}

/// One operation of a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    client: u64,
    op: String,
    result: Option<String>,
    invoked: u64,
    returned: Option<u64>,
    position: Option<usize>,
    essential: bool,
}

impl Report {
    pub(super) fn new<M: Model>(
        key: &M::Key,
        operations: usize,
        evidence: &Evidence<'_, M::Op, M::Ret>,
    ) -> Self {
        let mut rows: Vec<Row> = evidence
            .claims
            .iter()
            .enumerate()
            .map(|(index, claim)| {
                let place = evidence.prefix.iter().position(|&placed| placed == index);
                Row::new(claim, place.map(|place| place + 1))
            })
            .filter(|row| row.essential || row.position.is_some())
            .collect();
        rows.sort_by_key(|row| row.invoked);
        Self { key: format!("{key:?}"), operations, rows }
    }

    /// The key whose operations have no explanation, as its `Debug` text.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How many operations on that key were checked. Failed ones do not count.
    pub fn operations(&self) -> usize {
        self.operations
    }

    /// The operations that contradict each other, in order of invocation.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}

impl Row {
    fn new<Op: fmt::Debug, Ret: fmt::Debug>(
        claim: &Claim<'_, Op, Ret>,
        position: Option<usize>,
    ) -> Self {
        let recorded = claim.recorded_return();
        Self {
            client: claim.client(),
            op: format!("{:?}", claim.op()),
            result: recorded.map(|(_, ret)| format!("{ret:?}")),
            invoked: claim.invoked(),
            returned: recorded.map(|(at, _)| at),
            position,
            essential: claim.returned().is_some(),
        }
    }

    /// The client that called.
    pub fn client(&self) -> u64 {
        self.client
    }

    /// The operation as its `Debug` text.
    pub fn op(&self) -> &str {
        &self.op
    }

    /// The result as its `Debug` text; `None` if the outcome is unknown.
    pub fn result(&self) -> Option<&str> {
        self.result.as_deref()
    }

    /// The time of the invocation, in the unit of the history.
    pub fn invoked(&self) -> u64 {
        self.invoked
    }

    /// The time of the return, in the unit of the history; `None` if the outcome is unknown.
    pub fn returned(&self) -> Option<u64> {
        self.returned
    }

    /// The place, from 1, in the longest order found that explains some of the operations; `None`
    /// for an operation that has no place in it.
    pub fn position(&self) -> Option<usize> {
        self.position
    }

    /// Whether the result and the time of the return matter. The contradiction remains if all
    /// operations that are not essential had an unknown outcome.
    pub fn is_essential(&self) -> bool {
        self.essential
    }

    fn cells(&self) -> [String; 6] {
        let bracketed = |text: String| {
            if self.essential { text } else { format!("({text})") }
        };
        let or = |value: Option<String>, default: &str| match value {
            Some(text) => bracketed(text),
            None => default.to_owned(),
        };
        [
            self.position.map_or("-".to_owned(), |position| position.to_string()),
            self.client.to_string(),
            self.invoked.to_string(),
            or(self.returned.map(|at| at.to_string()), "?"),
            self.op.clone(),
            or(self.result.clone(), "unknown"),
        ]
    }
}

const HEADINGS: [&str; 6] = ["order", "client", "invoked", "returned", "operation", "result"];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.rows.len();
        let (key, operations) = (&self.key, self.operations);
        writeln!(f, "not linearizable: {shown} of {operations} operations on key {key} clash")?;
        let mut lines = vec![HEADINGS.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let widths: [usize; 6] = core::array::from_fn(|column| {
            lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
        });
        for [order, client, invoked, returned, op, result] in &lines {
            let [a, b, c, d, e, _] = widths;
            writeln!(
                f,
                "  {order:>a$}  {client:>b$}  {invoked:>c$}  {returned:>d$}  {op:<e$}  {result}"
            )?;
        }
        writeln!(f, "order: the longest order found; '-' has no place in it")?;
        write!(f, "all other operations, and results (in brackets), could as well be unknown")
    }
}
