//! The command line.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use raft_node::core::NodeId;
use tokio::runtime::Builder;

use crate::{demo, serve, status};

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
    Status(StatusArgs),
    /// Run three nodes, kill the leader, and prove that no acknowledged write is lost
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The number of this node; one of the peers
    #[arg(long, value_parser = node_id)]
    pub(crate) id: NodeId,
    /// A member of the cluster, this node included; once for each
    #[arg(long = "peer", value_name = "ID=HOST:PORT", value_parser = peer, required = true)]
    pub(crate) peers: Vec<(NodeId, String)>,
    /// Where Redis clients connect
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) client: String,
    /// Where the log is kept; made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// How long a follower waits for its leader before it campaigns, such as 300ms or 2s
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "300ms")]
    pub(crate) election_timeout: Duration,
    /// How long a request may wait for the cluster before it is answered with an error
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    pub(crate) request_timeout: Duration,
    /// How many clients may be connected at once
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub(crate) max_clients: usize,
    /// How much to log to the standard error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,
    /// What runs the node
    #[arg(long, default_value = "tokio")]
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

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Runtime {
    Tokio,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The client address of the node
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) client: String,
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
        Action::Serve(args) => match args.runtime {
            Runtime::Tokio => tokio()?.block_on(serve::run(args))?,
        },
        Action::Status(args) => tokio()?.block_on(status::run(&args))?,
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

fn address(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    match port.parse::<u16>() {
        Ok(_) if !host.is_empty() => Ok(text.to_owned()),
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
             --runtime tokio";
        let Action::Serve(args) = Cli::try_parse_from(line.split(' ')).unwrap().action else {
            panic!("serve expected");
        };
        let peers = [(1, "127.0.0.1:7101"), (2, "[::1]:7102")];
        assert_eq!(args.peers, peers.map(|(id, at)| (NodeId::new(id), at.to_owned())));
        assert_eq!(args.election_timeout, Duration::from_secs(2));
    }

    #[test]
    fn bad_values_are_refused() {
        for text in ["", "300", "ms", "s", "-1s", "0ms", "1.5s", "3601s", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        for text in ["", "1", "1=", "1=host", "x=host:1", "1=:1", "1=host:65536"] {
            assert!(peer(text).is_err(), "{text:?}");
        }
    }
}
