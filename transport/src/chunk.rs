//! A chunk's payload on its way: its first bytes in memory, the rest in pipes. Most have either.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::TcpStream;

use longhaul_core::wire::Header;
use longhaul_state::pool::Buffer;

use crate::bytes::Bytes;
use crate::pipe::{Pipe, Pipes};

/// See the module. What lies in pipes has a buffer all the same, which has room for it: the pool bounds both.
#[derive(Debug)]
pub struct Chunk {
    bytes: Bytes,
    pipes: VecDeque<Pipe>,
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, pipes: VecDeque::new() }
    }
}

impl Chunk {
    /// All of it is in this pipe.
    pub(crate) fn piped(buffer: Buffer, pipe: Pipe) -> Self {
        Self { bytes: Bytes::Alone(buffer, 0..0), pipes: VecDeque::from([pipe]) }
    }

    /// All of its bytes; as it was, if some are in pipes.
    pub(crate) fn into_bytes(self) -> Result<Bytes, Self> {
        if self.is_piped() { Err(self) } else { Ok(self.bytes) }
    }

    /// The first bytes: those that lie in memory.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its length.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.in_pipes()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes are in pipes.
    #[must_use]
    pub fn in_pipes(&self) -> usize {
        self.pipes.iter().map(Pipe::held).sum()
    }

    /// Whether bytes are in pipes.
    #[must_use]
    pub fn is_piped(&self) -> bool {
        !self.pipes.is_empty()
    }

    /// The pipe that holds the first of them; it is let go when it is empty.
    pub fn first_pipe(&mut self) -> Option<&mut Pipe> {
        while self.pipes.front().is_some_and(|pipe| pipe.held() == 0) {
            self.pipes.pop_front();
        }
        self.pipes.front_mut()
    }

    /// Notes how much someone else has taken out of the first pipe.
    pub fn drained(&mut self, bytes: usize) {
        if let Some(pipe) = self.first_pipe() {
            pipe.drained(bytes);
        }
    }

    /// Gives the socket what it takes of what is in pipes.
    ///
    /// # Errors
    /// As the system says.
    pub fn drain_to_socket(&mut self, socket: &TcpStream) -> io::Result<usize> {
        self.first_pipe().map_or(Ok(0), |pipe| pipe.drain_to_socket(socket))
    }

    /// Writes into the file at `offset` what it takes of what is in pipes.
    ///
    /// # Errors
    /// As the system says.
    pub fn drain_to_file(&mut self, file: &File, offset: u64) -> io::Result<usize> {
        self.first_pipe().map_or(Ok(0), |pipe| pipe.drain_to_file(file, offset))
    }

    /// Copies what is in pipes to memory: all of it is there then.
    ///
    /// # Errors
    /// As the system says.
    pub fn load(&mut self) -> io::Result<()> {
        while let Some(mut pipe) = self.pipes.pop_front() {
            self.spill(&mut pipe)?;
        }
        Ok(())
    }

    /// Copies what a pipe holds, which comes next, to memory.
    fn spill(&mut self, pipe: &mut Pipe) -> io::Result<()> {
        let Bytes::Alone(buffer, range) = &mut self.bytes else {
            unreachable!("what has pipes has a buffer of its own");
        };
        range.end += pipe.empty_into(&mut buffer[range.end..])?;
        Ok(())
    }
}

/// Pipes that a chunk may come to lie in: pieces of memory as short as a packet fill a pipe before a chunk is whole.
const PIPES: usize = 2;

/// A chunk that comes from a socket into pipes.
pub struct Coming {
    header: Header,
    chunk: Chunk,
    missing: usize,
    pipes: Pipes,
}

impl Coming {
    /// `have` bytes of it have come into the buffer, the rest is to come into `pipe`, and more if need be.
    pub(crate) fn new(header: Header, buffer: Buffer, have: usize, pipe: Pipe, pipes: Pipes) -> Self {
        let missing = header.len as usize - have;
        let chunk = Chunk { bytes: Bytes::Alone(buffer, 0..have), pipes: VecDeque::from([pipe]) };
        Self { header, chunk, missing, pipes }
    }

    /// How many bytes are missing.
    #[must_use]
    pub const fn missing(&self) -> usize {
        self.missing
    }

    /// Takes in what the socket has of it, and waits for the first byte; 0 at the socket's end.
    ///
    /// # Errors
    /// As the system says.
    pub fn receive(&mut self, socket: &TcpStream) -> io::Result<usize> {
        loop {
            let missing = self.missing;
            let came = self.open_pipe()?.fill_from_socket(socket, missing);
            if let Some(came) = self.note(came) {
                return came;
            }
        }
    }

