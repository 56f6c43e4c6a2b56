//! The command line.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use raft_node::core::NodeId;
use tokio::runtime::Builder;

use crate::node::{Runtime, Runtimes};
use crate::{demo, measure, member, operate, serve};

#[derive(Debug, Parser)]
#[command(
    version,
    about = "A linearizable replicated key-value server that speaks the Redis protocol"
)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run one node of a cluster
    Serve(ServeArgs),
    /// Show how a node stands
    Status(NodeArgs),
    /// Show or change who belongs to the cluster
    Member(MemberArgs),
    /// Let another node lead
    Transfer(TransferArgs),
    /// Have a node take a snapshot now, which shortens its log
    Snapshot(NodeArgs),
    /// Run a cluster, kill its leader, change its members, and prove that no write is lost
    Demo(DemoArgs),
    /// Measure what clients notice of snapshots and of a new node
    #[command(hide = true)]
    Measure(MeasureArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The number of this node, which no other node of the cluster has or ever had
    #[arg(long, value_parser = node_id)]
    pub(crate) id: NodeId,
    /// The number of the cluster, the same for all of its nodes: those of another one are turned away
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) cluster: u64,
    /// A member that the cluster is founded with, this node included; once for each, and the same
    /// at each start
    #[arg(long = "peer", value_name = "ID=HOST:PORT", value_parser = peer,
          required_unless_present = "join", conflicts_with = "join")]
    pub(crate) peers: Vec<(NodeId, String)>,
    /// Wait to be added to a running cluster, with `raft-kv member add`; at each start of this node
    #[arg(long, requires = "listen")]
    pub(crate) join: bool,
    /// Where the other nodes connect, if it is not the address among the peers
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) listen: Option<String>,
    /// The address by which this node will be added, if it listens at another one
    #[arg(long, value_name = "HOST:PORT", value_parser = address, requires = "join")]
    pub(crate) advertise: Option<String>,
    /// Dial a node there, and not at the address by which the cluster knows it: through a tunnel of
    /// this node's own; once for each such node
    #[arg(long = "dial", value_name = "ID=HOST:PORT", value_parser = peer)]
    pub(crate) dials: Vec<(NodeId, String)>,
    /// Records what goes into the core of the node, in a new file in this directory at each start, so
    /// that it can be replayed. It holds all commands, and ends at a gibibyte.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) record: Option<PathBuf>,
    /// Where Redis clients connect
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) client: String,
    /// Where the log and the snapshots are kept; made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// How long a follower waits for its leader before it campaigns, such as 300ms or 2s
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "300ms")]
    pub(crate) election_timeout: Duration,
    /// How long a request may wait for the cluster before it is answered with an error
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    pub(crate) request_timeout: Duration,
    /// Take a snapshot after so many entries of the log; 0 for never
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    pub(crate) snapshot_entries: u64,
    /// Take a snapshot after so many MiB of entries; 0 for never
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub(crate) snapshot_mib: u64,
    /// Keep so many entries that a snapshot covers, for followers that are a little behind
    #[arg(long, value_name = "COUNT", default_value_t = 4096)]
    pub(crate) log_margin: u64,
    /// How large a message with entries may be, for clusters with a member that has little memory;
    /// four times that is the largest write, or pipeline of writes, and the same for all nodes
    #[arg(long, value_name = "KIB", default_value_t = 1024,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) message_kib: u16,
    /// How many clients may be connected at once
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub(crate) max_clients: usize,
    /// How much to log to the standard error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,
    /// What the Raft node runs on; Redis clients are served on tokio with all of them
    #[arg(long, value_name = "RUNTIME", default_value = "tokio")]
    pub(crate) runtime: Runtime,
    /// Stop when the standard input ends, so that no server outlives the program that started it
    #[arg(long, hide = true)]
    pub(crate) exit_with_stdin: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The client address of a node
    #[arg(long, value_name = "HOST:PORT", value_parser = address, global = true,
          default_value = "127.0.0.1:6371")]
    pub(crate) node: String,
}

