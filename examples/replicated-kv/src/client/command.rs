//! Commands, as people type them.

use longhaul_core::digest::SequenceNumber;

use crate::bytes::Malformed;
use crate::record::{Change, KEY_MAX, Key, TransactionId, VALUE_MAX, Value};

/// The longest line, its end left out.
pub const LINE_MAX: usize = VALUE_MAX + KEY_MAX + 64;

/// What `HELP` says.
pub const HELP: &str = "\
GET key            the value of a key here: VALUE ... or NONE
PUT key value      writes: OK and the place of the record; the value is the rest of the line
DELETE key         deletes
BEGIN              opens a transaction: PUT and DELETE are gathered until
  COMMIT           carries it out, in one step
  PREPARE          first phase: locks its keys, answers PREPARED and its number
  ROLLBACK         forgets it
COMMIT number      second phase of a prepared transaction, from any connection to any member
ROLLBACK number    second phase: forgets it
PENDING            transactions that are prepared and not ended
STATUS             who this is and how far it has come
ROOT               the checksum of the whole state, and the record up to which it is
QUIT               ends the connection
OK means durable at the primary, ERR that nothing was changed, DOUBT that nobody knows. An answer of several lines ends with END. Keys have no spaces.
";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Reads a key.
    Get(Key),
    /// Writes or deletes a key.
    Change(Change),
    /// Opens a transaction.
    Begin,
    /// First phase of the open transaction.
    Prepare,
    /// Of the open transaction, or second phase of a prepared one.
    Commit(Option<TransactionId>),
    /// Of the open transaction, or second phase of a prepared one.
    Rollback(Option<TransactionId>),
    /// What is prepared.
    Pending,
    /// Who this is.
    Status,
    /// The checksum of the state.
    Root,
    /// What can be said.
    Help,
    /// Ends the connection.
    Quit,
}

impl Command {
    /// # Errors
    /// What is wrong with the line, and what would be right.
    pub fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let (word, rest) = split(line);
        let word = word.to_ascii_uppercase();
        let alone = |command, what| if rest.is_empty() { Ok(command) } else { Err(Malformed(what)) };
        match &*word {
            b"GET" => Ok(Self::Get(Key::new(rest)?)),
            b"PUT" => {
                let (key, value) = split(rest);
                let value = Some(Value::new(value)?);
                Ok(Self::Change(Change { key: Key::new(key)?, value }))
            }
            b"DELETE" => Ok(Self::Change(Change { key: Key::new(rest)?, value: None })),
            b"COMMIT" => transaction(rest).map(Self::Commit),
            b"ROLLBACK" => transaction(rest).map(Self::Rollback),
            b"BEGIN" => alone(Self::Begin, "BEGIN stands alone"),
            b"PREPARE" => alone(Self::Prepare, "PREPARE stands alone: it prepares the open transaction"),
            b"PENDING" => alone(Self::Pending, "PENDING stands alone"),
            b"STATUS" => alone(Self::Status, "STATUS stands alone"),
            b"ROOT" => alone(Self::Root, "ROOT stands alone"),
            b"HELP" => alone(Self::Help, "HELP stands alone"),
            b"QUIT" => alone(Self::Quit, "QUIT stands alone"),
            _ => Err(Malformed("unknown command: HELP lists them")),
        }
    }
}

/// The first word, and what stands behind the space after it.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b' ') {
        Some(space) => (&line[..space], &line[space + 1..]),
        None => (line, &[]),
    }
}

fn transaction(rest: &[u8]) -> Result<Option<TransactionId>, Malformed> {
    if rest.is_empty() {
        return Ok(None);
    }
    let number = str::from_utf8(rest).ok().and_then(|text| text.parse().ok());
    let number = number.ok_or(Malformed("a transaction is a number: PENDING lists them"))?;
    Ok(Some(TransactionId(SequenceNumber(number))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, Malformed> {
        Command::parse(line.as_bytes())
    }

    #[test]
    fn a_line_is_a_command() {
        let key = || Key::new(b"a").unwrap();
        let put =
            |value: &[u8]| Command::Change(Change { key: key(), value: Some(Value::new(value).unwrap()) });
        assert_eq!(parse("PUT a b c "), Ok(put(b"b c ")), "a value is the rest of the line, spaces too");
        assert_eq!(parse("put a"), Ok(put(b"")), "an empty value is one");
        assert_eq!(parse("DELETE a"), Ok(Command::Change(Change { key: key(), value: None })));
        assert_eq!(parse("Get a"), Ok(Command::Get(key())));
        let transaction = TransactionId(SequenceNumber(12));
        assert_eq!(parse("COMMIT 12"), Ok(Command::Commit(Some(transaction))));
        assert_eq!(parse("ROLLBACK"), Ok(Command::Rollback(None)));
    }

    #[test]
    fn what_is_no_command_says_what_would_be() {
        for (line, says) in [
            ("", "HELP lists them"),
            ("FLUSH", "HELP lists them"),
            ("GET", "1 to 1024 bytes"),
            ("GET a b", "no spaces"),
            ("PUT", "1 to 1024 bytes"),
            ("DELETE a\tb", "no control characters"),
            ("COMMIT now", "a transaction is a number"),
            ("COMMIT -1", "a transaction is a number"),
            ("PREPARE 7", "prepares the open transaction"),
            ("STATUS please", "stands alone"),
        ] {
            let said = parse(line).unwrap_err().to_string();
            assert!(said.contains(says), "{line:?}: {said}");
        }
    }

    #[test]
    fn help_names_every_command() {
        for word in "GET PUT DELETE BEGIN COMMIT PREPARE ROLLBACK PENDING STATUS ROOT QUIT".split(' ') {
            assert!(HELP.contains(word), "{word}");
        }
    }
}
