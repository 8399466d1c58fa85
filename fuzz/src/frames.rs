//! A header and a body, as they come from a connection.

use longhaul_core::integrity::crc32c;
use longhaul_core::wire::{FRAME_MAX, Frame, HEADER_LEN, Header, Kind};

/// The first byte says whether the checksums are made to hold, so that what they guard is reached; then
/// a header, then a body.
///
/// # Panics
/// If what parses is not emitted and parsed as the same.
pub fn check(bytes: &[u8]) {
    let Some((&mode, bytes)) = bytes.split_first() else { return };
    let Some((head, body)) = bytes.split_first_chunk::<HEADER_LEN>() else { return };
    let mut head = *head;
    if mode & 1 == 1 {
        mend(&mut head, body);
    }
    let Ok(header) = Header::parse(&head) else { return };
    assert_eq!(header.to_bytes(), head, "a header has one form");
    let (min, max) = header.kind.body_len();
    assert!((min..=max).contains(&header.len), "the length was checked");
    let body = if header.kind == Kind::Data { &[] } else { body };
    let Ok(frame) = Frame::parse(&header, body) else { return };
    reads_back(&header, &frame);
}

/// Magic, version and checksums as they must be; and the length, if the header says nothing of it.
fn mend(head: &mut [u8; HEADER_LEN], body: &[u8]) {
    head[..3].copy_from_slice(b"HL\x01");
    if head[8..12] == [0; 4] {
        head[8..12].copy_from_slice(&(body.len() as u32).to_le_bytes());
    }
    head[24..28].copy_from_slice(&crc32c(body).to_le_bytes());
    let crc = crc32c(&head[..28]);
    head[28..].copy_from_slice(&crc.to_le_bytes());
}

/// What was parsed is emitted within the bounds, and parsed as the same.
pub(crate) fn reads_back(header: &Header, frame: &Frame<'_>) {
    assert_eq!(frame.kind(), header.kind);
    let mut out = [0; FRAME_MAX];
    let len = frame.emit_of(header.task, &mut out).expect("what came fits into a frame");
    let (head, body) = out[..len].split_first_chunk::<HEADER_LEN>().expect("a frame has a header");
    let again = Header::parse(head).expect("what is emitted is a header");
    assert_eq!((again.kind, again.task), (header.kind, header.task));
    assert_eq!(Frame::parse(&again, body), Ok(*frame), "what is emitted is what was parsed");
    let short = frame.emit_of(header.task, &mut out[..len - 1]);
    assert!(short.is_err(), "a buffer that is too small is said to be");
}
