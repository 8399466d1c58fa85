//! Connections: dialled, accepted, shared by all that use them, and ended from any thread.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// How often a lane tells of a payload that is not whole yet.
pub(crate) const TELL_EVERY: Duration = Duration::from_millis(250);

/// A lane's connection: one descriptor, which closes with the last of its clones.
#[derive(Clone, Debug)]
pub struct Connection(Arc<TcpStream>);

impl Connection {
    /// A TCP connection as a lane.
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(None)?;
        // A write of many bytes that takes longer says how many it took: a slow lane is no dead one.
        stream.set_write_timeout(Some(TELL_EVERY))?;
        Ok(Self(Arc::new(stream)))
    }

    /// Its socket, which blocks; a write gives up after a quarter of a second, with what was written till then.
    #[must_use]
    pub fn stream(&self) -> &Arc<TcpStream> {
        &self.0
    }

    /// Writes a few last words.
    pub(crate) fn say(&self, words: &[u8]) -> io::Result<()> {
        (&*self.0).write_all(words)
    }

    /// Writes of a few words what the connection takes without waiting. How many bytes; an error is the writer's to
    /// find.
    #[cfg(all(target_os = "linux", not(longhaul_portable)))]
    pub(crate) fn say_now(&self, words: &[u8]) -> usize {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        socket2::SockRef::from(&*self.0).send_with_flags(words, flags).unwrap_or(0)
    }

    /// Not every system has writes that don't wait: the writer writes.
    #[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
    pub(crate) fn say_now(&self, _words: &[u8]) -> usize {
        0
    }

    /// Says "nothing more comes"; the peer can still send.
    pub(crate) fn finish(&self) {
        // A connection that is gone already is as finished as can be.
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// Ends both directions: whoever waits for it wakes up.
    pub(crate) fn close(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Dials the first of the addresses that answers.
pub(crate) fn dial(addresses: &[SocketAddr], timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The addresses of a name.
pub(crate) fn resolve(address: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    Ok(address.to_socket_addrs()?.collect())
}
