//! A client of the servers: requests of the Redis protocol, and writers that remember what they were
//! promised.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use raft_kv::store::{self, Condition, Reply, SetAnswer};
use raft_node::Clock;
use raft_node::session::{self, Session};

const ANSWER: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// What a server has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Text(String),
    Error(String),
    Bulk(Option<Vec<u8>>),
    List(Vec<Answer>),
}

/// A connection to a server.
pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call(&mut self, words: &[&[u8]]) -> io::Result<Answer> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&bytes)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let strange = || io::Error::other(format!("a strange answer: {line}"));
        let rest = line.get(1..).map(|rest| rest.trim_end().to_owned()).ok_or_else(strange)?;
        let number = rest.parse::<i64>();
        Ok(match line.as_bytes().first() {
            Some(b'+' | b':') => Answer::Text(rest),
            Some(b'-') => Answer::Error(rest),
            Some(b'$') => match usize::try_from(number.map_err(|_| strange())?) {
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.0.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    Answer::Bulk(Some(bytes))
                }
                Err(_) => Answer::Bulk(None),
            },
            Some(b'*') => {
                let count = usize::try_from(number.map_err(|_| strange())?).unwrap_or(0);
                Answer::List((0..count).map(|_| self.answer()).collect::<io::Result<_>>()?)
            }
            _ => return Err(strange()),
        })
    }
}

/// What all writers were promised.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<Acknowledged>>>);

/// A write that was acknowledged.
#[derive(Clone, Copy)]
pub(crate) struct Acknowledged {
    pub(crate) writer: u32,
    pub(crate) sequence: u64,
    begun: Instant,
}

impl Acknowledged {
    pub(crate) fn key(self) -> String {
        key(self.writer, self.sequence)
    }

    pub(crate) fn value(self) -> String {
        value(self.writer, self.sequence)
    }
}

fn key(writer: u32, sequence: u64) -> String {
    format!("w:{writer}:{sequence}")
}

fn value(writer: u32, sequence: u64) -> String {
    format!("write {sequence} of writer {writer}")
}

/// The key under which the writes of a writer are counted.
pub(crate) fn counter(writer: u32) -> String {
    format!("w:{writer}:count")
}

impl Journal {
    pub(crate) fn all(&self) -> Vec<Acknowledged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many writes that were begun since this time have been acknowledged.
    pub(crate) fn since(&self, time: Instant) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().rev().take(1000).filter(|one| one.begun >= time).count()
    }
}

/// Clients that write until they are stopped.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Writers {
    pub(crate) fn start(count: u32, servers: &[String], journal: &Journal) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |number: u32| {
            let (stop, journal, servers) = (stop.clone(), journal.clone(), servers.to_vec());
            let way = Way { servers, next: number as usize, connection: None };
            thread::spawn(move || write(number, way, &journal, &stop))
        };
        let threads = (0..count).map(start).collect();
        Self { stop, threads }
    }

    /// Lets each writer end its write. Fails if one of them had given up.
    pub(crate) fn stop(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| io::Error::other("a writer has panicked"))?
        })
    }
}

/// The way to the cluster: a connection to one of the servers, and another one when that fails.
struct Way {
    servers: Vec<String>,
    next: usize,
    connection: Option<Client>,
}

impl Way {
    /// Proposes until there is an answer. It is safe to propose again, for the session of the writer
    /// has each write applied once.
    fn propose(&mut self, envelope: &[u8]) -> io::Result<Vec<u8>> {
        let begun = Instant::now();
        let mut last = String::new();
        while begun.elapsed() < Duration::from_secs(60) {
            match self.once(envelope) {
                Ok(Answer::Bulk(Some(answer))) => return Ok(answer),
                Ok(other) => last = format!("{other:?}"),
                Err(error) => {
                    self.connection = None;
                    self.next += 1;
                    last = error.to_string();
                }
            }
            thread::sleep(PAUSE);
        }
        Err(io::Error::other(format!("a write was not answered for a minute: {last}")))
    }

    fn once(&mut self, envelope: &[u8]) -> io::Result<Answer> {
        let address = self.servers.get(self.next % self.servers.len().max(1));
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Client::connect(address.ok_or(io::ErrorKind::NotFound)?)?,
        };
        let answer = connection.call(&[b"RAFT.PROPOSE", envelope])?;
        if matches!(answer, Answer::Bulk(_)) {
            self.connection = Some(connection);
        } else {
            self.next += 1;
        }
        Ok(answer)
    }
}

fn write(writer: u32, mut way: Way, journal: &Journal, stop: &AtomicBool) -> io::Result<()> {
    let clock = Clock::start();
    let opened = way.propose(&session::open())?;
    let mut session = Session::new(opened.into(), clock.now()).map_err(io::Error::other)?;
    for sequence in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let set = store::Write::Set {
            key: key(writer, sequence).into(),
            value: value(writer, sequence).into(),
            condition: Condition::Always,
            answer: SetAnswer::Outcome,
        };
        let count = store::Write::Add { key: counter(writer).into(), by: 1 };
        let begun = Instant::now();
        let command = store::encode(&[set, count]);
        let request = session.command(&command, clock.now()).map_err(io::Error::other)?;
        let answer = way.propose(&request.envelope())?;
        let answer = session.answered(&request, answer.into()).map_err(io::Error::other)?;
        match store::decode::<Reply>(&answer) {
            Some(replies) if replies.first() == Some(&Reply::Ok) => {
                let mut all = journal.0.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(Acknowledged { writer, sequence, begun });
            }
            other => return Err(io::Error::other(format!("a write was answered {other:?}"))),
        }
        // A steady load, not the most that goes through a serial line.
        thread::sleep(PAUSE);
    }
    Ok(())
}
