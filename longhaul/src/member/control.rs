//! Control connections between members: how they are dialled, and used on either side.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A member that does not answer a dial for so long is not there.
const DIAL: Duration = Duration::from_secs(10);

/// Dials the first address of `target` (`HOST:PORT`) that answers.
pub(crate) fn connect(target: &str, stall_timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in target.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, DIAL.min(stall_timeout)) {
            Ok(stream) => return prepare(&stream, stall_timeout).map(|()| stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Words go at once; who takes none for a stall timeout is given up. Who says nothing is looked after elsewhere.
pub(crate) fn prepare(stream: &TcpStream, stall_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(Some(stall_timeout))
}
