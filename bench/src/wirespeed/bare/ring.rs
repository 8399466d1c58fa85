//! A file to a file over loopback, by a ring on each side: registered buffers, reads in flight ahead of the socket,
//! writes in flight behind it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::rc::Rc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio_uring::buf::fixed::{FixedBuf, FixedBufPool};
use tokio_uring::buf::{BoundedBuf, Slice};

use super::BUFFER;
use super::relay::pieces;

/// Buffers: 16 MiB.
const BUFFERS: usize = 32;
/// What memory is aligned to for direct writes.
const PAGE: usize = 4096;
/// Reads ahead of the socket: what is read while something is sent.
const AHEAD: usize = 4;

pub(super) fn send(file: File, bytes: u64, stream: TcpStream) -> io::Result<()> {
    run(async move |pool| {
        let file = Rc::new(tokio_uring::fs::File::from_std(file));
        let stream = tokio_uring::net::TcpStream::from_std(stream);
        let (mut pieces, mut reads) = (pieces(bytes), VecDeque::new());
        loop {
            while reads.len() < AHEAD
                && let Some((offset, len)) = pieces.next()
            {
                let (file, buffer) = (Rc::clone(&file), part(pool.next(BUFFER + PAGE).await, 0, len));
                reads.push_back(tokio_uring::spawn(async move { file.read_fixed_at(buffer, offset).await }));
            }
            let Some(read) = reads.pop_front() else { return Ok(()) };
            let (read, buffer) = read.await?;
            whole(read?, &buffer)?;
            stream.write_fixed_all(buffer).await.0?;
        }
    })
}

pub(super) fn receive(file: File, bytes: u64, stream: TcpStream) -> io::Result<()> {
    run(async move |pool| {
        let file = Rc::new(tokio_uring::fs::File::from_std(file));
        let stream = tokio_uring::net::TcpStream::from_std(stream);
        let mut writes = Vec::new();
        for (offset, len) in pieces(bytes) {
            let (mut buffer, mut filled) = (pool.next(BUFFER + PAGE).await, 0);
            while filled < len {
                let (read, slice) = stream.read_fixed(part(buffer, filled, len)).await;
                filled += match read? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    read => read,
                };
                buffer = slice.into_inner();
            }
            let (file, buffer) = (Rc::clone(&file), part(buffer, 0, len));
            writes.push(tokio_uring::spawn(async move { file.write_fixed_all_at(buffer, offset).await.0 }));
        }
        for write in writes {
            write.await??;
        }
        Ok(())
    })
}

fn run(work: impl AsyncFnOnce(FixedBufPool<Vec<u8>>) -> io::Result<()>) -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard)?;
    }
    let mut setup = tokio_uring::uring_builder();
    setup.setup_coop_taskrun();
    tokio_uring::Runtime::new(tokio_uring::builder().uring_builder(&setup))?.block_on(async {
        // The one page more is for the alignment.
        let pool = FixedBufPool::new((0..BUFFERS).map(|_| vec![0; BUFFER + PAGE]));
        pool.register()?;
        work(pool).await
    })
}

/// From byte `from` up to byte `to` of a buffer's aligned part.
fn part(buffer: FixedBuf, from: usize, to: usize) -> Slice<FixedBuf> {
    let start = buffer.as_ptr().align_offset(PAGE);
    buffer.slice(start + from..start + to)
}

/// A file in the page cache is read whole at once.
fn whole(read: usize, buffer: &Slice<FixedBuf>) -> io::Result<()> {
    if read == buffer.end() - buffer.begin() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
