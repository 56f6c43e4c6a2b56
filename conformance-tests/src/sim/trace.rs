//! What happened, for people and for the comparison of two runs.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use raft_node::core::{Body, Message, Write};

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

/// A write as one line of a trace.
pub(crate) fn describe_write(write: &Write) -> String {
    let hard = write.hard_state.map(|hard| format!("term {} vote {:?}, ", hard.term, hard.vote));
    let (entries, cut) = (write.entries.len(), write.truncate_from);
    let begin = write.begin_after.map(|position| format!(", begins after {position:?}"));
    let (hard, begin) = (hard.unwrap_or_default(), begin.unwrap_or_default());
    format!("writes {hard}{entries} entries, cut {cut:?}{begin}")
}

/// A message as one line of a trace.
pub(crate) fn describe(message: &Message) -> String {
    let Message { from, term, body, .. } = message;
    match body {
        Body::Append(append) => format!(
            "append from {from} in term {term}: {} entries after {}/{}, commit {}, number {}",
            append.entries.len(),
            append.prev.index,
            append.prev.term,
            append.commit,
            append.sequence
        ),
        Body::SnapshotChunk(chunk) => format!(
            "snapshot of {:?} from {from} in term {term}: {} of {} bytes at {}, number {}",
            chunk.snapshot.position,
            chunk.data.len(),
            chunk.snapshot.size,
            chunk.offset,
            chunk.sequence
        ),
        other => format!("from {from} in term {term}: {other:?}"),
    }
}
