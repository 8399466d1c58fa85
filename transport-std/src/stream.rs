//! The seam to byte streams: what a lane needs of a connection.
//!
//! A lane has one thread that reads and one that writes, so a connection comes apart into two halves
//! and a handle that ends both. TLS would slide in here, under a lane.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The half that reads.
pub(crate) type ReadHalf = Box<dyn Read + Send>;
/// The half that writes.
pub(crate) type WriteHalf = Box<dyn Write + Send>;

/// Ends a connection from any thread.
pub(crate) trait Closer: Send {
    /// Says "nothing more comes"; the peer can still send.
    fn finish(&self);
    /// Ends both directions; blocked threads wake up.
    fn close(&self);
}

/// A connection, in its parts.
pub(crate) struct Connection {
    pub(crate) reader: ReadHalf,
    pub(crate) writer: WriteHalf,
    pub(crate) closer: Box<dyn Closer>,
}

struct Tcp(TcpStream);

impl Closer for Tcp {
    fn finish(&self) {
        // A connection that is gone already is as finished as can be.
        let _ = self.0.shutdown(Shutdown::Write);
    }

    fn close(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Connection {
    /// A TCP connection as a lane.
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        Ok(Self {
            reader: Box::new(stream.try_clone()?),
            writer: Box::new(stream.try_clone()?),
            closer: Box::new(Tcp(stream)),
        })
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

/// Writes all of the slices.
pub(crate) fn write_all_vectored(out: &mut dyn Write, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match out.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