#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// Who shall lead; the node that is best suited if it is left out
    #[arg(value_parser = node_id)]
    pub(crate) id: Option<NodeId>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct MemberArgs {
    #[command(subcommand)]
    pub(crate) action: MemberAction,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberAction {
    /// Show the members; asked of the leader, also how far each of them is
    List,
    /// Add a node that was started with --join; once it has caught up, it votes
    Add {
        /// Its id, which no node of the cluster ever had
        #[arg(value_parser = node_id)]
        id: NodeId,
        /// Where the other nodes reach it
        #[arg(value_name = "PEER_ADDR", value_parser = address)]
        address: String,
        /// Leave it a learner: it receives everything and has no vote
        #[arg(long)]
        learner: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Tell the cluster that a node was moved, with all of its data, and is reached elsewhere
    Move {
        /// Its id
        #[arg(value_parser = node_id)]
        id: NodeId,
        /// Where the other nodes reach it now
        #[arg(value_name = "PEER_ADDR", value_parser = address)]
        address: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Remove a node for ever; it need not be running, and may be the leader
    Remove {
        /// Its id
        #[arg(value_parser = node_id)]
        id: NodeId,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Make a learner a voter, once it has caught up
    Promote {
        /// Its id
        #[arg(value_parser = node_id)]
        id: NodeId,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Make a voter a learner
    Demote {
        /// Its id
        #[arg(value_parser = node_id)]
        id: NodeId,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// How long to wait for the change, and for others that are under way
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "300s")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// How long the clients write
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "12s")]
    pub(crate) duration: Duration,
    /// How many clients write at once
    #[arg(long, value_name = "COUNT", default_value_t = 8,
          value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) clients: u32,
    /// What the Raft nodes run on; clients are served on tokio with all of them
    #[arg(long, value_name = "RUNTIME", default_value = "mixed")]
    pub(crate) runtime: Runtimes,
}

#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    /// How many keys the cluster is filled with
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) keys: u64,
    /// How long values are
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub(crate) value_bytes: usize,
    /// How many writes are sent in a second
    #[arg(long, value_name = "COUNT", default_value_t = 500,
          value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) rate: u32,
    /// How long each phase takes at least
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "6s")]
    pub(crate) phase: Duration,
}

/// Runs the program with the arguments of this process. Returns when it is done: with failure when
/// it could not do its work, or when the demo has lost a write.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli.action) {
        Ok(code) => code,
        Err(error) => {
            eprint_chain(&*error);
            ExitCode::FAILURE
        }
    }
}

fn execute(action: Action) -> Result<ExitCode, Box<dyn Error>> {
    match action {
        Action::Serve(args) => tokio()?.block_on(serve::run(args))?,
        Action::Status(args) => tokio()?.block_on(operate::status(&args))?,
        Action::Member(args) => tokio()?.block_on(member::run(&args))?,
        Action::Transfer(args) => tokio()?.block_on(operate::transfer(&args))?,
        Action::Snapshot(args) => tokio()?.block_on(operate::snapshot(&args))?,
        Action::Measure(args) => return Ok(tokio()?.block_on(measure::run(&args))?),
        Action::Demo(args) => return Ok(tokio()?.block_on(demo::run(&args))?),
    }
    Ok(ExitCode::SUCCESS)
}

fn tokio() -> io::Result<tokio::runtime::Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

/// Prints an error and what caused it. When nobody reads the standard error, nobody misses it.
fn eprint_chain(error: &dyn Error) {
    use io::Write;
    let mut text = format!("raft-kv: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        // Many errors quote their cause already.
        if !text.contains(&line) {
            text.push_str(&format!(": {line}"));
        }
        cause = error.source();
    }
    let _ = writeln!(io::stderr(), "{text}");
}

fn node_id(text: &str) -> Result<NodeId, String> {
    text.parse().map(NodeId::new).map_err(|_| "a node id is a whole number".to_owned())
}

