//! Operations on the ring: the one module that promises anything to the kernel.
//!
//! An operation owns all that the kernel will look at, until it has completed: what is dropped in between
//! is kept by the ring. So memory and descriptors outlive the operation whatever becomes of the task.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::net::TcpStream;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{cqueue, opcode, squeue, types};
use longhaul_state::pool::{Buffer, Pool, Region};
use longhaul_transport::{Burst, Chunk, Coming, Pipe, WriteOp};
use nix::libc::{self, iovec, msghdr};
use tokio_uring::buf::{IoBuf, IoBufMut};
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

use crate::amiss;

/// How often a ring may say in a row that it would have to wait: it was asked to.
const REFUSALS: usize = 100;
/// Pieces of memory that one operation sends (`IOV_MAX`).
const PIECES: usize = 1024;

/// The offset of what has none: a pipe or a socket.
const WHEREVER: i64 = -1;

/// Takes what an operation owned back when it has completed.
struct Completed<D>(PhantomData<D>);

impl<D> OneshotOutputTransform for Completed<D> {
    type Output = (io::Result<usize>, D);
    type StoredData = D;

    fn transform_oneshot_output(self, data: D, completion: cqueue::Entry) -> Self::Output {
        let result = usize::try_from(completion.result());
        (result.map_err(|_| io::Error::from_raw_os_error(-completion.result())), data)
    }
}

/// Submits an operation, and awaits its completion: again if it was interrupted, or was not waited for.
///
/// # Safety
/// All memory and descriptors that `entry` names belong to `data`, wherever `data` is moved, and nobody else
/// touches the memory in a way that the operation does not allow.
async unsafe fn submit<D: Unpin + 'static>(entry: squeue::Entry, data: D) -> (io::Result<usize>, D) {
    // SAFETY: as this function's.
    unsafe { submit_patiently(entry, data, REFUSALS) }.await
}

/// The same; `refusals`: how often it is submitted again because it was not waited for.
///
/// # Safety
/// As of [`submit`].
async unsafe fn submit_patiently<D: Unpin + 'static>(
    entry: squeue::Entry,
    mut data: D,
    mut refusals: usize,
) -> (io::Result<usize>, D) {
    loop {
        let result;
        (result, data) = match amiss::error() {
            Some(error) => (Err(error), data),
            None => UnsubmittedOneshot::new(data, Completed(PhantomData), entry.clone()).submit().await,
        };
        amiss::completed();
        match &result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && refusals > 0 => refusals -= 1,
            _ => return (result, data),
        }
    }
}

/// Receives what there is into a part of the buffer. `index`: where the buffer is registered.
pub(crate) async fn receive(
    socket: &Arc<TcpStream>,
    mut buffer: Buffer,
    range: Range<usize>,
    index: Option<u16>,
) -> (io::Result<usize>, Buffer) {
    let descriptor = types::Fd(socket.as_raw_fd());
    let part = &mut buffer[range];
    let (start, len) = (part.as_mut_ptr(), amiss::cut(part.len()) as u32);
    let entry = match index {
        Some(index) => opcode::ReadFixed::new(descriptor, start, len, index).build(),
        None => opcode::Recv::new(descriptor, start, len).build(),
    };
    // SAFETY: the part lies in the buffer, whose memory stays where it is when the buffer is moved; the
    // operation owns the buffer, alone, and the socket.
    let (result, (buffer, _socket)) = unsafe { submit(entry, (buffer, Arc::clone(socket))) }.await;
    (result, buffer)
}

/// Reads from a file, at this offset, into a part of the buffer.
pub(crate) async fn read_at(
    file: &Arc<File>,
    mut buffer: Buffer,
    range: Range<usize>,
    offset: u64,
    index: Option<u16>,
) -> (io::Result<usize>, Buffer) {
    let descriptor = types::Fd(file.as_raw_fd());
    let part = &mut buffer[range];
    let (start, len) = (part.as_mut_ptr(), amiss::cut(part.len()) as u32);
    let entry = match index {
        Some(index) => opcode::ReadFixed::new(descriptor, start, len, index).offset(offset).build(),
        None => opcode::Read::new(descriptor, start, len).offset(offset).build(),
    };
    // SAFETY: as in `receive`, with a file.
    let (result, (buffer, _file)) = unsafe { submit(entry, (buffer, Arc::clone(file))) }.await;
    (result, buffer)
}

