//! A TCP link that can be cut or slowed down: the nodes of a test dial each other through these.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use raft_node::NodeError;

/// Passes connections on to one address, as long as it is up. Dropping it ends them.
///
/// It can be cut in two manners. A link that is [not up](Proxy::set_up) ends its connections and
/// takes no new ones, so both sides know at once. A [flow](Proxy::set_flow) that is cut says
/// nothing: as in a partition both sides see silence, and a connection that one of them has ended
/// stays half open for the other until the cut is over.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// A slow link rests for as long after each piece.
const REST: Duration = Duration::from_millis(10);

/// How fast a link takes bytes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as it can.
    Free,
    /// A piece now and then.
    Slow,
    /// Not at all: connections stay, and nothing is read from them.
    Stopped,
}

/// One of the two ways over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the node that dials.
    Onward,
    /// To the node that dials.
    Back,
}

/// What becomes of the bytes that go one way over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    Open,
    /// They wait, and arrive when the way is open again: TCP repeats what is not acknowledged.
    Held,
    /// They are lost. A connection that has lost some ends with the next bytes that go the same way
    /// when it is open again, as if something in between had forgotten it.
    Swallowed,
}

#[derive(Debug)]
struct Shared {
    target: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    up: bool,
    closed: bool,
    /// Onward and back.
    flows: [Flow; 2],
    pace: Pace,
    /// The ends of each connection: one as long as the target was not dialled, then two.
    connections: BTreeMap<u64, Vec<TcpStream>>,
    accepted: u64,
    /// So many were let through.
    passed: u64,
}

impl Way {
    const fn other(self) -> Self {
        match self {
            Self::Onward => Self::Back,
            Self::Back => Self::Onward,
        }
    }
}

