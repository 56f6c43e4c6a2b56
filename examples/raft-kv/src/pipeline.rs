//! The requests of one connection, in order, in as few trips through the cluster as possible.

use std::mem;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

use crate::admin::Order;
use crate::backend::Trouble;
use crate::commands::{Action, Call, Session};
use crate::connection::ConnectionError;
use crate::limits::{FLUSH_AT, MAX_ANSWER, MAX_GROUP, MAX_GROUP_BYTES};
use crate::resp::{Request, Response};
use crate::server::Shared;
use crate::store::{Read, Reply, Write};

/// Collects writes that follow each other into one proposal, and reads that follow each other into
/// one query. A group ends when a request of another kind comes, when it is large enough, or when
/// no further request has arrived; its replies are there before the next request is looked at, so
/// requests take effect in the order in which they came.
///
/// Replies are sent before they become many, so a client that asks for much and takes little makes
/// the server wait, not grow.
pub(crate) struct Pipeline {
    shared: Arc<Shared>,
    session: Session,
    group: Group,
    /// What the requests of the group have in bytes, and what their answers may have.
    group_bytes: usize,
    group_answer: usize,
    /// A request of this pipeline got no answer. The rest of it is not tried, for two reasons: each
    /// try would cost the client the full wait once more, and a write whose outcome is unknown
    /// could still take effect behind a later one.
    troubled: bool,
    output: BytesMut,
    writer: OwnedWriteHalf,
}

enum Group {
    Writes(Vec<Write>),
    Reads(Vec<Read>),
}

impl Group {
    const EMPTY: Self = Self::Writes(Vec::new());

    fn len(&self) -> usize {
        match self {
            Self::Writes(writes) => writes.len(),
            Self::Reads(reads) => reads.len(),
        }
    }
}

/// Whether the connection goes on after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    Quit,
}

impl Pipeline {
    pub(crate) fn new(shared: Arc<Shared>, session: Session, writer: OwnedWriteHalf) -> Self {
        Self {
            shared,
            session,
            group: Group::EMPTY,
            group_bytes: 0,
            group_answer: 0,
            troubled: false,
            output: BytesMut::new(),
            writer,
        }
    }

    /// Takes the next request. Its reply may wait for [`Pipeline::finish`].
    pub(crate) async fn take(&mut self, request: Request) -> Result<Flow, ConnectionError> {
        let action = match Call::parse(request) {
            Ok(call) => {
                if call.is_on_session() {
                    self.run_group().await?;
                }
                call.interpret(&mut self.session)
            }
            Err(error) => Err(error),
        };
        match action {
            Ok(Action::Write(write)) => self.take_write(write).await?,
            Ok(Action::Read(read)) => self.take_read(read).await?,
            Ok(Action::Propose(envelope)) => {
                self.run_group().await?;
                self.propose(envelope).await?;
            }
            Ok(Action::Administer(order)) => {
                self.run_group().await?;
                self.administer(order).await?;
            }
            Ok(Action::Answer(response)) => self.answer(response).await?,
            Ok(Action::Info(sections)) => {
                let sections: Vec<&str> = sections.iter().map(String::as_str).collect();
                let report = self.shared.report(&sections).await;
                self.answer(Response::Text(report)).await?;
            }
            Ok(Action::Quit) => {
                self.answer(Response::OK).await?;
                return Ok(Flow::Quit);
            }
            Err(error) => self.answer(Response::error(error)).await?,
        }
        Ok(Flow::Continue)
    }

    async fn take_write(&mut self, write: Write) -> Result<(), ConnectionError> {
        let (size, answer) = (write.size(), write.largest_answer());
        if !matches!(self.group, Group::Writes(_)) || self.is_full(size, answer) {
            self.run_group().await?;
        }
        if let Group::Writes(writes) = &mut self.group {
            writes.push(write);
        }
        self.group_bytes += size;
        self.group_answer += answer;
        Ok(())
    }

    async fn take_read(&mut self, read: Read) -> Result<(), ConnectionError> {
        let size = read.size();
        if !matches!(self.group, Group::Reads(_)) || self.is_full(size, 0) {
            self.run_group().await?;
            self.group = Group::Reads(Vec::new());
        }
        if let Group::Reads(reads) = &mut self.group {
            reads.push(read);
        }
        self.group_bytes += size;
        Ok(())
    }

    /// Answers what has been taken so far. Called when no further request has arrived.
    pub(crate) async fn finish(&mut self) -> Result<(), ConnectionError> {
        self.run_group().await?;
        self.flush().await
    }

