//! The thread that writes a lane: takes bursts and writes each with as few system calls as it can.

use std::io::{self, IoSlice, Write};
use std::net::TcpStream;

use longhaul_transport::{Burst, Connection, Receiver, Reporter};

use crate::splice;

/// Slices that one system call takes (`IOV_MAX` is 1024 on Linux).
const SLICES: usize = 512;

/// Writes all bursts that come.
pub(super) fn run(connection: &Connection, bursts: &Receiver<Burst>, reporter: &Reporter) {
    while let Some(mut burst) = bursts.recv() {
        match write(connection.stream(), &mut burst, reporter) {
            Ok(told) => reporter.sent(burst, told),
            Err(error) => return reporter.ended(Some(error)),
        }
    }
    reporter.finished();
}

/// Writes a burst; of how many bytes it told on the way.
fn write(stream: &TcpStream, burst: &mut Burst, reporter: &Reporter) -> io::Result<u64> {
    let mut told = 0;
    let mut some = |bytes| {
        told += bytes;
        reporter.taken(bytes);
    };
    let mut pieces = burst.pieces();
    loop {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled =
            slices.iter_mut().zip(&mut pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count();
        if filled == 0 {
            break;
        }
        write_all_vectored(stream, &mut slices[..filled], &mut some)?;
    }
    drop(pieces);
    if let Some(chunk) = burst.take_piped() {
        splice::send(stream, chunk, &mut some)?;
    }
    Ok(told)
}

/// Writes all of the slices; `some` hears how many bytes were written, whenever that is not all that is left.
fn write_all_vectored(
    mut out: &TcpStream,
    mut slices: &mut [IoSlice<'_>],
    some: &mut dyn FnMut(u64),
) -> io::Result<()> {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};

    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match out.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut slices, written);
                if !slices.is_empty() {
                    some(written as u64);
                }
            }
            // Nothing was taken for a while: the session's deadline decides what that means.
            Err(error) if matches!(error.kind(), Interrupted | TimedOut | WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
