//! The commands: from the words of a request to what has to be done for it.

mod cluster;
mod data;
mod session;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use thiserror::Error;

use crate::admin::Order;
use crate::limits::{MAX_PATTERN, MAX_VALUE};
use crate::resp::{Request, Response};
use crate::store::{Read, Write};
pub(crate) use session::Session;

/// What a request asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// A change, for the cluster.
    Write(Write),
    /// A question, for the cluster.
    Read(Read),
    /// A command with its envelope, for the cluster.
    Propose(Bytes),
    /// Something for the operator.
    Administer(Order),
    /// The connection answers by itself.
    Answer(Response),
    /// These sections of the report on this node; all of them if none is named.
    Info(Vec<String>),
    /// An answer, and then the end of the connection.
    Quit,
}

/// Why a request can't be carried out. The texts are those of Redis where Redis has one.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum CommandError {
    #[error("ERR unknown command '{name}', with args beginning with: {arguments}")]
    UnknownCommand { name: String, arguments: String },
    #[error("ERR unknown subcommand '{0}' of '{1}'")]
    UnknownSubcommand(String, &'static str),
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(&'static str),
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR this server knows no expiry: '{0}' is not supported")]
    Expiry(String),
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR decrement would overflow")]
    DecrementOverflow,
    #[error("ERR invalid cursor")]
    Cursor,
    #[error("ERR an argument has {0} bytes; keys and values may have at most {MAX_VALUE}")]
    ArgumentTooLarge(usize),
    #[error("ERR a pattern may have at most {MAX_PATTERN} bytes")]
    PatternTooLarge,
    #[error("ERR DB index is out of range")]
    Database,
    #[error("ERR CONFIG SET is not supported; options are given on the command line")]
    ConfigSet,
    #[error("ERR Client names cannot contain spaces, newlines or special characters.")]
    ClientName,
    #[error("NOPROTO unsupported protocol version")]
    ProtocolVersion,
    #[error("ERR a node id is a whole number")]
    NodeId,
    #[error("ERR an address is HOST:PORT, such as 10.0.0.4:7100")]
    Address,
    #[error("ERR a version of the members is eight hexadecimal digits")]
    MembersVersion,
    #[error("ERR this server has no users and no passwords")]
    Auth,
}

type Outcome = Result<Action, CommandError>;

/// One command of the protocol.
struct Command {
    name: &'static str,
    /// As Redis counts: the words of the request with the name; negative for "at least so many".
    arity: isize,
    run: Run,
}

#[derive(Clone, Copy)]
enum Run {
    /// It depends on nothing but its arguments, which come without the name.
    Data(fn(Vec<Bytes>) -> Outcome),
    /// It reads or changes what belongs to the connection.
    Session(fn(&mut Session, Vec<Bytes>) -> Outcome),
}

const fn data(name: &'static str, arity: isize, run: fn(Vec<Bytes>) -> Outcome) -> Command {
    Command { name, arity, run: Run::Data(run) }
}

const fn session(
    name: &'static str,
    arity: isize,
    run: fn(&mut Session, Vec<Bytes>) -> Outcome,
) -> Command {
    Command { name, arity, run: Run::Session(run) }
}

/// All commands. Those that a busy client sends most come first: the search is linear.
static COMMANDS: &[Command] = &[
    data("get", 2, data::get),
    data("set", -3, data::set),
    data("incr", 2, data::incr),
    data("mget", -2, data::mget),
    data("mset", -3, data::mset),
    data("del", -2, data::del),
    data("exists", -2, data::exists),
    data("setnx", 3, data::setnx),
    data("getset", 3, data::getset),
    data("strlen", 2, data::strlen),
    data("append", 3, data::append),
    data("decr", 2, data::decr),
    data("incrby", 3, data::incrby),
    data("decrby", 3, data::decrby),
    data("keys", 2, data::keys),
    data("scan", -2, data::scan),
    data("dbsize", 1, data::dbsize),
    data("flushall", -1, data::flushall),
    data("raft.propose", 2, cluster::propose),
    data("raft.members", -1, cluster::members),
    data("raft.change", -3, cluster::change),
    data("raft.transfer", -1, cluster::transfer),
    data("raft.snapshot", 1, cluster::snapshot),
    session("ping", -1, session::ping),
    session("echo", 2, session::echo),
    session("select", 2, session::select),
    session("hello", -1, session::hello),
    session("client", -2, session::client),
    session("command", -1, session::command),
    session("config", -2, session::config),
    session("info", -1, session::info),
    session("quit", -1, session::quit),
];

/// A request that names a command and gives it as many arguments as it takes.
pub(crate) struct Call {
    run: Run,
    arguments: Vec<Bytes>,
}

impl Call {
    /// Finds the command that a request names.
    pub(crate) fn parse(request: Request) -> Result<Self, CommandError> {
        let words = request.len();
        let mut request = request.into_iter();
        let name = request.next().unwrap_or_default();
        let arguments: Vec<Bytes> = request.collect();
        let command =
            COMMANDS.iter().find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()));
        let Some(command) = command else {
            return Err(unknown(&name, &arguments));
        };
        let minimum = command.arity.unsigned_abs();
        if words < minimum || (command.arity > 0 && words > minimum) {
            return Err(CommandError::Arity(command.name));
        }
        if let Some(large) = arguments.iter().map(Bytes::len).find(|length| *length > MAX_VALUE) {
            return Err(CommandError::ArgumentTooLarge(large));
        }
        Ok(Self { run: command.run, arguments })
    }

    /// Whether it may change how the connection is answered. Requests before it are to be answered
    /// as the connection was then.
    pub(crate) const fn is_on_session(&self) -> bool {
        matches!(self.run, Run::Session(_))
    }

    /// Finds out what the request asks for.
    pub(crate) fn interpret(self, session: &mut Session) -> Outcome {
        match self.run {
            Run::Data(run) => run(self.arguments),
            Run::Session(run) => run(session, self.arguments),
        }
    }
}

fn unknown(name: &[u8], arguments: &[Bytes]) -> CommandError {
    const ROOM: usize = 128;
    let mut shown = String::new();
    for argument in arguments {
        if shown.len() >= ROOM {
            break;
        }
        shown.push_str(&format!("'{}' ", excerpt(argument, ROOM - shown.len())));
    }
    CommandError::UnknownCommand { name: excerpt(name, ROOM), arguments: shown }
}

/// The beginning of an argument, for an error message.
fn excerpt(argument: &[u8], most: usize) -> String {
    String::from_utf8_lossy(argument.get(..most).unwrap_or(argument)).into_owned()
}

/// The first argument in lower case, and the others.
fn subcommand(arguments: Vec<Bytes>) -> (String, Vec<Bytes>) {
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_default();
    (excerpt(&name, 32).to_ascii_lowercase(), arguments.collect())
}

/// Takes exactly `N` arguments.
fn exactly<const N: usize>(
    arguments: Vec<Bytes>,
    name: &'static str,
) -> Result<[Bytes; N], CommandError> {
    arguments.try_into().map_err(|_| CommandError::Arity(name))
}
