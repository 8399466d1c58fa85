//! A whole frame: header and body joined into their meaning.

use core::fmt;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::body::{self, exactly, flag, payload, zero};
use super::{FrameError, HEADER_LEN, Header, Kind};
use crate::digest::{DigestPart, SequenceNumber};
use crate::id::{Epoch, MemberId, SnapshotId, StateId};
use crate::integrity::crc32c;
use crate::transfer::{Decision, LogPoint, Tag};

/// The longest payload, in bytes.
pub const PAYLOAD_MAX: u32 = 4 << 20;

/// A payload that follows its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Its bytes.
    pub len: u32,
    /// Their CRC-32C.
    pub crc: u32,
}

/// What a joiner holds durably of an earlier epoch: a staged snapshot, and the log applied to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Have {
    /// Of which capture.
    pub snapshot: SnapshotId,
    /// Up to which place of the log.
    pub point: LogPoint,
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:literal => $text:literal,)*) => {
        /// Why a provider will not, or not any more.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Refusal { $($(#[$doc])* $name,)* }

        impl Refusal {
            /// Every reason, in the order of its number on the wire.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            const fn code(self) -> u16 {
                match self { $(Self::$name => $code,)* }
            }

            const fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }

        impl fmt::Display for Refusal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

refusals! {
    /// It has no whole state itself.
    NotOperational = 1 => "the member is not operational yet",
    /// It provides no state at present.
    NonParticipant = 2 => "the member provides no state",
    /// It has no room, or this joiner has a transfer under way there.
    Busy = 3 => "the provider is busy",
    /// The joiner is the provider.
    Oneself = 4 => "a member has no state from itself",
    /// The log that the joiner still needs is longer than the provider may keep.
    LogFull = 5 => "the log has grown longer than the provider may keep",
    /// Writes are quicker than the joiner, and the policy says to fail.
    CannotCatchUp = 6 => "writes are quicker than the joiner can follow",
    /// The application could not capture its state.
    Capture = 7 => "the state could not be captured",
    /// The joiner made no progress for too long.
    Stalled = 8 => "the joiner has made no progress",
    /// It has not delivered yet what a capture for this joiner must contain.
    NotYet = 9 => "the provider has not delivered yet what the state must contain",
    /// It has no such copy: it never made one, or the copy's lease is over.
    Gone = 10 => "the provider has no such copy, or no longer",
    /// It could not keep the log that the joiner still needs.
    LogLost = 11 => "the provider could not keep its log",
    /// The member takes no state that it has not asked for, or has one.
    NotWanted = 12 => "the member takes no state that it has not asked for, or has one",
}

