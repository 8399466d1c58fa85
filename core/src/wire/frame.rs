//! A whole frame: header and body joined into their meaning.

use super::body::Writer;
use super::{
    Alive, Attach, Complete, DigestPart, End, Failed, Flags, Grades, HEADER_LEN, Header, Init, Kind, Offer,
    Outcome, Query, Refused, Request, Task, Welcome, WireError, offer, opening, prepare, report,
};
use crate::id::{ItemId, TaskId};
use crate::integrity::{Integrity, crc32c};

/// A frame, borrowed from the bytes that it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Opens a session.
    Init(Init),
    /// Admits it.
    Welcome(Welcome),
    /// Turns it away for now.
    Busy {
        /// Milliseconds until asking again makes sense.
        retry_after_ms: u32,
    },
    /// Makes a connection a lane.
    Attach(Attach),
    /// How many tasks the joiner requests.
    Prepare {
        /// So many [`Frame::Request`]s follow.
        requests: u16,
    },
    /// What the joiner requests.
    Request(Request<'a>),
    /// What the provider will send.
    Task(Task<'a>),
    /// What it will not send.
    Refused(Refused<'a>),
    /// Which messages the state already contains: a part of its digest.
    Digest(DigestPart<'a>),
    /// The joiner's preflight passed.
    Begin,
    /// An item.
    Offer {
        /// Its number.
        id: ItemId,
        /// The content follows on this lane.
        eager: bool,
        /// 0, or how often it failed.
        attempt: u8,
        /// The item.
        item: Offer<'a>,
    },
    /// Send the item's content.
    Accept {
        /// The item.
        id: ItemId,
        /// From this offset on.
        offset: u64,
    },
    /// What the joiner kept of the item from an earlier run; send the rest, and its end.
    Kept {
        /// The item.
        id: ItemId,
        /// So many of its first bytes: whole runs, or all of it.
        offset: u64,
        /// Which checksum the sums are of.
        integrity: Integrity,
        /// Of whole runs as [`crate::integrity::Prefix`] has them, of all as
        /// [`crate::integrity::Checksum::as_sums`].
        sums: &'a [u8],
    },
    /// The joiner has the item already.
    Skip {
        /// The item.
        id: ItemId,
        /// What the joiner has; `None`: what both verified before the connection was lost.
        end: Option<End>,
    },
    /// A payload follows; only its header is a frame here.
    Data {
        /// The item.
        id: ItemId,
        /// Which attempt at it.
        attempt: u8,
        /// Where the payload belongs.
        offset: u64,
        /// Its length, 1 to the chunk length.
        len: u32,
        /// The last piece of its run.
        run_end: bool,
        /// Its CRC-32C; `None` if it is not checked.
        crc: Option<u32>,
    },
    /// Bytes that are zero.
    Hole {
        /// The item.
        id: ItemId,
        /// Which attempt at it.
        attempt: u8,
        /// Where they begin.
        offset: u64,
        /// How many, more than zero.
        len: u64,
        /// The last piece of its run.
        run_end: bool,
    },
    /// The end of an item.
    End {
        /// The item.
        id: ItemId,
        /// Which attempt at it.
        attempt: u8,
        /// What the provider read.
        end: End,
    },
    /// A lane that carried some of the item was lost.
    Recall {
        /// The item.
        id: ItemId,
        /// Which attempt at it.
        attempt: u8,
    },
    /// Offer the item again.
    Again {
        /// The item.
        id: ItemId,
    },
    /// How far the joiner has come.
    Grades(Grades),
    /// All has been sent.
    Complete(Complete),
    /// The joiner has the same.
    Agreed,
    /// All has been published.
    Installed {
        /// The application's reply.
        app_reply: &'a [u8],
    },
    /// The session failed.
    Failed(Failed<'a>),
    /// Still here.
    Alive(Alive),
    /// How did a transfer end?
    Query(Query),
    /// So it ended.
    Outcome(Outcome<'a>),
}

impl<'a> Frame<'a> {
    /// Joins a header with its body. `body` is empty for [`Kind::Data`], whose payload goes elsewhere.
    /// Never panics, whatever the bytes.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub fn parse(header: &Header, body: &'a [u8]) -> Result<Self, WireError> {
        let (id, offset, attempt) = (header.item, header.offset, header.flags.attempt());
        let run_end = header.flags.has(Flags::RUN_END);
        if header.kind == Kind::Data {
            if offset.checked_add(u64::from(header.len)).is_none() {
                return Err(WireError::Field { kind: Kind::Data, field: "offset" });
            }
            let crc = (!header.flags.has(Flags::UNCHECKED)).then_some(header.body_crc);
            return Ok(Self::Data { id, attempt, offset, len: header.len, run_end, crc });
        }
        if body.len() != header.len as usize {
            return Err(WireError::Length { kind: header.kind, len: header.len });
        }
        if crc32c(body) != header.body_crc {
            return Err(WireError::BodyChecksum);
        }
        Ok(match header.kind {
            Kind::Init => Self::Init(Init::parse(body)?),
            Kind::Welcome => Self::Welcome(Welcome::parse(body)?),
            Kind::Busy => Self::Busy { retry_after_ms: opening::parse_busy(body)? },
            Kind::Attach => Self::Attach(Attach::parse(body)?),
            Kind::Prepare => Self::Prepare { requests: prepare::parse_prepare(body)? },
            Kind::Request => Self::Request(Request::parse(body)?),
            Kind::Task => Self::Task(Task::parse(body)?),
            Kind::Refused => Self::Refused(Refused::parse(body)?),
            Kind::Digest => Self::Digest(DigestPart::parse(body)?),
            Kind::Begin => Self::Begin,
            Kind::Offer => {
                let eager = header.flags.has(Flags::EAGER);
                Self::Offer { id, eager, attempt, item: offer::parse_offer(body)? }
            }
            Kind::Accept => Self::Accept { id, offset },
            Kind::Kept => {
                let (integrity, sums) = report::parse_kept(body)?;
                Self::Kept { id, offset, integrity, sums }
            }
            Kind::Skip if body.is_empty() => Self::Skip { id, end: None },
            Kind::Skip => Self::Skip { id, end: Some(End::parse(Kind::Skip, body)?) },
            Kind::Data => unreachable!("handled above"),
            Kind::Hole => Self::Hole { id, attempt, offset, len: report::parse_hole(body, offset)?, run_end },
            Kind::End => Self::End { id, attempt, end: End::parse(Kind::End, body)? },
            Kind::Recall => Self::Recall { id, attempt },
            Kind::Again => Self::Again { id },
            Kind::Grades => Self::Grades(Grades::parse(body)?),
            Kind::Complete => Self::Complete(Complete::parse(body)?),
            Kind::Agreed => Self::Agreed,
            Kind::Installed => Self::Installed { app_reply: body },
            Kind::Failed => Self::Failed(Failed::parse(body, offset)?),
            Kind::Alive => Self::Alive(Alive::parse(body)?),
            Kind::Query => Self::Query(Query::parse(body)?),
            Kind::Outcome => Self::Outcome(Outcome::parse(body)?),
        })
    }

    /// What the frame is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Init(_) => Kind::Init,
            Self::Welcome(_) => Kind::Welcome,
            Self::Busy { .. } => Kind::Busy,
            Self::Attach(_) => Kind::Attach,
            Self::Prepare { .. } => Kind::Prepare,
            Self::Request(_) => Kind::Request,
            Self::Task(_) => Kind::Task,
            Self::Refused(_) => Kind::Refused,
            Self::Digest(_) => Kind::Digest,
            Self::Begin => Kind::Begin,
            Self::Offer { .. } => Kind::Offer,
            Self::Accept { .. } => Kind::Accept,
            Self::Kept { .. } => Kind::Kept,
            Self::Skip { .. } => Kind::Skip,
            Self::Data { .. } => Kind::Data,
            Self::Hole { .. } => Kind::Hole,
            Self::End { .. } => Kind::End,
            Self::Recall { .. } => Kind::Recall,
            Self::Again { .. } => Kind::Again,
            Self::Grades(_) => Kind::Grades,
            Self::Complete(_) => Kind::Complete,
            Self::Agreed => Kind::Agreed,
            Self::Installed { .. } => Kind::Installed,
            Self::Failed(_) => Kind::Failed,
            Self::Alive(_) => Kind::Alive,
            Self::Query(_) => Kind::Query,
            Self::Outcome(_) => Kind::Outcome,
        }
    }

    /// As [`Frame::emit_of`] for the first task, or for a frame that is about none.
    ///
    /// # Errors
    /// As there.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        self.emit_of(TaskId(0), out)
    }

    /// Writes header and body to the front of `out` and returns their length; of [`Frame::Data`]
    /// only the header, the payload follows from elsewhere.
    ///
    /// # Errors
    /// [`WireError::BufferTooSmall`]; [`super::FRAME_MAX`] bytes always suffice.
    pub fn emit_of(&self, task: TaskId, out: &mut [u8]) -> Result<usize, WireError> {
        let (head, rest) = out.split_at_mut_checked(HEADER_LEN).ok_or(WireError::BufferTooSmall)?;
        let mut writer = Writer::new(rest);
        match self {
            Self::Init(init) => init.emit(&mut writer)?,
            Self::Welcome(welcome) => welcome.emit(&mut writer)?,
            Self::Busy { retry_after_ms } => report::emit_bytes(&retry_after_ms.to_le_bytes(), &mut writer)?,
            Self::Attach(attach) => attach.emit(&mut writer)?,
            Self::Prepare { requests } => {
                report::emit_bytes(&u32::from(*requests).to_le_bytes(), &mut writer)?;
            }
            Self::Request(request) => request.emit(&mut writer)?,
            Self::Task(task) => task.emit(&mut writer)?,
            Self::Refused(refused) => refused.emit(&mut writer)?,
            Self::Digest(part) => {
                let (head, entries) = part.as_bytes();
                report::emit_bytes(&head, &mut writer)?;
                report::emit_bytes(entries, &mut writer)?;
            }
            Self::Begin
            | Self::Accept { .. }
            | Self::Data { .. }
            | Self::Recall { .. }
            | Self::Again { .. }
            | Self::Agreed => {}
            Self::Kept { integrity, sums, .. } => report::emit_kept(*integrity, sums, &mut writer)?,
            Self::Skip { end: None, .. } => {}
            Self::Skip { end: Some(end), .. } => end.emit(&mut writer)?,
            Self::Offer { item, .. } => offer::emit_offer(item, &mut writer)?,
            Self::Hole { len, .. } => report::emit_u64(*len, &mut writer)?,
            Self::End { end, .. } => end.emit(&mut writer)?,
            Self::Grades(grades) => grades.emit(&mut writer)?,
            Self::Complete(complete) => complete.emit(&mut writer)?,
            Self::Installed { app_reply } => report::emit_bytes(app_reply, &mut writer)?,
            Self::Failed(failed) => failed.emit(&mut writer)?,
            Self::Alive(alive) => alive.emit(&mut writer)?,
            Self::Query(query) => query.emit(&mut writer)?,
            Self::Outcome(outcome) => outcome.emit(&mut writer)?,
        }
        let body_len = writer.len();
        let (len, body_crc) = match self {
            Self::Data { len, crc, .. } => (*len, crc.unwrap_or(0)),
            _ => (body_len as u32, crc32c(&rest[..body_len])),
        };
        let (item, offset, flags) = self.address();
        let header = Header { kind: self.kind(), flags, task, len, item, offset, body_crc };
        head.copy_from_slice(&header.to_bytes());
        Ok(HEADER_LEN + body_len)
    }

    /// The header's item, offset and flags.
    fn address(&self) -> (ItemId, u64, Flags) {
        let bit = |set: bool, bit: u16| if set { bit } else { 0 };
        match *self {
            Self::Offer { id, eager, attempt, .. } => (id, 0, Flags::new(bit(eager, Flags::EAGER), attempt)),
            Self::Accept { id, offset } | Self::Kept { id, offset, .. } => (id, offset, Flags::NONE),
            Self::Data { id, attempt, offset, run_end, crc, .. } => {
                let bits = bit(run_end, Flags::RUN_END) | bit(crc.is_none(), Flags::UNCHECKED);
                (id, offset, Flags::new(bits, attempt))
            }
            Self::Hole { id, attempt, offset, run_end, .. } => {
                (id, offset, Flags::new(bit(run_end, Flags::RUN_END), attempt))
            }
            Self::End { id, attempt, .. } | Self::Recall { id, attempt } => (id, 0, Flags::new(0, attempt)),
            Self::Skip { id, .. } | Self::Again { id } => (id, 0, Flags::NONE),
            Self::Failed(failed) => (ItemId(0), failed.offset.unwrap_or(0), Flags::NONE),
            _ => (ItemId(0), 0, Flags::NONE),
        }
    }
}
