//! States that are written or read once, in order, and end where they end.
//!
//! ```text
//! from_writer   user's thread: callback ──write──▶ 256 KiB buffers ──bounded channel──▶ read_at
//!               Ok ▶ End, Err or panic ▶ an error; content dropped ▶ the next write: BrokenPipe
//! new           read_at ──read──▶ user's reader
//! ```

use std::error::Error;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::memory::SingleItem;
use super::{Content, Piece, Progress, Shape, Source, SourceError, SourceErrorKind, Survey, Walk};
use crate::item::Item;
use crate::panic_text;

/// What a callback's failure is.
type UserError = Box<dyn Error + Send + Sync>;
/// What the application writes its state with.
type WriteState = Box<dyn FnOnce(&mut dyn Write) -> Result<(), UserError> + Send>;

/// Bytes that travel from the callback at once.
const BUFFER_LEN: usize = 256 << 10;
/// Buffers between the callback and the transport.
const BUFFERS: usize = 4;

/// A state of unknown length, read or written once.
pub struct StreamSource(Mutex<Option<Start>>);

enum Start {
    Reader(Box<dyn Read + Send>),
    Writer(WriteState),
}

impl StreamSource {
    /// The state that `reader` gives until its end.
    #[must_use]
    pub fn new(reader: impl Read + Send + 'static) -> Self {
        Self(Mutex::new(Some(Start::Reader(Box::new(reader)))))
    }

    /// The state that `write_state` writes: `getState(OutputStream)` (Blagojevic 2006).
    ///
    /// It runs on a thread of its own, from the moment the state is asked for. The state ends only
    /// when it returns Ok; an error or a panic fails the transfer. If the transfer ends early, its
    /// next write fails with [`io::ErrorKind::BrokenPipe`].
    #[must_use]
    pub fn from_writer<E>(write_state: impl FnOnce(&mut dyn Write) -> Result<(), E> + Send + 'static) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let write_state: WriteState = Box::new(move |out| write_state(out).map_err(Into::into));
        Self(Mutex::new(Some(Start::Writer(write_state))))
    }
}

impl Source for StreamSource {
    fn survey(&self, _progress: &dyn Progress) -> Result<Survey, SourceError> {
        Ok(Survey { shape: Shape::Stream, items: 1, bytes: None, ..Survey::default() })
    }

    fn walk(&self) -> Result<Box<dyn Walk + '_>, SourceError> {
        Ok(Box::new(SingleItem::new(Item::stream())))
    }

    /// Opens the stream, once: what was read can't be read again.
    fn open(&self, _item: &Item) -> Result<Box<dyn Content>, SourceError> {
        let start = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let input = match start {
            None => return Err(SourceError::user("a stream can be read only once")),
            Some(Start::Reader(reader)) => Input::Reader(reader),
            Some(Start::Writer(write_state)) => Input::Callback(start_callback(write_state)?),
        };
        Ok(Box::new(StreamContent(Mutex::new(Reading { input, offset: 0, end: End::NotYet }))))
    }
}

struct StreamContent(Mutex<Reading>);

struct Reading {
    input: Input,
    offset: u64,
    end: End,
}

enum Input {
    Reader(Box<dyn Read + Send>),
    Callback(CallbackInput),
}

#[derive(PartialEq, Eq)]
enum End {
    NotYet,
    Reached,
    Failed,
}

impl Content for StreamContent {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if offset != reading.offset {
            return Err(SourceError::user("a stream is read in order"));
        }
        let result = reading.fill(buffer);
        if result.is_err() {
            reading.end = End::Failed;
        }
        result.map_err(|mut error| {
            error.offset = Some(reading.offset);
            error
        })
    }

    fn close(self: Box<Self>) -> Result<(), SourceError> {
        match self.0.into_inner().unwrap_or_else(PoisonError::into_inner).end {
            End::Reached => Ok(()),
            End::NotYet => Err(SourceError::user("the stream was closed before its end")),
            End::Failed => Err(SourceError::user("the stream failed")),
        }
    }
}

impl Reading {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<Piece, SourceError> {
        if self.end == End::Failed {
            return Err(SourceError::user("the stream failed"));
        }
        let mut filled = 0;
        while filled < buffer.len() && self.end == End::NotYet {
            match self.input.read(&mut buffer[filled..])? {
                0 => self.end = End::Reached,
                len => filled += len,
            }
        }
        self.offset += filled as u64;
        Ok(if filled == 0 { Piece::End } else { Piece::Data(filled) })
    }
}

impl Input {
    /// Reads something; 0 is the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        match self {
            Self::Callback(input) => input.read(buffer).map_err(SourceError::user),
            Self::Reader(reader) => loop {
                match catch_unwind(AssertUnwindSafe(|| reader.read(buffer))) {
                    Ok(Ok(len)) if len > buffer.len() => {
                        return Err(SourceError::user("the reader claims more bytes than it was asked for"));
                    }
                    Ok(Ok(len)) => return Ok(len),
                    Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(Err(error)) => {
                        return Err(SourceError::whole(SourceErrorKind::Io { action: "read", error }));
                    }
                    Err(panic) => return Err(SourceError::user(panic_text(panic.as_ref()))),
                }
            },
        }
    }
}

enum Message {
    Bytes(Vec<u8>),
    End,
    Failed(UserError),
}

