//! Asking a joiner that listens how a transfer ended.

use std::io::{Read, Write};
use std::net::ToSocketAddrs;

use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::SessionError;
use longhaul_core::wire::{CONTROL_MAX, Frame, HEADER_LEN, Header, Query, Verdict};
use longhaul_state::transfer::{Options, TransferError};

use crate::stream;

/// Asks the joiner that listens at `address` how the transfer of `options` ended: it remembers its last
/// sixteen. For a provider whose summary is not confirmed.
///
/// # Errors
/// If it can't be reached, belongs to another cluster, or does not speak the protocol.
pub fn outcome(address: impl ToSocketAddrs, options: &Options) -> Result<Verdict, TransferError> {
    let lost = |error: std::io::Error| {
        TransferError::new(Reason::Unreachable, Side::Joiner, Phase::Connect, error.to_string())
    };
    let broken = |error| TransferError::session(SessionError::Invalid(error), Side::Provider, Phase::Init);
    let addresses = stream::resolve(address).map_err(lost)?;
    let mut connection = stream::dial(&addresses, options.handshake_timeout).map_err(lost)?;
    connection.set_read_timeout(Some(options.handshake_timeout)).map_err(lost)?;
    let query = Query { member: options.member, cluster: options.cluster, transfer: options.transfer };
    let mut words = [0; 2 * HEADER_LEN + 64];
    let len = Frame::Query(query).emit(&mut words).map_err(broken)?;
    connection.write_all(&words[..len]).map_err(lost)?;
    let mut head = [0; HEADER_LEN];
    connection.read_exact(&mut head).map_err(lost)?;
    let header = Header::parse(&head).map_err(broken)?;
    let mut body = [0; CONTROL_MAX];
    let body = &mut body[..(header.len as usize).min(CONTROL_MAX)];
    connection.read_exact(body).map_err(lost)?;
    match Frame::parse(&header, body).map_err(broken)? {
        Frame::Outcome(outcome) if outcome.transfer == options.transfer => Ok(outcome.verdict),
        Frame::Failed(failed) => Err(TransferError::peer(&failed)),
        other => {
            let words = format!("a {} frame answers a question", other.kind());
            Err(TransferError::new(Reason::Protocol, Side::Joiner, Phase::Init, words))
        }
    }
}
