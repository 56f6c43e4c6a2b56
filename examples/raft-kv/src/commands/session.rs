//! The commands on the connection and on this node.

use bytes::Bytes;

use super::{Action, COMMANDS, CommandError, Outcome, exactly, excerpt, subcommand};
use crate::limits::{MAX_REQUEST, MAX_VALUE};
use crate::resp::{Response, Version};
use crate::store::{Glob, parse_integer};

/// What belongs to one connection.
#[derive(Debug)]
pub(crate) struct Session {
    id: i64,
    name: Option<Bytes>,
    version: Version,
}

impl Session {
    pub(crate) fn new(id: i64) -> Self {
        Self { id, name: None, version: Version::default() }
    }

    /// The version of the protocol in which replies are sent from now on.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    fn set_name(&mut self, name: Bytes) -> Result<(), CommandError> {
        if !name.iter().all(u8::is_ascii_graphic) {
            return Err(CommandError::ClientName);
        }
        self.name = if name.is_empty() { None } else { Some(name) };
        Ok(())
    }
}

fn answer(response: Response) -> Outcome {
    Ok(Action::Answer(response))
}

pub(super) fn ping(_: &mut Session, arguments: Vec<Bytes>) -> Outcome {
    match <[Bytes; 1]>::try_from(arguments) {
        Ok([message]) => answer(Response::Bulk(message)),
        Err(none) if none.is_empty() => answer(Response::Simple("PONG")),
        Err(_) => Err(CommandError::Arity("ping")),
    }
}

pub(super) fn echo(_: &mut Session, arguments: Vec<Bytes>) -> Outcome {
    let [message] = exactly(arguments, "echo")?;
    answer(Response::Bulk(message))
}

pub(super) fn select(_: &mut Session, arguments: Vec<Bytes>) -> Outcome {
    let [index] = exactly(arguments, "select")?;
    match parse_integer(&index) {
        Some(0) => answer(Response::OK),
        Some(_) => Err(CommandError::Database),
        None => Err(CommandError::NotAnInteger),
    }
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`. Nothing changes unless all of it is
/// right.
pub(super) fn hello(session: &mut Session, arguments: Vec<Bytes>) -> Outcome {
    let mut arguments = arguments.into_iter();
    let version = match arguments.next().as_deref() {
        None => session.version,
        Some(b"2") => Version::Resp2,
        Some(b"3") => Version::Resp3,
        Some(_) => return Err(CommandError::ProtocolVersion),
    };
    let mut name = None;
    while let Some(option) = arguments.next() {
        match option.to_ascii_lowercase().as_slice() {
            b"setname" => name = Some(arguments.next().ok_or(CommandError::Syntax)?),
            b"auth" => return Err(CommandError::Auth),
            _ => return Err(CommandError::Syntax),
        }
    }
    if let Some(name) = name {
        session.set_name(name)?;
    }
    session.version = version;
    let proto = match version {
        Version::Resp2 => 2,
        Version::Resp3 => 3,
    };
    answer(Response::Map(vec![
        ("server", Response::text("raft-kv")),
        ("version", Response::text(env!("CARGO_PKG_VERSION"))),
        ("proto", Response::Integer(proto)),
        ("id", Response::Integer(session.id)),
        ("mode", Response::text("standalone")),
        // Every node takes writes, which is what clients look for in this word.
        ("role", Response::text("master")),
        ("modules", Response::Array(Vec::new())),
    ]))
}

pub(super) fn client(session: &mut Session, arguments: Vec<Bytes>) -> Outcome {
    let (subcommand, rest) = subcommand(arguments);
    match subcommand.as_str() {
        "id" => {
            let [] = exactly(rest, "client|id")?;
            answer(Response::Integer(session.id))
        }
        "getname" => {
            let [] = exactly(rest, "client|getname")?;
            answer(session.name.clone().map_or(Response::Null, Response::Bulk))
        }
        "setname" => {
            let [name] = exactly(rest, "client|setname")?;
            session.set_name(name)?;
            answer(Response::OK)
        }
        // Client libraries tell their name and version here. There is nobody who would read it.
        "setinfo" => {
            let [_, _] = exactly(rest, "client|setinfo")?;
            answer(Response::OK)
        }
        _ => Err(CommandError::UnknownSubcommand(subcommand, "client")),
    }
}

pub(super) fn command(_: &mut Session, arguments: Vec<Bytes>) -> Outcome {
    let (subcommand, _) = subcommand(arguments);
    match subcommand.as_str() {
        "" => answer(Response::Array(Vec::new())),
        "docs" => answer(Response::Map(Vec::new())),
        "count" => answer(Response::Integer(i64::try_from(COMMANDS.len()).unwrap_or(i64::MAX))),
        _ => Err(CommandError::UnknownSubcommand(subcommand, "command")),
    }
}

pub(super) fn config(_: &mut Session, arguments: Vec<Bytes>) -> Outcome {
    let (subcommand, patterns) = subcommand(arguments);
    match subcommand.as_str() {
        "get" if patterns.is_empty() => Err(CommandError::Arity("config|get")),
        "get" => {
            let options = [
                // Nothing is saved now and then: each write is on disk before it is answered.
                ("save", String::new()),
                ("appendonly", "yes".into()),
                ("appendfsync", "always".into()),
                ("databases", "1".into()),
                ("proto-max-bulk-len", MAX_VALUE.to_string()),
                ("client-query-buffer-limit", MAX_REQUEST.to_string()),
            ];
            let patterns: Vec<Glob> =
                patterns.iter().map(|pattern| Glob::new(&pattern.to_ascii_lowercase())).collect();
            let wanted = |name: &str| patterns.iter().any(|glob| glob.matches(name.as_bytes()));
            let found = options.into_iter().filter(|(name, _)| wanted(name));
            answer(Response::Map(
                found.map(|(name, value)| (name, Response::text(value))).collect(),
            ))
        }
        "set" => Err(CommandError::ConfigSet),
        _ => Err(CommandError::UnknownSubcommand(subcommand, "config")),
    }
}

pub(super) fn info(_: &mut Session, arguments: Vec<Bytes>) -> Outcome {
    let sections = arguments.iter().map(|name| excerpt(name, 32).to_ascii_lowercase());
    Ok(Action::Info(sections.collect()))
}

pub(super) fn quit(_: &mut Session, _: Vec<Bytes>) -> Outcome {
    Ok(Action::Quit)
}
