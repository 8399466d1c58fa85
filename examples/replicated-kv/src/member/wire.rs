//! How a member's connection begins.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use longhaul::MemberId;
use longhaul_core::digest::SequenceNumber;

use super::frame::{self, Frame, Purpose};
use crate::error::Error;

/// What a member's connection begins with: no line of a client begins with a zero.
pub const PREAMBLE: [u8; PREAMBLE_LEN] = *b"\0KV\x01";
/// Bytes of it.
pub const PREAMBLE_LEN: usize = 4;
/// The version of the members' protocol.
pub const VERSION: u16 = 2;

/// How long a peer may take to be reached, and to take or say something.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How often who has nothing to say says so.
pub(super) const ALIVE: Duration = Duration::from_secs(1);

/// A connection to the primary that was admitted.
pub(super) struct Dialled {
    pub(super) stream: TcpStream,
    pub(super) reader: BufReader<TcpStream>,
    pub(super) order: MemberId,
    pub(super) last: SequenceNumber,
    pub(super) joiners: SocketAddr,
    /// Where copies are fetched, and who makes them.
    pub(super) copies: (SocketAddr, MemberId),
}

/// Who dials, and what it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) member: MemberId,
    pub(super) order: Option<MemberId>,
    pub(super) next: SequenceNumber,
}

pub(super) fn dial(address: &str, purpose: Purpose, caller: Caller) -> Result<Dialled, Error> {
    let lost = || Error::io(format!("connecting to {address}"));
    let mut addresses = address.to_socket_addrs().map_err(lost())?;
    let target = addresses.next().ok_or_else(|| Error::Usage(format!("{address} is no address")))?;
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE).map_err(lost())?;
    stream.set_nodelay(true).map_err(lost())?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(lost())?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(lost())?;
    let Caller { member, order, next } = caller;
    let mut bytes = PREAMBLE.to_vec();
    let order = order.unwrap_or_default();
    Frame::Hello { version: VERSION, purpose, member, order, next }.encode(&mut bytes);
    stream.write_all(&bytes).map_err(lost())?;
    let mut reader = BufReader::with_capacity(256 << 10, stream.try_clone().map_err(lost())?);
    match frame::read(&mut reader)? {
        Some(Frame::Welcome { order, last, joiners, copies, member, .. }) => {
            let at = |port| SocketAddr::new(target.ip(), port);
            let (joiners, copies) = (at(joiners), (at(copies), member));
            Ok(Dialled { stream, reader, order, last, joiners, copies })
        }
        Some(Frame::TooShort { first }) => Err(Error::LogTooShort { needed: next, first }),
        Some(Frame::OtherOrder { order: there }) => Err(Error::OtherOrder { here: order, there }),
        Some(_) => Err(Error::Peer("a frame out of turn")),
        None => Err(Error::Peer("it closed the connection without an answer")),
    }
}

/// Whom it hears, of those who have dialled a member.
pub(super) struct Hello {
    pub(super) reader: BufReader<TcpStream>,
    pub(super) writer: TcpStream,
    pub(super) purpose: Purpose,
    pub(super) member: MemberId,
    pub(super) order: MemberId,
    pub(super) next: SequenceNumber,
}

/// Hears the first frame of who has dialled.
pub(super) fn hear(stream: &TcpStream) -> Result<Hello, Error> {
    let lost = || Error::io("talking to a member");
    stream.set_read_timeout(Some(PATIENCE)).map_err(lost())?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(lost())?;
    let mut reader = BufReader::with_capacity(256 << 10, stream.try_clone().map_err(lost())?);
    let writer = stream.try_clone().map_err(lost())?;
    let Some(Frame::Hello { version, purpose, member, order, next }) = frame::read(&mut reader)? else {
        return Err(Error::Peer("it does not begin with Hello"));
    };
    if version != VERSION {
        return Err(Error::Peer("it speaks another version"));
    }
    Ok(Hello { reader, writer, purpose, member, order, next })
}
