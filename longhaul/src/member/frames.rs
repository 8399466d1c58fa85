//! Transfer frames on a socket: each whole and checked, or an error.

use std::io::{self, Read};

use longhaul_core::transfer::Tag;
use longhaul_core::transfer::wire::{FRAME_MAX, Frame, FrameError, HEADER_LEN, Header, Payload};

/// Reads frames, one after another.
pub(crate) struct Frames<R> {
    from: R,
    body: Vec<u8>,
}

impl<R: Read> Frames<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, body: Vec::new() }
    }

    /// The next frame; its payload, if it has one, must be read before the one after.
    pub(crate) fn next(&mut self) -> io::Result<(Tag, Frame<'_>)> {
        let mut head = [0; HEADER_LEN];
        self.from.read_exact(&mut head)?;
        let header = Header::parse(&head).map_err(invalid)?;
        // A header is believed once its checksum holds; its length is within its kind's bounds.
        self.body.resize(header.len as usize, 0);
        self.from.read_exact(&mut self.body)?;
        let frame = Frame::parse(&header, &self.body).map_err(invalid)?;
        Ok((header.tag, frame))
    }

    /// The payload that a frame has announced; its length is within the protocol's bound.
    pub(crate) fn payload(&mut self, announced: Payload) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; announced.len as usize];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// A frame's bytes.
pub(crate) fn emitted(tag: Tag, frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = vec![0; FRAME_MAX];
    let len = frame.emit(tag, &mut bytes).expect("the buffer takes any frame");
    bytes.truncate(len);
    bytes
}

fn invalid(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}