struct CallbackInput {
    messages: Receiver<Message>,
    bytes: Vec<u8>,
    taken: usize,
}

impl CallbackInput {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, UserError> {
        if self.taken == self.bytes.len() {
            match self.messages.recv() {
                Ok(Message::Bytes(bytes)) => (self.bytes, self.taken) = (bytes, 0),
                Ok(Message::End) => return Ok(0),
                Ok(Message::Failed(error)) => return Err(error),
                Err(_) => return Err("the callback ended without a word".into()),
            }
        }
        let len = buffer.len().min(self.bytes.len() - self.taken);
        buffer[..len].copy_from_slice(&self.bytes[self.taken..self.taken + len]);
        self.taken += len;
        Ok(len)
    }
}

fn start_callback(write_state: WriteState) -> Result<CallbackInput, SourceError> {
    let (sender, messages) = sync_channel(BUFFERS);
    let callback = move || {
        let mut out = CallbackOutput { messages: sender, buffer: Vec::new() };
        let result = catch_unwind(AssertUnwindSafe(|| {
            write_state(&mut out)?;
            out.flush().map_err(UserError::from)
        }));
        let last = match result {
            Ok(Ok(())) => Message::End,
            Ok(Err(error)) => Message::Failed(error),
            Err(panic) => Message::Failed(panic_text(panic.as_ref()).into()),
        };
        // Nobody hears it if the transfer ended before.
        let _ = out.messages.send(last);
    };
    thread::Builder::new()
        .name("longhaul-source".into())
        .spawn(callback)
        .map_err(|error| SourceError::whole(SourceErrorKind::Io { action: "start of a thread", error }))?;
    Ok(CallbackInput { messages, bytes: Vec::new(), taken: 0 })
}

/// What the callback writes into: gathers small writes, waits while the transport is behind.
struct CallbackOutput {
    messages: SyncSender<Message>,
    buffer: Vec<u8>,
}

impl Write for CallbackOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(BUFFER_LEN);
        }
        let len = bytes.len().min(BUFFER_LEN - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..len]);
        if self.buffer.len() == BUFFER_LEN {
            self.flush()?;
        }
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.messages
            .send(Message::Bytes(std::mem::take(&mut self.buffer)))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the transfer has ended"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn open(source: &StreamSource) -> Box<dyn Content> {
        source.open(&Item::stream()).unwrap()
    }

    fn read_all(content: &dyn Content, step: usize) -> Result<Vec<u8>, SourceError> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; step]);
        while let Piece::Data(len) = content.read_at(all.len() as u64, &mut buffer)? {
            all.extend_from_slice(&buffer[..len]);
        }
        Ok(all)
    }

    #[test]
    fn a_reader_is_read_to_its_end_and_reads_fill_the_buffer() {
        let source = StreamSource::new((&b"hello "[..]).chain(&b"world"[..]));
        assert_eq!(source.survey(&()).unwrap().shape, Shape::Stream);
        let content = open(&source);
        let mut buffer = [0; 8];
        assert_eq!(content.read_at(0, &mut buffer).unwrap(), Piece::Data(8));
        assert_eq!(content.read_at(8, &mut buffer).unwrap(), Piece::Data(3));
        assert_eq!(content.read_at(11, &mut buffer).unwrap(), Piece::End);
        content.close().unwrap();
    }

    #[test]
    fn a_stream_is_opened_once_read_in_order_and_closed_at_its_end() {
        let source = StreamSource::new(&b"abc"[..]);
        let content = open(&source);
        assert!(source.open(&Item::stream()).is_err());
        assert!(content.read_at(1, &mut [0; 1]).is_err());
        assert!(content.close().is_err());
    }

    #[test]
    fn what_a_callback_writes_arrives_whole() {
        let expected: Vec<u8> = (0..3 * BUFFER_LEN + 7).map(|i| (i % 251) as u8).collect();
        let bytes = expected.clone();
        let source =
            StreamSource::from_writer(move |out| bytes.chunks(1000).try_for_each(|c| out.write_all(c)));
        let content = open(&source);
        assert_eq!(read_all(&*content, 70_000).unwrap(), expected);
        content.close().unwrap();
    }

    #[test]
    fn an_error_or_a_panic_of_the_callback_is_never_an_end() {
        let failing = StreamSource::from_writer(|out| -> Result<(), UserError> {
            out.write_all(b"half")?;
            Err("the engine is shutting down".into())
        });
        let panicking = StreamSource::from_writer(|out| -> io::Result<()> {
            out.write_all(b"half")?;
            panic!("the engine is broken")
        });
        for (source, text) in [(failing, "shutting down"), (panicking, "broken")] {
            let content = open(&source);
            let error = read_all(&*content, 16).unwrap_err();
            assert!(
                matches!(error.kind, SourceErrorKind::User(_)) && error.to_string().contains(text),
                "{error}"
            );
            assert!(content.close().is_err());
        }
    }

    #[test]
    fn a_callback_whose_transfer_ended_gets_a_broken_pipe() {
        let (sender, outcome) = channel();
        let source = StreamSource::from_writer(move |out| {
            let error = loop {
                if let Err(error) = out.write_all(&[0; 4096]) {
                    break error;
                }
            };
            sender.send(error.kind()).unwrap();
            Err::<(), _>(error)
        });
        drop(open(&source));
        assert_eq!(outcome.recv().unwrap(), io::ErrorKind::BrokenPipe);
    }
}
