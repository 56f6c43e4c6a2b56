//! What every adapter wants of a socket to a peer.

use std::io;
use std::os::fd::AsFd;

use rustix::net::sockopt;

use crate::PATIENCE;

/// Makes a TCP socket send small messages at once, and fail when the other side has not
/// acknowledged what was sent for as long as [`PATIENCE`] (on systems that can; Linux can).
///
/// Without the second a link over a broken network outlives the break by minutes: the system
/// repeats what was lost ever more rarely, and nothing tells the sender that it would do better to
/// connect anew.
///
/// # Errors
/// It is not a TCP socket, or it is closed.
pub fn tune(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_nodelay(&socket, true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    sockopt::set_tcp_user_timeout(
        &socket,
        u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX),
    )?;
    Ok(())
}
