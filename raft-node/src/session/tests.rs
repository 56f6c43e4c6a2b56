//! The table against a model that keeps no books: it looks through everything, every time.

use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use raft_core::LogIndex;

use super::envelope::{Use, close};
use super::{SessionError, SessionLimits, Sessions, decode, limits, open};
use crate::{FrozenState, StateMachine};

/// Remembers which entries it has applied. An answer is as long as its command, and tells the
/// entry.
#[derive(Debug, Default)]
struct Applied(Vec<u64>);

fn answer_of(index: u64, command: &[u8]) -> Bytes {
    vec![index as u8; command.len()].into()
}

impl StateMachine for Applied {
    fn apply(&mut self, index: LogIndex, command: Bytes) -> Bytes {
        self.0.push(index.get());
        answer_of(index.get(), &command)
    }

    fn query(&self, _: Bytes) -> Bytes {
        Bytes::new()
    }

    fn snapshot(&self) -> FrozenState {
        let state: Vec<u8> = self.0.iter().flat_map(|index| index.to_le_bytes()).collect();
        Box::new(move |to| to.write_all(&state))
    }

    fn restore(&mut self, _: LogIndex, state: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        state.read_to_end(&mut bytes)?;
        let (indexes, _) = bytes.as_chunks();
        self.0 = indexes.iter().map(|index| u64::from_le_bytes(*index)).collect();
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    sessions: usize,
    window: u64,
    bytes: u64,
    ttl: u64,
}

impl Limits {
    fn real(self) -> SessionLimits {
        SessionLimits::default()
            .sessions(self.sessions as u32)
            .answers(self.window as u32)
            .bytes(self.bytes)
            .ttl(Duration::from_millis(self.ttl))
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Open,
    Close { session: u64 },
    KeepAlive { session: u64, elapsed: u64, acknowledged: u64 },
    Command { session: u64, elapsed: u64, acknowledged: u64, sequence: u64, len: usize },
    Limits(Limits),
    Restore,
}

struct ModelSession {
    id: u64,
    opened: u64,
    used: u64,
    used_at: u64,
    disbelief: u64,
    acknowledged: u64,
    window: u64,
    answers: Vec<ModelAnswer>,
}

struct ModelAnswer {
    sequence: u64,
    index: u64,
    answer: Option<Bytes>,
}

struct Model {
    limits: Limits,
    clock: u64,
    sessions: Vec<ModelSession>,
    applied: Vec<u64>,
}

impl Model {
    fn tidy(&mut self) {
        let (clock, Limits { sessions, bytes, ttl, .. }) = (self.clock, self.limits);
        self.sessions.retain(|it| clock - it.used_at < ttl);
        self.sessions.sort_by_key(|it| it.used);
        self.sessions.drain(..self.sessions.len().saturating_sub(sessions));
        loop {
            let answers = self.sessions.iter_mut().flat_map(|it| &mut it.answers);
            let mut kept: Vec<_> = answers.filter(|it| it.answer.is_some()).collect();
            // The mark of success is counted, too.
            let len = |it: &ModelAnswer| it.answer.as_ref().map_or(0, Bytes::len) as u64 + 1;
            if kept.iter().map(|it| len(it)).sum::<u64>() <= bytes {
                return;
            }
            kept.sort_by_key(|it| it.index);
            kept[0].answer = None;
        }
    }

    fn touch(&mut self, index: u64, id: u64, elapsed: u64, acknowledged: u64) -> Option<usize> {
        let session = self.sessions.iter_mut().find(|it| it.id == id)?;
        let latest = self.clock + (self.limits.ttl / 16).max(1);
        let claim = session.opened + elapsed.saturating_sub(session.disbelief);
        session.disbelief += claim.saturating_sub(latest);
        self.clock = claim.min(latest).max(self.clock);
        session.used = index;
        session.used_at = self.clock;
        session.acknowledged = session.acknowledged.max(acknowledged);
        let acknowledged = session.acknowledged;
        session.answers.retain(|it| it.sequence > acknowledged);
        self.tidy();
        self.sessions.iter().position(|it| it.id == id)
    }

    fn command(
        &mut self,
        index: u64,
        place: usize,
        sequence: u64,
        len: usize,
    ) -> Result<Bytes, SessionError> {
        let session = &mut self.sessions[place];
        if sequence <= session.acknowledged {
            return Err(SessionError::AnswerGone);
        }
        if sequence > session.acknowledged + session.window {
            return Err(SessionError::TooManyOutstanding { limit: session.window as u32 });
        }
        if let Some(known) = session.answers.iter().find(|it| it.sequence == sequence) {
            return known.answer.clone().ok_or(SessionError::AnswerGone);
        }
        self.applied.push(index);
        let answer = answer_of(index, &vec![0; len]);
        let kept = ((len as u64) < self.limits.bytes).then(|| answer.clone());
        session.answers.push(ModelAnswer { sequence, index, answer: kept });
        self.tidy();
        Ok(answer)
    }

