//! Payload bytes on their way, without a copy.

use std::ops::{Deref, Range};
use std::sync::Arc;

use longhaul_state::pool::Buffer;

/// A part of a pool's buffer, or of a source's own memory.
#[derive(Debug)]
pub enum Bytes {
    /// The only part of its buffer: a large payload, which costs no allocation.
    Alone(Buffer, Range<usize>),
    /// One of several parts.
    Buffer(Arc<Buffer>, Range<usize>),
    /// Of a source that lives in memory.
    Memory(Arc<[u8]>, Range<usize>),
}

impl Bytes {
    /// The buffer of a pool that they lie in, if they lie in one, and where.
    #[must_use]
    pub fn buffer(&self) -> Option<(&Buffer, Range<usize>)> {
        match self {
            Self::Alone(buffer, range) => Some((buffer, range.clone())),
            Self::Buffer(buffer, range) => Some((buffer, range.clone())),
            Self::Memory(..) => None,
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Alone(buffer, range) => &buffer[range.clone()],
            Self::Buffer(buffer, range) => &buffer[range.clone()],
            Self::Memory(memory, range) => &memory[range.clone()],
        }
    }
}
