//! What the threads of the links wait with.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use raft_node::{Notifier, Reception};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Wakes one thread, which may wait for a socket at the same time.
pub(crate) struct Bell {
    stopped: AtomicBool,
    ringing: UnixStream,
    hearing: UnixStream,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let (ringing, hearing) = UnixStream::pair()?;
        ringing.set_nonblocking(true)?;
        hearing.set_nonblocking(true)?;
        Ok(Arc::new(Self { stopped: AtomicBool::new(false), ringing, hearing }))
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
        self.stopped.store(true, Ordering::Release);
        self.ring();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
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
        let ready = fds[1].revents();
        if fds[0].revents().contains(PollFlags::IN) {
            // Rings that are left over make the next wait a short one.
            let _ = (&self.hearing).read(&mut [0; 64]);
        }
        if self.is_stopped() { Err(ErrorKind::Interrupted.into()) } else { Ok(ready) }
    }

    /// Waits until this time, whatever rings.
    pub(crate) fn sleep_until(&self, time: Instant) -> io::Result<()> {
        while Instant::now() < time {
            self.wait(None, Some(time))?;
        }
        Ok(())
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

/// A thread that waits with a bell. It is told to end, and waited for, when this is dropped.
pub(crate) struct Worker {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn spawn(
        name: String,
        bell: Arc<Bell>,
        work: impl FnOnce(&Arc<Bell>) + Send + 'static,
    ) -> io::Result<Self> {
        let own = bell.clone();
        let thread = thread::Builder::new().name(name).spawn(move || work(&own))?;
        Ok(Self { bell, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.bell.stop();
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic, and there is nothing else to be done about it.
            let _ = thread.join();
        }
    }
}
