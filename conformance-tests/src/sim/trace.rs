//! What happened, for people and for the comparison of two runs.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A digest of everything that happened, and, if it is recorded, the last part of it as text.
#[derive(Clone, Debug)]
pub struct Trace {
    digest: DefaultHasher,
    lines: Option<VecDeque<String>>,
}

/// How many lines a recorded trace keeps.
const KEPT: usize = 4000;

impl Trace {
    pub(crate) fn new(record: bool) -> Self {
        Self { digest: DefaultHasher::new(), lines: record.then(VecDeque::new) }
    }

    pub(crate) fn absorb(&mut self, event: &impl Hash) {
        event.hash(&mut self.digest);
    }

    pub(crate) fn line(&mut self, now: u64, node: Option<usize>, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let node = node.map_or_else(|| "-".to_owned(), |node| node.to_string());
            if lines.len() == KEPT {
                lines.pop_front();
            }
            let ms = now as f64 / 1e6;
            lines.push_back(format!("{ms:12.3} ms  node {node:>2}  {}", text()));
        }
    }

    /// A number that two runs share if, and practically only if, the same happened in both.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines.iter().flatten() {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
