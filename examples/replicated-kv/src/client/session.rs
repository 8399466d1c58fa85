//! One client's connection, to its end.

use std::fmt::Display;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::command::{Command, HELP, LINE_MAX};
use crate::error::Error;
use crate::member::{Submit, SubmitError, Submitted};
use crate::record::{CHANGES_MAX, Change, Operation, TRANSACTION_MAX, TransactionId};
use crate::store::Snapshot;

/// What a client can have of a member.
pub trait Desk: Submit {
    /// The state here, as it is now.
    ///
    /// # Errors
    /// If it can't be read.
    fn snapshot(&self) -> Result<Snapshot, Error>;

    /// Who this is and how far it has come: names and values.
    fn status(&self) -> Vec<(&'static str, String)>;
}

/// How long a client may say nothing, and may leave an answer unread.
const IDLE: Duration = Duration::from_mins(10);

/// Serves a client until it says QUIT, closes its end, says nothing for long, or says a line that is too long.
///
/// # Errors
/// What the connection said.
pub fn serve(desk: &dyn Desk, stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let mut session = Session { desk, open: None, bytes: 0, prepared: None };
    let mut reader = BufReader::new(stream);
    let mut writer = BufWriter::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        reader.by_ref().take(LINE_MAX as u64 + 2).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.pop_if(|byte| *byte == b'\n').is_none() {
            if line.len() > LINE_MAX {
                writeln!(writer, "ERR a line has at most {LINE_MAX} bytes: goodbye")?;
            }
            return writer.flush();
        }
        line.pop_if(|byte| *byte == b'\r');
        let goes_on = session.line(&line, &mut writer)?;
        // Whoever sends many lines at once gets the answers at once.
        if reader.buffer().is_empty() || !goes_on {
            writer.flush()?;
        }
        if !goes_on {
            return Ok(());
        }
    }
}

struct Session<'a> {
    desk: &'a dyn Desk,
    /// The open transaction, and its bytes.
    open: Option<Vec<Change>>,
    bytes: usize,
    /// What was prepared last on this connection.
    prepared: Option<TransactionId>,
}

/// What is said of a command that was not, or not certainly, carried out.
struct Wrong {
    word: &'static str,
    text: String,
}

impl Wrong {
    fn refused(text: impl Display) -> Self {
        Self { word: "ERR", text: text.to_string() }
    }
}

