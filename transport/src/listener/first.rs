//! What a connection says first.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use longhaul_core::id::Lane;
use longhaul_core::session::{Misbehaviour, SessionError};
use longhaul_core::transfer;
use longhaul_core::wire::{Attach, Frame, HEADER_LEN, Header, Init, Kind, Query};

/// How long a connection has to say what it is.
const PATIENCE: Duration = Duration::from_secs(10);
/// A first frame of this length at most is looked for without waiting: more than any has today.
const SOON: usize = 1024;

/// What a connection said first.
pub(super) enum First {
    Init(Init),
    Query(Query),
    Attach(Attach),
    /// A transfer's control connection, of which so much was read.
    Transfer([u8; HEADER_LEN]),
}

/// The first frame of a connection, or why it is none.
pub(super) fn read(stream: &TcpStream) -> Result<First, SessionError> {
    let deadline = Instant::now() + PATIENCE;
    let mut head = [0; HEADER_LEN];
    read_by(stream, &mut head, deadline)?;
    if transfer::wire::Header::begins(&head) {
        return Ok(First::Transfer(head));
    }
    let header = Header::parse(&head).map_err(SessionError::Invalid)?;
    if !matches!(header.kind, Kind::Init | Kind::Attach | Kind::Query) {
        return Err(SessionError::Misbehaved(Misbehaviour::Unexpected(header.kind)));
    }
    // Not on the stack: those who never send it would cost its pages.
    let mut body = vec![0; header.len as usize];
    read_by(stream, &mut body, deadline)?;
    match Frame::parse(&header, &body).map_err(SessionError::Invalid)? {
        Frame::Init(init) => Ok(First::Init(init)),
        Frame::Attach(attach) => Ok(First::Attach(attach)),
        Frame::Query(query) => Ok(First::Query(query)),
        other => Err(SessionError::Misbehaved(Misbehaviour::Unexpected(other.kind()))),
    }
}

fn read_by(mut stream: &TcpStream, mut into: &mut [u8], deadline: Instant) -> Result<(), SessionError> {
    let late = SessionError::NoAnswer { after: PATIENCE };
    while !into.is_empty() {
        let left =
            deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or(late)?;
        let read = stream.set_read_timeout(Some(left)).and_then(|()| stream.read(into));
        match read {
            Ok(0) => return Err(SessionError::LaneLost(Lane::CONTROL)),
            Ok(read) => into = &mut into[read..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(late);
            }
            Err(_) => return Err(SessionError::LaneLost(Lane::CONTROL)),
        }
    }
    Ok(())
}

/// Whether [`read`] would not wait: all of the frame is here, or what can't be one, or the end.
pub(super) fn has_come(stream: &TcpStream) -> bool {
    let mut words = [0; SOON];
    let come = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut words));
    // One that can't be told to wait is not waited for.
    let waits = stream.set_nonblocking(false).is_ok();
    let len = match come {
        Ok(len) => len,
        Err(error) => return !waits || error.kind() != io::ErrorKind::WouldBlock,
    };
    let Some(head) = words[..len].first_chunk::<HEADER_LEN>() else { return len == 0 };
    Header::parse(head).map_or(true, |header| len - HEADER_LEN >= header.len as usize)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener};

    use longhaul_core::id::Token;

    use super::*;

    /// Both ends of a connection, after so many bytes were said.
    fn said(words: &[u8]) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut dialled = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        dialled.write_all(words).unwrap();
        (dialled, listener.accept().unwrap().0)
    }

    fn attach() -> Vec<u8> {
        let mut out = vec![0; 1024];
        let frame = Frame::Attach(Attach { token: Token([7; 16]), lane: Lane(1) });
        let len = frame.emit(&mut out).unwrap();
        out.truncate(len);
        out
    }

    // Catalogue: F79
    #[test]
    fn a_frame_has_come_when_all_of_it_has() {
        let words = attach();
        for len in 0..words.len() {
            let (_dialled, accepted) = said(&words[..len]);
            assert!(!has_come(&accepted), "{len} bytes");
        }
        let (_dialled, accepted) = said(&words);
        assert!(has_come(&accepted) && matches!(read(&accepted), Ok(First::Attach(_))));
    }

    #[test]
    fn a_transfers_connection_is_told_by_its_first_bytes_and_no_more_is_read_than_a_header() {
        let mut words = [0; 100];
        let tag = transfer::Tag::default();
        let len = transfer::wire::Frame::Ask.emit(tag, &mut words).unwrap();
        let (_dialled, mut accepted) = said(&words[..len]);
        assert!(has_come(&accepted));
        let Ok(First::Transfer(head)) = read(&accepted) else { panic!("it is a transfer's") };
        let mut rest = vec![0; len - HEADER_LEN];
        accepted.read_exact(&mut rest).unwrap();
        assert_eq!([&head[..], &rest].concat(), words[..len]);
    }

    // Catalogue: F79
    #[test]
    fn nobody_waits_for_what_is_no_frame_or_for_one_who_has_gone() {
        let (_dialled, accepted) = said(b"GET / HTTP/1.1\r\nHost: somewhere else\r\n\r\n");
        assert!(has_come(&accepted) && matches!(read(&accepted), Err(SessionError::Invalid(_))));
        let (dialled, accepted) = said(&[]);
        dialled.shutdown(Shutdown::Write).unwrap();
        assert!(has_come(&accepted) && matches!(read(&accepted), Err(SessionError::LaneLost(_))));
    }
}
