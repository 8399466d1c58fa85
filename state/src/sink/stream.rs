//! States that land in a writer, or in a callback that reads them.
//!
//! ```text
//! new           write ──▶ user's writer; publish flushes it
//! from_reader   write ──bounded channel──▶ user's thread: callback ──read──▶ its bytes
//!               finish ▶ the end; aborted ▶ an error, never an end; publish waits for its Ok
//! ```

use std::cmp::Ordering;
use std::error::Error;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use longhaul_core::id::ItemId;

use super::{Place, Published, Sink, SinkError, SinkErrorKind};
use crate::item::{Item, What};
use crate::panic_text;
use crate::source::{Progress, Shape, Survey};

/// What a callback's failure is.
type UserError = Box<dyn Error + Send + Sync>;
/// What the application reads its state with.
type ReadState = Box<dyn FnOnce(&mut dyn Read) -> Result<Reveal, UserError> + Send>;
/// Shows what the callback returned. A callback that is done early is no published state.
type Reveal = Box<dyn FnOnce() + Send>;

/// Buffers between the transport and the callback.
const BUFFERS: usize = 4;
/// Why nothing can come again.
const TAKEN: &str = "a part must come again, and what was written into a stream can't be taken back: \
                     run the transfer again, or receive into a file";
/// Zeros that are written at once for a hole.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Receives one file or stream in order. A file whose bytes come out of order is refused: over one
/// data lane they come in order.
pub struct StreamSink {
    output: Output,
    open: Option<ItemId>,
    /// Bytes taken so far.
    offset: u64,
    finished: bool,
}

impl StreamSink {
    /// A sink into `writer`. What was written of a transfer that fails stays written.
    #[must_use]
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self::with(Output::Writer(Box::new(writer)))
    }

    /// A sink that `read_state` reads from: `setState(InputStream)` (Blagojevic 2006).
    ///
    /// It runs on a thread of its own, from the moment bytes come. It reads the end only when all
    /// bytes are there and verified; if the transfer fails, it reads an error. The state is
    /// published when it returns Ok; its error or panic fails the transfer. What it returns is
    /// available from then on.
    #[must_use]
    pub fn from_reader<T, E>(
        read_state: impl FnOnce(&mut dyn Read) -> Result<T, E> + Send + 'static,
    ) -> (Self, Published<T>)
    where
        T: Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let published = Published::nothing();
        let result = published.clone();
        let read_state: ReadState = Box::new(move |input| {
            let value = read_state(input).map_err(Into::into)?;
            Ok(Box::new(move || result.set(value)))
        });
        (Self::with(Output::Waiting(read_state)), published)
    }

    fn with(output: Output) -> Self {
        Self { output, open: None, offset: 0, finished: false }
    }

    fn check_next(&self, id: ItemId, offset: u64) -> Result<(), SinkError> {
        if self.open != Some(id) {
            return Err(SinkError::user("this item is not open"));
        }
        match offset.cmp(&self.offset) {
            Ordering::Equal => Ok(()),
            // A part that came damaged, or was lost with its connection, comes again from its run's start.
            Ordering::Less => Err(SinkError::user(TAKEN)),
            Ordering::Greater => {
                Err(SinkError::user("the bytes came out of order: use one data lane for this sink"))
            }
        }
    }
}

impl Sink for StreamSink {
    fn begin(&mut self, survey: &Survey) -> Result<(), SinkError> {
        if survey.shape == Shape::Directory {
            return Err(SinkError::whole(SinkErrorKind::OtherShape("a writer for one file or stream")));
        }
        Ok(())
    }

    fn open(&mut self, id: ItemId, item: &Item) -> Result<Place, SinkError> {
        if self.open.is_some() || self.finished || !item.name.is_root() {
            return Err(SinkError::item(item.name.clone(), SinkErrorKind::NameTaken));
        }
        if !matches!(item.what, What::File { .. } | What::Stream) {
            return Err(SinkError::whole(SinkErrorKind::OtherShape("a writer for one file or stream")));
        }
        self.output.start()?;
        self.open = Some(id);
        Ok(Place::Sink)
    }