    /// The client has sent nothing more. What comes next is another pipeline.
    pub(crate) const fn end(&mut self) {
        self.troubled = false;
    }

    /// Sends what waits to be sent, and that nothing will follow.
    pub(crate) async fn close(&mut self) -> Result<(), ConnectionError> {
        self.flush().await?;
        Ok(self.writer.shutdown().await?)
    }

    /// Adds a reply behind those of the requests before it.
    pub(crate) async fn answer(&mut self, response: Response) -> Result<(), ConnectionError> {
        self.run_group().await?;
        self.push(response).await
    }

    /// Whether there is no room for a request of this size with an answer of up to that size.
    fn is_full(&self, size: usize, answer: usize) -> bool {
        let len = self.group.len();
        let (bytes, answers) = (self.group_bytes + size, self.group_answer + answer);
        len >= MAX_GROUP || (len > 0 && (bytes > MAX_GROUP_BYTES || answers > MAX_ANSWER))
    }

    async fn run_group(&mut self) -> Result<(), ConnectionError> {
        (self.group_bytes, self.group_answer) = (0, 0);
        match mem::replace(&mut self.group, Group::EMPTY) {
            Group::Writes(writes) if writes.is_empty() => Ok(()),
            Group::Writes(writes) => self.run_writes(&writes).await,
            Group::Reads(reads) => self.run_reads(&reads).await,
        }
    }

    async fn run_writes(&mut self, writes: &[Write]) -> Result<(), ConnectionError> {
        if self.troubled {
            return self.skip(writes.len()).await;
        }
        match self.shared.backend().write(writes).await {
            Ok(replies) => self.push_all(replies).await,
            Err(trouble) => self.fail(&trouble, writes.len()).await,
        }
    }

    async fn run_reads(&mut self, mut reads: &[Read]) -> Result<(), ConnectionError> {
        if self.troubled {
            return self.skip(reads.len()).await;
        }
        while !reads.is_empty() {
            match self.shared.backend().read(reads).await {
                Ok(replies) => {
                    reads = reads.get(replies.len()..).unwrap_or_default();
                    self.push_all(replies).await?;
                }
                Err(trouble) => return self.fail(&trouble, reads.len()).await,
            }
        }
        Ok(())
    }

    async fn propose(&mut self, envelope: Bytes) -> Result<(), ConnectionError> {
        if self.troubled {
            return self.skip(1).await;
        }
        match self.shared.backend().propose(envelope).await {
            Ok(answer) => self.push(Response::Bulk(answer)).await,
            Err(trouble) => self.fail(&trouble, 1).await,
        }
    }

    async fn administer(&mut self, order: Order) -> Result<(), ConnectionError> {
        if self.troubled && order.needs_a_quorum() {
            return self.skip(1).await;
        }
        let response = self.shared.administer(order).await.unwrap_or_else(|error| {
            self.troubled |= error.is_no_answer();
            Response::error(error)
        });
        self.push(response).await
    }

    async fn fail(&mut self, trouble: &Trouble, requests: usize) -> Result<(), ConnectionError> {
        self.troubled = !matches!(trouble, Trouble::TooLarge(_));
        for _ in 0..requests {
            self.push(Response::error(trouble)).await?;
        }
        Ok(())
    }

    async fn skip(&mut self, requests: usize) -> Result<(), ConnectionError> {
        let reason = "a request before this one in the pipeline got no answer";
        self.fail(&Trouble::Down(reason.into()), requests).await
    }

    async fn push_all(&mut self, replies: Vec<Reply>) -> Result<(), ConnectionError> {
        for reply in replies {
            self.push(reply.into()).await?;
        }
        Ok(())
    }

    async fn push(&mut self, response: Response) -> Result<(), ConnectionError> {
        response.encode(self.session.version(), &mut self.output)?;
        if self.output.len() >= FLUSH_AT { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), ConnectionError> {
        Ok(self.writer.write_all_buf(&mut self.output).await?)
    }
}

impl From<Reply> for Response {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Ok => Self::OK,
            Reply::Nil => Self::Null,
            Reply::Integer(number) => Self::Integer(number),
            Reply::Value(value) => Self::Bulk(value),
            Reply::Values(values) => {
                let value = |value: Option<_>| value.map_or(Self::Null, Self::Bulk);
                Self::Array(values.into_iter().map(value).collect())
            }
            Reply::Keys(keys) => Self::Array(keys.into_iter().map(Self::Bulk).collect()),
            Reply::Scanned { cursor, keys } => {
                Self::Array(vec![Self::text(cursor.to_string()), Reply::Keys(keys).into()])
            }
            Reply::Failed(failure) => Self::error(failure),
        }
    }
}
