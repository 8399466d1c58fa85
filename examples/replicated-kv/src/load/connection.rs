//! A client's end of the line protocol.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long to wait to be connected, and for an answer: longer than a member waits for its primary.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));

/// One connection to a member.
pub struct Connection {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
}

/// An answer's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done: what stands behind the first word.
    Done(String),
    /// Nothing was changed: why.
    Refused(String),
    /// Nobody knows.
    InDoubt,
}

impl Connection {
    /// Connects to a member.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(address: &str) -> io::Result<Self> {
        let target = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let writer = TcpStream::connect_timeout(&target, PATIENCE.0)?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(PATIENCE.1))?;
        writer.set_write_timeout(Some(PATIENCE.1))?;
        let reader = BufReader::new(writer.try_clone()?);
        Ok(Self { writer, reader })
    }

    /// Says lines, all at once.
    ///
    /// # Errors
    /// What the connection said.
    pub fn say(&mut self, lines: &[u8]) -> io::Result<()> {
        self.writer.write_all(lines)
    }

    /// The next line that the member says, its end left out.
    ///
    /// # Errors
    /// What the connection said; [`io::ErrorKind::UnexpectedEof`] where it is over.
    pub fn hear(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        if line.pop() == Some(b'\n') { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Says one line and hears its answer of one line.
    ///
    /// # Errors
    /// What the connection said: whether it was carried out is in doubt.
    pub fn ask(&mut self, line: &str) -> io::Result<Reply> {
        self.say(format!("{line}\n").as_bytes())?;
        Ok(Reply::parse(&self.hear()?))
    }

    /// Says one line and hears its answer of several, up to END.
    ///
    /// # Errors
    /// What the connection said.
    pub fn ask_for_lines(&mut self, line: &str) -> io::Result<Vec<String>> {
        self.say(format!("{line}\n").as_bytes())?;
        let mut lines = Vec::new();
        loop {
            let line = String::from_utf8_lossy(&self.hear()?).into_owned();
            if line == "END" || line.starts_with("ERR ") {
                return Ok(lines);
            }
            lines.push(line);
        }
    }

    /// The last record that the member has applied; `None` while it has no state.
    ///
    /// # Errors
    /// What the connection said.
    pub fn applied(&mut self) -> io::Result<Option<u64>> {
        let status = self.ask_for_lines("STATUS")?;
        let applied = status.iter().find_map(|line| line.strip_prefix("applied "));
        Ok(applied.and_then(|applied| applied.parse().ok()))
    }
}

impl Reply {
    pub(super) fn parse(line: &[u8]) -> Self {
        let line = String::from_utf8_lossy(line);
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "ERR" => Self::Refused(rest.to_owned()),
            "DOUBT" => Self::InDoubt,
            _ => Self::Done(rest.to_owned()),
        }
    }
}
