//! Payloads that nobody sees: between sockets and files by way of pipes, each step an operation of the ring. The kernel
//! carries them out on threads of its own, whatever they are for.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use longhaul_transport::{Chunk, Coming, Pipe, Pipes, Reporter, Telling, WriteOp, refuses};
use nix::libc::{O_CLOEXEC, O_TMPFILE};

use crate::op;

/// Receives all of a chunk into pipes, and hands it on.
///
/// # Errors
/// Why the connection brings nothing more; `None` at its end.
pub(crate) async fn receive(
    socket: &Arc<TcpStream>,
    mut coming: Coming,
    reporter: &Reporter,
) -> Result<(), Option<io::Error>> {
    let mut telling = Telling::default();
    while coming.missing() > 0 {
        let result;
        (result, coming) = op::splice_from_socket(socket, coming).await;
        match coming.came(result) {
            // The pipe is full.
            None => {}
            Some(Ok(0)) => return Err(None),
            Some(Ok(bytes)) => {
                if let Some(some) = telling.came(bytes, coming.missing()) {
                    reporter.coming(some);
                }
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Some(Err(error)) => return Err(Some(error)),
        }
    }
    reporter.spliced(coming);
    Ok(())
}

/// Sends all that is in a chunk's pipes, and tells of it on the way; of how many bytes it told.
pub(crate) async fn send(socket: &Arc<TcpStream>, mut chunk: Chunk, reporter: &Reporter) -> io::Result<u64> {
    let mut told = 0;
    while chunk.in_pipes() > 0 {
        let result;
        (result, chunk) = op::splice_to_socket(socket, chunk).await;
        match result {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => {
                chunk.drained(sent);
                if chunk.in_pipes() > 0 {
                    told += sent as u64;
                    reporter.taken(sent as u64);
                }
            }
            // Nothing was taken for a while: the session's deadline decides what that means.
            Err(error) if waits(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(told)
}

fn waits(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// Writes what is in a chunk's pipes; its bytes in memory are written. Where the file system takes none from a pipe, they
/// are copied to memory: those from so many bytes on are left to be written.
pub(crate) async fn write_rest(mut write: WriteOp, pipes: &Pipes) -> (io::Result<usize>, WriteOp) {
    let in_memory = write.bytes().len();
    let mut gone = in_memory;
    while write.chunk().in_pipes() > 0 {
        let offset = write.offset() + gone as u64;
        let result;
        (result, write) = op::splice_to_file(write, offset).await;
        match result {
            Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), write),
            Ok(written) => {
                write.chunk().drained(written);
                gone += written;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if refuses(&error) && gone == in_memory => {
                pipes.refuse_destination(&error);
                return (write.chunk().load().map(|()| in_memory), write);
            }
            Err(error) => return (Err(error), write),
        }
    }
    (Ok(write.bytes().len()), write)
}

/// Takes so many bytes of a file into a pipe, as far as the file goes; `None` if they are to be read.
pub(crate) async fn fill(
    file: &Arc<File>,
    offset: u64,
    wanted: usize,
    mut pipe: Pipe,
) -> io::Result<Option<Pipe>> {
    while pipe.held() < wanted {
        let (at, missing) = (offset + pipe.held() as u64, wanted - pipe.held());
        let result;
        (result, pipe) = op::splice_from_file(file, at, missing, pipe).await;
        match pipe.filled(result) {
            Ok(0) if pipe.is_full() => return Ok(None),
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(pipe))
}

/// Whether the files of a directory can be spliced from and into, or a file can be spliced from; nothing if that can't be
/// told. Nothing is left there.
#[must_use]
pub fn splices(path: &Path) -> Option<bool> {
    let told = |moved: io::Result<usize>| match moved {
        Ok(_) => Some(true),
        Err(error) => refuses(&error).then_some(false),
    };
    let mut pipe = Pipes::default().open().ok()?;
    if !path.is_dir() {
        return told(pipe.fill_from_file(&File::open(path).ok()?, 0, 1));
    }
    // A file without a name: it is gone when it is closed.
    let flags = O_TMPFILE | O_CLOEXEC;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).ok()?;
    file.write_all_at(b"from", 0).ok()?;
    let from = told(pipe.fill_from_file(&file, 0, 4))?;
    Some(from && told(pipe.drain_to_file(&file, 4))?)
}