/// Writes a part of the chunk to its place in a file: in `file`, which may be another descriptor of the chunk's.
pub(crate) async fn write(
    file: Arc<File>,
    chunk: WriteOp,
    part: Range<usize>,
    index: Option<u16>,
) -> (io::Result<usize>, WriteOp) {
    let descriptor = types::Fd(file.as_raw_fd());
    let offset = chunk.offset() + part.start as u64;
    let bytes = &chunk.bytes()[part];
    let (start, len) = (bytes.as_ptr(), amiss::cut(bytes.len()) as u32);
    let entry = match index {
        Some(index) => opcode::WriteFixed::new(descriptor, start, len, index).offset(offset).build(),
        None => opcode::Write::new(descriptor, start, len).offset(offset).build(),
    };
    // SAFETY: the bytes belong to the chunk and stay where they are when it is moved; nobody writes to bytes
    // that are on their way. The operation owns the chunk and the file.
    let (result, (chunk, _file)) = unsafe { submit(entry, (chunk, file)) }.await;
    (result, chunk)
}

/// Takes what the socket has into the open pipe of a chunk that comes.
pub(crate) async fn splice_from_socket(
    socket: &Arc<TcpStream>,
    mut coming: Coming,
) -> (io::Result<usize>, Coming) {
    let missing = amiss::cut(coming.missing()) as u32;
    let (entry, refusals) = match coming.open_pipe() {
        Ok(pipe) => {
            let (from, to) = (types::Fd(socket.as_raw_fd()), types::Fd(pipe.input().as_raw_fd()));
            // Of the flag only the pipe takes notice: the socket is waited for.
            let entry = opcode::Splice::new(from, WHEREVER, to, WHEREVER, missing);
            (entry.flags(libc::SPLICE_F_NONBLOCK).build(), refusals(pipe))
        }
        Err(error) => return (Err(error), coming),
    };
    // SAFETY: it names no memory; the operation owns the chunk with its pipes, and the socket.
    let (result, (coming, _socket)) =
        unsafe { submit_patiently(entry, (coming, Arc::clone(socket)), refusals) }.await;
    (result, coming)
}

/// Takes the file's bytes from `offset` on into the pipe, `most` at most.
pub(crate) async fn splice_from_file(
    file: &Arc<File>,
    offset: u64,
    most: usize,
    pipe: Pipe,
) -> (io::Result<usize>, Pipe) {
    let (from, to) = (types::Fd(file.as_raw_fd()), types::Fd(pipe.input().as_raw_fd()));
    let most = amiss::cut(most) as u32;
    let entry = opcode::Splice::new(from, offset.cast_signed(), to, WHEREVER, most);
    let (entry, refusals) = (entry.flags(libc::SPLICE_F_NONBLOCK).build(), refusals(&pipe));
    // SAFETY: as in `splice_from_socket`, with a file.
    let (result, (pipe, _file)) =
        unsafe { submit_patiently(entry, (pipe, Arc::clone(file)), refusals) }.await;
    (result, pipe)
}

/// Gives the socket what it takes of a chunk's first pipe.
pub(crate) async fn splice_to_socket(
    socket: &Arc<TcpStream>,
    mut chunk: Chunk,
) -> (io::Result<usize>, Chunk) {
    let Some(pipe) = chunk.first_pipe() else { return (Ok(0), chunk) };
    let (from, to) = (types::Fd(pipe.output().as_raw_fd()), types::Fd(socket.as_raw_fd()));
    let held = amiss::cut(pipe.held()) as u32;
    let entry = opcode::Splice::new(from, WHEREVER, to, WHEREVER, held).build();
    // SAFETY: as in `splice_from_socket`.
    let (result, (chunk, _socket)) = unsafe { submit(entry, (chunk, Arc::clone(socket))) }.await;
    (result, chunk)
}

