//! The log of what a file system did with its disk, and of what the command said meanwhile.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::image::{BLOCK, Image};

/// What the command has promised by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Promise {
    /// Nothing: the destination may still show what it showed before.
    Nothing,
    /// It said that the new state is installed.
    Installed,
    /// It ended with exit 0: nothing of it is left beside the destination.
    Over,
}

/// One entry.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Bytes that the disk has acknowledged, and may still lose.
    Write {
        /// Where, in bytes.
        offset: u64,
        /// What.
        data: Arc<[u8]>,
    },
    /// All writes before it are durable.
    Flush,
    /// From here on this is promised.
    Promise(Promise),
}

/// A disk, and what was done with it from then on.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The disk at the beginning, all of it durable.
    pub(crate) base: Arc<Image>,
    /// The disk's length in bytes.
    pub(crate) len: u64,
    /// What was done, in order.
    pub(crate) events: Vec<Event>,
}

impl Log {
    /// Writes it to a file: a line of text for each entry, its bytes behind it.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let mut out = format!("{}\n", self.len).into_bytes();
        for (number, block) in self.base.blocks() {
            say(&mut out, 'b', number * BLOCK as u64, block);
        }
        for event in &self.events {
            match event {
                Event::Write { offset, data } => say(&mut out, 'w', *offset, data),
                Event::Flush => say(&mut out, 'f', 0, &[]),
                Event::Promise(Promise::Over) => say(&mut out, 'o', 0, &[]),
                Event::Promise(_) => say(&mut out, 'i', 0, &[]),
            }
        }
        fs::write(path, out)
    }

    /// Reads what [`Self::save`] wrote.
    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        let bytes = fs::read(path)?;
        Self::parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "this is no recording"))
    }

    fn parse(mut bytes: &[u8]) -> Option<Self> {
        let (mut base, mut events) = (Image::default(), Vec::new());
        let len = line(&mut bytes)?.parse().ok()?;
        while !bytes.is_empty() {
            let words: Vec<&str> = line(&mut bytes)?.split(' ').collect();
            let [kind, offset, len] = words[..] else { return None };
            let offset = offset.parse().ok()?;
            let data = bytes.split_off(..len.parse().ok()?)?;
            match kind {
                "b" => base.write(offset, data),
                "w" => events.push(Event::Write { offset, data: data.into() }),
                "f" => events.push(Event::Flush),
                "i" => events.push(Event::Promise(Promise::Installed)),
                "o" => events.push(Event::Promise(Promise::Over)),
                _ => return None,
            }
        }
        Some(Self { base: Arc::new(base), len, events })
    }
}

fn say(out: &mut Vec<u8>, kind: char, offset: u64, data: &[u8]) {
    let mut line = String::new();
    writeln!(line, "{kind} {offset} {}", data.len()).expect("a string takes all");
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(data);
}

fn line<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let line = str::from_utf8(&bytes[..end]).ok();
    *bytes = &bytes[end + 1..];
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_again() {
        let mut base = Image::default();
        base.write(5000, b"base");
        let write = Event::Write { offset: 512, data: Arc::from(&b"line\nb 1 2\n"[..]) };
        let events =
            vec![write, Event::Flush, Event::Promise(Promise::Installed), Event::Promise(Promise::Over)];
        let log = Log { base: Arc::new(base), len: 1 << 20, events };
        let file = tempfile::NamedTempFile::new().unwrap();
        log.save(file.path()).unwrap();
        let again = Log::load(file.path()).unwrap();
        assert_eq!((again.len, again.base.sum()), (log.len, log.base.sum()));
        assert_eq!(format!("{:?}", again.events), format!("{:?}", log.events));
    }
}
