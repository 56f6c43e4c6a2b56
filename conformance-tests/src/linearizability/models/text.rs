//! A string that can be replaced and extended.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use core::ops::Bound;

use super::Keyed;
use crate::linearizability::{Model, Observation};

/// One string for each key, empty at first.
#[derive(Debug, Clone, Default)]
pub struct Text {
    /// The strings that clients have read.
    noticed: BTreeSet<String>,
}

/// What a client asks of a [`Text`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TextAction {
    /// Answers [`TextRet::Value`].
    Get,
    /// Replaces the string and answers [`TextRet::Done`].
    Put(String),
    /// Adds to the end of the string and answers [`TextRet::Done`].
    Append(String),
}

/// What a [`Text`] answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TextRet {
    /// The whole string.
    Value(String),
    /// The put or append took effect.
    Done,
}

impl Text {
    /// The state that holds `text`. A string that begins no string that was read can't become
    /// one by appending, so all of these are one state, which only a put leaves.
    fn state(&self, text: String) -> Option<String> {
        self.may_become_noticed(&text).then_some(text)
    }

    fn may_become_noticed(&self, start: &str) -> bool {
        self.noticed
            .range::<str, _>((Bound::Included(start), Bound::Unbounded))
            .next()
            .is_some_and(|noticed| noticed.starts_with(start))
    }
}

impl Model for Text {
    type Key = String;
    type Op = Keyed<String, TextAction>;
    type Ret = TextRet;
    /// The string, or `None` for any string that begins no string that was read.
    type State = Option<String>;

    fn key(op: &Self::Op) -> String {
        op.key().clone()
    }

    fn observe(observations: &[Observation<'_, Self::Op, TextRet>]) -> Self {
        let noticed = observations.iter().filter_map(|observation| match observation.ret {
            Some(TextRet::Value(value)) => Some(value.clone()),
            Some(TextRet::Done) | None => None,
        });
        Self { noticed: noticed.collect() }
    }

    fn init(&self) -> Option<String> {
        self.state(String::new())
    }

    fn step(
        &self,
        state: &Option<String>,
        op: &Self::Op,
        ret: Option<&TextRet>,
    ) -> Option<Option<String>> {
        match (op.action(), ret) {
            (TextAction::Get, None) => Some(state.clone()),
            (TextAction::Get, Some(TextRet::Value(value))) => {
                (state.as_ref() == Some(value)).then(|| state.clone())
            }
            (TextAction::Put(value), None | Some(TextRet::Done)) => Some(self.state(value.clone())),
            (TextAction::Append(end), None | Some(TextRet::Done)) => {
                Some(state.as_ref().and_then(|start| self.state(format!("{start}{end}"))))
            }
            (TextAction::Get, Some(TextRet::Done)) => None,
            (TextAction::Put(_) | TextAction::Append(_), Some(TextRet::Value(_))) => None,
        }
    }

    /// Before the next put, each read shows what was put and all that was appended since. What
    /// no read shows was put or appended when nobody looked until the next put.
    fn reduce(&self, op: &Self::Op) -> Option<Self::Op> {
        let noticed = match op.action() {
            TextAction::Get => false,
            TextAction::Put(value) => self.may_become_noticed(value),
            TextAction::Append(end) => self.noticed.iter().any(|value| value.contains(end)),
        };
        noticed.then(|| op.clone())
    }
}
