//! What a lane sends at once.

use std::ops::Range;

use crate::bytes::Bytes;
use crate::chunk::Chunk;

/// Frames and payloads to be written one after another.
#[derive(Debug, Default)]
pub struct Burst {
    control: Vec<u8>,
    segments: Vec<Segment>,
    /// The last of it, if that is in pipes.
    piped: Option<Chunk>,
    len: usize,
}

#[derive(Debug)]
enum Segment {
    Control(Range<usize>),
    Payload(Bytes),
}

/// Bytes at which a burst goes to the writer.
const BYTES: usize = 512 << 10;
/// What a burst that comes back keeps of its memory for pieces.
const SEGMENTS: usize = 512;
/// What a burst that comes back keeps of its memory for control frames, in bytes.
const KEPT: usize = 64 << 10;

impl Burst {
    /// The pieces of memory that are to be sent, one after another.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().map(|segment| match segment {
            Segment::Control(range) => &self.control[range.clone()],
            Segment::Payload(bytes) => bytes,
        })
    }

    /// The payload to be sent after them, all of it in pipes.
    pub const fn take_piped(&mut self) -> Option<Chunk> {
        self.piped.take()
    }

    /// All of it, if it is control alone.
    pub(crate) fn words(&self) -> Option<&[u8]> {
        match &self.segments[..] {
            [Segment::Control(range)] if self.piped.is_none() => Some(&self.control[range.clone()]),
            _ => None,
        }
    }

    /// So many bytes of its words were sent.
    pub(super) fn said(&mut self, bytes: usize) {
        if bytes == self.len {
            self.clear();
        } else if let Some(Segment::Control(range)) = self.segments.first_mut() {
            range.start += bytes;
            self.len -= bytes;
        }
    }

    /// Whether it is to be sent before there is more of it.
    pub(crate) const fn is_full(&self) -> bool {
        self.len >= BYTES || self.piped.is_some()
    }

    /// Bytes in it.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written is let go; the memory serves the next one.
    pub(super) fn clear(&mut self) {
        self.control.clear();
        self.control.shrink_to(KEPT);
        self.segments.clear();
        self.segments.shrink_to(SEGMENTS);
        self.piped = None;
        self.len = 0;
    }

    /// Appends headers and bodies.
    pub(crate) fn control(&mut self, bytes: &[u8]) {
        debug_assert!(self.piped.is_none(), "nothing follows what is in pipes");
        let start = self.control.len();
        self.control.extend_from_slice(bytes);
        self.len += bytes.len();
        match self.segments.last_mut() {
            Some(Segment::Control(range)) => range.end = self.control.len(),
            _ => self.segments.push(Segment::Control(start..self.control.len())),
        }
    }

    /// Appends a payload: a small one is copied, which costs less than a slice of its own.
    pub(crate) fn payload(&mut self, chunk: Chunk) {
        const COPY: usize = 1024;
        let bytes = match chunk.into_bytes() {
            Ok(bytes) => bytes,
            Err(piped) => {
                self.len += piped.len();
                self.piped = Some(piped);
                return;
            }
        };
        if bytes.len() <= COPY {
            return self.control(&bytes);
        }
        self.len += bytes.len();
        self.segments.push(Segment::Payload(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_of_words_is_not_sent_again() {
        let mut burst = Burst::default();
        burst.control(b"a few ");
        burst.control(b"words");
        burst.said(0);
        assert_eq!(burst.words(), Some(&b"a few words"[..]));
        burst.said(2);
        burst.control(b", and more");
        assert_eq!(burst.pieces().collect::<Vec<_>>(), [b"few words, and more"]);
        assert_eq!(burst.len(), 19);
        burst.said(19);
        assert!(burst.is_empty());
        assert_eq!(burst.pieces().count(), 0);
    }
}
