//! How a conversation opens: who is who, admission, further lanes.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::body::{Writer, fixed, nothing_left};
use super::{Kind, WireError};
use crate::id::{ClusterId, Epoch, Lane, MemberId, Token, TransferId};

/// Bytes of [`Init`] that are frozen; what a later version appends is skipped.
pub const INIT_LEN: usize = 72;

/// Who a member is in a session: one of the two, or both at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// It gives state.
    pub provides: bool,
    /// It receives state.
    pub joins: bool,
}

impl Roles {
    /// Gives state, receives none.
    pub const PROVIDER: Self = Self { provides: true, joins: false };
    /// Receives state, gives none.
    pub const JOINER: Self = Self { provides: false, joins: true };
    /// Both directions at once.
    pub const BOTH: Self = Self { provides: true, joins: true };

    /// Whether a session between this side and `peer` can move anything.
    #[must_use]
    pub const fn fits(self, peer: Self) -> bool {
        (self.provides && peer.joins) || (self.joins && peer.provides)
    }

    const fn code(self) -> u8 {
        self.provides as u8 | (self.joins as u8) << 1
    }

    /// Bits beside the two are a later version's, and ignored.
    fn parse(kind: Kind, code: u8) -> Result<Self, WireError> {
        let roles = Self { provides: code & 1 != 0, joins: code & 2 != 0 };
        if roles.provides || roles.joins { Ok(roles) } else { Err(WireError::Field { kind, field: "role" }) }
    }
}

/// The first frame of a session. Its first [`INIT_LEN`] bytes are frozen for ever:
///
/// `version min u8, version max u8, roles u8 (1 provides, 2 joins), zero [5], capabilities u64,
/// member [16], cluster [16], transfer [16], epoch u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init {
    /// The lowest and highest protocol version spoken.
    pub versions: (u8, u8),
    /// What the dialler does.
    pub roles: Roles,
    /// What it can do; unknown bits are ignored, the intersection is used.
    pub capabilities: u64,
    /// Who it is.
    pub member: MemberId,
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// Which transfer this is.
    pub transfer: TransferId,
    /// The how-manieth dial of that transfer.
    pub epoch: Epoch,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct InitRaw {
    version_min: u8,
    version_max: u8,
    roles: u8,
    zero: [u8; 5],
    capabilities: U64,
    member: [u8; 16],
    cluster: [u8; 16],
    transfer: [u8; 16],
    epoch: U64,
}

const _: () = assert!(size_of::<InitRaw>() == INIT_LEN);

impl Init {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (raw, _later): (InitRaw, _) = fixed(Kind::Init, body)?;
        let field = |field| WireError::Field { kind: Kind::Init, field };
        if raw.version_min > raw.version_max {
            return Err(field("version range"));
        }
        Ok(Self {
            versions: (raw.version_min, raw.version_max),
            roles: Roles::parse(Kind::Init, raw.roles)?,
            capabilities: raw.capabilities.get(),
            member: MemberId(raw.member),
            cluster: ClusterId(raw.cluster),
            transfer: TransferId(raw.transfer),
            epoch: Epoch(raw.epoch.get()),
        })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let raw = InitRaw {
            version_min: self.versions.0,
            version_max: self.versions.1,
            roles: self.roles.code(),
            zero: [0; 5],
            capabilities: self.capabilities.into(),
            member: self.member.0,
            cluster: self.cluster.0,
            transfer: self.transfer.0,
            epoch: self.epoch.0.into(),
        };
        out.put(raw.as_bytes())
    }
}

/// The listener's answer to [`Init`]: admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The protocol version that was chosen.
    pub version: u8,
    /// What the listener does in this session.
    pub roles: Roles,
    /// The capabilities that both have.
    pub capabilities: u64,
    /// Who the listener is.
    pub member: MemberId,
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// The dialler's epoch, echoed.
    pub epoch: Epoch,
    /// Admits further lanes.
    pub token: Token,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WelcomeRaw {
    version: u8,
    roles: u8,
    zero: [u8; 6],
    capabilities: U64,
    member: [u8; 16],
    cluster: [u8; 16],
    epoch: U64,
    token: [u8; 16],
}

const _: () = assert!(size_of::<WelcomeRaw>() == 72);

impl Welcome {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (raw, rest): (WelcomeRaw, _) = fixed(Kind::Welcome, body)?;
        nothing_left(Kind::Welcome, rest, body)?;
        Ok(Self {
            version: raw.version,
            roles: Roles::parse(Kind::Welcome, raw.roles)?,
            capabilities: raw.capabilities.get(),
            member: MemberId(raw.member),
            cluster: ClusterId(raw.cluster),
            epoch: Epoch(raw.epoch.get()),
            token: Token(raw.token),
        })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        let raw = WelcomeRaw {
            version: self.version,
            roles: self.roles.code(),
            zero: [0; 6],
            capabilities: self.capabilities.into(),
            member: self.member.0,
            cluster: self.cluster.0,
            epoch: self.epoch.0.into(),
            token: self.token.0,
        };
        out.put(raw.as_bytes())
    }
}

/// Makes a connection a lane of a session that was welcomed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attach {
    /// From [`Welcome`].
    pub token: Token,
    /// Which lane: 1 or more.
    pub lane: Lane,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct AttachRaw {
    token: [u8; 16],
    lane: U16,
    zero: [u8; 2],
}

impl Attach {
    pub(super) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let (raw, rest): (AttachRaw, _) = fixed(Kind::Attach, body)?;
        nothing_left(Kind::Attach, rest, body)?;
        if raw.lane.get() == 0 {
            return Err(WireError::Field { kind: Kind::Attach, field: "lane" });
        }
        Ok(Self { token: Token(raw.token), lane: Lane(raw.lane.get()) })
    }

    pub(super) fn emit(&self, out: &mut Writer<'_>) -> Result<(), WireError> {
        out.put(AttachRaw { token: self.token.0, lane: self.lane.0.into(), zero: [0; 2] }.as_bytes())
    }
}

pub(super) fn parse_busy(body: &[u8]) -> Result<u32, WireError> {
    let (millis, rest): (U32, _) = fixed(Kind::Busy, body)?;
    nothing_left(Kind::Busy, rest, body)?;
    Ok(millis.get())
}
