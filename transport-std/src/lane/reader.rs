//! The thread that reads a lane.

use std::io::{self, Read};

use longhaul_core::wire::WireError;
use longhaul_state::pool::Share;
use longhaul_transport::{Connection, Cutter, Reporter, Step, Telling};

use crate::splice;

/// Reads to the end, and tells why it came.
pub(super) fn run(connection: &Connection, mut cutter: Cutter, share: &Share, reporter: &Reporter) {
    let ended = read_frames(connection, &mut cutter, share, reporter);
    if let Some((buffer, frames)) = cutter.rest() {
        reporter.frames(buffer, frames);
    }
    match ended {
        Ended::Stopped => {}
        Ended::Io(error) => reporter.ended(error),
        Ended::Invalid(error) => {
            reporter.invalid(error);
            reporter.ended(discard(connection));
        }
    }
}

/// Why a reader ended.
enum Ended {
    Stopped,
    Io(Option<io::Error>),
    Invalid(WireError),
}

fn read_frames(connection: &Connection, cutter: &mut Cutter, share: &Share, reporter: &Reporter) -> Ended {
    let mut telling = Telling::default();
    loop {
        match cutter.step() {
            Ok(Step::Buffer) => match share.take(&|| reporter.is_stopped()) {
                Some(buffer) => cutter.supply(buffer),
                None => return Ended::Stopped,
            },
            Ok(Step::Frames(buffer, frames)) => reporter.frames(buffer, frames),
            Ok(Step::Splice(coming)) => {
                if let Err(error) = splice::receive(connection.stream(), coming, reporter) {
                    return Ended::Io(error);
                }
            }
            Ok(Step::Read(mut window)) => {
                connection.wake_for_many(window.missing);
                let read = read(connection, &mut window.buffer[window.range]);
                let bytes = *read.as_ref().unwrap_or(&0);
                let missing = cutter.received(window.buffer, bytes);
                match read {
                    Ok(0) => return Ended::Io(None),
                    Ok(_) => {}
                    Err(error) => return Ended::Io(Some(error)),
                }
                if let Some(coming) = telling.came(bytes, missing) {
                    reporter.coming(coming);
                }
            }
            Err(error) => return Ended::Invalid(error),
        }
    }
}

/// Reads to the end, and keeps nothing.
fn discard(connection: &Connection) -> Option<io::Error> {
    let mut nowhere = [0; 4096];
    loop {
        match read(connection, &mut nowhere) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(error),
        }
    }
}

fn read(connection: &Connection, into: &mut [u8]) -> io::Result<usize> {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};

    loop {
        match (&**connection.stream()).read(into) {
            // Nothing came for a while: the session's deadline decides what that means.
            Err(error) if matches!(error.kind(), Interrupted | TimedOut | WouldBlock) => {}
            result => return result,
        }
    }
}