/// Writes what it takes of a chunk's first pipe into its file at `offset`.
pub(crate) async fn splice_to_file(mut write: WriteOp, offset: u64) -> (io::Result<usize>, WriteOp) {
    let to = types::Fd(write.file().as_raw_fd());
    let Some(pipe) = write.chunk().first_pipe() else { return (Ok(0), write) };
    let from = types::Fd(pipe.output().as_raw_fd());
    let held = amiss::cut(pipe.held()) as u32;
    let entry = opcode::Splice::new(from, WHEREVER, to, offset.cast_signed(), held).build();
    // SAFETY: it names no memory; the operation owns the chunk with its pipes, and the file.
    unsafe { submit(entry, write) }.await
}

/// How often a pipe may not be waited for: one that holds something may be full.
const fn refusals(pipe: &Pipe) -> usize {
    if pipe.held() > 0 { 0 } else { REFUSALS }
}

/// A burst on its way, and the pieces of it that are left to send.
pub(crate) struct Sending {
    burst: Burst,
    pieces: Vec<iovec>,
    /// The first that is not sent.
    next: usize,
    /// What the kernel is told of them.
    message: Box<msghdr>,
}

impl Sending {
    /// All of it, with the memory that the last one needed.
    pub(crate) fn new(burst: Burst, spent: Option<Self>) -> Self {
        let (mut pieces, message) = match spent {
            Some(spent) => (spent.pieces, spent.message),
            // SAFETY: a message header of zeroes is one that names nothing.
            None => (Vec::new(), Box::new(unsafe { std::mem::zeroed() })),
        };
        pieces.clear();
        pieces.extend(
            burst
                .pieces()
                .map(|piece| iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() }),
        );
        Self { burst, pieces, next: 0, message }
    }

    /// Whether all of it was sent.
    pub(crate) fn is_done(&self) -> bool {
        self.next == self.pieces.len()
    }

    /// The burst, to be given back; the rest serves the next one.
    pub(crate) fn take_burst(&mut self) -> Burst {
        self.pieces.clear();
        self.next = 0;
        std::mem::take(&mut self.burst)
    }

    /// So many bytes were sent.
    fn advance(&mut self, mut bytes: usize) {
        while let Some(piece) = self.pieces.get_mut(self.next) {
            if piece.iov_len > bytes {
                piece.iov_base = piece.iov_base.wrapping_byte_add(bytes);
                piece.iov_len -= bytes;
                return;
            }
            bytes -= piece.iov_len;
            self.next += 1;
        }
    }
}

/// Sends what the socket takes of a burst.
pub(crate) async fn send(socket: &Arc<TcpStream>, mut sending: Sending) -> (io::Result<usize>, Sending) {
    let left = &sending.pieces[sending.next..];
    sending.message.msg_iov = left.as_ptr().cast_mut();
    sending.message.msg_iovlen = left.len().min(PIECES);
    let descriptor = types::Fd(socket.as_raw_fd());
    let entry = opcode::SendMsg::new(descriptor, &raw const *sending.message)
        .flags(libc::MSG_NOSIGNAL as u32)
        .build();
    // SAFETY: the header lies in its box, the pieces in their vector's memory, what they name in the burst's
    // memory; none of them moves with the operation's data, which owns them all, and the socket.
    let (result, (mut sending, _socket)) = unsafe { submit(entry, (sending, Arc::clone(socket))) }.await;
    if let Ok(bytes) = result {
        sending.advance(bytes);
    }
    (result, sending)
}

/// The memory of one of the pool's buffers, to be registered: an address for the kernel, through which nobody here
/// reads or writes.
pub(crate) struct Slot {
    region: Region,
    /// The memory is the pool's.
    _pool: Pool,
}

impl Slot {
    pub(crate) fn new(region: Region, pool: &Pool) -> Self {
        Self { region, _pool: pool.clone() }
    }
}

// SAFETY: the region stays where it is as long as the pool does, of which this is a handle, and all of it is
// initialised.
unsafe impl IoBuf for Slot {
    fn stable_ptr(&self) -> *const u8 {
        std::ptr::without_provenance(self.region.start)
    }

    fn bytes_init(&self) -> usize {
        self.region.len
    }

    fn bytes_total(&self) -> usize {
        self.region.len
    }
}

// SAFETY: as above; there is nothing left to initialise.
unsafe impl IoBufMut for Slot {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        std::ptr::without_provenance_mut(self.region.start)
    }

    unsafe fn set_init(&mut self, _pos: usize) {}
}
