//! Receipts: what a state was, small enough to keep.

use longhaul_core::integrity::{Integrity, Root};
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind};

/// The layout of a receipt that this version writes and reads.
const FORMAT: u64 = 1;

/// What a state was: enough to tell later whether a copy is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The root.
    pub root: Root,
    /// Items.
    pub items: u64,
    /// Logical bytes of content, each set of hard links once.
    pub bytes: u64,
}

impl Receipt {
    /// The receipt as JSON, for a file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let value = json!({
            "longhaul_receipt": FORMAT,
            "version": env!("CARGO_PKG_VERSION"),
            "integrity": self.root.integrity.name(),
            "root": self.root.to_string(),
            "items": self.items,
            "bytes": self.bytes,
        });
        format!("{value:#}\n")
    }

    /// Reads what [`Receipt::to_json`] wrote.
    ///
    /// # Errors
    /// If it is no receipt, one of another format, or one without a root.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| bad("it is not JSON").with_cause(error))?;
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        match number("longhaul_receipt") {
            Some(FORMAT) => {}
            Some(other) => return Err(bad(&format!("its format is {other}, this version reads {FORMAT}"))),
            None => return Err(bad("it does not say that it is one")),
        }
        let root = value.get("root").and_then(Value::as_str).ok_or_else(|| bad("it has no root"))?;
        let root = parse_root(root).ok_or_else(|| bad("its root can't be read"))?;
        match (number("items"), number("bytes")) {
            (Some(items), Some(bytes)) => Ok(Self { root, items, bytes }),
            _ => Err(bad("it has no totals")),
        }
    }
}

fn bad(why: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("the file is no receipt of longhaul: {why}"))
        .with_hint("a receipt is written by longhaul fetch --receipt FILE")
}

/// The inverse of the root's `Display`.
fn parse_root(text: &str) -> Option<Root> {
    let (integrity, digits) = text.split_once(':')?;
    let integrity =
        [Integrity::Crc32c, Integrity::Blake3].into_iter().find(|kind| kind.name() == integrity)?;
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().as_chunks::<2>().0) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Root { integrity, hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_reads_back() {
        let receipt =
            Receipt { root: Root { integrity: Integrity::Blake3, hash: [0xa5; 32] }, items: 3, bytes: 9 };
        assert_eq!(Receipt::from_json(&receipt.to_json()).unwrap(), receipt);
    }

    #[test]
    fn what_is_no_receipt_is_said_so() {
        for text in [
            "",
            "{}",
            r#"{"longhaul_receipt":2}"#,
            r#"{"longhaul_receipt":1,"root":"none","items":1,"bytes":1}"#,
            r#"{"longhaul_receipt":1,"root":"crc32c:12","items":1,"bytes":1}"#,
        ] {
            let error = Receipt::from_json(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{text}");
        }
    }
}