fn peer(text: &str) -> Result<(NodeId, String), String> {
    let (id, at) =
        text.split_once('=').ok_or("a peer is ID=HOST:PORT, such as 1=127.0.0.1:7101")?;
    Ok((node_id(id)?, address(at)?))
}

/// Reads `HOST:PORT`. Reports separate fields with commas and lines, so an address has neither.
pub(crate) fn address(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let plain = host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    match port.parse::<u16>() {
        Ok(_) if plain && !host.is_empty() => Ok(text.to_owned()),
        _ => Err("an address is HOST:PORT, such as 127.0.0.1:6371".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let error = || "a time is a whole number with ms or s, such as 300ms".to_owned();
    let (number, unit): (_, fn(u64) -> Duration) = match text.strip_suffix("ms") {
        Some(number) => (number, Duration::from_millis),
        None => (text.strip_suffix('s').ok_or_else(error)?, Duration::from_secs),
    };
    // An hour is more than any of these times can mean, and keeps every sum of them in range.
    match number.parse().map(unit) {
        Ok(time) if !time.is_zero() && time <= Duration::from_secs(3600) => Ok(time),
        Ok(_) => Err("a time is more than zero and at most an hour (3600s)".to_owned()),
        Err(_) => Err(error()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_words_of_the_manual_are_understood() {
        let line = "raft-kv serve --id 1 --peer 1=127.0.0.1:7101 --peer 2=[::1]:7102 \
             --client 127.0.0.1:6371 --data-dir d --election-timeout 2s --log-level warn \
             --runtime async-std";
        let Action::Serve(args) = Cli::try_parse_from(line.split(' ')).unwrap().action else {
            panic!("serve expected");
        };
        let peers = [(1, "127.0.0.1:7101"), (2, "[::1]:7102")];
        assert_eq!(args.peers, peers.map(|(id, at)| (NodeId::new(id), at.to_owned())));
        assert_eq!(args.election_timeout, Duration::from_secs(2));
        assert_eq!(args.runtime, Runtime::AsyncStd);
    }

    #[test]
    fn a_demo_runs_on_all_runtimes_or_on_one() {
        let parse = |line: &str| match Cli::try_parse_from(line.split(' ')).unwrap().action {
            Action::Demo(args) => args.runtime,
            other => panic!("demo expected, not {other:?}"),
        };
        assert_eq!(parse("raft-kv demo"), Runtimes::Mixed);
        assert_eq!(parse("raft-kv demo --runtime mixed"), Runtimes::Mixed);
        assert_eq!(parse("raft-kv demo --runtime sync"), Runtimes::All(Runtime::Sync));
    }

    #[test]
    fn a_node_is_a_founder_or_joins() {
        let parse = |line: &str| {
            let line = format!("raft-kv serve --id 4 --client 127.0.0.1:6374 --data-dir d {line}");
            Cli::try_parse_from(line.split_whitespace().map(str::to_owned))
        };
        assert!(parse("--join --listen 127.0.0.1:7104").is_ok());
        assert!(parse("--peer 4=127.0.0.1:7104 --listen 0.0.0.0:7104").is_ok());
        for line in
            ["", "--join", "--join --listen a:1 --peer 4=a:1", "--peer 4=a:1 --advertise a:1"]
        {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn the_node_to_ask_may_stand_anywhere() {
        for line in [
            "raft-kv member --node a:1 add 4 b:1",
            "raft-kv member add 4 b:1 --node a:1",
            "raft-kv member add --node a:1 4 b:1 --learner",
        ] {
            let Action::Member(args) = Cli::try_parse_from(line.split(' ')).unwrap().action else {
                panic!("member expected");
            };
            assert_eq!(args.node.node, "a:1");
        }
    }

    #[test]
    fn bad_values_are_refused() {
        for text in ["", "300", "ms", "s", "-1s", "0ms", "1.5s", "3601s", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        for text in
            ["", "1", "1=", "1=host", "x=host:1", "1=:1", "1=host:65536", "1=a,b:1", "1=a b:1"]
        {
            assert!(peer(text).is_err(), "{text:?}");
        }
    }
}
