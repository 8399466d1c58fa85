//! Frames between members, as bytes.
//!
//! ```text
//! 0   CRC-32C of all that follows  8   kind, u8
//! 4   length of the body, u32      9   zero, 3 bytes
//! 12  body
//! ```

use std::io::{self, Read, Write};
use std::time::Duration;

use longhaul::MemberId;
use longhaul_core::digest::SequenceNumber;
use longhaul_core::integrity::crc32c;

use crate::bytes::{Malformed, Reader};
use crate::error::Error;
use crate::order::Refusal;
use crate::record::{Key, OPERATION_MAX, Operation, TransactionId};
use crate::store::PinRefused;

/// Bytes before the body.
pub(super) const HEADER_LEN: usize = 12;
/// The longest body.
pub(super) const BODY_MAX: usize = OPERATION_MAX + 64;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To have records sent, as they are ordered.
    Follow,
    /// To submit operations.
    Submit,
    /// To keep the log for a while.
    Pin,
    /// To learn where joiners dial.
    Join,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Who dials, and what for.
    Hello {
        /// The version of this protocol.
        version: u16,
        /// What for.
        purpose: Purpose,
        /// Who dials.
        member: MemberId,
        /// Whose records it has; all zero: nobody's yet.
        order: MemberId,
        /// The record that it needs next.
        next: SequenceNumber,
    },
    /// It may.
    Welcome {
        /// Whose records are here.
        order: MemberId,
        /// The first record that is kept.
        first: SequenceNumber,
        /// The last one there is.
        last: SequenceNumber,
        /// The port where joiners dial; 0: nobody can join here at present.
        joiners: u16,
        /// The port where copies are fetched; 0: there are none here at present.
        copies: u16,
        /// Who makes them.
        member: MemberId,
    },
    /// The log no longer reaches back to what it needs.
    TooShort {
        /// The first record that is kept.
        first: SequenceNumber,
    },
    /// It has another primary's data.
    OtherOrder {
        /// Whose records are here.
        order: MemberId,
    },
    /// A record, encoded: most are only passed on.
    Record {
        /// Its place.
        sequence: SequenceNumber,
        /// Its operation's bytes.
        operation: Vec<u8>,
    },
    /// There is nothing new: the last record there is.
    Alive {
        /// The last record.
        last: SequenceNumber,
    },
    /// Send again, from here on.
    From {
        /// The record that is needed next.
        next: SequenceNumber,
    },
    /// All up to here is applied.
    Applied {
        /// The last one.
        sequence: SequenceNumber,
    },
    /// An operation of a client.
    Submit {
        /// Names it in the answer.
        number: u64,
        /// The operation.
        operation: Operation,
    },
    /// How it went: it is durable, or it was refused.
    Answer {
        /// Which.
        number: u64,
        /// Its place.
        result: Result<SequenceNumber, Refusal>,
    },
    /// Keep what there is of the log.
    Pin {
        /// For so long.
        lease: Duration,
    },
    /// It is kept.
    Pinned {
        /// All behind this is there.
        behind: SequenceNumber,
        /// The last record there is.
        sent: SequenceNumber,
    },
    /// It is not.
    PinRefused(PinRefused),
    /// It need not be kept any more.
    Unpin,
}

impl Frame {
    /// Appends the frame's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; HEADER_LEN]);
        out[start + 8] = self.encode_body(out);
        let len = (out.len() - start - HEADER_LEN) as u32;
        out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
        let crc = crc32c(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }

