//! Pipes: what passes between files and sockets through them never comes to this process's memory.
//!
//! ```text
//! provider   file ──fill──▶ pipe ──drain──▶ socket
//! joiner     socket ──fill──▶ pipe ──drain──▶ file
//! ```
//!
//! The pages themselves are handed on: of a file, those of the page cache. Whoever writes to them meanwhile writes to what is on
//! its way.

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
mod linux;
#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
mod portable;

use std::fs::File;
use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(all(target_os = "linux", not(longhaul_portable)))]
use linux::Ends;
#[cfg(not(all(target_os = "linux", not(longhaul_portable))))]
use portable::Ends;

/// Bytes that a pipe holds, if they come in whole pages.
pub const PIPE_BYTES: usize = 1 << 20;

/// A session's pipes: those that are empty serve again. They close with the session.
#[derive(Clone, Debug)]
pub struct Pipes(Arc<Shared>);

impl Default for Pipes {
    fn default() -> Self {
        Self::of(PIPE_BYTES)
    }
}

#[derive(Debug)]
struct Shared {
    /// Bytes that each holds.
    size: usize,
    empty: Mutex<Vec<Ends>>,
    /// Something here takes no part in it: bytes are copied.
    refused: AtomicBool,
}

impl Shared {
    fn empty(&self) -> MutexGuard<'_, Vec<Ends>> {
        self.empty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipes {
    /// Pipes that hold so much.
    pub(crate) fn of(size: usize) -> Self {
        Self(Arc::new(Shared { size, empty: Mutex::default(), refused: AtomicBool::new(false) }))
    }

    /// An empty pipe; `None` if bytes are to be copied.
    #[must_use]
    pub fn take(&self) -> Option<Pipe> {
        if self.0.refused.load(Ordering::Relaxed) {
            return None;
        }
        self.open().map_err(|error| self.refuse("a pipe of 1 MiB", &error)).ok()
    }

    /// An empty pipe: one that was let go, or another.
    ///
    /// # Errors
    /// As the system says.
    pub fn open(&self) -> io::Result<Pipe> {
        let kept = self.0.empty().pop();
        let ends = kept.map_or_else(|| Ends::new(self.0.size), Ok)?;
        Ok(Pipe { ends: Some(ends), held: 0, is_full: false, home: Arc::clone(&self.0) })
    }

    /// Files of the source can't be spliced from: from now on bytes are copied.
    pub fn refuse_source(&self, error: &io::Error) {
        self.refuse("splicing from the source's file system", error);
    }

    /// The same of the destination's files.
    pub fn refuse_destination(&self, error: &io::Error) {
        self.refuse("splicing into the destination's file system", error);
    }

    fn refuse(&self, what: &'static str, error: &io::Error) {
        if !self.0.refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "bytes are copied, not spliced: {what} is not to be had");
        }
    }
}

/// Whether a call that failed with this says no more than that what it was made for can't be spliced.
#[must_use]
pub fn refuses(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// A pipe in one hand. Empty in the end, it serves again; else it is closed.
#[derive(Debug)]
pub struct Pipe {
    /// There until the end.
    ends: Option<Ends>,
    held: usize,
    is_full: bool,
    home: Arc<Shared>,
}

impl Pipe {
    /// Bytes in it.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Whether it took nothing when it was filled last: pieces of memory count, however short they are.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.is_full
    }

    fn ends(&self) -> &Ends {
        self.ends.as_ref().expect("taken at the end alone")
    }

    /// The end that takes bytes in.
    #[must_use]
    pub fn input(&self) -> &File {
        self.ends().input()
    }

    /// The end that gives them out.
    #[must_use]
    pub fn output(&self) -> &File {
        self.ends().output()
    }

    /// Takes in what the socket has, `most` bytes at most, and waits for the first; 0 at the socket's end, or if the pipe
    /// is full.
    ///
    /// # Errors
    /// As the system says.
    pub fn fill_from_socket(&mut self, socket: &TcpStream, most: usize) -> io::Result<usize> {
        let filled = uninterrupted(|| self.ends().fill_from_socket(socket, most));
        self.filled(filled)
    }

    /// Takes in the file's bytes from `offset` on, `most` at most; 0 at the file's end, or if the pipe is full.
    ///
    /// # Errors
    /// As the system says.
    pub fn fill_from_file(&mut self, file: &File, offset: u64, most: usize) -> io::Result<usize> {
        let filled = uninterrupted(|| self.ends().fill_from_file(file, offset, most));
        self.filled(filled)
    }

    /// Notes how it was filled by someone else.
    ///
    /// # Errors
    /// Those of `filled`, but for that of a pipe without room.
    pub fn filled(&mut self, filled: io::Result<usize>) -> io::Result<usize> {
        match filled {
            Ok(bytes) => {
                self.held += bytes;
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.held > 0 => {
                self.is_full = true;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the socket what it takes.
    ///
    /// # Errors
    /// As the system says.
    pub fn drain_to_socket(&mut self, socket: &TcpStream) -> io::Result<usize> {
        let drained = uninterrupted(|| self.ends().drain_to_socket(socket, self.held))?;
        Ok(self.drained(drained))
    }

    /// Writes into the file at `offset` what it takes.
    ///
    /// # Errors
    /// As the system says.
    pub fn drain_to_file(&mut self, file: &File, offset: u64) -> io::Result<usize> {
        let drained = uninterrupted(|| self.ends().drain_to_file(file, offset, self.held))?;
        Ok(self.drained(drained))
    }

    /// Copies all that it holds to the start of `memory`.
    ///
    /// # Errors
    /// As the system says.
    pub fn empty_into(&mut self, memory: &mut [u8]) -> io::Result<usize> {
        let held = self.held;
        self.output().read_exact(&mut memory[..held])?;
        Ok(self.drained(held))
    }

    /// Notes how much someone else has taken out of it.
    pub const fn drained(&mut self, bytes: usize) -> usize {
        self.held -= bytes;
        self.is_full = false;
        bytes
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.held == 0 {
            self.home.empty().extend(self.ends.take());
        }
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(all(test, target_os = "linux", not(longhaul_portable)))]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    #[test]
    fn an_empty_pipe_serves_again_and_one_that_holds_something_never() {
        let pipes = Pipes::default();
        for (file, emptied) in [(file(b"first"), false), (file(b"other"), true), (file(b"third"), true)] {
            let mut pipe = pipes.take().unwrap();
            assert_eq!(pipe.fill_from_file(&file, 0, 100).unwrap(), 5);
            let (mut came, mut read) = ([0; 5], [0; 5]);
            if emptied {
                assert_eq!(pipe.empty_into(&mut came).unwrap(), 5);
                file.read_exact_at(&mut read, 0).unwrap();
                assert_eq!(came, read);
            }
            drop(pipe);
            assert_eq!(pipes.0.empty().len(), usize::from(emptied));
        }
    }

    #[test]
    fn what_is_refused_once_is_not_tried_again() {
        let pipes = Pipes::default();
        let other = pipes.clone();
        assert!(pipes.take().is_some());
        other.refuse_source(&io::ErrorKind::InvalidInput.into());
        assert!(pipes.take().is_none());
        let none = Pipes::of(usize::MAX);
        assert!(none.open().is_err() && none.take().is_none());
    }
}
