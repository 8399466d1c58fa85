//! Payloads that nobody sees: between sockets and files by way of pipes.
//!
//! Not by sendfile(2): a header is sent only for bytes that are there already, which those in a pipe are, whatever becomes
//! of their file. It would be 4 to 7 % quicker from the page cache, and 7 % slower from a disk, which the pipes' thread reads
//! while the socket takes what came before.

use std::io;
use std::net::TcpStream;

use longhaul_transport::{Chunk, Coming, Pipes, Reporter, Telling, WriteOp, refuses};

use crate::disk::write_all_at;

/// Receives all of a chunk into pipes, and hands it on.
///
/// # Errors
/// Why the connection brings nothing more; `None` at its end.
pub(crate) fn receive(
    socket: &TcpStream,
    mut coming: Coming,
    reporter: &Reporter,
) -> Result<(), Option<io::Error>> {
    let mut telling = Telling::default();
    while coming.missing() > 0 {
        match coming.receive(socket) {
            Ok(0) => return Err(None),
            Ok(bytes) => {
                if let Some(some) = telling.came(bytes, coming.missing()) {
                    reporter.coming(some);
                }
            }
            Err(error) => return Err(Some(error)),
        }
    }
    reporter.spliced(coming);
    Ok(())
}

/// Sends all that is in a chunk's pipes; `some` hears how many bytes were sent, whenever that is not all that is left.
pub(crate) fn send(socket: &TcpStream, mut chunk: Chunk, some: &mut dyn FnMut(u64)) -> io::Result<()> {
    while chunk.in_pipes() > 0 {
        match chunk.drain_to_socket(socket) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) if chunk.in_pipes() == 0 => {}
            Ok(bytes) => some(bytes as u64),
            // Nothing was taken for a while: the session's deadline decides what that means.
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes what is in a chunk's pipes; its bytes in memory are written. Where the file system takes none from a pipe, they
/// are copied.
pub(crate) fn write_rest(op: &mut WriteOp, pipes: &Pipes) -> io::Result<()> {
    let mut at = op.offset() + op.bytes().len() as u64;
    while op.chunk().in_pipes() > 0 {
        let file = op.file().clone();
        match op.chunk().drain_to_file(&file, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => at += written as u64,
            Err(error) if refuses(&error) => {
                pipes.refuse_destination(&error);
                let in_memory = op.bytes().len();
                op.chunk().load()?;
                return write_all_at(op.file(), &op.bytes()[in_memory..], at);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