    fn apply(&mut self, index: u64, op: Op) -> Result<Bytes, SessionError> {
        match op {
            Op::Open => {
                let (clock, window) = (self.clock, self.limits.window);
                self.sessions.push(ModelSession {
                    id: index,
                    opened: clock,
                    used: index,
                    used_at: clock,
                    disbelief: 0,
                    acknowledged: 0,
                    window,
                    answers: Vec::new(),
                });
            }
            Op::Close { session } => self.sessions.retain(|it| it.id != session),
            Op::KeepAlive { session, elapsed, acknowledged } => {
                let touched = self.touch(index, session, elapsed, acknowledged);
                return touched.map(|_| Bytes::new()).ok_or(SessionError::Expired);
            }
            Op::Command { session, elapsed, acknowledged, sequence, len } => {
                let place = self.touch(index, session, elapsed, acknowledged);
                let place = place.ok_or(SessionError::Expired)?;
                return self.command(index, place, sequence, len);
            }
            Op::Limits(limits) => self.limits = limits,
            Op::Restore => {}
        }
        self.tidy();
        Ok(Bytes::new())
    }
}

fn envelope(op: Op) -> Option<Bytes> {
    let name = |session| LogIndex::new(session).unwrap();
    Some(match op {
        Op::Open => open(),
        Op::Close { session } => close(name(session)),
        Op::KeepAlive { session, elapsed, acknowledged } => {
            Use { session: name(session), elapsed, acknowledged }.keep_alive()
        }
        Op::Command { session, elapsed, acknowledged, sequence, len } => {
            let used = Use { session: name(session), elapsed, acknowledged };
            used.command(sequence, &vec![0; len])
        }
        Op::Limits(to) => limits(&to.real()),
        Op::Restore => return None,
    })
}

fn any_limits() -> impl Strategy<Value = Limits> {
    (1..6_usize, 1..5_u64, 1..40_u64, 1..2000_u64)
        .prop_map(|(sessions, window, bytes, ttl)| Limits { sessions, window, bytes, ttl })
}

/// Most sessions are those of the first few entries, which open some.
fn op() -> impl Strategy<Value = Op> {
    let session = || prop_oneof![8 => 1..8_u64, 1 => 1..80_u64];
    let elapsed = || prop_oneof![8 => 0..3000_u64, 1 => Just(1 << 40)];
    let command = (session(), elapsed(), 0..12_u64, 1..6_u64, 0..20_usize).prop_map(
        |(session, elapsed, acknowledged, ahead, len)| {
            let sequence = acknowledged + ahead;
            Op::Command { session, elapsed, acknowledged, sequence, len }
        },
    );
    let keep_alive =
        (session(), elapsed(), 0..12_u64).prop_map(|(session, elapsed, acknowledged)| {
            Op::KeepAlive { session, elapsed, acknowledged }
        });
    prop_oneof![
        3 => Just(Op::Open),
        1 => session().prop_map(|session| Op::Close { session }),
        2 => keep_alive,
        16 => command,
        1 => any_limits().prop_map(Op::Limits),
        1 => Just(Op::Restore),
    ]
}

fn restored(sessions: &Sessions<Applied>, limits: Limits, index: LogIndex) -> Sessions<Applied> {
    let mut state = Vec::new();
    sessions.snapshot()(&mut state).unwrap();
    let mut again = Sessions::new(Applied::default(), limits.real()).unwrap();
    again.restore(index, &mut state.as_slice()).unwrap();
    again
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn sessions_do_what_a_model_without_books_does(
        limits in any_limits(),
        openings in 0..6_usize,
        ops in prop::collection::vec(op(), 0..80),
    ) {
        let mut sessions = Sessions::new(Applied::default(), limits.real()).unwrap();
        let mut model = Model { limits, clock: 0, sessions: Vec::new(), applied: Vec::new() };
        let ops = std::iter::repeat_n(Op::Open, openings).chain(ops);
        for (at, op) in (1..).zip(ops) {
            let index = LogIndex::new(at).unwrap();
            let expected = model.apply(at, op);
            let Some(envelope) = envelope(op) else {
                sessions = restored(&sessions, limits, index);
                continue;
            };
            let answer = decode(sessions.apply(index, envelope));
            if !matches!(op, Op::Open) {
                prop_assert_eq!(answer, expected, "{:?} at {}", op, at);
            }
            prop_assert!(sessions.is_consistent(), "after {:?} at {}", op, at);
            prop_assert_eq!(&sessions.machine().0, &model.applied);
        }
    }
}
