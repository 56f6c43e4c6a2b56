//! The Redis protocol on bytes: requests in, replies out, and the other way round for clients.

mod scan;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use redis_protocol::error::RedisProtocolError;
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::encode::extend_encode as extend_encode_resp2;
use redis_protocol::resp2::types::BytesFrame as Resp2Frame;
use redis_protocol::resp3::encode::complete::extend_encode as extend_encode_resp3;
use redis_protocol::resp3::types::{BytesFrame as Resp3Frame, VerbatimStringFormat};
use thiserror::Error;

use crate::limits::MAX_REQUEST;
use scan::{FrameScanner, MAX_LINE};

/// The bytes of a connection are not the Redis protocol, or go beyond its limits. What follows
/// can't be understood, so the connection ends.
#[derive(Debug, Error)]
pub(crate) enum ProtocolError {
    /// The number of elements is no number, or too large.
    #[error("invalid multibulk length")]
    ArrayLength,
    /// The length of a bulk string is no number.
    #[error("invalid bulk length")]
    BulkLength,
    /// A frame, or a line, is too large; with the limit in bytes.
    #[error("more than {0} bytes")]
    TooLarge(usize),
    /// A bulk string goes on behind its end.
    #[error("expected CRLF behind a bulk string")]
    BulkEnd,
    /// An element begins with the wrong byte.
    #[error("expected '$', got '{}'", .0.escape_ascii())]
    Unexpected(u8),
    /// A line has quotes; of inline requests this server reads only plain words.
    #[error("quotes are not supported in inline requests")]
    Quotes,
    /// The other side speaks HTTP: a browser that was led here.
    #[error("this is not an HTTP server")]
    Http,
    /// What redis-protocol found wrong.
    #[error("{0}")]
    Codec(#[from] RedisProtocolError),
}

/// One request: the name of a command and its arguments, never empty.
pub(crate) type Request = Vec<Bytes>;

/// Takes requests out of the bytes of one connection.
#[derive(Debug)]
pub(crate) struct RequestDecoder {
    scanner: FrameScanner,
}

impl Default for RequestDecoder {
    fn default() -> Self {
        Self { scanner: FrameScanner::of_requests(MAX_REQUEST) }
    }
}

impl RequestDecoder {
    /// Takes the next request from the front of `buffer`, or nothing when more bytes are needed.
    /// Between two calls the buffer may only grow.
    pub(crate) fn decode(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<Request>, ProtocolError> {
        loop {
            let request = match buffer.first() {
                None => return Ok(None),
                Some(b'*') => self.array(buffer)?,
                Some(_) => inline(buffer)?,
            };
            match request {
                // Redis passes over requests without a name.
                Some(request) if request.is_empty() => {}
                other => return Ok(other),
            }
        }
    }

    fn array(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
        if self.scanner.scan(buffer)?.is_none() {
            return Ok(None);
        }
        match decode_bytes_mut(buffer)? {
            Some((Resp2Frame::Array(elements), ..)) => {
                elements.into_iter().map(argument).collect::<Result<_, _>>().map(Some)
            }
            Some(_) => Ok(Some(Request::new())),
            None => Ok(None),
        }
    }
}

fn argument(frame: Resp2Frame) -> Result<Bytes, ProtocolError> {
    match frame {
        Resp2Frame::BulkString(argument) => Ok(argument),
        // The scanner has refused everything else.
        _ => Err(ProtocolError::BulkLength),
    }
}

/// A request as people type it: one line of words.
fn inline(buffer: &mut BytesMut) -> Result<Option<Request>, ProtocolError> {
    let Some(length) = buffer.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        return if buffer.len() < MAX_LINE {
            Ok(None)
        } else {
            Err(ProtocolError::TooLarge(MAX_LINE))
        };
    };
    let line = buffer.split_to(length + 1).freeze();
    if line.iter().any(|byte| matches!(byte, b'"' | b'\'')) {
        return Err(ProtocolError::Quotes);
    }
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let request: Request = words.map(|word| line.slice_ref(word)).collect();
    match request.first() {
        Some(name) if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") => {
            Err(ProtocolError::Http)
        }
        _ => Ok(Some(request)),
    }
}

