//! A small client: one request at a time, each in bounded time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::types::{BytesFrame, Resp2Frame};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::info::{RaftReport, ReportError};
use crate::resp::{ProtocolError, ReplyDecoder, encode_request};

/// The largest reply that the client takes.
const MAX_REPLY: usize = 32 * 1024 * 1024;

/// A request was not answered. The connection is of no further use, and whether the request took
/// effect is not known, unless the text says so.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    #[error("connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("no reply within {0:?}")]
    Timeout(Duration),
    #[error("the server has closed the connection")]
    Closed,
    #[error("the server does not speak the Redis protocol: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("the server answered {0}")]
    Unexpected(String),
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// A connection to a server.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: BytesMut,
    decoder: ReplyDecoder,
    patience: Duration,
}

impl Client {
    /// Connects. Connecting, and each call later, may take as long as `patience`.
    pub(crate) async fn connect(address: &str, patience: Duration) -> Result<Self, ClientError> {
        let connect = timeout(patience, TcpStream::connect(address));
        let stream = connect.await.map_err(|_| ClientError::Timeout(patience))??;
        stream.set_nodelay(true)?;
        let (buffer, decoder) = (BytesMut::new(), ReplyDecoder::new(MAX_REPLY));
        Ok(Self { stream, buffer, decoder, patience })
    }

    /// Is patient for as long with each call from now on.
    pub(crate) const fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Sends a request and waits for its reply, which may be an error reply.
    pub(crate) async fn call(&mut self, request: Vec<Bytes>) -> Result<BytesFrame, ClientError> {
        let patience = self.patience;
        timeout(patience, self.exchange(request))
            .await
            .map_err(|_| ClientError::Timeout(patience))?
    }

    async fn exchange(&mut self, request: Vec<Bytes>) -> Result<BytesFrame, ClientError> {
        let mut bytes = BytesMut::new();
        encode_request(request, &mut bytes)?;
        self.stream.write_all(&bytes).await?;
        loop {
            if let Some(reply) = self.decoder.decode(&mut self.buffer)? {
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(ClientError::Closed);
            }
        }
    }

    /// Asks the node how it stands. It needs no quorum.
    pub(crate) async fn report(&mut self) -> Result<RaftReport, ClientError> {
        self.members(vec!["RAFT.MEMBERS".into()]).await
    }

    /// The same, with the members as new as this call. It needs a quorum.
    pub(crate) async fn latest_report(&mut self) -> Result<RaftReport, ClientError> {
        self.members(vec!["RAFT.MEMBERS".into(), "LATEST".into()]).await
    }

    async fn members(&mut self, request: Vec<Bytes>) -> Result<RaftReport, ClientError> {
        match self.call(request).await? {
            BytesFrame::BulkString(text) => Ok(RaftReport::parse(&String::from_utf8_lossy(&text))?),
            other => Err(unexpected(&other)),
        }
    }
}

/// The error for a reply that does not fit its request.
pub(crate) fn unexpected(reply: &BytesFrame) -> ClientError {
    ClientError::Unexpected(match reply {
        BytesFrame::Error(text) => text.to_string(),
        other => format!("with the wrong kind of reply ({:?})", other.kind()),
    })
}

/// A server that plays a part, for tests.
#[cfg(test)]
pub(crate) mod scripted {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::BytesMut;
    use crate::resp::RequestDecoder;

    /// Gives one client these replies, whatever it asks. Returns the address of the server, and,
    /// when it has given the last reply, what it was asked.
    pub(crate) async fn server(replies: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let play = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut buffer, mut decoder) = (BytesMut::new(), RequestDecoder::default());
            let mut asked = Vec::new();
            for reply in replies {
                let request = loop {
                    if let Some(request) = decoder.decode(&mut buffer).unwrap() {
                        break request;
                    }
                    assert!(stream.read_buf(&mut buffer).await.unwrap() > 0, "asked: {asked:?}");
                };
                let words = request.iter().map(|word| String::from_utf8_lossy(word).into_owned());
                asked.push(words.collect::<Vec<_>>().join(" "));
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
            asked
        };
        (address, tokio::spawn(play))
    }
}
