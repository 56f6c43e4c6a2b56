//! A TCP link that can be cut: the nodes of a test dial each other through these.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use raft_node::NodeError;

/// Passes connections on to one address, as long as it is up.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    up: bool,
    closed: bool,
    streams: Vec<TcpStream>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Listens on a free port of the loopback interface.
    pub(crate) fn start(target: String) -> Result<Self, NodeError> {
        let address = "127.0.0.1:0";
        let failed = |source| NodeError::Listen { address: address.into(), source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if lock(&shared).closed {
                    return;
                }
                pass_on(stream, &target, &shared);
            }
        });
        Ok(Self { address, state })
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Cuts the link, with all connections over it, or lets connections through again.
    pub(crate) fn set_up(&self, up: bool) {
        let mut state = lock(&self.state);
        state.up = up;
        if !up {
            for stream in state.streams.drain(..) {
                // A stream that is closed already is as good.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set_up(false);
        lock(&self.state).closed = true;
        // Wakes the thread that accepts, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn pass_on(stream: TcpStream, target: &str, shared: &Arc<Mutex<State>>) {
    if !lock(shared).up {
        return;
    }
    let Ok(onward) = TcpStream::connect(target) else { return };
    let copies = [stream.try_clone(), onward.try_clone(), stream.try_clone(), onward.try_clone()];
    let [Ok(a), Ok(b), Ok(c), Ok(d)] = copies else { return };
    let _ = (stream.set_nodelay(true), onward.set_nodelay(true));
    let mut state = lock(shared);
    state.streams.extend([stream, onward]);
    // A cut that came in between ends the new connection too.
    let up = state.up;
    drop(state);
    thread::spawn(move || pump(a, b));
    thread::spawn(move || pump(d, c));
    if !up {
        let mut state = lock(shared);
        for stream in state.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Copies bytes until either end is closed, and then closes the other.
fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut bytes)
        && count > 0
        && to.write_all(&bytes[..count]).is_ok()
    {}
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Says everything back that is said to it, on any number of connections.
    fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let back = stream.try_clone().unwrap();
                thread::spawn(move || pump(stream, back));
            }
        });
        address
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn is_answered(stream: &mut TcpStream) -> bool {
        let mut answer = [0; 5];
        stream.write_all(b"hello").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && answer == *b"hello"
    }

    /// Waits for the end of the connection, which may be a reset.
    fn is_over(stream: &mut TcpStream) -> bool {
        match stream.read(&mut [0; 5]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    #[test]
    fn a_link_that_is_up_passes_bytes_both_ways() {
        let proxy = Proxy::start(echo()).unwrap();
        proxy.set_up(true);
        let (mut one, mut two) = (connect(&proxy), connect(&proxy));
        assert!(is_answered(&mut one) && is_answered(&mut two) && is_answered(&mut one));
    }

    #[test]
    fn a_cut_ends_connections_and_lets_none_through_until_it_is_over() {
        let proxy = Proxy::start(echo()).unwrap();
        assert!(is_over(&mut connect(&proxy)), "a new link is down");
        proxy.set_up(true);
        let mut old = connect(&proxy);
        assert!(is_answered(&mut old));
        proxy.set_up(false);
        assert!(is_over(&mut old));
        assert!(is_over(&mut connect(&proxy)));
        proxy.set_up(true);
        assert!(is_answered(&mut connect(&proxy)));
        assert!(!is_answered(&mut old), "what was cut stays cut");
    }

    #[test]
    fn a_link_to_nobody_is_like_a_cut() {
        let proxy = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            Proxy::start(listener.local_addr().unwrap().to_string()).unwrap()
        };
        proxy.set_up(true);
        assert!(is_over(&mut connect(&proxy)));
    }
}
