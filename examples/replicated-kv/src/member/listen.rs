//! A member without a state hears the primary's records all the same: where one of them is what it waits for, and what
//! comes behind it.

use std::net::Shutdown;

use longhaul::MemberId;
use longhaul_core::digest::SequenceNumber;

use super::frame::{self, Frame, Purpose};
use super::wire::{Caller, dial};
use crate::error::Error;
use crate::record::{Operation, Record};

/// What becomes of a record that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next one, please.
    Next,
    /// Nothing more, please.
    Enough,
}

/// Hears the records of `primary` from `next` on, one after another, until `each` has heard enough, or the connection
/// is lost: then `next` is where to go on.
///
/// # Errors
/// Why the connection is over.
pub fn listen(
    primary: &str,
    (member, order): (MemberId, MemberId),
    next: &mut SequenceNumber,
    stop: &crate::Stop,
    mut each: impl FnMut(Record) -> Result<Heard, Error>,
) -> Result<(), Error> {
    let caller = Caller { member, order: Some(order), next: *next };
    let dialled = dial(primary, Purpose::Follow, caller)?;
    let _held = stop.hold(&dialled.stream).map_err(Error::io("keeping a connection"))?;
    let mut reader = dialled.reader;
    let heard = loop {
        match frame::read(&mut reader) {
            Ok(Some(Frame::Record { sequence, operation })) if sequence == *next => {
                let heard = each(Record { sequence, operation: Operation::decode(&operation)? })?;
                *next = SequenceNumber(sequence.0 + 1);
                if heard == Heard::Enough {
                    break Ok(());
                }
            }
            Ok(Some(Frame::Record { sequence, .. })) if sequence > *next => {
                break Err(Error::Gap { applied: SequenceNumber(next.0 - 1), came: sequence });
            }
            Ok(Some(Frame::Record { .. } | Frame::Alive { .. })) => {}
            Ok(Some(Frame::TooShort { first })) => {
                break Err(Error::LogTooShort { needed: *next, first });
            }
            Ok(Some(_)) => break Err(Error::Peer("a frame out of turn")),
            Ok(None) => break Err(Error::Peer("it closed the connection")),
            Err(error) => break Err(error),
        }
    };
    let _ = dialled.stream.shutdown(Shutdown::Both);
    heard
}
