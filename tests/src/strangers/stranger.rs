//! One who calls and means no good: what it says, again and again.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use longhaul_core::id::{ItemId, Lane, Token};
use longhaul_core::wire::{Attach, FRAME_MAX, Frame, Kind};

use super::crowd::Crowd;
use crate::between::{ELSEWHERE, dial_from};
use crate::hostile::{Peer, init};

/// What a stranger does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manner {
    /// Opens a connection and says nothing.
    Silent,
    /// Says who it is, a byte a second.
    Trickles,
    /// Says what is no frame.
    Garbage,
    /// Is a web client.
    Web,
    /// Says half of who it is.
    Half,
    /// Says who it is, and nothing more.
    OnlyInit,
    /// Brings a lane to no session.
    WrongToken,
    /// Requests the state, and accepts what was never offered.
    Beyond,
    /// Requests the state, and asks for the same item again and again.
    AgainAndAgain,
    /// Requests the state, and never reads its lane.
    NeverReads,
}

impl Manner {
    pub(super) const ALL: [Self; 10] = [
        Self::Silent,
        Self::Trickles,
        Self::Garbage,
        Self::Web,
        Self::Half,
        Self::OnlyInit,
        Self::WrongToken,
        Self::Beyond,
        Self::AgainAndAgain,
        Self::NeverReads,
    ];

    /// Where it calls from. Nobody can tell a joiner that never reads from one that is slow: those who are served
    /// come from elsewhere, the others from where the well-behaved one is.
    const fn home(self) -> Ipv4Addr {
        match self {
            Self::Beyond | Self::AgainAndAgain | Self::NeverReads => ELSEWHERE,
            _ => Ipv4Addr::LOCALHOST,
        }
    }

    /// Calls once, and stays until the other side hangs up, or the crowd is to go.
    pub(super) fn call(self, listening: SocketAddr, crowd: &Crowd) -> io::Result<()> {
        let dial = || {
            let stream = dial_from(self.home(), listening)?;
            crowd.knows(&stream)?;
            io::Result::Ok(stream)
        };
        let stream = dial()?;
        let frame = |frame: &Frame<'_>| {
            let mut out = vec![0; FRAME_MAX];
            let len = frame.emit(&mut out).unwrap_or(0);
            out.truncate(len);
            out
        };
        let who = frame(&Frame::Init(init()));
        match self {
            Self::Silent => {}
            Self::Trickles => {
                for byte in &who {
                    (&stream).write_all(&[*byte])?;
                    if crowd.goes_within(Duration::from_secs(1)) {
                        return Ok(());
                    }
                }
            }
            Self::Garbage => (&stream).write_all(&[0xa5; 4096])?,
            Self::Web => (&stream).write_all(b"GET / HTTP/1.1\r\nHost: longhaul\r\n\r\n")?,
            Self::Half => (&stream).write_all(&who[..who.len() / 2])?,
            Self::OnlyInit => (&stream).write_all(&who)?,
            Self::WrongToken => {
                let attach = Attach { token: Token([0xa5; 16]), lane: Lane(1) };
                (&stream).write_all(&frame(&Frame::Attach(attach)))?;
            }
            Self::Beyond | Self::AgainAndAgain | Self::NeverReads => {
                let mut peer = Peer::new(stream);
                // Whoever is not served goes.
                let _ = self.joins(&mut peer, dial);
                return Ok(());
            }
        }
        // The end comes with the other side's, or with the crowd's.
        (&stream).take(1 << 20).read_to_end(&mut Vec::new()).map(drop)
    }

    fn joins(self, peer: &mut Peer, dial: impl Fn() -> io::Result<TcpStream>) -> Option<()> {
        peer.send(&Frame::Init(init()));
        let (header, body) = until(peer, Kind::Welcome)?;
        let Ok(Frame::Welcome(welcome)) = Frame::parse(&header, &body) else { return None };
        peer.send(&Frame::Prepare { requests: 1 });
        peer.send(&Frame::Request(crate::hostile::request()));
        until(peer, Kind::Task)?;
        peer.send(&Frame::Begin);
        let mut lane = Peer::new(dial().ok()?);
        lane.send(&Frame::Attach(Attach { token: welcome.token, lane: Lane(1) }));
        until(peer, Kind::Offer)?;
        match self {
            Self::Beyond => peer.send(&Frame::Accept { id: ItemId(1 << 20), offset: 1 << 40 }),
            Self::AgainAndAgain => {
                let mut again = [0; FRAME_MAX];
                let len = Frame::Again { id: ItemId(0) }.emit(&mut again).ok()?;
                peer.bytes(&again[..len].repeat(10_000));
            }
            _ => peer.send(&Frame::Accept { id: ItemId(0), offset: 0 }),
        }
        while peer.read().is_some() {}
        Some(())
    }
}

/// Reads until a frame of this kind comes; `None` if it does not.
fn until(peer: &mut Peer, kind: Kind) -> Option<(longhaul_core::wire::Header, Vec<u8>)> {
    loop {
        let read = peer.read()?;
        if read.0.kind == kind {
            return Some(read);
        }
    }
}
