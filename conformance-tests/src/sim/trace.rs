//! What happened, for people and for the comparison of two runs.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};

use raft_node::core::{AppendResult, Body, Message};
use siphasher::sip::SipHasher13;

use crate::sim::describe;
use crate::sim::world::id_of;

/// A digest of everything that happened, and, if it is recorded, the story of it, which shows as a
/// table of time, node and event.
#[derive(Clone, Debug)]
pub struct Trace {
    digest: SipHasher13,
    events: Option<VecDeque<Event>>,
    /// Events before the ones that were kept.
    forgotten: usize,
}

#[derive(Clone, Debug)]
struct Event {
    /// In nanoseconds of virtual time.
    at: u64,
    node: Option<usize>,
    text: String,
    /// A message that tells nothing new by itself.
    routine: bool,
}

/// How many events a recorded trace keeps: some minutes of a busy cluster.
const KEPT: usize = 200_000;

/// How much of a trace a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "std", derive(clap::ValueEnum))]
pub enum Form {
    /// The last 200 events, cut to 160 characters, without the heartbeats and acknowledgements that
    /// had no effect
    Short,
    /// Every event with all its details
    Full,
}

impl Form {
    /// The most lines, and the most characters of a line.
    const fn limits(self) -> (usize, usize) {
        match self {
            Self::Short => (200, 160),
            Self::Full => (usize::MAX, usize::MAX),
        }
    }
}

impl Trace {
    pub(crate) fn new(record: bool) -> Self {
        let events = record.then(VecDeque::new);
        Self { digest: SipHasher13::new(), events, forgotten: 0 }
    }

    pub(crate) fn absorb(&mut self, event: &impl Hash) {
        event.hash(&mut self.digest);
    }

    pub(crate) fn line(&mut self, now: u64, node: Option<usize>, text: impl FnOnce() -> String) {
        self.keep(|| Event { at: now, node, text: text(), routine: false });
    }

    /// A node receives a message.
    pub(crate) fn receipt(&mut self, now: u64, node: usize, message: &Message) {
        let routine = match &message.body {
            Body::Append(append) => append.entries.is_empty(),
            Body::AppendReply(reply) => matches!(reply.result, AppendResult::Accepted { .. }),
            _ => false,
        };
        let text = || describe::message(message);
        self.keep(|| Event { at: now, node: Some(node), text: text(), routine });
    }

    fn keep(&mut self, event: impl FnOnce() -> Event) {
        if let Some(events) = &mut self.events {
            if events.len() == KEPT {
                events.pop_front();
                self.forgotten += 1;
            }
            events.push_back(event());
        }
    }

    /// A number that two runs share if, and practically only if, the same happened in both.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// Whether there is nothing to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.as_ref().is_none_or(VecDeque::is_empty)
    }

    /// What happened, one event a line.
    #[must_use]
    pub const fn table(&self, form: Form) -> Table<'_> {
        Table { trace: self, form }
    }
}

/// A trace as a readable table.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    trace: &'a Trace,
    form: Form,
}

impl Table<'_> {
    /// What there is to show.
    fn events(&self) -> Vec<&Event> {
        let events = self.trace.events.iter().flatten();
        let next = events.clone().skip(1).map(Some).chain([None]);
        let had_effect = |event: &Event, next: Option<&Event>| {
            next.is_some_and(|next| (next.at, next.node) == (event.at, event.node))
        };
        events
            .zip(next)
            .filter(|(event, next)| {
                self.form == Form::Full || !event.routine || had_effect(event, *next)
            })
            .map(|(event, _)| event)
            .collect()
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(all) = self.trace.events.as_ref().filter(|all| !all.is_empty()) else {
            return Ok(());
        };
        let (most, width) = self.form.limits();
        let mut line = |time: &str, node: &str, text: &str| {
            writeln!(f, "{}", cut(format!("{time:>12}  {node:<4}  {text}"), width))
        };
        let events = self.events();
        let earlier = events.len().saturating_sub(most) + self.trace.forgotten;
        let routine = all.len() - events.len();
        line("time in ms", "node", "what happened")?;
        if earlier > 0 {
            line("...", "", &format!("{earlier} earlier events are left out"))?;
        }
        if routine > 0 {
            let what = "heartbeats and acknowledgements without effect are left out";
            line("...", "", &format!("{routine} {what}"))?;
        }
        for Event { at, node, text, .. } in events.iter().skip(events.len().saturating_sub(most)) {
            let node = node.map(|node| format!("{:?}", id_of(node))).unwrap_or_default();
            line(&format!("{:.3}", *at as f64 / 1e6), &node, text)?;
        }
        Ok(())
    }
}

/// The line, ended by dots if it is longer than so many characters.
fn cut(mut line: String, width: usize) -> String {
    const DOTS: &str = "...";
    if line.chars().nth(width).is_some() {
        let kept = line.char_indices().nth(width.saturating_sub(DOTS.len()));
        line.truncate(kept.map_or(0, |(at, _)| at));
        line.push_str(DOTS);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table_of(events: usize, text: &str, form: Form) -> String {
        let mut trace = Trace::new(true);
        for number in 0..events {
            trace.line(number as u64 * 1_500_000, Some(number % 3), || format!("{number} {text}"));
        }
        trace.table(form).to_string()
    }

    #[test]
    fn each_event_is_one_aligned_line_with_the_name_of_its_node() {
        let mut trace = Trace::new(true);
        trace.line(1_500_000, Some(0), || "starts".into());
        trace.line(12_345_678_901, Some(11), || "crashes".into());
        trace.line(12_345_678_901, None, || "call 7 fails".into());
        let expected = "  time in ms  node  what happened\n       1.500  n1    starts\n   \
                        12345.679  n12   crashes\n   12345.679        call 7 fails\n";
        assert_eq!(trace.table(Form::Short).to_string(), expected);
    }

    #[test]
    fn a_short_table_has_the_last_events_and_says_how_many_are_missing() {
        let table = table_of(300, "happens", Form::Short);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 1 + 1 + 200);
        assert!(lines[1].ends_with("100 earlier events are left out"), "{}", lines[1]);
        assert!(lines[2].ends_with("100 happens") && lines[201].ends_with("299 happens"));
        assert_eq!(table_of(300, "happens", Form::Full).lines().count(), 1 + 300);
        assert!(!table_of(200, "happens", Form::Short).contains("left out"));
    }

    #[test]
    fn a_short_table_cuts_long_lines_between_characters() {
        let long = "ä".repeat(300);
        let short = table_of(1, &long, Form::Short);
        let line = short.lines().last().unwrap_or_default();
        assert!(line.ends_with("ä...") && line.chars().count() == 160, "{line}");
        assert!(table_of(1, &long, Form::Full).contains(&long));
    }

    #[test]
    fn nothing_is_shown_of_what_was_not_recorded() {
        let mut trace = Trace::new(false);
        trace.line(1, None, || "happens".into());
        assert!(trace.is_empty() && trace.table(Form::Full).to_string().is_empty());
    }
}
