//! What the threads of the links wait with.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use raft_node::{Notifier, Reception};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Wakes one thread, which may wait for a socket at the same time. When nobody can ring any more the
/// thread shall end.
pub(crate) struct Bell {
    ringing: UnixStream,
    hearing: UnixStream,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let (ringing, hearing) = UnixStream::pair()?;
        ringing.set_nonblocking(true)?;
        hearing.set_nonblocking(true)?;
        Ok(Arc::new(Self { ringing, hearing }))
    }

    pub(crate) fn notifier(self: &Arc<Self>) -> Notifier {
        let bell = self.clone();
        Arc::new(move || bell.ring())
    }

    pub(crate) fn ring(&self) {
        // If there is no room the thread has not heard the last ones yet.
        let _ = (&self.ringing).write(&[0]);
    }

    /// Lets the thread end.
    fn stop(&self) {
        // An error means that it was done before.
        let _ = self.ringing.shutdown(Shutdown::Write);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.sleep_until(Instant::now()).is_err()
    }

    /// Waits until the bell rings, the socket is ready in one of these ways or has failed, or the
    /// time has come; says how the socket is. An error means that the thread shall end.
    pub(crate) fn wait(
        &self,
        socket: Option<(BorrowedFd<'_>, PollFlags)>,
        until: Option<Instant>,
    ) -> io::Result<PollFlags> {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let (fd, ready) = socket.unwrap_or((self.hearing.as_fd(), PollFlags::empty()));
        let mut fds =
            [PollFd::new(&self.hearing, PollFlags::IN), PollFd::from_borrowed_fd(fd, ready)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // The system is out of memory, perhaps only for now.
            Err(_) => thread::sleep(Reception::PAUSE),
        }
        // Rings that are left over make the next wait a short one.
        match (&self.hearing).read(&mut [0; 64]) {
            Ok(0) => Err(ErrorKind::Interrupted.into()),
            _ => Ok(fds[1].revents()),
        }
    }

    /// Waits until this time, whatever rings.
    pub(crate) fn sleep_until(&self, time: Instant) -> io::Result<()> {
        loop {
            self.wait(None, Some(time))?;
            if Instant::now() >= time {
                return Ok(());
            }
        }
    }

    /// Does something with a socket that does not block, as soon as the socket is ready for it.
    pub(crate) fn when_ready<T>(
        &self,
        stream: &TcpStream,
        ready: PollFlags,
        until: Instant,
        mut act: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match act(stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
            if Instant::now() >= until {
                return Err(ErrorKind::TimedOut.into());
            }
            self.wait(Some((stream.as_fd(), ready)), Some(until))?;
        }
    }
}

/// A thread that is told to end, and waited for, when this is dropped.
pub(crate) struct Worker {
    stop: Notifier,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// `stop` has to make `work` end.
    pub(crate) fn spawn(
        name: String,
        stop: Notifier,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let thread = thread::Builder::new().name(name).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// A thread that waits with a bell.
    pub(crate) fn with_bell(
        name: String,
        bell: Arc<Bell>,
        work: impl FnOnce(&Arc<Bell>) + Send + 'static,
    ) -> io::Result<Self> {
        let own = bell.clone();
        Self::spawn(name, Arc::new(move || bell.stop()), move || work(&own))
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        (self.stop)();
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic, and there is nothing else to be done about it.
            let _ = thread.join();
        }
    }
}
