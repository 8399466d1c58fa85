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
use crate::error::Error;
use crate::live::Delivery;
use crate::record::{Operation, Record};
use crate::stop::Stop;

/// Frames that have come and are not applied yet.
const WAITING_MAX: usize = 256;
/// Bytes of records that are applied in one transaction, about.
const BATCH_BYTES: usize = 4 << 20;
/// The first and the longest pause before a primary that can't be reached is dialled again.
const REDIAL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How a replica stands to its primary.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Following {
    /// It dials.
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
    pub delivery: Arc<Delivery>,
    /// Hears how it stands.
    pub following: Arc<Mutex<Following>>,
    /// Ends it.
    pub stop: Stop,
}

/// What has come since it was looked at last.
struct Batch {
    next: SequenceNumber,
    records: Vec<Record>,
    bytes: usize,
    /// Records are missing before one that came.
    has_gap: bool,
    /// They were asked for, and lost again: what came behind them has come a second time, or nothing more comes.
    was_asked_in_vain: bool,
    /// Why nothing more comes.
    end: Option<Error>,
}

impl Follower {
    /// Follows until it is told to stop, through any number of lost connections and new states.
    ///
    /// # Errors
    /// What another connection or another state would not mend: the data is of another primary, the disk fails.
    pub fn run(&self) -> Result<(), Error> {
        let home = &self.delivery.home;
        let mut pause = REDIAL.0;
        while home.wait_until(false).is_some() && !self.stop.is_stopped() {
            let before = home.current()?.applied();
            match self.connection() {
                Ok(()) => {}
                Err(error @ Error::LogTooShort { .. }) => {
                    self.stands(Following::Lost(error.to_string()));
                    home.fall_behind();
                }
                Err(
                    error @ (Error::Io { .. }
                    | Error::Peer(_)
                    | Error::Malformed(_)
                    | Error::NoState
                    | Error::Gap { .. }),
                ) => {
                    self.stands(Following::Lost(error.to_string()));
                    let has_moved = home.current()?.applied() > before;
                    pause = if has_moved { REDIAL.0 } else { (pause * 2).min(REDIAL.1) };
                    // Told to stop, the loop ends.
                    let _ = self.stop.pause(pause);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn stands(&self, following: Following) {
        *self.following.lock().unwrap_or_else(PoisonError::into_inner) = following;
    }

    fn next(&self) -> Result<SequenceNumber, Error> {
        Ok(SequenceNumber(self.delivery.home.current()?.applied().0 + 1))
    }

    fn connection(&self) -> Result<(), Error> {
        let store = self.delivery.home.current()?;
        let caller = Caller { member: self.member, order: store.order(), next: self.next()? };
        drop(store);
        let Dialled { stream, reader, last, .. } = dial(&self.primary, Purpose::Follow, caller)?;
        let _held = self.stop.hold(&stream).map_err(Error::io("keeping a connection"))?;
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
        let mut asked = None;
        let mut seen = SequenceNumber::NONE;
        loop {
            let batch = self.gather(frames, &mut seen)?;
            if !batch.records.is_empty() {
                self.delivery.deliver(batch.records)?;
                let sequence = self.delivery.applied.now();
                let told = frame::write(&mut stream, &Frame::Applied { sequence });
                told.map_err(Error::io("telling the primary"))?;
            }
            if let Some(end) = batch.end {
                return Err(end);
            }
            if batch.has_gap && (asked != Some(batch.next) || batch.was_asked_in_vain) {
                asked = Some(batch.next);
                let told = frame::write(&mut stream, &Frame::From { next: batch.next });
                told.map_err(Error::io("asking the primary"))?;
            }
        }
    }

    /// Waits for a frame, and takes what has come behind it. `seen`: the record that came last.
    fn gather(
        &self,
        frames: &Receiver<Result<Frame, Error>>,
        seen: &mut SequenceNumber,
    ) -> Result<Batch, Error> {
        let mut batch = Batch {
            next: self.next()?,
            records: Vec::new(),
            bytes: 0,
            has_gap: false,
            was_asked_in_vain: false,
            end: None,
        };
        let mut frame = frames.recv().unwrap_or(Err(Error::Peer("it closed the connection")));
        loop {
            match frame {
                Ok(frame) => self.take_one(frame, seen, &mut batch)?,
                Err(error) => batch.end = Some(error),
            }
            if batch.bytes >= BATCH_BYTES || batch.end.is_some() {
                return Ok(batch);
            }
            match frames.try_recv() {
                Ok(next) => frame = next,
                Err(_) => return Ok(batch),
            }
        }
    }

    fn take_one(&self, frame: Frame, seen: &mut SequenceNumber, batch: &mut Batch) -> Result<(), Error> {
        match frame {
            Frame::Record { sequence, operation } if sequence == batch.next => {
                batch.bytes += operation.len();
                *seen = sequence;
                batch.next = SequenceNumber(sequence.0 + 1);
                batch.records.push(Record { sequence, operation: Operation::decode(&operation)? });
            }
            // It has been applied: the primary was asked again.
            Frame::Record { sequence, .. } => {
                if sequence > batch.next {
                    batch.has_gap = true;
                    batch.was_asked_in_vain |= sequence <= *seen;
                }
                *seen = sequence;
            }
            Frame::Alive { last } => {
                let is_missing = last >= batch.next;
                batch.has_gap |= is_missing;
                batch.was_asked_in_vain |= is_missing;
                self.stands(Following::Connected(last));
            }
            Frame::TooShort { first } => {
                batch.end = Some(Error::LogTooShort { needed: batch.next, first });
            }
            _ => batch.end = Some(Error::Peer("a frame out of turn")),
        }
        Ok(())
    }
}

fn read_one(reader: &mut BufReader<TcpStream>) -> Result<Frame, Error> {
    frame::read(reader)?.ok_or(Error::Peer("it closed the connection"))
}
