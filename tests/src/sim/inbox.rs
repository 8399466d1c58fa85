//! A lane's reader: cuts frames out of what comes, wherever it was split.

use std::collections::VecDeque;

use longhaul_core::wire::{HEADER_LEN, Header, Kind, WireError};

use super::content::Piece;
use super::network::{Segment, take};

#[derive(Debug, Default)]
pub(crate) struct Inbox {
    segments: VecDeque<Segment>,
    len: usize,
    header: Option<Header>,
}

/// A frame as it came: its header, and its body or its payload.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
    pub(crate) payload: Option<Piece>,
}

impl Inbox {
    pub(crate) fn push(&mut self, segments: Vec<Segment>) {
        self.len += segments.iter().map(Segment::len).sum::<usize>();
        self.segments.extend(segments);
    }

    /// Bytes that have come and are not handed on.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The next whole frame.
    pub(crate) fn next(&mut self) -> Result<Option<Inbound>, WireError> {
        let header = match self.header {
            Some(header) => header,
            None if self.len < HEADER_LEN => return Ok(None),
            None => {
                let head = bytes(self.take(HEADER_LEN));
                let header = Header::parse(head.first_chunk().expect("as many were taken"))?;
                *self.header.insert(header)
            }
        };
        let len = header.len as usize;
        if self.len < len {
            return Ok(None);
        }
        self.header = None;
        let taken = self.take(len);
        Ok(Some(if header.kind == Kind::Data {
            Inbound { header, body: Vec::new(), payload: Some(piece(taken)) }
        } else {
            Inbound { header, body: bytes(taken), payload: None }
        }))
    }

    fn take(&mut self, len: usize) -> Vec<Segment> {
        self.len -= len;
        take(&mut self.segments, len)
    }
}

fn bytes(segments: Vec<Segment>) -> Vec<u8> {
    let mut whole = Vec::new();
    for segment in segments {
        match segment {
            Segment::Bytes(bytes) => whole.extend_from_slice(&bytes),
            Segment::Piece(_) => panic!("a payload where a header or body is due: framing was lost"),
        }
    }
    whole
}

/// A payload is one piece of a content, whatever it was cut into on its way.
fn piece(segments: Vec<Segment>) -> Piece {
    let pieces = segments.into_iter().map(|segment| match segment {
        Segment::Piece(piece) => piece,
        Segment::Bytes(_) => panic!("a header where a payload is due: framing was lost"),
    });
    let join = |whole: Piece, next| whole.join(next).expect("what was sent as one comes as one");
    pieces.reduce(join).expect("a payload is not empty")
}
