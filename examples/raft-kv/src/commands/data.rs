//! The commands on keys and values.

use bytes::Bytes;

use super::{Action, CommandError, Outcome, exactly, excerpt};
use crate::limits::MAX_PATTERN;
use crate::store::{Condition, Read, SetAnswer, Write, parse_integer};

pub(super) fn get(arguments: Vec<Bytes>) -> Outcome {
    let [key] = exactly(arguments, "get")?;
    Ok(Action::Read(Read::Get(key)))
}

pub(super) fn set(arguments: Vec<Bytes>) -> Outcome {
    let mut arguments = arguments.into_iter();
    let (Some(key), Some(value)) = (arguments.next(), arguments.next()) else {
        return Err(CommandError::Arity("set"));
    };
    let (mut condition, mut answer) = (Condition::Always, SetAnswer::Outcome);
    for option in arguments {
        match option.to_ascii_lowercase().as_slice() {
            b"nx" if condition != Condition::Present => condition = Condition::Absent,
            b"xx" if condition != Condition::Absent => condition = Condition::Present,
            b"get" => answer = SetAnswer::Old,
            b"ex" | b"px" | b"exat" | b"pxat" | b"keepttl" => {
                return Err(CommandError::Expiry(excerpt(&option, option.len())));
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(Action::Write(Write::Set { key, value, condition, answer }))
}

pub(super) fn setnx(arguments: Vec<Bytes>) -> Outcome {
    let [key, value] = exactly(arguments, "setnx")?;
    let (condition, answer) = (Condition::Absent, SetAnswer::Count);
    Ok(Action::Write(Write::Set { key, value, condition, answer }))
}

pub(super) fn getset(arguments: Vec<Bytes>) -> Outcome {
    let [key, value] = exactly(arguments, "getset")?;
    let (condition, answer) = (Condition::Always, SetAnswer::Old);
    Ok(Action::Write(Write::Set { key, value, condition, answer }))
}

pub(super) fn mget(keys: Vec<Bytes>) -> Outcome {
    Ok(Action::Read(Read::GetMany(keys)))
}

pub(super) fn mset(arguments: Vec<Bytes>) -> Outcome {
    if arguments.len() % 2 == 1 {
        return Err(CommandError::Arity("mset"));
    }
    let mut pairs = Vec::with_capacity(arguments.len() / 2);
    let mut arguments = arguments.into_iter();
    while let (Some(key), Some(value)) = (arguments.next(), arguments.next()) {
        pairs.push((key, value));
    }
    Ok(Action::Write(Write::SetMany(pairs)))
}

pub(super) fn del(keys: Vec<Bytes>) -> Outcome {
    Ok(Action::Write(Write::Delete(keys)))
}

pub(super) fn exists(keys: Vec<Bytes>) -> Outcome {
    Ok(Action::Read(Read::Exists(keys)))
}

pub(super) fn strlen(arguments: Vec<Bytes>) -> Outcome {
    let [key] = exactly(arguments, "strlen")?;
    Ok(Action::Read(Read::Length(key)))
}

pub(super) fn append(arguments: Vec<Bytes>) -> Outcome {
    let [key, value] = exactly(arguments, "append")?;
    Ok(Action::Write(Write::Append { key, value }))
}

pub(super) fn incr(arguments: Vec<Bytes>) -> Outcome {
    let [key] = exactly(arguments, "incr")?;
    Ok(Action::Write(Write::Add { key, by: 1 }))
}

pub(super) fn decr(arguments: Vec<Bytes>) -> Outcome {
    let [key] = exactly(arguments, "decr")?;
    Ok(Action::Write(Write::Add { key, by: -1 }))
}

pub(super) fn incrby(arguments: Vec<Bytes>) -> Outcome {
    let [key, by] = exactly(arguments, "incrby")?;
    let by = parse_integer(&by).ok_or(CommandError::NotAnInteger)?;
    Ok(Action::Write(Write::Add { key, by }))
}

pub(super) fn decrby(arguments: Vec<Bytes>) -> Outcome {
    let [key, by] = exactly(arguments, "decrby")?;
    let by = parse_integer(&by).ok_or(CommandError::NotAnInteger)?;
    let by = by.checked_neg().ok_or(CommandError::DecrementOverflow)?;
    Ok(Action::Write(Write::Add { key, by }))
}

pub(super) fn keys(arguments: Vec<Bytes>) -> Outcome {
    let [pattern] = exactly(arguments, "keys")?;
    Ok(Action::Read(Read::Keys(checked_pattern(pattern)?)))
}

pub(super) fn scan(arguments: Vec<Bytes>) -> Outcome {
    const USUAL_COUNT: u64 = 10;
    let mut arguments = arguments.into_iter();
    let cursor = arguments.next().ok_or(CommandError::Arity("scan"))?;
    let cursor = std::str::from_utf8(&cursor).ok().and_then(|cursor| cursor.parse().ok());
    let cursor = cursor.ok_or(CommandError::Cursor)?;
    let (mut pattern, mut count) = (None, USUAL_COUNT);
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or(CommandError::Syntax)?;
        match option.to_ascii_lowercase().as_slice() {
            b"match" => pattern = Some(checked_pattern(value)?),
            b"count" => {
                let wanted = parse_integer(&value).ok_or(CommandError::NotAnInteger)?;
                count = u64::try_from(wanted).map_err(|_| CommandError::Syntax)?;
                if count == 0 {
                    return Err(CommandError::Syntax);
                }
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(Action::Read(Read::Scan { cursor, pattern, count }))
}

pub(super) fn dbsize(_: Vec<Bytes>) -> Outcome {
    Ok(Action::Read(Read::Size))
}

pub(super) fn flushall(arguments: Vec<Bytes>) -> Outcome {
    match arguments.as_slice() {
        [] => Ok(Action::Write(Write::Clear)),
        [mode] if mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync") => {
            Ok(Action::Write(Write::Clear))
        }
        _ => Err(CommandError::Syntax),
    }
}

fn checked_pattern(pattern: Bytes) -> Result<Bytes, CommandError> {
    if pattern.len() <= MAX_PATTERN { Ok(pattern) } else { Err(CommandError::PatternTooLarge) }
}
