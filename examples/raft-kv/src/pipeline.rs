//! The requests of one connection, in order, in as few trips through the cluster as possible.

use std::mem;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::backend::Trouble;
use crate::commands::{Action, Session, interpret};
use crate::limits::{MAX_GROUP, MAX_GROUP_BYTES};
use crate::resp::{ProtocolError, Request, Response};
use crate::server::Shared;
use crate::store::{Read, Reply, Write};

/// Collects writes that follow each other into one proposal, and reads that follow each other into
/// one query. A group ends when a request of another kind comes, when it is large enough, or when
/// no further request has arrived; its replies are there before the next request is looked at, so
/// requests take effect in the order in which they came.
pub(crate) struct Pipeline {
    shared: Arc<Shared>,
    session: Session,
    group: Group,
    group_bytes: usize,
    /// A request got no answer since the pipeline was last empty. The rest is not tried, for two
    /// reasons: each try would cost the client the full wait once more, and a write whose outcome
    /// is unknown could still take effect behind a later one.
    troubled: bool,
    output: BytesMut,
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
    pub(crate) fn new(shared: Arc<Shared>, session: Session) -> Self {
        Self {
            shared,
            session,
            group: Group::EMPTY,
            group_bytes: 0,
            troubled: false,
            output: BytesMut::new(),
        }
    }

    /// The replies that are ready to be sent.
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Takes the next request. Its reply may wait for [`Pipeline::finish`].
    pub(crate) async fn take(&mut self, request: Request) -> Result<Flow, ProtocolError> {
        match interpret(&mut self.session, request) {
            Ok(Action::Write(write)) => {
                let size = write.size();
                if !matches!(self.group, Group::Writes(_)) || self.is_full(size) {
                    self.run_group().await?;
                    self.group = Group::EMPTY;
                }
                if let Group::Writes(writes) = &mut self.group {
                    writes.push(write);
                }
                self.group_bytes += size;
            }
            Ok(Action::Read(read)) => {
                let size = read.size();
                if !matches!(self.group, Group::Reads(_)) || self.is_full(size) {
                    self.run_group().await?;
                    self.group = Group::Reads(Vec::new());
                }
                if let Group::Reads(reads) = &mut self.group {
                    reads.push(read);
                }
                self.group_bytes += size;
            }
            Ok(Action::Propose(envelope)) => {
                self.run_group().await?;
                self.propose(envelope).await?;
            }
            Ok(Action::Administer(order)) => {
                self.run_group().await?;
                let response = self.shared.administer(order).await;
                self.push(response)?;
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

    /// Answers what has been taken so far. Called when no further request has arrived.
    pub(crate) async fn finish(&mut self) -> Result<(), ProtocolError> {
        self.run_group().await?;
        self.troubled = false;
        Ok(())
    }

    /// Adds a reply behind those of the requests before it.
    pub(crate) async fn answer(&mut self, response: Response) -> Result<(), ProtocolError> {
        self.run_group().await?;
        self.push(response)
    }

    fn is_full(&self, size: usize) -> bool {
        let len = self.group.len();
        len >= MAX_GROUP || (len > 0 && self.group_bytes + size > MAX_GROUP_BYTES)
    }

    async fn run_group(&mut self) -> Result<(), ProtocolError> {
        self.group_bytes = 0;
        match mem::replace(&mut self.group, Group::EMPTY) {
            Group::Writes(writes) if writes.is_empty() => Ok(()),
            Group::Writes(writes) => self.run_writes(&writes).await,
            Group::Reads(reads) => self.run_reads(&reads).await,
        }
    }

    async fn run_writes(&mut self, writes: &[Write]) -> Result<(), ProtocolError> {
        if self.troubled {
            return self.skip(writes.len());
        }
        match self.shared.backend().write(writes).await {
            Ok(replies) => replies.into_iter().try_for_each(|reply| self.push(reply.into())),
            Err(trouble) => self.fail(&trouble, writes.len()),
        }
    }

    async fn run_reads(&mut self, mut reads: &[Read]) -> Result<(), ProtocolError> {
        if self.troubled {
            return self.skip(reads.len());
        }
        while !reads.is_empty() {
            match self.shared.backend().read(reads).await {
                Ok(replies) => {
                    reads = reads.get(replies.len()..).unwrap_or_default();
                    replies.into_iter().try_for_each(|reply| self.push(reply.into()))?;
                }
                Err(trouble) => return self.fail(&trouble, reads.len()),
            }
        }
        Ok(())
    }

    async fn propose(&mut self, envelope: Bytes) -> Result<(), ProtocolError> {
        if self.troubled {
            return self.skip(1);
        }
        match self.shared.backend().propose(envelope).await {
            Ok(answer) => self.push(Response::Bulk(answer)),
            Err(trouble) => self.fail(&trouble, 1),
        }
    }

    fn fail(&mut self, trouble: &Trouble, requests: usize) -> Result<(), ProtocolError> {
        self.troubled = !matches!(trouble, Trouble::TooLarge(_));
        (0..requests).try_for_each(|_| self.push(Response::error(trouble)))
    }

    fn skip(&mut self, requests: usize) -> Result<(), ProtocolError> {
        let reason = "a request before this one in the pipeline got no answer";
        let trouble = Trouble::Down(reason.into());
        (0..requests).try_for_each(|_| self.push(Response::error(&trouble)))
    }

    fn push(&mut self, response: Response) -> Result<(), ProtocolError> {
        response.encode(self.session.version(), &mut self.output)
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