/// Takes replies out of the bytes of one connection: the side of the client.
#[derive(Debug)]
pub(crate) struct ReplyDecoder {
    scanner: FrameScanner,
}

impl ReplyDecoder {
    /// Reads replies of at most `limit` bytes. Arrays inside of arrays are refused.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { scanner: FrameScanner::of_replies(limit) }
    }

    /// Takes the next reply from the front of `buffer`, or nothing when more bytes are needed.
    pub(crate) fn decode(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<Option<Resp2Frame>, ProtocolError> {
        if self.scanner.scan(buffer)?.is_none() {
            return Ok(None);
        }
        Ok(decode_bytes_mut(buffer)?.map(|(frame, ..)| frame))
    }
}

/// The version of the protocol for replies. Requests look the same in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Version {
    #[default]
    Resp2,
    Resp3,
}

/// A reply, whichever version of the protocol it is sent in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Response {
    Simple(&'static str),
    Error(String),
    Integer(i64),
    Bulk(Bytes),
    /// Text for people.
    Text(String),
    Null,
    Array(Vec<Response>),
    /// Pairs of names and values; a flat array in RESP2.
    Map(Vec<(&'static str, Response)>),
}

impl Response {
    pub(crate) const OK: Self = Self::Simple("OK");

    /// An error. Its text becomes one line, so that no argument that it quotes can end the reply.
    pub(crate) fn error(text: impl ToString) -> Self {
        Self::Error(text.to_string().replace(|letter: char| letter.is_control(), " "))
    }

    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::Bulk(text.into())
    }

    /// Writes the reply to the end of `out`.
    pub(crate) fn encode(self, version: Version, out: &mut BytesMut) -> Result<(), ProtocolError> {
        let end = match version {
            Version::Resp2 => extend_encode_resp2(out, &self.into_resp2(), false)?,
            Version::Resp3 => extend_encode_resp3(out, &self.into_resp3(), false)?,
        };
        // The library computes lengths in floating point, which gives some large integers a byte
        // too much. It returns where the reply really ends.
        out.truncate(end);
        Ok(())
    }

    fn into_resp2(self) -> Resp2Frame {
        match self {
            Self::Simple(text) => Resp2Frame::SimpleString(Bytes::from_static(text.as_bytes())),
            Self::Error(text) => Resp2Frame::Error(text.into()),
            Self::Integer(number) => Resp2Frame::Integer(number),
            Self::Bulk(data) => Resp2Frame::BulkString(data),
            Self::Text(text) => Resp2Frame::BulkString(text.into()),
            Self::Null => Resp2Frame::Null,
            Self::Array(items) => {
                Resp2Frame::Array(items.into_iter().map(Self::into_resp2).collect())
            }
            Self::Map(pairs) => {
                let flat = pairs.into_iter().flat_map(|(name, value)| [Self::text(name), value]);
                Resp2Frame::Array(flat.map(Self::into_resp2).collect())
            }
        }
    }

    fn into_resp3(self) -> Resp3Frame {
        let attributes = None;
        match self {
            Self::Simple(text) => {
                Resp3Frame::SimpleString { data: Bytes::from_static(text.as_bytes()), attributes }
            }
            Self::Error(text) => Resp3Frame::SimpleError { data: text.into(), attributes },
            Self::Integer(data) => Resp3Frame::Number { data, attributes },
            Self::Bulk(data) => Resp3Frame::BlobString { data, attributes },
            Self::Text(text) => Resp3Frame::VerbatimString {
                data: text.into(),
                format: VerbatimStringFormat::Text,
                attributes,
            },
            Self::Null => Resp3Frame::Null,
            Self::Array(items) => {
                let data = items.into_iter().map(Self::into_resp3).collect();
                Resp3Frame::Array { data, attributes }
            }
            Self::Map(pairs) => {
                let pair =
                    |(name, value): (_, Self)| (Self::text(name).into_resp3(), value.into_resp3());
                Resp3Frame::Map { data: pairs.into_iter().map(pair).collect(), attributes }
            }
        }
    }
}

/// Writes a request to the end of `out`.
pub(crate) fn encode_request(request: Request, out: &mut BytesMut) -> Result<(), ProtocolError> {
    let items = request.into_iter().map(Response::Bulk).collect();
    Response::Array(items).encode(Version::Resp2, out)
}
