//! Fills a store, as quickly as it takes it.

use std::io;

use super::connection::{Connection, Reply};
use super::random::Random;

/// Values of one transaction, and bytes of each.
const VALUES: u64 = 24;
const VALUE_BYTES: usize = 40_000;

/// Writes `bytes` of values that can't be compressed away, to keys of its own, in transactions of about a mebibyte.
///
/// # Errors
/// What the connection or the member said.
pub fn fill(member: &mut Connection, bytes: u64, seed: u64) -> io::Result<u64> {
    let mut random = Random(seed);
    let mut written = 0;
    let mut number = 0;
    while written < bytes {
        let mut lines = vec!["BEGIN\n".to_owned()];
        for _ in 0..VALUES.min((bytes - written).div_ceil(VALUE_BYTES as u64)) {
            lines.push(format!("PUT fill/{number:09} {}\n", random.letters(VALUE_BYTES)));
            (number, written) = (number + 1, written + VALUE_BYTES as u64);
        }
        lines.push("COMMIT\n".to_owned());
        member.say(lines.concat().as_bytes())?;
        for _ in &lines {
            if let Reply::Refused(why) = Reply::parse(&member.hear()?) {
                return Err(io::Error::other(why));
            }
        }
    }
    Ok(written)
}