impl Proxy {
    /// Listens on a free port of the loopback interface. The link is down at first, and its flows
    /// are open.
    ///
    /// # Errors
    /// There is no free port.
    pub fn start(target: String) -> Result<Self, NodeError> {
        let address = "127.0.0.1:0";
        let failed = |source| NodeError::Listen { address: address.into(), source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = State {
            up: false,
            closed: false,
            flows: [Flow::Open; 2],
            pace: Pace::Free,
            connections: BTreeMap::new(),
            accepted: 0,
            passed: 0,
        };
        let shared = Arc::new(Shared { target, state: Mutex::new(state), changed: Condvar::new() });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.state().closed {
                    return;
                }
                if let Some(id) = accepting.register(&stream) {
                    let shared = accepting.clone();
                    thread::spawn(move || shared.pass_on(id, stream));
                }
            }
        });
        Ok(Self { address, shared })
    }

    /// Where to dial instead of the target.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Ends all connections and lets none through, or lets connections through again.
    pub fn set_up(&self, up: bool) {
        let mut state = self.shared.state();
        state.up = up;
        if !up {
            std::mem::take(&mut state.connections).into_values().for_each(end);
            self.shared.changed.notify_all();
        }
    }

    /// Cuts one way, or opens it again. A connection needs both ways open to begin.
    pub fn set_flow(&self, way: Way, flow: Flow) {
        self.shared.state().flows[way as usize] = flow;
        self.shared.changed.notify_all();
    }

    pub(crate) fn set_pace(&self, pace: Pace) {
        self.shared.state().pace = pace;
        self.shared.changed.notify_all();
    }

    /// How many connections were let through so far.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.state().passed
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set_up(false);
        self.shared.state().closed = true;
        // Wakes the thread that accepts, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn end(streams: Vec<TcpStream>) {
    for stream in streams {
        // A stream that is closed already is as good.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers a new connection, if the link is up.
    fn register(&self, stream: &TcpStream) -> Option<u64> {
        let copy = stream.try_clone().ok()?;
        let mut state = self.state();
        if !state.up {
            return None;
        }
        state.accepted += 1;
        let id = state.accepted;
        state.connections.insert(id, vec![copy]);
        Some(id)
    }

    /// Waits until the flows say something to a connection; nothing if the connection has ended.
    fn wait<T>(&self, id: u64, said: impl Fn(&[Flow; 2]) -> Option<T>) -> Option<T> {
        let mut state = self.state();
        while state.connections.contains_key(&id) {
            if let Some(said) = said(&state.flows) {
                return Some(said);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        None
    }

    fn end(&self, id: u64) {
        self.state().connections.remove(&id).into_iter().for_each(end);
        self.changed.notify_all();
    }

    /// Ends a connection when one of its sides has, as soon as that can be known on the other.
    fn end_once_open(&self, id: u64, way: Way) {
        if self.wait(id, |flows| (flows[way as usize] == Flow::Open).then_some(())).is_some() {
            self.end(id);
        }
    }

    fn pass_on(self: Arc<Self>, id: u64, stream: TcpStream) {
        let open = |flows: &[Flow; 2]| (*flows == [Flow::Open; 2]).then_some(());
        if self.wait(id, open).is_none() {
            return;
        }
        let Ok(onward) = TcpStream::connect(&self.target) else { return self.end(id) };
        let _ = (stream.set_nodelay(true), onward.set_nodelay(true));
        let copies = [onward.try_clone(), onward.try_clone(), stream.try_clone()];
        let [Ok(known), Ok(answers), Ok(asking)] = copies else { return self.end(id) };
        {
            let mut state = self.state();
            // A cut that came in between ends the new connection too.
            let Some(streams) = state.connections.get_mut(&id) else { return };
            streams.push(known);
            state.passed += 1;
        }
        let back = self.clone();
        thread::spawn(move || back.pump(id, Way::Back, answers, asking));
        self.pump(id, Way::Onward, stream, onward);
    }

    /// Waits for as long as the pace of the link says.
    fn keep_pace(&self, id: u64) {
        if self.state().pace == Pace::Slow {
            thread::sleep(REST);
        }
        let mut state = self.state();
        while state.pace == Pace::Stopped && state.connections.contains_key(&id) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Copies bytes until either side ends the connection.
    fn pump(&self, id: u64, way: Way, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 16 * 1024];
        let mut lost = false;
        // What can't be read any more has ended, for whatever reason.
        while let () = self.keep_pace(id)
            && let Ok(count) = from.read(&mut bytes)
            && count > 0
        {
            let passes = self.wait(id, |flows| match flows[way as usize] {
                Flow::Open => Some(true),
                Flow::Swallowed => Some(false),
                Flow::Held => None,
            });
            match passes {
                Some(false) => lost = true,
                Some(true) if lost => return self.end(id),
                Some(true) if to.write_all(&bytes[..count]).is_ok() => {}
                Some(true) => return self.end_once_open(id, way.other()),
                None => return,
            }
        }
        self.end_once_open(id, way);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::{Duration, Instant};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Says everything back that is said to it, on any number of connections, and tells what it
    /// hears.
    fn echo() -> (String, Receiver<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (hears, heard) = channel();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let hears = hears.clone();
                thread::spawn(move || {
                    let mut bytes = [0; 1024];
                    while let Ok(count) = stream.read(&mut bytes)
                        && hears.send(bytes[..count].to_vec()).is_ok()
                        && count > 0
                        && stream.write_all(&bytes[..count]).is_ok()
                    {}
                });
            }
        });
        (address, heard)
    }

    /// A link that is up, to somebody who says everything back, and a connection over it.
    fn link() -> (Proxy, TcpStream, Receiver<Vec<u8>>) {
        let (target, heard) = echo();
        let proxy = Proxy::start(target).unwrap();
        proxy.set_up(true);
        let mut stream = connect(&proxy);
        assert!(is_answered(&mut stream));
        assert_eq!(heard.recv().unwrap(), b"hello");
        (proxy, stream, heard)
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn is_answered(stream: &mut TcpStream) -> bool {
        stream.write_all(b"hello").is_ok() && hears_hello(stream)
    }

    fn hears_hello(stream: &mut TcpStream) -> bool {
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).is_ok() && answer == *b"hello"
    }

    /// Waits for the end of the connection, which may be a reset.
    fn is_over(stream: &mut TcpStream) -> bool {
        match stream.read(&mut [0; 5]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }

    /// Looks for a moment whether anything comes.
    fn is_silent(stream: &mut TcpStream) -> bool {
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let read = stream.read(&mut [0; 5]);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    #[test]
    fn a_link_that_is_up_passes_bytes_both_ways() {
        let (proxy, mut one, _heard) = link();
        let mut two = connect(&proxy);
        assert!(is_answered(&mut one) && is_answered(&mut two) && is_answered(&mut one));
    }

    #[test]
    fn a_link_that_is_taken_down_ends_connections_and_lets_none_through_until_it_is_up() {
        let (target, _heard) = echo();
        let proxy = Proxy::start(target).unwrap();
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
    fn a_link_to_nobody_ends_its_connections() {
        let proxy = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            Proxy::start(listener.local_addr().unwrap().to_string()).unwrap()
        };
        proxy.set_up(true);
        assert!(is_over(&mut connect(&proxy)));
    }

    #[test]
    fn what_is_held_arrives_when_the_way_is_open_again() {
        let (proxy, mut stream, heard) = link();
        proxy.set_flow(Way::Onward, Flow::Held);
        stream.write_all(b"hello").unwrap();
        assert!(is_silent(&mut stream));
        assert!(heard.try_recv().is_err());
        proxy.set_flow(Way::Onward, Flow::Open);
        assert!(hears_hello(&mut stream) && is_answered(&mut stream));
    }

    #[test]
    fn what_is_swallowed_never_arrives_and_its_connection_ends_with_the_next_bytes() {
        let (proxy, mut stream, heard) = link();
        proxy.set_flow(Way::Onward, Flow::Swallowed);
        stream.write_all(b"lost!").unwrap();
        assert!(is_silent(&mut stream));
        proxy.set_flow(Way::Onward, Flow::Open);
        assert!(!is_answered(&mut stream));
        assert_eq!(heard.recv().unwrap(), b"", "the end is all that is left to hear");
        assert!(is_answered(&mut connect(&proxy)));
    }

    #[test]
    fn one_way_may_be_cut_while_the_other_is_open() {
        let (proxy, mut stream, heard) = link();
        proxy.set_flow(Way::Back, Flow::Held);
        stream.write_all(b"hello").unwrap();
        assert_eq!(heard.recv().unwrap(), b"hello");
        assert!(is_silent(&mut stream));
        proxy.set_flow(Way::Back, Flow::Open);
        assert!(hears_hello(&mut stream));
    }

    #[test]
    fn a_connection_that_begins_in_a_cut_is_through_when_both_ways_are_open() {
        let (proxy, _stream, heard) = link();
        proxy.set_flow(Way::Back, Flow::Swallowed);
        let mut late = connect(&proxy);
        late.write_all(b"hello").unwrap();
        assert!(is_silent(&mut late));
        assert!(heard.try_recv().is_err());
        proxy.set_flow(Way::Back, Flow::Open);
        assert!(hears_hello(&mut late));
    }

    #[test]
    fn a_side_that_ends_in_a_cut_leaves_the_other_half_open_until_it_is_over() {
        for flow in [Flow::Held, Flow::Swallowed] {
            let (proxy, stream, heard) = link();
            proxy.set_flow(Way::Onward, flow);
            drop(stream);
            thread::sleep(Duration::from_millis(50));
            assert!(heard.try_recv().is_err());
            proxy.set_flow(Way::Onward, Flow::Open);
            assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), b"");
        }
    }

    #[test]
    fn nothing_waits_at_a_cut_for_a_proxy_that_is_gone() {
        let (proxy, mut stream, _heard) = link();
        proxy.set_flow(Way::Onward, Flow::Held);
        stream.write_all(b"hello").unwrap();
        let shared = Arc::downgrade(&proxy.shared);
        drop(proxy);
        let give_up = Instant::now() + PATIENCE;
        while shared.strong_count() > 0 {
            assert!(Instant::now() < give_up, "a thread still waits");
            thread::yield_now();
        }
    }
}