    fn encode_body(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Self::Hello { version, purpose, member, order, next } => {
                out.extend(version.to_le_bytes());
                out.push(*purpose as u8);
                out.extend(member.0);
                out.extend(order.0);
                out.extend(next.0.to_le_bytes());
                1
            }
            Self::Welcome { order, first, last, joiners, copies, member } => {
                out.extend(joiners.to_le_bytes());
                out.extend(copies.to_le_bytes());
                out.extend(member.0);
                out.extend(order.0);
                out.extend(first.0.to_le_bytes());
                out.extend(last.0.to_le_bytes());
                2
            }
            Self::TooShort { first } => number(out, 3, first.0),
            Self::OtherOrder { order } => {
                out.extend(order.0);
                4
            }
            Self::Record { sequence, operation } => {
                out.extend(sequence.0.to_le_bytes());
                out.extend_from_slice(operation);
                5
            }
            Self::Alive { last } => number(out, 6, last.0),
            Self::From { next } => number(out, 7, next.0),
            Self::Applied { sequence } => number(out, 8, sequence.0),
            Self::Submit { number, operation } => {
                out.extend(number.to_le_bytes());
                operation.encode(out);
                9
            }
            Self::Answer { number, result } => {
                out.extend(number.to_le_bytes());
                encode_result(result, out);
                10
            }
            Self::Pin { lease } => {
                out.extend(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).to_le_bytes());
                11
            }
            Self::Pinned { behind, sent } => {
                out.extend(behind.0.to_le_bytes());
                out.extend(sent.0.to_le_bytes());
                12
            }
            Self::PinRefused(PinRefused::Gone { first }) => number(out, 13, first.0),
            Self::PinRefused(PinRefused::Busy) => 14,
            Self::Unpin => 15,
        }
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let sequence = |reader: &mut Reader<'_>| reader.u64().map(SequenceNumber);
        let frame = match kind {
            1 => Self::Hello {
                version: reader.u16()?,
                purpose: match reader.u8()? {
                    0 => Purpose::Follow,
                    1 => Purpose::Submit,
                    2 => Purpose::Pin,
                    3 => Purpose::Join,
                    _ => return Err(Malformed("a connection for an unknown purpose")),
                },
                member: MemberId(reader.array()?),
                order: MemberId(reader.array()?),
                next: sequence(&mut reader)?,
            },
            2 => Self::Welcome {
                joiners: reader.u16()?,
                copies: reader.u16()?,
                member: MemberId(reader.array()?),
                order: MemberId(reader.array()?),
                first: sequence(&mut reader)?,
                last: sequence(&mut reader)?,
            },
            3 => Self::TooShort { first: sequence(&mut reader)? },
            4 => Self::OtherOrder { order: MemberId(reader.array()?) },
            5 => {
                let sequence = sequence(&mut reader)?;
                return Ok(Self::Record { sequence, operation: reader.rest().to_vec() });
            }
            6 => Self::Alive { last: sequence(&mut reader)? },
            7 => Self::From { next: sequence(&mut reader)? },
            8 => Self::Applied { sequence: sequence(&mut reader)? },
            9 => {
                let number = reader.u64()?;
                return Ok(Self::Submit { number, operation: Operation::decode(reader.rest())? });
            }
            10 => Self::Answer { number: reader.u64()?, result: decode_result(&mut reader)? },
            11 => Self::Pin { lease: Duration::from_millis(reader.u64()?) },
            12 => Self::Pinned { behind: sequence(&mut reader)?, sent: sequence(&mut reader)? },
            13 => Self::PinRefused(PinRefused::Gone { first: sequence(&mut reader)? }),
            14 => Self::PinRefused(PinRefused::Busy),
            15 => Self::Unpin,
            _ => return Err(Malformed("a frame of an unknown kind")),
        };
        reader.end()?;
        Ok(frame)
    }
}

fn number(out: &mut Vec<u8>, kind: u8, number: u64) -> u8 {
    out.extend(number.to_le_bytes());
    kind
}

fn encode_result(result: &Result<SequenceNumber, Refusal>, out: &mut Vec<u8>) {
    let (code, number) = match result {
        Ok(sequence) => (0, sequence.0),
        Err(Refusal::Locked { by, .. }) => (1, by.0.0),
        Err(Refusal::Unknown(transaction)) => (2, transaction.0.0),
        Err(Refusal::Full) => (3, 0),
        Err(Refusal::Stopping) => (4, 0),
    };
    out.push(code);
    out.extend(number.to_le_bytes());
    if let Err(Refusal::Locked { key, .. }) = result {
        out.extend((key.as_bytes().len() as u16).to_le_bytes());
        out.extend_from_slice(key.as_bytes());
    }
}

