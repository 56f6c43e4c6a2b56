//! Recordings of nodes in files: what went into the core of a node, for another core to be given it
//! later.
//!
//! The core is a pure function, so what a node did in production can be shown again in a test:
//!
//! ```
//! # use raft_node::{Settings, recording};
//! # use raft_node::core::NodeId;
//! # fn start(settings: Settings) -> std::io::Result<()> {
//! // In production, before the node starts:
//! let settings = settings.record(recording::to_directory("recordings", 1 << 30));
//! # Ok(())
//! # }
//! # fn replay() -> Result<(), Box<dyn std::error::Error>> {
//! // In a test:
//! let recording = recording::Recording::open("recordings/node-1-1.recording")?;
//! let raft = recording.replay()?;
//! println!("{:?}", raft.status());
//! # Ok(())
//! # }
//! ```
//!
//! A recording holds all commands and addresses that went through the node: treat it like the
//! node's log. It begins with the start of the node, since a core can't be looked into later, and
//! grows by what the node receives. Of what the core answered it has a checksum for each step, by
//! which a replay knows that it goes the same way.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft_core::{ConfigError, Event, Instant, NodeId, Output, Raft};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Beginning, Recorder, Step};

/// What a recording begins with; the last byte is the version of the format.
const MAGIC: [u8; 8] = *b"RAFTREC\x01";

/// The version of this crate, whose core is the one that goes the same way for certain.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The length and the checksum of a record.
const HEAD_BYTES: usize = 8;

/// No record is longer; what claims to be is damage.
const MAX_RECORD_BYTES: usize = 1 << 30;

/// For [`Settings::record`](crate::Settings::record): writes a new file in this directory, which is
/// made if need be, at each start of a node: `node-3-1.recording` at the first start of node 3. The
/// recording ends before the file is longer than `max_bytes`.
pub fn to_directory(
    directory: impl Into<PathBuf>,
    max_bytes: u64,
) -> impl Fn(&Beginning) -> io::Result<Box<dyn Recorder>> + Send + Sync + 'static {
    let directory = directory.into();
    move |beginning| {
        fs::create_dir_all(&directory)?;
        let file = BufWriter::new(new_file(&directory, beginning.config.id())?);
        Ok(Box::new(RecordingWriter::new(file, beginning, max_bytes)?))
    }
}

fn new_file(directory: &Path, id: NodeId) -> io::Result<File> {
    let mut number = 1_u64;
    loop {
        let path = directory.join(format!("node-{id}-{number}.recording"));
        match File::options().write(true).create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            file => return file,
        }
    }
}

/// A [`Recorder`] that writes a recording anywhere.
#[derive(Debug)]
pub struct RecordingWriter<W> {
    out: W,
    left: u64,
}

impl<W: Write> RecordingWriter<W> {
    /// Begins a recording of at most so many bytes.
    ///
    /// # Errors
    /// Those of the writer, and `FileTooLarge` if there is no room for the beginning.
    pub fn new(out: W, beginning: &Beginning, max_bytes: u64) -> io::Result<Self> {
        let mut writer = Self { out, left: max_bytes };
        writer.write(&MAGIC)?;
        writer.write_record(&(VERSION, beginning))?;
        writer.out.flush()?;
        Ok(writer)
    }

    fn write_record(&mut self, record: &impl Serialize) -> io::Result<()> {
        let content = encode(record)?;
        let len = u32::try_from(content.len()).map_err(|_| ErrorKind::FileTooLarge)?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + content.len());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&content).to_le_bytes());
        bytes.extend_from_slice(&content);
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or(ErrorKind::FileTooLarge)?;
        self.out.write_all(bytes)
    }
}

impl<W: Write + Send> Recorder for RecordingWriter<W> {
    fn record(&mut self, step: Step) -> io::Result<()> {
        let Step { at, events, outputs } = step;
        let outputs = checksum(&outputs)?;
        self.write_record(&RecordedStep { at, events, outputs })
    }
}

/// What one step of a core was given, and the checksum of what it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedStep {
    /// The time at the node's clock.
    pub at: Instant,
    /// What had happened.
    pub events: Vec<Event>,
    outputs: u32,
}

fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    // Only a format that has no room for a value refuses one, and this has room for all.
    postcard::to_stdvec(value).map_err(io::Error::other)
}

fn checksum(outputs: &[Output]) -> io::Result<u32> {
    Ok(crc32fast::hash(&encode(&outputs)?))
}