    fn write(&mut self, id: ItemId, offset: u64, bytes: &[u8]) -> Result<(), SinkError> {
        self.check_next(id, offset)?;
        self.output.write(bytes)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn hole(&mut self, id: ItemId, offset: u64, len: u64) -> Result<(), SinkError> {
        self.check_next(id, offset)?;
        let mut rest = len;
        while rest > 0 {
            let step = rest.min(ZEROS.len() as u64);
            self.output.write(&ZEROS[..step as usize])?;
            rest -= step;
        }
        self.offset += len;
        Ok(())
    }

    fn finish(&mut self, id: ItemId, len: u64) -> Result<(), SinkError> {
        self.check_next(id, len)?;
        self.output.end()?;
        self.open = None;
        self.finished = true;
        Ok(())
    }

    fn discard(&mut self, id: ItemId) -> Result<(), SinkError> {
        self.check_next(id, self.offset)?;
        if self.offset > 0 {
            return Err(SinkError::user(TAKEN));
        }
        self.open = None;
        Ok(())
    }

    fn sync(&mut self, _progress: &dyn Progress) -> Result<(), SinkError> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), SinkError> {
        if !std::mem::take(&mut self.finished) {
            return Err(SinkError::user("there is no finished item to publish"));
        }
        match self.output.join()? {
            Output::Done(reveal) => reveal(),
            other => self.output = other,
        }
        Ok(())
    }

    fn abort(&mut self) {
        self.output = Output::Failed;
        self.finished = false;
    }

    fn caveat(&self) -> Option<&'static str> {
        Some("unproven: only the program behind the stream knows whether it is durable")
    }
}

enum Output {
    Writer(Box<dyn Write + Send>),
    /// The callback before the first byte.
    Waiting(ReadState),
    Running(Running),
    /// The callback returned Ok; whatever still comes is not for it.
    Done(Reveal),
    Failed,
}

struct Running {
    messages: SyncSender<Message>,
    callback: JoinHandle<Result<Reveal, UserError>>,
}

enum Message {
    Bytes(Vec<u8>),
    End,
}

impl Output {
    /// Starts the callback's thread, if there is one and it does not run yet.
    fn start(&mut self) -> Result<(), SinkError> {
        *self = match std::mem::replace(self, Self::Failed) {
            Self::Waiting(read_state) => {
                let (messages, input) = sync_channel(BUFFERS);
                let callback = thread::Builder::new()
                    .name("longhaul-sink".into())
                    .spawn(move || {
                        let mut input =
                            CallbackInput { messages: input, bytes: Vec::new(), taken: 0, ended: false };
                        catch_unwind(AssertUnwindSafe(|| read_state(&mut input)))
                            .unwrap_or_else(|panic| Err(panic_text(panic.as_ref()).into()))
                    })
                    .map_err(|error| {
                        SinkError::whole(SinkErrorKind::Io { action: "start of a thread", error })
                    })?;
                Self::Running(Running { messages, callback })
            }
            other => other,
        };
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        match self {
            Self::Writer(writer) => guarded(|| writer.write_all(bytes)),
            Self::Running(running) if running.messages.send(Message::Bytes(bytes.to_vec())).is_ok() => Ok(()),
            // The callback has returned: what it said decides.
            Self::Running(_) => {
                *self = self.join()?;
                Ok(())
            }
            Self::Done(_) => Ok(()),
            Self::Waiting(_) | Self::Failed => Err(SinkError::user("the sink has failed before")),
        }
    }

    fn end(&mut self) -> Result<(), SinkError> {
        match self {
            Self::Writer(writer) => guarded(|| writer.flush()),
            Self::Running(running) => {
                // Nobody hears it if the callback has returned: what it said is asked by `publish`.
                let _ = running.messages.send(Message::End);
                Ok(())
            }
            Self::Done(_) => Ok(()),
            Self::Waiting(_) | Self::Failed => Err(SinkError::user("the sink has failed before")),
        }
    }

    /// Waits for the callback's own word, if there is a callback.
    fn join(&mut self) -> Result<Self, SinkError> {
        match std::mem::replace(self, Self::Failed) {
            Self::Running(Running { messages, callback }) => {
                drop(messages);
                let result = callback.join().unwrap_or_else(|panic| Err(panic_text(panic.as_ref()).into()));
                result.map(Self::Done).map_err(SinkError::user)
            }
            other => Ok(other),
        }
    }
}

/// A user's writer may panic: that is its error.
fn guarded(call: impl FnOnce() -> io::Result<()>) -> Result<(), SinkError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(SinkError::io(crate::item::Name::root(), "write", error)),
        Err(panic) => Err(SinkError::user(panic_text(panic.as_ref()))),
    }
}