/// A frame, borrowed from the bytes that it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A joiner asks for a state, or goes on with one.
    Request {
        /// Who asks.
        member: MemberId,
        /// What it has of an earlier epoch.
        have: Option<Have>,
    },
    /// The provider gives it.
    Begin {
        /// Who provides.
        provider: MemberId,
        /// Names the capture.
        snapshot: SnapshotId,
        /// Where its log begins; where it goes on, if it does.
        from: LogPoint,
        /// What the joiner has is good: the log goes on from there.
        goes_on: bool,
        /// Entries of the capture's digest, whose parts came before.
        members: u16,
    },
    /// It will not, or not any more.
    Refused {
        /// Why.
        why: Refusal,
        /// Milliseconds until asking again makes sense.
        retry_after_ms: u32,
    },
    /// A part of the digest of the frame that follows.
    Digest(DigestPart<'a>),
    /// The bulk is durable in a hidden copy.
    Staged,
    /// Records of the log follow.
    Records {
        /// From which place.
        from: LogPoint,
        /// To which.
        to: LogPoint,
        /// Their bytes.
        payload: Payload,
    },
    /// All before this place is durable in the hidden copy.
    Applied {
        /// The place.
        to: LogPoint,
    },
    /// The pending prepares follow.
    Pending {
        /// How many.
        count: u32,
        /// Their bytes.
        payload: Payload,
    },
    /// The provider is latched, and all has been sent.
    Last {
        /// The end of the log.
        end: LogPoint,
        /// How long the latch is held at most, by the provider's clock.
        lease_ns: u64,
        /// How many prepares are pending.
        pending: u32,
        /// Entries of the digest, whose parts came before.
        members: u16,
    },
    /// All of it is applied.
    Ready {
        /// The checksum of the digest that the joiner has come to: [`super::super::digest_sum`].
        digest: [u8; 32],
    },
    /// The epoch is committed: serve.
    Commit,
    /// The epoch is aborted.
    Abort,
    /// How did the epoch end?
    Ask,
    /// So it ended.
    Outcome {
        /// How.
        decision: Decision,
    },
    /// Keep the messages that you have sent and still have.
    Pin {
        /// For whom.
        member: MemberId,
        /// For how long.
        lease_ns: u64,
    },
    /// They are kept.
    Pinned {
        /// All behind this one are still there.
        behind: SequenceNumber,
        /// The last one sent.
        sent: SequenceNumber,
    },
    /// They need not be kept any more.
    Unpin,
    /// The joiner gives the transfer up.
    Cancel,
    /// A joiner asks for a capture.
    Fetch {
        /// Of which (partial) state.
        state: StateId,
        /// The copy that was made in this epoch; `None`: a capture of now.
        copy: Option<Epoch>,
        /// Entries of the digest that the capture must cover, whose parts follow.
        members: u16,
    },
    /// To the group, in total order: all who provide copy their state here.
    MakeCopy {
        /// Who asks for it.
        member: MemberId,
        /// For how long a copy that nobody fetches is kept.
        lease_ns: u64,
        /// What the joiner has fetched before: of that provider it wants the log since then.
        have: Option<Have>,
    },
    /// To the group: the copies of this transfer are not needed any more.
    Collect,
    /// Which root has your copy?
    AskRoot {
        /// The epoch in which it was made.
        copy: Epoch,
    },
    /// It is found once all of the copy is read.
    Summing {
        /// Bytes that were read so far.
        bytes: u64,
    },
    /// It has this one.
    Root {
        /// The root of the copied state.
        root: [u8; 32],
    },
    /// To the group: stop writing.
    Suspend {
        /// Who asks for it.
        member: MemberId,
        /// For how long, unless it is said again.
        lease_ns: u64,
    },
    /// This member writes no more.
    Suspended {
        /// The last message that it has sent.
        sent: SequenceNumber,
    },
    /// To the group: write again.
    Resume,
    /// The first word on a connection between two members, both of which have one incarnation only.
    Hello {
        /// Who dials.
        from: MemberId,
        /// Whom it means to reach: another one hangs up.
        to: MemberId,
    },
    /// A provider offers its state to who may ask for it, by this transfer; and the same back: it will.
    Offer {
        /// Who says so.
        member: MemberId,
        /// Where joiners dial it, at the address that this comes from; 0 of who is no provider.
        port: u16,
    },
}

