//! The listener for clients.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::admin::{self, AdminError, Order};
use crate::backend::Backend;
use crate::connection::Connection;
use crate::info::{self, Facts};
use crate::node::{Node, Runtime};
use crate::resp::Response;
use crate::store::Read;

/// How long connections may take to answer what they have read when the server stops.
const GRACE: Duration = Duration::from_secs(2);

/// The pause after the system has refused to accept, usually for want of file descriptors: at once
/// it would only refuse again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What can be chosen about a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// How long a request may wait for the cluster before it is answered with an error.
    pub patience: Duration,
    /// How many clients may be connected at once. Further ones are told so and closed.
    pub max_clients: usize,
}

/// What the connections of a server have in common.
pub(crate) struct Shared {
    backend: Backend,
    options: ServerOptions,
    runtime: Runtime,
    address: SocketAddr,
    started: Instant,
    clients: AtomicUsize,
}

impl Shared {
    pub(crate) const fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The text of `INFO`.
    pub(crate) async fn report(&self, sections: &[&str]) -> String {
        let facts = Facts {
            address: self.address,
            runtime: self.runtime,
            uptime: self.started.elapsed(),
            clients: self.clients.load(Ordering::Relaxed),
            max_clients: self.options.max_clients,
            status: self.backend.handle().status().await.ok(),
        };
        info::report(&facts, sections)
    }

    /// Does what an operator asks for.
    pub(crate) async fn administer(&self, order: Order) -> Result<Response, AdminError> {
        let handle = self.backend.handle();
        Ok(match order {
            Order::Members { latest } => {
                // The node has seen every change that was made before, once it can answer a read.
                if latest {
                    self.backend.read(&[Read::Size]).await?;
                }
                Response::Text(self.report(&["raft", "members"]).await)
            }
            Order::Change { change, only_if } => {
                admin::change(handle, &change, only_if).await?;
                Response::OK
            }
            Order::Transfer(to) => number(admin::transfer(handle, to).await?.get()),
            Order::Snapshot => number(admin::snapshot(handle).await?),
        })
    }
}

fn number(number: u64) -> Response {
    Response::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Serves clients that speak the Redis protocol.
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Server {
    /// Makes a server of a listener and a running node, which has to be kept. Clients are accepted once [`Server::run`]
    /// is called.
    ///
    /// # Errors
    /// The system can't tell the address of the listener.
    pub fn new(listener: TcpListener, node: &Node, options: ServerOptions) -> io::Result<Self> {
        let shared = Shared {
            backend: Backend::new(node.handle(), node.id(), options.patience),
            runtime: node.runtime(),
            address: listener.local_addr()?,
            options,
            started: Instant::now(),
            clients: AtomicUsize::new(0),
        };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Serves clients until `stop` is ready. Then requests that have been read are answered, for
    /// two seconds at most, and all connections are closed. It does not stop the node.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut next_id = 0;
        tokio::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) if connections.len() >= self.shared.options.max_clients => {
                        refuse(stream);
                    }
                    Ok((stream, _)) => {
                        next_id += 1;
                        let shared = self.shared.clone();
                        connections.spawn(serve(stream, next_id, shared, stopped.clone()));
                    }
                    Err(error) => {
                        warn!(%error, "can't accept a client");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
            self.shared.clients.store(connections.len(), Ordering::Relaxed);
        }
        drop(self.listener);
        stopping.send_replace(true);
        let all_closed = async { while connections.join_next().await.is_some() {} };
        if timeout(GRACE, all_closed).await.is_err() {
            connections.shutdown().await;
        }
    }
}

async fn serve(stream: TcpStream, id: i64, shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    // Without it a reply could wait for the acknowledgement of the one before; nothing but time is
    // lost.
    let _ = stream.set_nodelay(true);
    if let Err(error) = Connection::new(stream, id, shared).serve(stop).await {
        debug!(client = id, %error, "a connection has ended");
    }
}

/// Turns a client away. The send buffer of a new connection is empty, so this never waits.
fn refuse(stream: TcpStream) {
    let told = stream
        .into_std()
        .and_then(|mut stream| stream.write_all(b"-ERR max number of clients reached\r\n"));
    if let Err(error) = told {
        debug!(%error, "a client that was turned away could not be told");
    }
}
