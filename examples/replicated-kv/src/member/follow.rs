//! The replica's end: it takes records as they are ordered, and applies each once.

use std::io::BufReader;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use longhaul::MemberId;
use longhaul_core::digest::SequenceNumber;

use super::frame::{self, Frame, Purpose};
use super::wire::{Caller, Dialled, dial};
use crate::applied::Applied;
use crate::error::Error;
use crate::record::{Operation, Record};
use crate::stop::Stop;
use crate::store::{Keep, Store};

/// Frames that have come and are not applied yet.
const WAITING_MAX: usize = 256;
/// Bytes of records that are applied in one transaction, about.
const BATCH_BYTES: usize = 4 << 20;
/// The first and the longest pause before a primary that can't be reached is dialled again.
const REDIAL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How a replica stands to its primary.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Following {
    /// It dials: why it does again.
    #[default]
    Dialling,
    /// Connected: the last record that the primary is known to have.
    Connected(SequenceNumber),
    /// The connection was lost, or could not be had: why.
    Lost(String),
}

/// Follows one primary.
pub struct Follower {
    /// Where the primary listens.
    pub primary: String,
    /// This member.
    pub member: MemberId,
    /// Where records go.
    pub store: Arc<Store>,
    /// Bytes of log that are kept here.
    pub keep_bytes: u64,
    /// Hears how far it has come.
    pub applied: Applied,
    /// Hears how it stands.
    pub following: Arc<Mutex<Following>>,
    /// Ends it.
    pub stop: Stop,
}

impl Follower {
    /// Follows until it is told to stop, through any number of lost connections.
    ///
    /// # Errors
    /// What another connection would not mend: the log no longer reaches back ([`Error::LogTooShort`]), the data is of
    /// another primary, the disk fails.
    pub fn run(&self) -> Result<(), Error> {
        let mut pause = REDIAL.0;
        while !self.stop.is_stopped() {
            let before = self.store.applied();
            let error = match self.connection() {
                Ok(()) => continue,
                Err(error @ (Error::Io { .. } | Error::Peer(_) | Error::Malformed(_))) => error,
                Err(error) => return Err(error),
            };
            self.stands(Following::Lost(error.to_string()));
            pause = if self.store.applied() > before { REDIAL.0 } else { (pause * 2).min(REDIAL.1) };
            if !self.stop.pause(pause) {
                break;
            }
        }
        Ok(())
    }

    fn stands(&self, following: Following) {
        *self.following.lock().unwrap_or_else(PoisonError::into_inner) = following;
    }

    fn connection(&self) -> Result<(), Error> {
        let next = SequenceNumber(self.store.applied().0 + 1);
        let caller = Caller { member: self.member, order: self.store.order(), next };
        let Dialled { stream, reader, order, last } = dial(&self.primary, Purpose::Follow, caller)?;
        let _held = self.stop.hold(&stream).map_err(Error::io("keeping a connection"))?;
        self.store.belong_to(order)?;
        self.stands(Following::Connected(last));
        let (sender, frames) = sync_channel(WAITING_MAX);
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut reader = reader;
                loop {
                    let frame = read_one(&mut reader);
                    let is_over = frame.is_err();
                    if sender.send(frame).is_err() || is_over {
                        return;
                    }
                }
            });
            let result = self.take(&frames, &stream);
            // The reader wakes, and finds nobody to hand on to.
            let _ = stream.shutdown(Shutdown::Both);
            drop(frames);
            result
        })
    }

    /// Applies what comes, as much of it at once as has come.
    fn take(&self, frames: &Receiver<Result<Frame, Error>>, mut stream: &TcpStream) -> Result<(), Error> {
        let over = Error::Peer("it closed the connection");
        let mut asked = None;
        loop {
            let Ok(first) = frames.recv() else { return Err(over) };
            let mut records = Vec::new();
            let mut bytes = 0;
            let mut next = SequenceNumber(self.store.applied().0 + 1);
            let mut gap = false;
            let mut end = None;
            let mut frame = Some(first);
            while let Some(one) = frame {
                match one {
                    Ok(Frame::Record { sequence, operation }) if sequence == next => {
                        bytes += operation.len();
                        next = SequenceNumber(next.0 + 1);
                        records.push(Record { sequence, operation: Operation::decode(&operation)? });
                    }
                    // It has been applied: the primary was asked again.
                    Ok(Frame::Record { sequence, .. }) if sequence < next => {}
                    Ok(Frame::Record { .. }) => gap = true,
                    Ok(Frame::Alive { last }) => {
                        gap |= last >= next;
                        self.stands(Following::Connected(last));
                    }
                    Ok(Frame::TooShort { first }) => {
                        end = Some(Error::LogTooShort { needed: next, first });
                    }
                    Ok(_) => end = Some(Error::Peer("a frame out of turn")),
                    Err(error) => end = Some(error),
                }
                frame = if bytes < BATCH_BYTES && end.is_none() { frames.try_recv().ok() } else { None };
            }
            if !records.is_empty() {
                self.store.apply(&records, Keep::bytes(self.keep_bytes, None))?;
                let sequence = self.store.applied();
                self.applied.advance(sequence);
                frame::write(&mut stream, &Frame::Applied { sequence })
                    .map_err(Error::io("telling the primary"))?;
            }
            if let Some(end) = end {
                return Err(end);
            }
            if gap && asked != Some(next) {
                asked = Some(next);
                frame::write(&mut stream, &Frame::From { next }).map_err(Error::io("asking the primary"))?;
            }
        }
    }
}

fn read_one(reader: &mut BufReader<TcpStream>) -> Result<Frame, Error> {
    frame::read(reader)?.ok_or(Error::Peer("it closed the connection"))
}
