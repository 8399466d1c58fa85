//! A name from a peer.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use longhaul_core::item::{ItemName, PART_MAX, PATH_MAX, Version};

/// Any bytes as a name.
///
/// # Panics
/// If it is one and the file system would walk elsewhere with it, or the other way round.
pub fn check(bytes: &[u8]) {
    let parsed = ItemName::parse(bytes);
    assert_eq!(parsed.is_ok(), is_plain(bytes), "{parsed:?}");
    match parsed {
        Ok(name) => {
            assert_eq!(name.as_bytes(), bytes);
            assert_eq!(name.is_root(), bytes.is_empty());
            assert_eq!(name.parts().collect::<Vec<_>>().join(&b'/'), bytes);
            shown(&format!("{name:?}"), bytes);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert_eq!(Version::new(bytes).map(|version| version.as_bytes() == bytes), {
        (bytes.len() <= Version::MAX).then_some(true)
    });
}

/// What a name is, said by the standard library's paths.
fn is_plain(bytes: &[u8]) -> bool {
    let plain = |component| matches!(component, Component::Normal(part) if part.len() <= PART_MAX);
    let path = Path::new(OsStr::from_bytes(bytes));
    let components: Vec<_> = path.components().collect();
    let again: Vec<_> = components.iter().map(|component| component.as_os_str().as_bytes()).collect();
    bytes.len() <= PATH_MAX
        && !bytes.contains(&0)
        && components.into_iter().all(plain)
        // Paths forget slashes and dots that names may not have.
        && again.join(&b'/') == bytes
}

/// What a terminal is shown is printable, and tells names apart.
fn shown(text: &str, bytes: &[u8]) {
    assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    // Without the quotes.
    let (mut rest, mut back) = (&text.as_bytes()[1..text.len() - 1], Vec::new());
    while let Some((&first, left)) = rest.split_first() {
        let (byte, len) = match (first, left.first()) {
            (b'\\', Some(b'x')) => {
                let digits = std::str::from_utf8(&left[1..3]).expect("it is ASCII");
                (u8::from_str_radix(digits, 16).expect("two digits follow"), 3)
            }
            (b'\\', Some(b'n')) => (b'\n', 1),
            (b'\\', Some(b't')) => (b'\t', 1),
            (b'\\', Some(b'r')) => (b'\r', 1),
            (b'\\', Some(b'\\')) => (b'\\', 1),
            _ => (first, 0),
        };
        back.push(byte);
        rest = &left[len..];
    }
    assert_eq!(back, bytes);
}