/// What the callback reads from: waits for bytes, ends only where the state does.
struct CallbackInput {
    messages: Receiver<Message>,
    bytes: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl Read for CallbackInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.bytes.len() && !self.ended {
            match self.messages.recv() {
                Ok(Message::Bytes(bytes)) => (self.bytes, self.taken) = (bytes, 0),
                Ok(Message::End) => self.ended = true,
                Err(_) => {
                    let aborted = "the transfer was aborted: what was read is not the whole state";
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, aborted));
                }
            }
        }
        let len = buffer.len().min(self.bytes.len() - self.taken);
        buffer[..len].copy_from_slice(&self.bytes[self.taken..self.taken + len]);
        self.taken += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const ID: ItemId = ItemId(0);

    struct Out(std::sync::mpsc::Sender<Vec<u8>>);
    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn read_all(input: &mut dyn Read) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        input.read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn a_writer_gets_bytes_in_order_and_zeros_for_holes() {
        let (sender, receiver) = channel();
        let mut sink = StreamSink::new(Out(sender));
        sink.open(ID, &Item::stream()).unwrap();
        sink.write(ID, 0, b"ab").unwrap();
        assert!(sink.write(ID, 5, b"x").is_err());
        sink.hole(ID, 2, 2).unwrap();
        assert!(sink.discard(ID).is_err());
        assert!(sink.publish().is_err());
        sink.finish(ID, 4).unwrap();
        sink.publish().unwrap();
        drop(sink);
        assert_eq!(receiver.iter().flatten().collect::<Vec<u8>>(), b"ab\0\0");
    }

    #[test]
    fn a_callback_reads_the_whole_state_and_its_result_shows_only_once_published() {
        let (mut sink, result) = StreamSink::from_reader(read_all);
        sink.open(ID, &Item::stream()).unwrap();
        let mut expected = Vec::new();
        for i in 0..100_u8 {
            sink.write(ID, expected.len() as u64, &[i; 100]).unwrap();
            expected.extend_from_slice(&[i; 100]);
        }
        sink.finish(ID, expected.len() as u64).unwrap();
        assert_eq!(result.take(), None);
        sink.publish().unwrap();
        assert_eq!(result.take().unwrap(), expected);
    }

    #[test]
    fn an_aborted_transfer_is_an_error_for_the_callback_and_never_an_end() {
        let abort = |sink: &mut StreamSink| sink.abort();
        let forget = |sink: &mut StreamSink| *sink = StreamSink::new(io::sink());
        let ends: [fn(&mut StreamSink); 2] = [abort, forget];
        for end in ends {
            let (sender, outcome) = channel();
            let (mut sink, result) = StreamSink::from_reader(move |input| {
                let read = read_all(input);
                sender.send(read.as_ref().map_err(io::Error::kind).cloned()).unwrap();
                read
            });
            sink.open(ID, &Item::stream()).unwrap();
            sink.write(ID, 0, b"half").unwrap();
            end(&mut sink);
            assert_eq!(outcome.recv().unwrap(), Err(io::ErrorKind::ConnectionAborted));
            assert_eq!(result.take(), None);
        }
    }

    #[test]
    fn a_callback_that_is_content_early_is_published_whatever_still_comes() {
        let (mut sink, result) = StreamSink::from_reader(|_| Ok::<_, io::Error>(7));
        sink.open(ID, &Item::stream()).unwrap();
        for i in 0..100 {
            sink.write(ID, i, b"x").unwrap();
        }
        sink.finish(ID, 100).unwrap();
        assert_eq!(result.take(), None);
        sink.publish().unwrap();
        assert_eq!(result.take(), Some(7));
    }

    #[test]
    fn a_callback_that_fails_or_panics_fails_the_transfer() {
        let failing = StreamSink::from_reader(|_| Err::<(), _>("the engine is closed")).0;
        let panicking = StreamSink::from_reader(|_| -> io::Result<()> { panic!("the engine is closed") }).0;
        for mut sink in [failing, panicking] {
            sink.open(ID, &Item::stream()).unwrap();
            let error = (0..).find_map(|i| sink.write(ID, i, b"x").err()).unwrap();
            assert!(matches!(error.kind, SinkErrorKind::User(_)), "{error}");
            assert!(error.to_string().contains("the engine is closed"), "{error}");
            assert!(sink.write(ID, 0, b"x").is_err());
        }
    }

    #[test]
    fn an_error_after_the_last_byte_is_heard_by_publish() {
        let (mut sink, _result) = StreamSink::from_reader(|input| {
            read_all(input)?;
            Err::<(), _>(io::Error::other("the engine refused it"))
        });
        sink.put(ID, &Item::stream(), b"state").unwrap();
        assert!(sink.publish().unwrap_err().to_string().contains("refused"));
    }
}