impl<'a> Frame<'a> {
    /// Joins a header with its body. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub fn parse(header: &Header, bytes: &'a [u8]) -> Result<Self, FrameError> {
        let kind = header.kind;
        if bytes.len() != header.len as usize {
            return Err(FrameError::Length { kind, len: header.len });
        }
        if crc32c(bytes) != header.body_crc {
            return Err(FrameError::BodyChecksum);
        }
        Ok(match kind {
            Kind::Request => Self::parse_request(bytes)?,
            Kind::Begin => {
                let raw: body::Begin = exactly(kind, bytes)?;
                zero(kind, raw.zero == 0 && raw.zero_too.get() == 0)?;
                Self::Begin {
                    provider: MemberId(raw.member),
                    snapshot: SnapshotId(raw.snapshot),
                    from: (&raw.from).into(),
                    goes_on: flag(kind, raw.goes_on, "word on whether it goes on")?,
                    members: raw.members.get(),
                }
            }
            Kind::Refused => {
                let raw: body::Refused = exactly(kind, bytes)?;
                zero(kind, raw.zero.get() == 0)?;
                let why = Refusal::from_code(raw.why.get());
                let why = why.ok_or(FrameError::Field { kind, field: "reason" })?;
                Self::Refused { why, retry_after_ms: raw.retry_after_ms.get() }
            }
            Kind::Digest => Self::Digest(DigestPart::parse(bytes)?),
            Kind::Staged => Self::Staged,
            Kind::Records => Self::parse_records(bytes)?,
            Kind::Applied => Self::Applied { to: (&exactly::<body::Point>(kind, bytes)?).into() },
            Kind::Pending => {
                let raw: body::Pending = exactly(kind, bytes)?;
                zero(kind, raw.zero.get() == 0)?;
                Self::Pending { count: raw.count.get(), payload: payload(kind, &raw.payload)? }
            }
            Kind::Last => {
                let raw: body::Last = exactly(kind, bytes)?;
                zero(kind, raw.zero.get() == 0)?;
                let (end, lease_ns) = ((&raw.end).into(), raw.lease_ns.get());
                Self::Last { end, lease_ns, pending: raw.pending.get(), members: raw.members.get() }
            }
            Kind::Ready => Self::Ready { digest: exactly(kind, bytes)? },
            Kind::Commit => Self::Commit,
            Kind::Abort => Self::Abort,
            Kind::Ask => Self::Ask,
            Kind::Outcome => {
                let raw: body::Outcome = exactly(kind, bytes)?;
                zero(kind, raw.zero == [0; 7])?;
                let commit = flag(kind, raw.commit, "decision")?;
                Self::Outcome { decision: if commit { Decision::Commit } else { Decision::Abort } }
            }
            Kind::Pin => {
                let raw: body::Pin = exactly(kind, bytes)?;
                Self::Pin { member: MemberId(raw.member), lease_ns: raw.lease_ns.get() }
            }
            Kind::Pinned => {
                let raw: body::Pinned = exactly(kind, bytes)?;
                let (behind, sent) = (SequenceNumber(raw.behind.get()), SequenceNumber(raw.sent.get()));
                if behind > sent {
                    return Err(FrameError::Field { kind, field: "sequence number: kept, but not sent" });
                }
                Self::Pinned { behind, sent }
            }
            Kind::Unpin => Self::Unpin,
            Kind::Cancel => Self::Cancel,
            Kind::Fetch => {
                let raw: body::Fetch = exactly(kind, bytes)?;
                zero(kind, raw.zero == [0; 6])?;
                let copy = Some(Epoch(raw.copy.get())).filter(|copy| copy.0 > 0);
                Self::Fetch { state: StateId(raw.state), copy, members: raw.members.get() }
            }
            Kind::MakeCopy => {
                let raw: body::MakeCopy = exactly(kind, bytes)?;
                zero(kind, raw.zero == [0; 7])?;
                let have = have(kind, raw.has, raw.snapshot, &raw.point)?;
                Self::MakeCopy { member: MemberId(raw.member), lease_ns: raw.lease_ns.get(), have }
            }
            Kind::Collect => Self::Collect,
            Kind::AskRoot => Self::AskRoot { copy: Epoch(exactly::<U64>(kind, bytes)?.get()) },
            Kind::Summing => Self::Summing { bytes: exactly::<U64>(kind, bytes)?.get() },
            Kind::Root => Self::Root { root: exactly(kind, bytes)? },
            Kind::Suspend => {
                let raw: body::Suspend = exactly(kind, bytes)?;
                Self::Suspend { member: MemberId(raw.member), lease_ns: raw.lease_ns.get() }
            }
            Kind::Suspended => Self::Suspended { sent: SequenceNumber(exactly::<U64>(kind, bytes)?.get()) },
            Kind::Resume => Self::Resume,
            Kind::Hello => {
                let raw: body::Hello = exactly(kind, bytes)?;
                Self::Hello { from: MemberId(raw.from), to: MemberId(raw.to) }
            }
            Kind::Offer => {
                let raw: body::Offer = exactly(kind, bytes)?;
                zero(kind, raw.zero == [0; 6])?;
                Self::Offer { member: MemberId(raw.member), port: raw.port.get() }
            }
        })
    }

    fn parse_request(bytes: &[u8]) -> Result<Self, FrameError> {
        let kind = Kind::Request;
        let raw: body::Request = exactly(kind, bytes)?;
        zero(kind, raw.zero == [0; 7])?;
        let have = have(kind, raw.has, raw.snapshot, &raw.point)?;
        Ok(Self::Request { member: MemberId(raw.member), have })
    }

    fn parse_records(bytes: &[u8]) -> Result<Self, FrameError> {
        let kind = Kind::Records;
        let raw: body::Records = exactly(kind, bytes)?;
        let (from, to) = (LogPoint::from(&raw.from), LogPoint::from(&raw.to));
        if from.records >= to.records || from.bytes > to.bytes {
            return Err(FrameError::Field { kind, field: "place in the log: it ends before it begins" });
        }
        Ok(Self::Records { from, to, payload: payload(kind, &raw.payload)? })
    }

    /// What the frame is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Request { .. } => Kind::Request,
            Self::Begin { .. } => Kind::Begin,
            Self::Refused { .. } => Kind::Refused,
            Self::Digest(_) => Kind::Digest,
            Self::Staged => Kind::Staged,
            Self::Records { .. } => Kind::Records,
            Self::Applied { .. } => Kind::Applied,
            Self::Pending { .. } => Kind::Pending,
            Self::Last { .. } => Kind::Last,
            Self::Ready { .. } => Kind::Ready,
            Self::Commit => Kind::Commit,
            Self::Abort => Kind::Abort,
            Self::Ask => Kind::Ask,
            Self::Outcome { .. } => Kind::Outcome,
            Self::Pin { .. } => Kind::Pin,
            Self::Pinned { .. } => Kind::Pinned,
            Self::Unpin => Kind::Unpin,
            Self::Cancel => Kind::Cancel,
            Self::Fetch { .. } => Kind::Fetch,
            Self::MakeCopy { .. } => Kind::MakeCopy,
            Self::Collect => Kind::Collect,
            Self::AskRoot { .. } => Kind::AskRoot,
            Self::Summing { .. } => Kind::Summing,
            Self::Root { .. } => Kind::Root,
            Self::Suspend { .. } => Kind::Suspend,
            Self::Suspended { .. } => Kind::Suspended,
            Self::Resume => Kind::Resume,
            Self::Hello { .. } => Kind::Hello,
            Self::Offer { .. } => Kind::Offer,
        }
    }

    /// The payload that follows the frame.
    #[must_use]
    pub const fn payload(&self) -> Option<Payload> {
        match self {
            Self::Records { payload, .. } | Self::Pending { payload, .. } => Some(*payload),
            _ => None,
        }
    }

    /// Writes header and body to the front of `out` and returns their length; the payload follows from elsewhere.
    ///
    /// # Errors
    /// [`FrameError::BufferTooSmall`]; [`super::FRAME_MAX`] bytes always suffice.
    pub fn emit(&self, tag: Tag, out: &mut [u8]) -> Result<usize, FrameError> {
        let (head, rest) = out.split_at_mut_checked(HEADER_LEN).ok_or(FrameError::BufferTooSmall)?;
        let len = self.emit_body(rest)?;
        let body_crc = crc32c(&rest[..len]);
        head.copy_from_slice(&Header { kind: self.kind(), len: len as u32, tag, body_crc }.to_bytes());
        Ok(HEADER_LEN + len)
    }

    fn emit_body(&self, out: &mut [u8]) -> Result<usize, FrameError> {
        match *self {
            Self::Request { member, have } => {
                let (has, snapshot, point) = fields(have);
                let raw = body::Request { member: member.0, has, zero: [0; 7], snapshot, point };
                put(out, &[raw.as_bytes()])
            }
            Self::Begin { provider, snapshot, from, goes_on, members } => {
                let raw = body::Begin {
                    member: provider.0,
                    snapshot: snapshot.0,
                    from: from.into(),
                    goes_on: goes_on.into(),
                    zero: 0,
                    members: members.into(),
                    zero_too: 0.into(),
                };
                put(out, &[raw.as_bytes()])
            }
            Self::Refused { why, retry_after_ms } => {
                let (why, zero) = (why.code().into(), 0.into());
                put(out, &[body::Refused { why, zero, retry_after_ms: retry_after_ms.into() }.as_bytes()])
            }
            Self::Digest(part) => {
                let (head, entries) = part.as_bytes();
                put(out, &[&head, entries])
            }
            Self::Records { from, to, payload } => {
                let raw = body::Records { from: from.into(), to: to.into(), payload: payload.into() };
                put(out, &[raw.as_bytes()])
            }
            Self::Applied { to } => put(out, &[body::Point::from(to).as_bytes()]),
            Self::Pending { count, payload } => {
                let raw = body::Pending { count: count.into(), zero: 0.into(), payload: payload.into() };
                put(out, &[raw.as_bytes()])
            }
            Self::Last { end, lease_ns, pending, members } => {
                let raw = body::Last {
                    end: end.into(),
                    lease_ns: lease_ns.into(),
                    pending: pending.into(),
                    members: members.into(),
                    zero: 0.into(),
                };
                put(out, &[raw.as_bytes()])
            }
            Self::Ready { digest } => put(out, &[&digest]),
            Self::Outcome { decision } => {
                let commit = u8::from(decision == Decision::Commit);
                put(out, &[body::Outcome { commit, zero: [0; 7] }.as_bytes()])
            }
            Self::Pin { member, lease_ns } => {
                put(out, &[body::Pin { member: member.0, lease_ns: lease_ns.into() }.as_bytes()])
            }
            Self::Pinned { behind, sent } => {
                put(out, &[body::Pinned { behind: behind.0.into(), sent: sent.0.into() }.as_bytes()])
            }
            Self::Fetch { state, copy, members } => {
                let (copy, zero) = (copy.map_or(0, |copy| copy.0).into(), [0; 6]);
                put(out, &[body::Fetch { state: state.0, copy, members: members.into(), zero }.as_bytes()])
            }
            Self::MakeCopy { member, lease_ns, have } => {
                let (has, snapshot, point) = fields(have);
                let (member, lease_ns, zero) = (member.0, lease_ns.into(), [0; 7]);
                put(out, &[body::MakeCopy { member, lease_ns, has, zero, snapshot, point }.as_bytes()])
            }
            Self::AskRoot { copy } => put(out, &[U64::from(copy.0).as_bytes()]),
            Self::Summing { bytes } => put(out, &[U64::from(bytes).as_bytes()]),
            Self::Root { root } => put(out, &[&root]),
            Self::Suspend { member, lease_ns } => {
                put(out, &[body::Suspend { member: member.0, lease_ns: lease_ns.into() }.as_bytes()])
            }
            Self::Suspended { sent } => put(out, &[U64::from(sent.0).as_bytes()]),
            Self::Hello { from, to } => put(out, &[body::Hello { from: from.0, to: to.0 }.as_bytes()]),
            Self::Offer { member, port } => {
                put(out, &[body::Offer { member: member.0, port: port.into(), zero: [0; 6] }.as_bytes()])
            }
            Self::Staged
            | Self::Commit
            | Self::Abort
            | Self::Ask
            | Self::Unpin
            | Self::Cancel
            | Self::Collect
            | Self::Resume => Ok(0),
        }
    }
}

fn have(kind: Kind, has: u8, snapshot: [u8; 16], point: &body::Point) -> Result<Option<Have>, FrameError> {
    let (snapshot, point) = (SnapshotId(snapshot), LogPoint::from(point));
    let has = flag(kind, has, "word on what it has")?;
    if !has && (snapshot, point) != Default::default() {
        return Err(FrameError::Field { kind, field: "snapshot that it does not have" });
    }
    Ok(has.then_some(Have { snapshot, point }))
}

fn fields(have: Option<Have>) -> (u8, [u8; 16], body::Point) {
    let (snapshot, point) = have.map_or_else(Default::default, |have| (have.snapshot, have.point));
    (have.is_some().into(), snapshot.0, point.into())
}

/// Writes pieces one after another to the front of `out`.
fn put(out: &mut [u8], pieces: &[&[u8]]) -> Result<usize, FrameError> {
    let mut len = 0;
    for piece in pieces {
        let place = out.get_mut(len..len + piece.len()).ok_or(FrameError::BufferTooSmall)?;
        place.copy_from_slice(piece);
        len += piece.len();
    }
    Ok(len)
}
