//! A server in this process, and a client that knows nothing of the protocol but its bytes.
#![expect(clippy::unwrap_used, reason = "what goes wrong in a test fails the test")]

use std::net::{SocketAddr, TcpListener as StdListener};
use std::time::Duration;

use bytes::Bytes;
use raft_kv::limits::MAX_COMMAND;
use raft_kv::node::{Node, Runtime};
use raft_kv::server::{Server, ServerOptions};
use raft_kv::store;
use raft_node::core::NodeId;
use raft_node::{Handle, Settings, Storage};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here may take. Only a failing test waits for it.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// A node and its server, in this process.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    handle: Handle,
    // Kept for as long as the server runs.
    _node: Node,
    _silent_peers: Vec<StdListener>,
    _data: TempDir,
}

impl TestServer {
    /// A cluster of one.
    pub(crate) async fn alone() -> Self {
        Self::start(0, HANG, 100).await
    }

    /// A cluster of one, whose node runs on this.
    pub(crate) async fn alone_on(runtime: Runtime) -> Self {
        Self::start_on(runtime, 0, HANG, 100).await
    }

    /// A node whose other peers never say anything.
    pub(crate) async fn start(silent_peers: u64, patience: Duration, max_clients: usize) -> Self {
        Self::start_on(Runtime::Tokio, silent_peers, patience, max_clients).await
    }

    async fn start_on(
        runtime: Runtime,
        silent_peers: u64,
        patience: Duration,
        max_clients: usize,
    ) -> Self {
        let id = NodeId::new(1);
        let data = TempDir::new().unwrap();
        let storage = Storage::open(data.path().join("node-1")).unwrap();
        let silent: Vec<_> =
            (0..silent_peers).map(|_| StdListener::bind("127.0.0.1:0").unwrap()).collect();
        let mut peers = vec![(id, "127.0.0.1:0".to_owned())];
        for (number, listener) in (2..).zip(&silent) {
            peers.push((NodeId::new(number), listener.local_addr().unwrap().to_string()));
        }
        let mut settings = Settings::new(id)
            .election_timeout(Duration::from_millis(100))
            .configure(|config| config.max_command_bytes(MAX_COMMAND));
        for (id, address) in &peers {
            settings = settings.peer(*id, address);
        }
        let replica = store::replica().unwrap();
        let node = Node::start(runtime, settings, storage, replica).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = ServerOptions { patience, max_clients };
        let server = Server::new(listener, &node, options).unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async { drop(stopped.await) }));
        let handle = node.handle();
        let (_silent_peers, _data) = (silent, data);
        Self { address, stop, running, handle, _node: node, _silent_peers, _data }
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection(TcpStream::connect(self.address).await.unwrap())
    }

    /// Stops the server and the node, and waits for both.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(HANG, self.running).await.unwrap().unwrap();
        self.handle.shutdown().await;
    }
}

/// A client that knows nothing of the protocol.
pub(crate) struct Connection(pub(crate) TcpStream);

impl Connection {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(HANG, self.0.write_all(bytes.as_ref())).await.unwrap().unwrap();
    }

    /// Reads exactly as many bytes as are expected, and compares them.
    pub(crate) async fn expect(&mut self, expected: impl AsRef<[u8]>, after: &str) {
        let expected = expected.as_ref();
        let mut bytes = vec![0; expected.len()];
        let read = timeout(HANG, self.0.read_exact(&mut bytes)).await;
        let shown = |bytes: &[u8]| bytes[..bytes.len().min(300)].escape_ascii().to_string();
        assert!(
            matches!(read, Ok(Ok(_))),
            "after {after}: {read:?} instead of {}, got {}",
            shown(expected),
            shown(&bytes)
        );
        assert!(
            bytes == expected,
            "after {after}: got {}, expected {}",
            shown(&bytes),
            shown(expected)
        );
    }

    /// Reads one line, without its end.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(timeout(HANG, self.0.read_u8()).await.unwrap().unwrap());
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// Sends a request of plain words and compares its reply.
    pub(crate) async fn ask(&mut self, request: &str, reply: &str) {
        let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        self.send(array(&words)).await;
        self.expect(reply, request).await;
    }

    /// Sends a request of plain words and returns the text that comes back.
    pub(crate) async fn bulk(&mut self, request: &str) -> String {
        self.send(format!("{request}\r\n")).await;
        String::from_utf8(self.bulk_reply().await).unwrap()
    }

    /// Proposes an envelope and returns the answer of the state machine.
    pub(crate) async fn propose(&mut self, envelope: &[u8]) -> Bytes {
        self.send(array(&[b"RAFT.PROPOSE", envelope])).await;
        self.bulk_reply().await.into()
    }

    async fn bulk_reply(&mut self) -> Vec<u8> {
        let line = self.line().await;
        assert!(line.starts_with('$'), "no text, but {line}");
        let length: usize = line[1..].parse().unwrap();
        let mut bytes = vec![0; length + 2];
        timeout(HANG, self.0.read_exact(&mut bytes)).await.unwrap().unwrap();
        bytes.truncate(length);
        bytes
    }

    pub(crate) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        timeout(HANG, self.0.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert_eq!(rest.escape_ascii().to_string(), "", "nothing is left");
    }
}

/// A request in the form that clients send.
pub(crate) fn array(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(bulk(word));
    }
    bytes
}

pub(crate) fn bulk(word: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat()
}