/// What was recorded of one life of a node.
#[derive(Clone, Debug)]
pub struct Recording {
    version: String,
    beginning: Beginning,
    steps: Vec<RecordedStep>,
}

/// Why something is no recording.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// It can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin as a recording does, or as one that this version can read. Read it with
    /// the version that wrote it.
    #[error("this is no recording that raft-node {VERSION} can read")]
    Unknown,
    /// It is damaged, or was written by a version whose events this one does not know.
    #[error("record {record} of the recording is damaged, or of another version")]
    Damaged {
        /// Which record: 0 is the beginning of the node, 1 its first step.
        record: usize,
    },
}

/// Why a replay does not go the way of the recording.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Divergence {
    /// The core does not start, though it did then.
    #[error("the core does not start: {0}")]
    Beginning(#[from] ConfigError),
    /// The core answered something else then. If the recording is of another version, replay it
    /// with that one; if not, please report it.
    #[error("step {step} has other outputs than when it was recorded by version {version}")]
    Step {
        /// Which step, from 0.
        step: usize,
        /// The version of raft-node that recorded it.
        version: String,
        /// What the core answers now.
        outputs: Vec<Output>,
    },
}

impl Recording {
    /// Reads a recording from a file.
    ///
    /// # Errors
    /// The file can't be read, or is no recording.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RecordingError> {
        Self::read(&mut File::open(path)?)
    }

    /// Reads a recording. Its end may be missing, as after a crash: whatever is whole counts.
    ///
    /// # Errors
    /// Those of the reader, or it is no recording.
    pub fn read(from: &mut impl Read) -> Result<Self, RecordingError> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let mut rest = Bytes::from(bytes);
        if !rest.starts_with(&MAGIC) {
            return Err(RecordingError::Unknown);
        }
        let mut records = Records { rest: rest.split_off(MAGIC.len()), count: 0 };
        let first = records.next::<(String, Beginning)>()?;
        let (version, beginning) = first.ok_or(RecordingError::Damaged { record: 0 })?;
        let mut steps = Vec::new();
        while let Some(step) = records.next()? {
            steps.push(step);
        }
        Ok(Self { version, beginning, steps })
    }

    /// The version of raft-node that made it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What the node began with.
    #[must_use]
    pub const fn beginning(&self) -> &Beginning {
        &self.beginning
    }

    /// The steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[RecordedStep] {
        &self.steps
    }

    /// Gives a new core everything that the node's was given, and returns it as it is at the end.
    ///
    /// # Errors
    /// The core does not go the way of the recording.
    pub fn replay(&self) -> Result<Raft, Divergence> {
        self.replay_with(|_, _, _| {})
    }

    /// The same, and shows each step with what the core answers and the core after it.
    ///
    /// # Errors
    /// The core does not go the way of the recording.
    pub fn replay_with(
        &self,
        mut look: impl FnMut(&RecordedStep, &[Output], &Raft),
    ) -> Result<Raft, Divergence> {
        let Beginning { config, restored, at } = self.beginning.clone();
        let mut raft = Raft::new(config, restored, at)?;
        let mut outputs = Vec::new();
        for (number, step) in self.steps.iter().enumerate() {
            raft.step_all(step.at, step.events.iter().cloned(), &mut outputs);
            look(step, &outputs, &raft);
            if checksum(&outputs).ok() != Some(step.outputs) {
                let version = self.version.clone();
                return Err(Divergence::Step { step: number, version, outputs });
            }
            outputs.clear();
        }
        Ok(raft)
    }
}

/// The records of a recording, one after the other.
struct Records {
    rest: Bytes,
    count: usize,
}

impl Records {
    /// The next record, if it is whole.
    fn next<T: for<'a> Deserialize<'a>>(&mut self) -> Result<Option<T>, RecordingError> {
        let damaged = RecordingError::Damaged { record: self.count };
        let Some((len, rest)) = self.rest.split_first_chunk::<4>() else { return Ok(None) };
        let Some((crc, _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let (len, crc) = (u32::from_le_bytes(*len) as usize, u32::from_le_bytes(*crc));
        if len > MAX_RECORD_BYTES {
            return Err(damaged);
        }
        if self.rest.len() - HEAD_BYTES < len {
            return Ok(None);
        }
        let record = self.rest.split_to(HEAD_BYTES + len).split_off(HEAD_BYTES);
        if crc32fast::hash(&record) != crc {
            return Err(damaged);
        }
        self.count += 1;
        postcard::from_bytes(&record).map(Some).map_err(|_| damaged)
    }
}
