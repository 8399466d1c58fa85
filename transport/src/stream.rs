//! Connections: dialled, accepted, shared by all that use them, and ended from any thread.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How often a lane tells of a payload that is not whole yet.
pub(crate) const TELL_EVERY: Duration = Duration::from_millis(250);

/// Bytes that are waited for at once of those that must come: each time that somebody is woken costs about as much as
/// copying some of them.
const AT_ONCE: usize = 128 << 10;

/// A lane's connection: one descriptor, which closes with the last of its clones.
#[derive(Clone, Debug)]
pub struct Connection {
    stream: Arc<TcpStream>,
    /// How many bytes wake who reads; 0 as long as any did.
    least: Arc<AtomicUsize>,
}

impl Connection {
    /// A TCP connection as a lane.
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(None)?;
        // A write of many bytes that takes longer says how many it took: a slow lane is no dead one.
        stream.set_write_timeout(Some(TELL_EVERY))?;
        Ok(Self { stream: Arc::new(stream), least: Arc::default() })
    }

    /// Its socket, which blocks; a write gives up after a quarter of a second, with what was written till then.
    #[must_use]
    pub fn stream(&self) -> &Arc<TcpStream> {
        &self.stream
    }

    /// So many bytes must come still, 0 if that isn't known: who reads is woken when a good part of them is there, not for each
    /// packet. From the first such time on a read that blocks gives up after a quarter of a second, with what came till
    /// then; who waits without blocking is woken by the driver, which looks after the lanes.
    pub fn wake_for_many(&self, missing: usize) {
        let (least, before) = (missing.clamp(1, AT_ONCE), self.least.load(Ordering::Relaxed));
        if before == least || before == 0 && least == 1 {
            return;
        }
        // Reads that never gave up would wait for what a slow peer has not sent.
        if before == 0 && self.stream.set_read_timeout(Some(TELL_EVERY)).is_err() {
            return;
        }
        self.least.store(least, Ordering::Relaxed);
        low_water(&self.stream, least);
    }

    /// Who waits is woken for what there is.
    pub(crate) fn wake_for_any(&self) {
        if self.least.load(Ordering::Relaxed) > 0 {
            self.least.store(1, Ordering::Relaxed);
            low_water(&self.stream, 1);
        }
    }

    /// Writes a few last words.
    pub(crate) fn say(&self, words: &[u8]) -> io::Result<()> {
        (&*self.stream).write_all(words)
    }

    /// Writes of a few words what the connection takes without waiting. How many bytes; an error is the writer's to
    /// find.
    #[cfg(all(target_os = "linux", not(longhaul_portable)))]
    pub(crate) fn say_now(&self, words: &[u8]) -> usize {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        socket2::SockRef::from(&*self.stream).send_with_flags(words, flags).unwrap_or(0)
    }

    /// Not every system has writes that don't wait: the writer writes.
    #[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
    pub(crate) fn say_now(&self, _words: &[u8]) -> usize {
        0
    }

    /// Says "nothing more comes"; the peer can still send.
    pub(crate) fn finish(&self) {
        // A connection that is gone already is as finished as can be.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends both directions: whoever waits for it wakes up.
    pub(crate) fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// How many bytes a socket must have before who waits for some is woken; its end, and an error, wakes as ever.
#[cfg(all(target_os = "linux", not(longhaul_portable)))]
#[expect(unsafe_code, reason = "an option that nothing wraps")]
fn low_water(stream: &TcpStream, least: usize) {
    let least = libc::c_int::try_from(least).unwrap_or(libc::c_int::MAX);
    // SAFETY: the kernel reads one integer, which lives through the call (socket(7)). A socket that refuses it wakes for any.
    unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(stream),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const least).cast(),
            size_of_val(&least) as libc::socklen_t,
        );
    }
}

/// Not every system has the option: any byte wakes.
#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
const fn low_water(_stream: &TcpStream, _least: usize) {}

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

#[cfg(all(test, target_os = "linux", not(longhaul_portable)))]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// Milliseconds in which what must come has come, whatever else the machine does.
    const PATIENCE: u16 = 60_000;

    /// A connection for which a few bytes have come, of very many that must come still.
    fn expecting() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let connection = Connection::tcp(listener.accept().unwrap().0).unwrap();
        connection.wake_for_many(10 * AT_ONCE);
        peer.write_all(b"a few").unwrap();
        while connection.stream().peek(&mut [0; 100]).unwrap_or(0) < 5 {}
        (connection, peer)
    }

    fn is_woken(connection: &Connection, within: PollTimeout) -> bool {
        let mut fds = [PollFd::new(connection.stream().as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, within).unwrap() > 0
    }

    #[test]
    fn who_waits_for_much_is_woken_by_much_or_by_who_looks_after_it_or_by_the_end() {
        let (connection, mut peer) = expecting();
        assert!(!is_woken(&connection, PollTimeout::ZERO));
        connection.wake_for_any();
        assert!(is_woken(&connection, PollTimeout::ZERO));
        connection.wake_for_many(10 * AT_ONCE);
        assert!(!is_woken(&connection, PollTimeout::ZERO));
        peer.write_all(&vec![0; AT_ONCE]).unwrap();
        assert!(is_woken(&connection, PATIENCE.into()));
        let (connection, peer) = expecting();
        drop(peer);
        assert!(is_woken(&connection, PATIENCE.into()));
    }

    #[test]
    fn a_read_that_blocks_gives_up_with_what_there_is() {
        let (connection, _peer) = expecting();
        assert_eq!((&**connection.stream()).read(&mut [0; 100]).unwrap(), 5);
    }
}
