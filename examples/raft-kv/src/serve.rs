//! `raft-kv serve`: one node of a cluster.

use std::io::{self, IsTerminal};
use std::thread;

use raft_node::{FileLog, StoreError};
use raft_tokio::{Node, NodeError, Settings};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tracing::info;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{LogLevel, ServeArgs};
use crate::limits::MAX_REQUEST;
use crate::server::{Server, ServerOptions};
use crate::signals::Signals;
use crate::store::Store;

/// A node could not start, or could not go on.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    #[error("can't listen for clients on {address}")]
    Listen { address: String, source: io::Error },
    #[error("can't open the log")]
    Log(#[from] StoreError),
    #[error("can't start the node")]
    Start(#[source] NodeError),
    #[error("the node has failed")]
    Node(#[source] NodeError),
    #[error("can't prepare to be stopped")]
    Signals(#[source] io::Error),
}

/// Runs until a signal comes or the node fails.
pub(crate) async fn run(args: ServeArgs) -> Result<(), ServeError> {
    log_to_stderr(args.log_level);
    let mut signals = Signals::new().map_err(ServeError::Signals)?;
    let listen = |source| ServeError::Listen { address: args.client.clone(), source };
    let listener = TcpListener::bind(&args.client).await.map_err(listen)?;
    let log = FileLog::open(&args.data_dir)?;
    // Whatever comes in one request fits in one command.
    let mut settings = Settings::new(args.id)
        .election_timeout(args.election_timeout)
        .configure(|config| config.max_command_bytes(MAX_REQUEST));
    for (id, address) in &args.peers {
        settings = settings.peer(*id, address);
    }
    let mut node = Node::start(settings, log, Store::default()).await.map_err(ServeError::Start)?;
    let handle = node.handle();
    let options = ServerOptions {
        patience: args.request_timeout,
        max_clients: args.max_clients,
        id: args.id,
        peers: args.peers,
    };
    let mut outcome = Ok(());
    match Server::new(listener, handle.clone(), options) {
        Ok(server) => {
            info!(node = %args.id, clients = %server.address(), "ready");
            let stop = async {
                tokio::select! {
                    signal = signals.wait() => info!(signal, "stopping"),
                    () = end_of_stdin(args.exit_with_stdin) => info!("stopping with the parent"),
                    stopped = node.stopped() => outcome = stopped.map_err(ServeError::Node),
                }
            };
            server.run(stop).await;
        }
        Err(source) => outcome = Err(ServeError::Listen { address: args.client, source }),
    }
    handle.shutdown().await;
    outcome
}

fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}

/// Waits for the end of the standard input, if that is wanted.
async fn end_of_stdin(wanted: bool) {
    if !wanted {
        return std::future::pending().await;
    }
    let (ended, wait) = oneshot::channel();
    // A thread of its own, because the runtime would wait for a blocking read when it shuts down.
    thread::spawn(move || {
        // An error ends the input as well.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = ended.send(());
    });
    // The sender goes away only after it has sent.
    let _ = wait.await;
}
