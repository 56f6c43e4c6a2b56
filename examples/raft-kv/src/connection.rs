//! One client: bytes in, bytes out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::commands::Session;
use crate::pipeline::{Flow, Pipeline};
use crate::resp::{ProtocolError, RequestDecoder, Response};
use crate::server::Shared;

/// How much room a read gets at least.
const READ_SIZE: usize = 16 * 1024;

/// How long a client that was cut off is given to take the reason.
const LINGER: Duration = Duration::from_secs(1);

/// Why a connection ended, if the client did not just leave.
#[derive(Debug, Error)]
pub(crate) enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("Protocol error: {0}")]
    Protocol(#[from] ProtocolError),
}

/// A connection with a client.
pub(crate) struct Connection {
    reader: OwnedReadHalf,
    input: BytesMut,
    decoder: RequestDecoder,
    pipeline: Pipeline,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, id: i64, shared: Arc<Shared>) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            reader,
            input: BytesMut::new(),
            decoder: RequestDecoder::default(),
            pipeline: Pipeline::new(shared, Session::new(id), writer),
        }
    }

    /// Serves the client until it leaves, breaks the protocol, or `stop` becomes true. What has
    /// been read by then is still answered.
    pub(crate) async fn serve(
        mut self,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), ConnectionError> {
        loop {
            match self.answer_input().await {
                Ok(Flow::Continue) => {}
                Ok(Flow::Quit) => return Ok(()),
                Err(ConnectionError::Protocol(error)) => return self.cut_off(error).await,
                Err(error) => return Err(error),
            }
            tokio::select! {
                biased;
                // An error means that the server is gone, which is a stop too.
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                read = self.read() => {
                    if read? == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Reads more, at least a byte unless the client has left.
    async fn read(&mut self) -> io::Result<usize> {
        self.input.reserve(READ_SIZE);
        match self.reader.try_read_buf(&mut self.input) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.input.is_empty() {
                    self.pipeline.end();
                }
                self.reader.read_buf(&mut self.input).await
            }
            read => read,
        }
    }

    /// Answers all requests that have arrived as a whole.
    async fn answer_input(&mut self) -> Result<Flow, ConnectionError> {
        let mut flow = Flow::Continue;
        while flow == Flow::Continue
            && let Some(request) = self.decoder.decode(&mut self.input)?
        {
            flow = self.pipeline.take(request).await?;
        }
        self.pipeline.finish().await?;
        Ok(flow)
    }

    /// Says what is wrong, and ends the connection in a way that lets the client read it: closing
    /// with unread input would reset the connection and could destroy the reply on its way.
    async fn cut_off(mut self, error: ProtocolError) -> Result<(), ConnectionError> {
        let error = ConnectionError::from(error);
        self.pipeline.answer(Response::error(format!("ERR {error}"))).await?;
        let farewell = async {
            self.pipeline.close().await?;
            let mut rest = vec![0; READ_SIZE];
            while self.reader.read(&mut rest).await? > 0 {}
            Ok(())
        };
        // Whether the client takes it or not, the connection has failed.
        let _: Result<Result<(), ConnectionError>, _> = timeout(LINGER, farewell).await;
        Err(error)
    }
}
