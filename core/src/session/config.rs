//! What a session is told before it begins, and what both sides settle in Prepare.

use core::time::Duration;

use crate::id::{ClusterId, Epoch, MemberId, SnapshotId, Token, TransferId};
use crate::integrity::Integrity;
use crate::wire::{ChunkLen, Roles, Task};

/// Capability bits, exchanged in `Init` and `Welcome`: unknown ones are ignored, the intersection is used.
pub mod capability {
    /// Checksums of items by CRC-32C.
    pub const CRC32C: u64 = 1 << 0;
    /// Checksums of items by BLAKE3.
    pub const BLAKE3: u64 = 1 << 1;
    /// A session that lost its connection goes on over a new one.
    pub const RESUME: u64 = 1 << 2;
    /// All that this version knows.
    pub const ALL: u64 = CRC32C | BLAKE3 | RESUME;
}

/// Who this side is and what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What this side does.
    pub roles: Roles,
    /// Joiner: how many tasks it requests, at most [`crate::wire::TASKS`].
    pub requests: u16,
    /// Who it is.
    pub member: MemberId,
    /// Which cluster it belongs to; peers of another are refused.
    pub cluster: ClusterId,
    /// Which transfer.
    pub transfer: TransferId,
    /// The how-manieth dial of it.
    pub epoch: Epoch,
    /// Listener: 128 fresh random bits that admit further lanes.
    pub token: Token,
    /// What it can do: bits of [`capability`]. Without [`capability::RESUME`] a lost connection fails it.
    pub capabilities: u64,
    /// Joiner: the integrity that is demanded.
    pub integrity: Integrity,
    /// Joiner: data lanes that are asked for; provider: the most that it grants. At least 1, less than `LANES`.
    pub lanes: u16,
    /// Joiner: it holds nothing of an earlier run, so that small items may come with their offers.
    pub fresh: bool,
    /// The longest chunk.
    pub chunk: ChunkLen,
    /// Provider: reads under way a lane, at least 1.
    pub read_depth: u8,
    /// How often an item is sent again because of its content, at most 14.
    pub max_retries: u8,
    /// A session without progress for this long fails. A lost connection may be replaced for twice as long.
    pub stall_timeout: Duration,
    /// A peer that does not answer `Init`, or `Welcome`, for this long is given up.
    pub handshake_timeout: Duration,
    /// Where the jitter of re-dials begins: any number, another one for each session.
    pub seed: u64,
}

/// What the provider's survey found, for [`super::Session::handle_surveyed`].
#[derive(Clone, Copy, Debug)]
pub struct Totals<'a> {
    /// What the state is as a whole: 0 directory, 1 file, 2 stream.
    pub shape: u8,
    /// Items.
    pub items: u64,
    /// Logical bytes; `None`: only the end will tell.
    pub bytes: Option<u64>,
    /// Bytes that are stored, holes left out.
    pub allocated: u64,
    /// Bytes of the longest part of any item's name; 0: not known.
    pub longest_name: u16,
    /// Names the content.
    pub snapshot: SnapshotId,
    /// Members in the state's digest: its parts follow by [`super::Session::handle_digest`].
    pub digest_members: u16,
    /// The application's own words, at most [`crate::wire::APP_META_MAX`] bytes.
    pub app_meta: &'a [u8],
}

/// What both sides know of a task once it is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Which checksums.
    pub integrity: Integrity,
    /// Everything travels on lane 0, at once.
    pub small: bool,
    /// Data lanes; 0 for a small task.
    pub lanes: u16,
    /// The length of chunks.
    pub chunk: ChunkLen,
    /// Items.
    pub items: u64,
    /// Logical bytes, if known.
    pub bytes: Option<u64>,
    /// Names the content.
    pub snapshot: SnapshotId,
    /// Members in its digest.
    pub digest_members: u16,
}

impl From<&Task<'_>> for Terms {
    fn from(task: &Task<'_>) -> Self {
        Self {
            integrity: task.integrity,
            small: task.small,
            lanes: task.lanes,
            chunk: task.chunk,
            items: task.items,
            bytes: task.bytes,
            snapshot: task.snapshot,
            digest_members: task.digest_members,
        }
    }
}
