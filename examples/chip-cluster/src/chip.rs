//! The chip: QEMU with the firmware, its console, its flash.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use raft_chip_parts::FlashLog;
use raft_node::core::{Membership, NodeId};
use raft_node::{ClusterId, Identity, LogStore};

/// The board's RAM, in whose last part the flash is, and where the log's part of that ends. The
/// firmware has the same numbers.
const RAM_BYTES: usize = 16 << 20;
const FLASH_AT: usize = 12 << 20;
const LOG_BYTES: usize = 192 << 10;

/// How long the chip may take to answer at its console.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the chip is run.
pub(crate) struct Chip {
    firmware: PathBuf,
    directory: PathBuf,
    qemu: Option<Qemu>,
    lines: Arc<Mutex<Vec<String>>>,
}

struct Qemu {
    process: Child,
    console: ChildStdin,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Whatever ends the test, QEMU ends as well; if it has ended by itself, that is fine too.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The flash while it is provisioned: a part of a file that is not written yet.
#[derive(Clone)]
struct Image(Arc<Mutex<Vec<u8>>>);

impl ErrorType for Image {
    type Error = NorFlashErrorKind;
}

impl Image {
    fn with(
        &self,
        at: u32,
        length: usize,
        change: impl Fn(&mut [u8]),
    ) -> Result<(), NorFlashErrorKind> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = at as usize;
        change(bytes.get_mut(at..at + length).ok_or(NorFlashErrorKind::OutOfBounds)?);
        Ok(())
    }
}

impl ReadNorFlash for Image {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        let image = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = offset as usize;
        let part = image.get(at..at + bytes.len()).ok_or(NorFlashErrorKind::OutOfBounds)?;
        bytes.copy_from_slice(part);
        Ok(())
    }

    fn capacity(&self) -> usize {
        LOG_BYTES
    }
}

impl NorFlash for Image {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        self.with(from, (to - from) as usize, |part| part.fill(0xff))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.with(offset, bytes.len(), |part| part.copy_from_slice(bytes))
    }
}

impl Chip {
    /// A chip that was provisioned: its flash says who it is, as a factory would have written it.
    pub(crate) fn provision(
        firmware: &Path,
        directory: &Path,
        node: NodeId,
        founders: Membership,
        storage: u64,
    ) -> io::Result<Self> {
        let image = Image(Arc::new(Mutex::new(vec![0xff; LOG_BYTES])));
        let mut log = FlashLog::open(image.clone()).map_err(io::Error::other)?;
        let identity = Identity::new(ClusterId::default(), node, storage, founders);
        // The number of starts comes first.
        let metadata = [&0_u64.to_le_bytes()[..], &identity.encode()].concat();
        log.set_metadata(&metadata).map_err(io::Error::other)?;
        let mut ram = vec![0; FLASH_AT];
        ram.extend_from_slice(&image.0.lock().unwrap_or_else(PoisonError::into_inner));
        ram.resize(RAM_BYTES, 0xff);
        fs::write(directory.join("ram"), ram)?;
        let (firmware, directory) = (firmware.to_owned(), directory.to_owned());
        Ok(Self { firmware, directory, qemu: None, lines: Arc::default() })
    }

    /// Switches the power on. The gateway has to listen at `line` in the directory.
    pub(crate) fn power_on(&mut self) -> io::Result<()> {
        let at = |name: &str| self.directory.join(name).display().to_string();
        let mut process = Command::new("qemu-system-arm")
            .args(["-machine", "mps2-an385,memory-backend=ram", "-display", "none"])
            .args([
                "-object",
                &format!("memory-backend-file,id=ram,size=16M,share=on,mem-path={}", at("ram")),
            ])
            .args([
                "-monitor",
                "none",
                "-serial",
                &format!("unix:{}", at("line")),
                "-serial",
                "stdio",
            ])
            .args(["-qmp", &format!("unix:{},server=on,wait=off", at("qmp"))])
            .args(["-semihosting-config", "enable=on,target=native"])
            .arg("-kernel")
            .arg(&self.firmware)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(console), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::Error::other("QEMU has no console"));
        };
        let lines = self.lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                println!("  chip: {line}");
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        self.qemu = Some(Qemu { process, console });
        Ok(())
    }

    /// Switches the power off, in the middle of whatever the chip does. Its flash stays.
    pub(crate) fn power_off(&mut self) {
        self.qemu = None;
    }

    /// Resets the chip from outside.
    pub(crate) fn reset(&self) -> io::Result<()> {
        let mut monitor = UnixStream::connect(self.directory.join("qmp"))?;
        monitor.set_read_timeout(Some(PATIENCE))?;
        let mut answers = BufReader::new(monitor.try_clone()?).lines();
        for command in ["qmp_capabilities", "system_reset"] {
            writeln!(monitor, "{{\"execute\": \"{command}\"}}")?;
            loop {
                match answers.next() {
                    Some(Ok(line)) if line.contains("\"return\"") => break,
                    Some(Ok(_)) => {}
                    other => return Err(io::Error::other(format!("QEMU's monitor: {other:?}"))),
                }
            }
        }
        Ok(())
    }

    /// Types a line at the chip's console.
    pub(crate) fn say(&mut self, line: &str) -> io::Result<()> {
        let qemu = self.qemu.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        if let Some(code) = qemu.process.try_wait()? {
            return Err(io::Error::other(format!("the chip has stopped: {code}")));
        }
        writeln!(qemu.console, "{line}")?;
        qemu.console.flush()
    }

    fn printed(&self) -> usize {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How the chip stands: what its console answers to `status`.
    pub(crate) fn status(&mut self) -> io::Result<String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let from = self.printed();
            self.say("status")?;
            let asked = Instant::now();
            while asked.elapsed() < Duration::from_secs(2) {
                let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
                let status = lines.iter().skip(from).find(|line| line.starts_with("status role="));
                if let Some(status) = status {
                    return Ok(status.clone());
                }
                drop(lines);
                thread::sleep(Duration::from_millis(10));
            }
        }
        Err(io::Error::other("the chip does not answer at its console"))
    }
}

/// A number in the answer to `status`.
pub(crate) fn number(status: &str, name: &str) -> u64 {
    let mut words = status.split(' ').filter_map(|word| word.split_once('='));
    let value = words.find(|(word, _)| *word == name).and_then(|(_, value)| value.parse().ok());
    value.unwrap_or(0)
}
