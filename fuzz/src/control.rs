//! A control frame of a transfer, as it comes from a connection.

use longhaul_core::integrity::crc32c;
use longhaul_core::transfer::wire::{FRAME_MAX, Frame, HEADER_LEN, Header};

/// Where the header says the body's checksum, and its own.
const CHECKSUMS: usize = HEADER_LEN - 8;

/// The first byte says whether the checksums are made to hold, so that what they guard is reached; then a header,
/// then a body.
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
    assert!(Header::begins(&head), "what is a header begins as one");
    assert_eq!(header.to_bytes(), head, "a header has one form");
    let (min, max) = header.kind.body_len();
    assert!((min..=max).contains(&header.len), "the length was checked");
    if let Ok(frame) = Frame::parse(&header, body) {
        reads_back(&header, &frame, body);
    }
}

/// Magic, version and checksums as they must be; and the length, if the header says nothing of it.
fn mend(head: &mut [u8; HEADER_LEN], body: &[u8]) {
    head[..3].copy_from_slice(b"LT\x01");
    if head[4..8] == [0; 4] {
        head[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
    }
    head[CHECKSUMS..CHECKSUMS + 4].copy_from_slice(&crc32c(body).to_le_bytes());
    let crc = crc32c(&head[..CHECKSUMS + 4]);
    head[CHECKSUMS + 4..].copy_from_slice(&crc.to_le_bytes());
}

/// What was parsed is emitted within the bounds, byte for byte as it came.
fn reads_back(header: &Header, frame: &Frame<'_>, body: &[u8]) {
    assert_eq!(frame.kind(), header.kind);
    let mut out = [0; FRAME_MAX];
    let len = frame.emit(header.tag, &mut out).expect("what came fits into a frame");
    assert_eq!(out[..HEADER_LEN], header.to_bytes(), "its header is the same");
    assert_eq!(&out[HEADER_LEN..len], body, "a frame has one form");
    assert!(frame.emit(header.tag, &mut out[..len - 1]).is_err(), "a buffer that is too small is said to be");
}
