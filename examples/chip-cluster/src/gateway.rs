//! The serial gateway: it joins the chip's serial line to TCP. It moves bytes, and understands none of
//! what the nodes say to each other.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use raft_chip_parts::channels::{Decoder, Frame, MAX_DATA};

/// How long a connection may take to be made, and a peer to take what it is sent.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the threads share. Frames are sent under this lock, so that none of a channel follows the
/// frame that has closed it.
#[derive(Default)]
struct State {
    line: Option<UnixStream>,
    channels: BTreeMap<u32, TcpStream>,
    newest: u32,
    /// How often the chip has begun. A connection that was dialled before that is not wanted.
    beginnings: u64,
}

#[derive(Clone, Default)]
struct Gateway(Arc<Mutex<State>>);

/// Serves the chip that connects to `line`, again and again, and those who connect to `peers`. The
/// threads end with the process.
pub(crate) fn start(line: UnixListener, peers: TcpListener) {
    let gateway = Gateway::default();
    let server = gateway.clone();
    thread::spawn(move || {
        for line in line.incoming().flatten() {
            // The next one is served when this one has ended.
            let _ = server.serve_line(line);
        }
    });
    thread::spawn(move || {
        for stream in peers.incoming().flatten() {
            gateway.accept(stream);
        }
    });
}

impl State {
    fn send(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        if let Some(line) = &mut self.line
            && line.write_all(&bytes).is_err()
        {
            self.line = None;
        }
    }

    fn close_all(&mut self) {
        for stream in std::mem::take(&mut self.channels).into_values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.beginnings += 1;
    }

    fn close(&mut self, channel: u32) -> bool {
        let stream = self.channels.remove(&channel);
        if let Some(stream) = &stream {
            let _ = stream.shutdown(Shutdown::Both);
        }
        stream.is_some()
    }
}

impl Gateway {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve_line(&self, mut line: UnixStream) -> io::Result<()> {
        {
            let mut state = self.state();
            state.close_all();
            state.line = Some(line.try_clone()?);
            state.send(&Frame::Restarted);
        }
        let (mut decoder, mut buffer) = (Decoder::default(), [0; 4096]);
        loop {
            let count = line.read(&mut buffer)?;
            if count == 0 {
                self.state().close_all();
                return Ok(());
            }
            for byte in buffer.iter().take(count) {
                if let Some(frame) = decoder.take(*byte) {
                    self.hear(frame);
                }
            }
        }
    }

    fn hear(&self, frame: Frame) {
        let mut state = self.state();
        match frame {
            Frame::Begin(number) => {
                state.close_all();
                state.send(&Frame::Ready(number));
            }
            Frame::Dial(channel, address) => {
                let (gateway, beginnings) = (self.clone(), state.beginnings);
                thread::spawn(move || gateway.dial(channel, &address, beginnings));
            }
            Frame::Data(channel, data) => {
                let sent = state.channels.get_mut(&channel).map(|stream| stream.write_all(&data));
                if let Some(Err(_)) = sent {
                    state.close(channel);
                    state.send(&Frame::Close(channel));
                }
            }
            Frame::Close(channel) => {
                state.close(channel);
            }
            Frame::Ready(_) | Frame::Restarted | Frame::Opened(_) | Frame::Accepted(_) => {}
        }
    }

    fn dial(&self, channel: u32, address: &[u8], beginnings: u64) {
        let connected = connect(&String::from_utf8_lossy(address));
        let mut state = self.state();
        if state.beginnings != beginnings {
            return;
        }
        match connected.and_then(|stream| Ok((stream.try_clone()?, stream))) {
            Ok((reader, stream)) => {
                state.channels.insert(channel, stream);
                state.send(&Frame::Opened(channel));
                drop(state);
                self.pass_on(channel, reader);
            }
            Err(_) => state.send(&Frame::Close(channel)),
        }
    }

    fn accept(&self, stream: TcpStream) {
        let reader = tune(&stream).and_then(|()| stream.try_clone());
        let Ok(reader) = reader else { return };
        let mut state = self.state();
        state.newest = state.newest.wrapping_add(2) | 1;
        let channel = state.newest;
        state.channels.insert(channel, stream);
        state.send(&Frame::Accepted(channel));
        drop(state);
        let gateway = self.clone();
        thread::spawn(move || gateway.pass_on(channel, reader));
    }

    /// Passes on to the chip what comes from a peer, until that ends.
    fn pass_on(&self, channel: u32, mut reader: TcpStream) {
        let mut buffer = [0; MAX_DATA];
        loop {
            let count = reader.read(&mut buffer).unwrap_or(0);
            let data = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
            let mut state = self.state();
            if !state.channels.contains_key(&channel) {
                return;
            }
            if data.is_empty() {
                state.close(channel);
                return state.send(&Frame::Close(channel));
            }
            state.send(&Frame::Data(channel, data));
        }
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let address = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    tune(&stream)?;
    Ok(stream)
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))
}