impl Session<'_> {
    /// Answers one line. Whether to go on.
    fn line(&mut self, line: &[u8], out: &mut impl Write) -> io::Result<bool> {
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(malformed) => return writeln!(out, "ERR {malformed}").map(|()| true),
        };
        let answer = match command {
            Command::Quit => return writeln!(out, "BYE").map(|()| false),
            Command::Help => return writeln!(out, "{HELP}END").map(|()| true),
            Command::Get(key) => match self.desk.snapshot().and_then(|snapshot| snapshot.value(&key)) {
                Ok(Some(value)) => {
                    out.write_all(b"VALUE ")?;
                    out.write_all(&value)?;
                    return out.write_all(b"\n").map(|()| true);
                }
                Ok(None) => Ok("NONE".to_owned()),
                Err(error) => Err(Wrong::refused(error)),
            },
            Command::Change(change) => self.change(change),
            Command::Begin => self.begin(),
            Command::Prepare => self.prepare(),
            Command::Commit(None) if self.open.is_some() => self.commit_open(),
            Command::Rollback(None) if self.open.is_some() => {
                self.forget();
                Ok("OK".to_owned())
            }
            Command::Commit(transaction) => self.end(transaction, Operation::Commit),
            Command::Rollback(transaction) => self.end(transaction, Operation::Rollback),
            Command::Pending => self.pending(),
            Command::Status => Ok(self.status()),
            Command::Root => self.root(),
        };
        match answer {
            Ok(answer) => writeln!(out, "{answer}")?,
            Err(Wrong { word, text }) => writeln!(out, "{word} {text}")?,
        }
        Ok(true)
    }

    fn begin(&mut self) -> Result<String, Wrong> {
        if self.open.is_some() {
            return Err(Wrong::refused("a transaction is open: COMMIT, PREPARE or ROLLBACK it first"));
        }
        self.open = Some(Vec::new());
        Ok("OK".into())
    }

    fn change(&mut self, change: Change) -> Result<String, Wrong> {
        let Some(open) = &mut self.open else {
            return self.submit(Operation::Write(vec![change])).map(|submitted| done(&submitted));
        };
        let bytes = self.bytes + change.len_bytes();
        if open.len() >= CHANGES_MAX || bytes > TRANSACTION_MAX {
            return Err(Wrong::refused(format_args!(
                "a transaction has at most {CHANGES_MAX} changes and {TRANSACTION_MAX} bytes: COMMIT or ROLLBACK it"
            )));
        }
        self.bytes = bytes;
        open.push(change);
        Ok("QUEUED".into())
    }

    fn commit_open(&mut self) -> Result<String, Wrong> {
        let changes = self.open.clone().unwrap_or_default();
        let submitted = self.submit(Operation::Write(changes))?;
        self.forget();
        Ok(done(&submitted))
    }

    fn prepare(&mut self) -> Result<String, Wrong> {
        let changes = self.open.clone();
        let changes = changes.ok_or_else(|| Wrong::refused("no transaction is open: BEGIN opens one"))?;
        let Submitted { sequence, .. } = self.submit(Operation::Prepare(changes))?;
        self.forget();
        self.prepared = Some(TransactionId(sequence));
        Ok(format!("PREPARED {sequence}"))
    }

    fn end(
        &mut self,
        transaction: Option<TransactionId>,
        phase: fn(TransactionId) -> Operation,
    ) -> Result<String, Wrong> {
        let transaction = transaction
            .or(self.prepared)
            .ok_or_else(|| Wrong::refused("no transaction is open or prepared on this connection: BEGIN opens one, PENDING lists others"))?;
        let submitted = self.submit(phase(transaction))?;
        self.prepared = self.prepared.filter(|prepared| *prepared != transaction);
        Ok(done(&submitted))
    }

    fn forget(&mut self) {
        (self.open, self.bytes) = (None, 0);
    }

    /// What was refused can be tried again; of what is in doubt nothing is kept.
    fn submit(&mut self, operation: Operation) -> Result<Submitted, Wrong> {
        self.desk.submit(operation).map_err(|error| {
            let is_in_doubt = error == SubmitError::InDoubt;
            if is_in_doubt {
                self.forget();
            }
            Wrong { word: if is_in_doubt { "DOUBT" } else { "ERR" }, text: error.to_string() }
        })
    }

    fn pending(&self) -> Result<String, Wrong> {
        let pending = self.desk.snapshot().and_then(|snapshot| snapshot.pending()).map_err(Wrong::refused)?;
        let line = |(transaction, changes): (TransactionId, Vec<Change>)| {
            let keys: Vec<_> = changes.iter().map(|change| change.key.to_string()).collect();
            format!("{transaction} {}", keys.join(" "))
        };
        Ok(lines(pending.into_iter().map(line)))
    }

    fn status(&self) -> String {
        lines(self.desk.status().into_iter().map(|(name, value)| format!("{name} {value}")))
    }

    fn root(&self) -> Result<String, Wrong> {
        let snapshot = self.desk.snapshot().map_err(Wrong::refused)?;
        let root = snapshot.root().map_err(Wrong::refused)?;
        Ok(format!("ROOT {} blake3:{root}", snapshot.applied()))
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    let mut lines: Vec<_> = lines.collect();
    lines.push("END".into());
    lines.join("\n")
}

fn done(submitted: &Submitted) -> String {
    let Submitted { sequence, is_here } = submitted;
    // It is durable at the primary; readers here will see it later.
    if *is_here { format!("OK {sequence}") } else { format!("OK {sequence} BEHIND") }
}