fn decode_result(reader: &mut Reader<'_>) -> Result<Result<SequenceNumber, Refusal>, Malformed> {
    let (code, number) = (reader.u8()?, SequenceNumber(reader.u64()?));
    Ok(match code {
        0 => Ok(number),
        1 => {
            let len = reader.u16()?.into();
            Err(Refusal::Locked { key: Key::new(reader.take(len)?)?, by: TransactionId(number) })
        }
        2 => Err(Refusal::Unknown(TransactionId(number))),
        3 => Err(Refusal::Full),
        4 => Err(Refusal::Stopping),
        _ => return Err(Malformed("an answer of an unknown kind")),
    })
}

/// Writes one frame.
///
/// # Errors
/// What the connection said.
pub fn write(stream: &mut impl Write, frame: &Frame) -> io::Result<()> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    stream.write_all(&bytes)
}

/// Reads one frame; `None` where the connection ends between two.
///
/// # Errors
/// If it ends within one, or what comes is none.
pub fn read(stream: &mut impl Read) -> Result<Option<Frame>, Error> {
    let mut header = [0; HEADER_LEN];
    let lost = || Error::io("reading from a member");
    match stream.read(&mut header[..1]).map_err(lost())? {
        0 => return Ok(None),
        _ => stream.read_exact(&mut header[1..]).map_err(lost())?,
    }
    let [_, _, _, _, a, b, c, d, ..] = header;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    if len > BODY_MAX {
        return Err(Error::Peer("a frame is longer than any"));
    }
    let mut bytes = header.to_vec();
    bytes.resize(HEADER_LEN + len, 0);
    stream.read_exact(&mut bytes[HEADER_LEN..]).map_err(lost())?;
    if crc32c(&bytes[4..]).to_le_bytes() != header[..4] {
        return Err(Error::Peer("a frame's checksum is wrong"));
    }
    Ok(Some(Frame::decode(header[8], &bytes[HEADER_LEN..])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Frame> {
        let (member, order) = (MemberId([1; 16]), MemberId([2; 16]));
        let sequence = SequenceNumber(7);
        let by = TransactionId(sequence);
        let key = Key::new(b"key").unwrap();
        let answer = |result| Frame::Answer { number: 9, result };
        vec![
            Frame::Hello { version: 1, purpose: Purpose::Submit, member, order, next: sequence },
            Frame::Welcome { order, first: SequenceNumber(1), last: sequence, joiners: 9, copies: 8, member },
            Frame::TooShort { first: sequence },
            Frame::OtherOrder { order },
            Frame::Record { sequence, operation: vec![1, 2, 3] },
            Frame::Alive { last: sequence },
            Frame::From { next: sequence },
            Frame::Applied { sequence },
            Frame::Submit { number: 9, operation: Operation::Commit(by) },
            answer(Ok(sequence)),
            answer(Err(Refusal::Locked { key, by })),
            answer(Err(Refusal::Unknown(by))),
            answer(Err(Refusal::Full)),
            answer(Err(Refusal::Stopping)),
            Frame::Pin { lease: Duration::from_secs(3) },
            Frame::Pinned { behind: sequence, sent: sequence },
            Frame::PinRefused(PinRefused::Gone { first: sequence }),
            Frame::PinRefused(PinRefused::Busy),
            Frame::Unpin,
        ]
    }

    #[test]
    fn a_frame_is_its_bytes_and_no_other_bytes_are() {
        for frame in all() {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            assert_eq!(read(&mut &bytes[..]).unwrap(), Some(frame.clone()));
            for cut in 1..bytes.len() {
                assert!(read(&mut &bytes[..cut]).is_err(), "{frame:?} cut off at {cut}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(read(&mut &flipped[..]).is_err(), "{frame:?} with bit {bit} flipped");
            }
        }
    }

    #[test]
    fn no_memory_is_reserved_for_a_frame_that_is_too_long() {
        let mut header = [0; HEADER_LEN];
        header[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(read(&mut &header[..]), Err(Error::Peer("a frame is longer than any"))));
        assert!(matches!(read(&mut &[][..]), Ok(None)), "the end between two frames is an end");
    }
}