    /// The pipe that what comes next goes into.
    ///
    /// # Errors
    /// If what a full pipe holds can't be copied.
    ///
    /// # Panics
    /// Never: there is always one.
    pub fn open_pipe(&mut self) -> io::Result<&mut Pipe> {
        if self.chunk.pipes.back().is_some_and(Pipe::is_full) {
            let room = self.chunk.pipes.len() < PIPES;
            let next = if let Some(pipe) = room.then(|| self.pipes.take()).flatten() {
                pipe
            } else {
                let mut first = self.chunk.pipes.pop_front().expect("one is full");
                self.chunk.spill(&mut first)?;
                first
            };
            self.chunk.pipes.push_back(next);
        }
        Ok(self.chunk.pipes.back_mut().expect("there is one from the beginning"))
    }

    /// Notes how someone else has filled the open pipe; `None` if it is full, and another is to be filled.
    ///
    /// # Panics
    /// Never: there is always one.
    pub fn came(&mut self, came: io::Result<usize>) -> Option<io::Result<usize>> {
        let pipe = self.chunk.pipes.back_mut().expect("there is one from the beginning");
        let came = pipe.filled(came);
        self.note(came)
    }

    fn note(&mut self, came: io::Result<usize>) -> Option<io::Result<usize>> {
        if let Ok(bytes) = came {
            self.missing -= bytes;
        }
        let full = self.chunk.pipes.back().is_some_and(Pipe::is_full);
        (!matches!(came, Ok(0)) || !full).then_some(came)
    }

    /// The chunk, and what announced it.
    pub(crate) fn into_parts(self) -> (Header, Chunk) {
        (self.header, self.chunk)
    }
}

#[cfg(all(test, target_os = "linux", not(longhaul_portable)))]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use longhaul_core::id::{ItemId, TaskId};
    use longhaul_core::wire::{ChunkLen, Flags, Kind};
    use longhaul_state::pool::Pool;

    use super::*;
    use crate::pipe::PIPE_BYTES;

    const LEN: usize = 100_000;

    fn bytes() -> Vec<u8> {
        (0..LEN as u32).map(|n| (n >> 3) as u8).collect()
    }

    /// The chunk as it comes through pipes of this size; its first bytes have come already.
    fn received(pipe_bytes: usize, have: usize) -> Chunk {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        let sending = std::thread::spawn(move || {
            for piece in bytes()[have..].chunks(777) {
                sender.write_all(piece).unwrap();
            }
        });
        let header = Header {
            kind: Kind::Data,
            flags: Flags::new(Flags::UNCHECKED, 0),
            task: TaskId(0),
            len: LEN as u32,
            item: ItemId(0),
            offset: 0,
            body_crc: 0,
        };
        let mut buffer = Pool::reserved(ChunkLen::DEFAULT, 1).share().take(&|| false).unwrap();
        buffer[..have].copy_from_slice(&bytes()[..have]);
        let pipes = Pipes::of(pipe_bytes);
        let mut coming = Coming::new(header, buffer, have, pipes.take().unwrap(), pipes);
        while coming.missing() > 0 {
            assert!(coming.receive(&receiver).unwrap() > 0);
        }
        sending.join().unwrap();
        coming.into_parts().1
    }

    // Catalogue: F27
    #[test]
    fn a_chunk_that_fills_its_pipes_goes_on_in_memory() {
        for (pipe_bytes, have) in [(PIPE_BYTES, 0), (PIPE_BYTES, 777), (4096, 0), (4096, 777), (65536, 1)] {
            let mut chunk = received(pipe_bytes, have);
            assert_eq!((chunk.len(), chunk.is_piped()), (LEN, true));
            assert!(chunk.pipes.len() <= PIPES);
            assert_eq!(chunk.bytes().len() > have, pipe_bytes < LEN / PIPES, "{pipe_bytes}");
            chunk.load().unwrap();
            assert!(chunk.bytes()[..] == bytes(), "{pipe_bytes}, {have}");
        }
    }

    #[test]
    fn pipes_give_what_they_hold_to_a_file_in_order() {
        let mut chunk = received(16384, 10);
        let file = tempfile::tempfile().unwrap();
        let first = chunk.bytes().len();
        std::os::unix::fs::FileExt::write_all_at(&file, chunk.bytes(), 0).unwrap();
        let mut at = first as u64;
        while chunk.in_pipes() > 0 {
            at += chunk.drain_to_file(&file, at).unwrap() as u64;
        }
        let mut landed = vec![0; LEN];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut landed, 0).unwrap();
        assert!(landed == bytes());
    }
}
