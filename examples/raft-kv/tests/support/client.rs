//! A client that waits for an answer and no more.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection that sends requests of plain words.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects, and waits so long for each piece of an answer.
    pub(crate) fn connect(address: &str, patience: Duration) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(patience)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    /// The reply as text; nothing when the connection has ended, or when there is none in time. Then
    /// the connection is of no further use.
    pub(crate) fn ask(&mut self, request: &str) -> Option<String> {
        self.0.get_mut().write_all(format!("{request}\r\n").as_bytes()).ok()?;
        let line = self.line()?;
        let Some(length) = line.strip_prefix('$') else { return Some(line) };
        let Ok(length) = length.parse::<usize>() else { return Some(line) };
        let mut bytes = vec![0; length + 2];
        self.0.read_exact(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.0.read_line(&mut line).ok()?;
        (count > 0).then(|| line.trim_end().to_owned())
    }
}
