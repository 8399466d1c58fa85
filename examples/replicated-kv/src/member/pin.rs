//! Short conversations of who joins: with the primary about its log, with any member about where it provides.

use std::net::SocketAddr;
use std::time::Duration;

use longhaul::MemberId;
use longhaul::states::Peer;
use longhaul_core::digest::SequenceNumber;

use super::frame::{self, Frame, Purpose};
use super::wire::{Caller, Dialled, dial};
use crate::error::Error;
use crate::store::PinRefused;

/// What the primary keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// Whose records they are.
    pub order: MemberId,
    /// All behind the first record are kept; the second is the last that there is.
    pub result: Result<(SequenceNumber, SequenceNumber), PinRefused>,
}

/// Has the primary keep its log for `lease`.
///
/// # Errors
/// If it can't be asked.
pub fn ask_to_pin(primary: &str, member: MemberId, lease: Duration) -> Result<Pinned, Error> {
    let mut dialled = call(primary, member, Purpose::Pin)?;
    frame::write(&mut dialled.stream, &Frame::Pin { lease }).map_err(Error::io("pinning"))?;
    let result = match frame::read(&mut dialled.reader)? {
        Some(Frame::Pinned { behind, sent }) => Ok((behind, sent)),
        Some(Frame::PinRefused(refused)) => Err(refused),
        _ => return Err(Error::Peer("a frame out of turn")),
    };
    Ok(Pinned { order: dialled.order, result })
}

/// The primary need not keep its log any more.
///
/// # Errors
/// If it can't be told.
pub fn unpin(primary: &str, member: MemberId) -> Result<(), Error> {
    let mut dialled = call(primary, member, Purpose::Pin)?;
    frame::write(&mut dialled.stream, &Frame::Unpin).map_err(Error::io("unpinning"))
}

/// Where the member that listens at `address` gives its state to joiners, and whose records it has.
///
/// # Errors
/// If it can't be asked, or gives none at present.
pub fn where_joiners_dial(address: &str, member: MemberId) -> Result<(SocketAddr, MemberId), Error> {
    match call(address, member, Purpose::Join)? {
        Dialled { joiners, .. } if joiners.port() == 0 => Err(Error::Peer("it gives no state at present")),
        Dialled { joiners, order, .. } => Ok((joiners, order)),
    }
}

/// Where the member that listens at `address` gives copies of its state, whose records it has, and how far it has come.
///
/// # Errors
/// If it can't be asked, or gives none at present.
pub fn where_copies_are(address: &str, member: MemberId) -> Result<(Peer, MemberId, SequenceNumber), Error> {
    let Dialled { copies: (copies, provider), order, last, .. } = call(address, member, Purpose::Join)?;
    if copies.port() == 0 {
        return Err(Error::Peer("it gives no state at present"));
    }
    Ok((Peer { member: provider, address: copies.to_string() }, order, last))
}

fn call(address: &str, member: MemberId, purpose: Purpose) -> Result<Dialled, Error> {
    dial(address, purpose, Caller { member, order: None, next: SequenceNumber::NONE })
}
