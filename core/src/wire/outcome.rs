//! Asking later how a transfer ended.

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::body::{Writer, fixed, nothing_left, reply};
use super::{Kind, WireError};
use crate::id::{ClusterId, MemberId, TransferId};

/// Asks how a transfer ended: the first frame of a connection, in place of [`super::Init`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Who asks.
    pub member: MemberId,
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// Which transfer.
    pub transfer: TransferId,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct QueryRaw {
    member: [u8; 16],
    cluster: [u8; 16],
    transfer: [u8; 16],
}

impl Query {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (raw, rest): (QueryRaw, _) = fixed(Kind::Query, body)?;
        nothing_left(Kind::Query, rest, body)?;
        Ok(Self {
            member: MemberId(raw.member),
            cluster: ClusterId(raw.cluster),
            transfer: TransferId(raw.transfer),
        })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let raw = QueryRaw { member: self.member.0, cluster: self.cluster.0, transfer: self.transfer.0 };
        out.put(raw.as_bytes())
    }
}

/// How a transfer stands at its joiner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The joiner does not know the transfer (any more).
    Unknown,
    /// It is under way.
    Running,
    /// It was published.
    Installed,
    /// It failed, and nothing was published.
    Failed,
}

impl Verdict {
    /// Every verdict, in the order of its number on the wire.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Running, Self::Installed, Self::Failed];

    const fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Running => 1,
            Self::Installed => 2,
            Self::Failed => 3,
        }
    }
}

/// The answer to a [`Query`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// Which transfer.
    pub transfer: TransferId,
    /// How it stands.
    pub verdict: Verdict,
    /// The application's reply, at most [`super::APP_REPLY_MAX`] bytes.
    pub app_reply: &'a [u8],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct OutcomeRaw {
    transfer: [u8; 16],
    verdict: u8,
    zero: u8,
    app_reply_len: U16,
}

const _: () = assert!(size_of::<OutcomeRaw>() == 20);

impl<'a> Outcome<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let kind = Kind::Outcome;
        let (raw, mut rest): (OutcomeRaw, _) = fixed(kind, body)?;
        let app_reply = reply(kind, &mut rest, raw.app_reply_len.get())?;
        nothing_left(kind, rest, body)?;
        let verdict = Verdict::ALL.get(usize::from(raw.verdict));
        Ok(Self {
            transfer: TransferId(raw.transfer),
            verdict: *verdict.ok_or(WireError::Field { kind, field: "verdict" })?,
            app_reply,
        })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let raw = OutcomeRaw {
            transfer: self.transfer.0,
            verdict: self.verdict.code(),
            zero: 0,
            app_reply_len: (self.app_reply.len() as u16).into(),
        };
        out.put(raw.as_bytes())?;
        out.put(self.app_reply)
    }
}
