//! A whole frame: header and body joined into their meaning.

use super::body::Writer;
use super::{
    Alive, Attach, Complete, End, Failed, Flags, Grades, HEADER_LEN, Header, Init, Kind, Offer, Request,
    Task, Welcome, WireError, offer, opening, report,
};
use crate::id::ItemId;
use crate::integrity::crc32c;

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
    /// What the joiner requests.
    Request(Request<'a>),
    /// What the provider will send.
    Task(Task<'a>),
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
    /// Offer the item again.
    Again {
        /// The item.
        id: ItemId,
    },
    /// How far the joiner has come.
    Grades(Grades),
    /// All has been sent.
    Complete(Complete),
    /// All has been published.
    Installed {
        /// The application's reply.
        app_reply: &'a [u8],
    },
    /// The session failed.
    Failed(Failed<'a>),
    /// Still here.
    Alive(Alive),
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
            Kind::Request => Self::Request(Request::parse(body)?),
            Kind::Task => Self::Task(Task::parse(body)?),
            Kind::Begin => Self::Begin,
            Kind::Offer => {
                let eager = header.flags.has(Flags::EAGER);
                Self::Offer { id, eager, attempt, item: offer::parse_offer(body)? }
            }
            Kind::Accept => Self::Accept { id, offset },
            Kind::Data => unreachable!("handled above"),
            Kind::Hole => Self::Hole { id, attempt, offset, len: report::parse_hole(body, offset)?, run_end },
            Kind::End => Self::End { id, attempt, end: End::parse(body)? },
            Kind::Again => Self::Again { id },
            Kind::Grades => Self::Grades(Grades::parse(body)?),
            Kind::Complete => Self::Complete(Complete::parse(body)?),
            Kind::Installed => Self::Installed { app_reply: body },
            Kind::Failed => Self::Failed(Failed::parse(body, offset)?),
            Kind::Alive => Self::Alive(Alive::parse(body)?),
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
            Self::Request(_) => Kind::Request,
            Self::Task(_) => Kind::Task,
            Self::Begin => Kind::Begin,
            Self::Offer { .. } => Kind::Offer,
            Self::Accept { .. } => Kind::Accept,
            Self::Data { .. } => Kind::Data,
            Self::Hole { .. } => Kind::Hole,
            Self::End { .. } => Kind::End,
            Self::Again { .. } => Kind::Again,
            Self::Grades(_) => Kind::Grades,
            Self::Complete(_) => Kind::Complete,
            Self::Installed { .. } => Kind::Installed,
            Self::Failed(_) => Kind::Failed,
            Self::Alive(_) => Kind::Alive,
        }
    }

    /// Writes header and body to the front of `out` and returns their length; of [`Frame::Data`]
    /// only the header, the payload follows from elsewhere.
    ///
    /// # Errors
    /// [`WireError::BufferTooSmall`]; [`super::FRAME_MAX`] bytes always suffice.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, WireError> {
        let (head, rest) = out.split_at_mut_checked(HEADER_LEN).ok_or(WireError::BufferTooSmall)?;
        let mut writer = Writer::new(rest);
        match self {
            Self::Init(init) => init.emit(&mut writer)?,
            Self::Welcome(welcome) => welcome.emit(&mut writer)?,
            Self::Busy { retry_after_ms } => report::emit_bytes(&retry_after_ms.to_le_bytes(), &mut writer)?,
            Self::Attach(attach) => attach.emit(&mut writer)?,
            Self::Request(request) => request.emit(&mut writer)?,
            Self::Task(task) => task.emit(&mut writer)?,
            Self::Begin | Self::Accept { .. } | Self::Again { .. } | Self::Data { .. } => {}
            Self::Offer { item, .. } => offer::emit_offer(item, &mut writer)?,
            Self::Hole { len, .. } => report::emit_u64(*len, &mut writer)?,
            Self::End { end, .. } => end.emit(&mut writer)?,
            Self::Grades(grades) => grades.emit(&mut writer)?,
            Self::Complete(complete) => complete.emit(&mut writer)?,
            Self::Installed { app_reply } => report::emit_bytes(app_reply, &mut writer)?,
            Self::Failed(failed) => failed.emit(&mut writer)?,
            Self::Alive(alive) => alive.emit(&mut writer)?,
        }
        let body_len = writer.len();
        let (len, body_crc) = match self {
            Self::Data { len, crc, .. } => (*len, crc.unwrap_or(0)),
            _ => (body_len as u32, crc32c(&rest[..body_len])),
        };
        let (item, offset, flags) = self.address();
        let header = Header { kind: self.kind(), flags, len, item, offset, body_crc };
        head.copy_from_slice(&header.to_bytes());
        Ok(HEADER_LEN + body_len)
    }

    /// The header's item, offset and flags.
    fn address(&self) -> (ItemId, u64, Flags) {
        let bit = |set: bool, bit: u16| if set { bit } else { 0 };
        match *self {
            Self::Offer { id, eager, attempt, .. } => (id, 0, Flags::new(bit(eager, Flags::EAGER), attempt)),
            Self::Accept { id, offset } => (id, offset, Flags::NONE),
            Self::Data { id, attempt, offset, run_end, crc, .. } => {
                let bits = bit(run_end, Flags::RUN_END) | bit(crc.is_none(), Flags::UNCHECKED);
                (id, offset, Flags::new(bits, attempt))
            }
            Self::Hole { id, attempt, offset, run_end, .. } => {
                (id, offset, Flags::new(bit(run_end, Flags::RUN_END), attempt))
            }
            Self::End { id, attempt, .. } => (id, 0, Flags::new(0, attempt)),
            Self::Again { id } => (id, 0, Flags::NONE),
            Self::Failed(failed) => (ItemId(0), failed.offset.unwrap_or(0), Flags::NONE),
            _ => (ItemId(0), 0, Flags::NONE),
        }
    }
}
