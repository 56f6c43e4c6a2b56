//! `raft-kv serve`: one node of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{process, thread};

use raft_node::core::{Config, NodeId};
use raft_node::recording;
use raft_node::session::{KeepsItsState, MAX_OVERHEAD};
use raft_node::{ClusterId, NodeError, Settings, SnapshotPolicy, Storage, StoreError};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{self, JoinError};
use tracing::info;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{LogLevel, ServeArgs};
use crate::limits::MAX_RECORDING;
use crate::node::Node;
use crate::server::{Server, ServerOptions};
use crate::signals::{INTERRUPTED, Signals};
use crate::store;

/// A node could not start, or could not go on.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    #[error("node {0} is not among the peers; give its own address as well, or --join")]
    NotAPeer(NodeId),
    #[error("node {0} is given twice among the peers")]
    Twice(NodeId),
    #[error("it is said twice where to dial node {0}")]
    DialledTwice(NodeId),
    #[error("others can't dial {0}: say with --advertise where this node is reached")]
    Unspecified(String),
    #[error("can't listen for clients on {address}")]
    Listen { address: String, source: io::Error },
    #[error("can't open {}", path.display())]
    Storage { path: PathBuf, source: StoreError },
    #[error("can't start a thread to open the log")]
    Blocking(#[source] JoinError),
    #[error(
        "{} belongs to another node ({node} of cluster {}); each node has a data directory of its own, \
         for ever",
        path.display(),
        cluster.get()
    )]
    OtherNode { path: PathBuf, cluster: ClusterId, node: NodeId },
    #[error(
        "{} belongs to a cluster that was founded with other members; give the peers as at the \
         first start (--join for a node that was added), and change members with `raft-kv member`",
        path.display()
    )]
    OtherFounders { path: PathBuf },
    #[error("can't start the node")]
    Start(#[source] NodeError),
    #[error("the node has failed")]
    Node(#[source] Arc<NodeError>),
    #[error("can't keep sessions")]
    Sessions(#[from] KeepsItsState),
    #[error("can't prepare to be stopped")]
    Signals(#[source] io::Error),
}

/// Runs until a signal comes or the node fails. A leader that is stopped hands over first; a second
/// signal ends the process at once.
pub(crate) async fn run(args: ServeArgs) -> Result<(), ServeError> {
    log_to_stderr(args.log_level);
    let mut signals = Signals::new().map_err(ServeError::Signals)?;
    let (node, listener) = tokio::select! {
        signal = signals.wait() => {
            info!(signal, "stopped while starting");
            // Returning would wait for the thread that opens the log.
            process::exit(0);
        }
        started = start(&args) => started?,
    };
    let handle = node.handle();
    let options = ServerOptions { patience: args.request_timeout, max_clients: args.max_clients };
    let mut outcome = Ok(());
    match Server::new(listener, &node, options) {
        Ok(server) => {
            info!(node = %args.id, runtime = %args.runtime, clients = %server.address(), "ready");
            let stop = async {
                tokio::select! {
                    signal = signals.wait() => info!(signal, "stopping"),
                    () = end_of_stdin(args.exit_with_stdin) => info!("stopping with the parent"),
                    stopped = handle.stopped() => outcome = stopped.map_err(ServeError::Node),
                }
                tokio::spawn(end_with_the_next(signals));
            };
            server.run(stop).await;
        }
        Err(source) => outcome = Err(ServeError::Listen { address: args.client, source }),
    }
    handle.shutdown().await;
    outcome
}

/// Starts the node, and listens for clients.
async fn start(args: &ServeArgs) -> Result<(Node, TcpListener), ServeError> {
    let settings = settings(args)?;
    let listen = |source| ServeError::Listen { address: args.client.clone(), source };
    let listener = TcpListener::bind(&args.client).await.map_err(listen)?;
    let storage = open(args.data_dir.clone()).await?;
    let started = Node::start(args.runtime, settings, storage, store::replica()?).await;
    Ok((started.map_err(|error| explain(error, &args.data_dir))?, listener))
}

/// Stopping takes as long as a disk or an election takes. Who asks again does not want to wait; for
/// the others it is then as if the node had crashed.
async fn end_with_the_next(mut signals: Signals) {
    let signal = signals.wait().await;
    info!(signal, "ending at once");
    process::exit(INTERRUPTED.into());
}

/// Makes sense of the arguments, before anything is made on the disk.
fn settings(args: &ServeArgs) -> Result<Settings, ServeError> {
    let policy = SnapshotPolicy::NEVER
        .entries(args.snapshot_entries)
        .bytes(args.snapshot_mib.saturating_mul(1 << 20));
    let (margin, message) = (args.log_margin, usize::from(args.message_kib) << 10);
    // All of a message's limits are those of the core for the default, and in proportion below it.
    let limits = move |config: Config| {
        config
            .max_append_bytes(message)
            .max_snapshot_chunk_bytes(message / 4)
            .max_in_flight_bytes(8 * message)
            .max_in_flight_snapshot_bytes(4 * message)
            .max_command_bytes(4 * message + MAX_OVERHEAD)
            .compaction_margin(margin)
    };
    let mut settings = Settings::new(args.id)
        .cluster(ClusterId::new(args.cluster))
        .election_timeout(args.election_timeout)
        .snapshots(policy)
        .configure(limits);
    let mut ids = BTreeSet::new();
    for (id, address) in &args.peers {
        if !ids.insert(*id) {
            return Err(ServeError::Twice(*id));
        }
        settings = settings.peer(*id, address);
    }
    if !args.join && !ids.contains(&args.id) {
        return Err(ServeError::NotAPeer(args.id));
    }
    if let Some(listen) = &args.listen {
        let anywhere = |at: SocketAddr| at.ip().is_unspecified();
        if args.join && args.advertise.is_none() && listen.parse().is_ok_and(anywhere) {
            return Err(ServeError::Unspecified(listen.clone()));
        }
        settings = settings.listen(listen);
    }
    let settings = match routes(&args.dials)? {
        routes if routes.is_empty() => settings,
        routes => settings.route(move |id, known| routes.get(&id).cloned().unwrap_or(known.into())),
    };
    let settings = match &args.record {
        Some(directory) => settings.record(recording::to_directory(directory, MAX_RECORDING)),
        None => settings,
    };
    Ok(match &args.advertise {
        Some(address) => settings.advertise(address),
        None => settings,
    })
}

/// Where to dial instead of the addresses that the cluster knows.
fn routes(dials: &[(NodeId, String)]) -> Result<BTreeMap<NodeId, String>, ServeError> {
    let mut routes = BTreeMap::new();
    for (id, address) in dials {
        if routes.insert(*id, address.clone()).is_some() {
            return Err(ServeError::DialledTwice(*id));
        }
    }
    Ok(routes)
}

/// Opens the storage where blocking is allowed: all of the log is read.
async fn open(path: PathBuf) -> Result<Storage, ServeError> {
    let opened = task::spawn_blocking(move || {
        Storage::open(&path).map_err(|source| ServeError::Storage { path, source })
    });
    opened.await.map_err(ServeError::Blocking)?
}

/// Says in the words of this program what is wrong with a data directory.
fn explain(error: NodeError, path: &Path) -> ServeError {
    let path = path.to_owned();
    match error {
        NodeError::OtherNode { cluster, node } => ServeError::OtherNode { path, cluster, node },
        NodeError::OtherFounders => ServeError::OtherFounders { path },
        error => ServeError::Start(error),
    }
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
