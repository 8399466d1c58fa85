//! The primary's end of its replicas' connections.

use std::collections::BTreeMap;
use std::io::{BufReader, BufWriter, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use longhaul::MemberId;
use longhaul_core::digest::SequenceNumber;

use super::frame::{self, Frame, Purpose};
use super::wire::{ALIVE, Hello, hear};
use crate::applied::Applied;
use crate::copy::Copies;
use crate::error::Error;
use crate::home::Home;
use crate::live::Transfers;
use crate::order::Queue;
use crate::store::Pins;

/// Bytes of the log that are read at once.
const PART_BYTES: usize = 1 << 20;
/// Operations of one replica that are under way at once.
const UNDER_WAY_MAX: usize = 1024;

/// What the connections of a primary's replicas share.
pub struct Feeds {
    home: Arc<Home>,
    transfers: Arc<Transfers>,
    copies: Arc<Copies>,
    order: MemberId,
    applied: Applied,
    queue: Arc<Queue>,
    pins: Arc<Mutex<Pins>>,
    followers: Mutex<BTreeMap<MemberId, SequenceNumber>>,
}

/// How far a replica has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerAt {
    /// Which.
    pub member: MemberId,
    /// The last record that it says it has applied.
    pub applied: SequenceNumber,
}

impl Feeds {
    /// For a primary whose records are those of `order`.
    #[must_use]
    pub fn new(
        home: Arc<Home>,
        transfers: Arc<Transfers>,
        copies: Arc<Copies>,
        order: MemberId,
        applied: Applied,
        queue: Arc<Queue>,
        pins: Arc<Mutex<Pins>>,
    ) -> Self {
        Self { home, transfers, copies, order, applied, queue, pins, followers: Mutex::default() }
    }

    /// The replicas that follow at the moment.
    #[must_use]
    pub fn followers(&self) -> Vec<FollowerAt> {
        let followers = lock(&self.followers);
        followers.iter().map(|(member, applied)| FollowerAt { member: *member, applied: *applied }).collect()
    }
}

/// Serves a member that has dialled the primary, to the end of its connection.
///
/// # Errors
/// Why it ended early.
pub fn serve(feeds: &Arc<Feeds>, stream: &TcpStream) -> Result<(), Error> {
    let lost = || Error::io("talking to a member");
    let Hello { mut reader, mut writer, purpose, member, order, next } = hear(stream)?;
    let first = feeds.home.current()?.first_kept();
    let is_other = order != MemberId::default() && order != feeds.order;
    let refusal = if is_other || next.0 > feeds.applied.now().0 + 1 {
        Some(Frame::OtherOrder { order: feeds.order })
    } else if purpose == Purpose::Follow && next < first {
        Some(Frame::TooShort { first })
    } else {
        None
    };
    if let Some(refusal) = refusal {
        return frame::write(&mut writer, &refusal).map_err(lost());
    }
    frame::write(&mut writer, &welcome(&feeds.home, &feeds.transfers, &feeds.copies)?).map_err(lost())?;
    let result = match purpose {
        Purpose::Follow => feed(feeds, member, next, &mut reader, &writer),
        Purpose::Submit => submissions(feeds, &mut reader, writer),
        Purpose::Pin => pin(feeds, member, &mut reader, &mut writer),
        Purpose::Join => Ok(()),
    };
    // The other half of the connection ends with this one.
    let _ = stream.shutdown(Shutdown::Both);
    result
}

/// Serves who has dialled a replica: it tells where joiners dial, and nothing else.
///
/// # Errors
/// Why not.
pub fn introduce(
    home: &Home,
    transfers: &Transfers,
    copies: &Copies,
    stream: &TcpStream,
) -> Result<(), Error> {
    let mut hello = hear(stream)?;
    if hello.purpose != Purpose::Join {
        return Err(Error::Peer("a replica orders nothing: dial the primary"));
    }
    frame::write(&mut hello.writer, &welcome(home, transfers, copies)?)
        .map_err(Error::io("talking to a member"))
}

fn welcome(home: &Home, transfers: &Transfers, copies: &Copies) -> Result<Frame, Error> {
    let store = home.current()?;
    Ok(Frame::Welcome {
        order: store.order().ok_or(Error::NoState)?,
        first: store.first_kept(),
        last: store.applied(),
        joiners: transfers.address().map_or(0, |address| address.port()),
        copies: copies.address().map_or(0, |address| address.port()),
        member: copies.member().map(|member| member.peer().member).unwrap_or_default(),
    })
}

/// Where a feed is to go on, and whether it is over.
struct Cursor(Mutex<(SequenceNumber, bool)>);

fn feed(
    feeds: &Arc<Feeds>,
    member: MemberId,
    next: SequenceNumber,
    reader: &mut BufReader<TcpStream>,
    writer: &TcpStream,
) -> Result<(), Error> {
    let cursor = Cursor(Mutex::new((next, false)));
    lock(&feeds.followers).insert(member, SequenceNumber(next.0.saturating_sub(1)));
    let result = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let result = send_records(feeds, &cursor, writer);
            // A reader that waits for this replica wakes.
            let _ = writer.shutdown(Shutdown::Both);
            result
        });
        let heard = hear_follower(feeds, member, &cursor, reader);
        lock(&cursor.0).1 = true;
        feeds.applied.look_again();
        let _ = writer.shutdown(Shutdown::Both);
        sending.join().expect("a feed does not panic").and(heard)
    });
    lock(&feeds.followers).remove(&member);
    result
}

fn hear_follower(
    feeds: &Feeds,
    member: MemberId,
    cursor: &Cursor,
    reader: &mut BufReader<TcpStream>,
) -> Result<(), Error> {
    while let Some(frame) = frame::read(reader)? {
        match frame {
            Frame::From { next } => {
                lock(&cursor.0).0 = next;
                feeds.applied.look_again();
            }
            Frame::Applied { sequence } => {
                lock(&feeds.followers).insert(member, sequence);
            }
            _ => return Err(Error::Peer("a frame out of turn")),
        }
    }
    Ok(())
}

fn send_records(feeds: &Feeds, cursor: &Cursor, stream: &TcpStream) -> Result<(), Error> {
    let lost = || Error::io("sending records");
    let mut writer = BufWriter::with_capacity(256 << 10, stream);
    let mut bytes = Vec::new();
    loop {
        let (next, is_over) = *lock(&cursor.0);
        if is_over {
            return Ok(());
        }
        bytes.clear();
        let is_waiting = || *lock(&cursor.0) == (next, false);
        if feeds.applied.wait_until(ALIVE, |last| last >= next || !is_waiting()) {
            if !is_waiting() {
                continue;
            }
            let part = match feeds.home.current()?.read_log(next, PART_BYTES) {
                Ok(part) => part,
                Err(Error::LogTooShort { needed, first }) => {
                    frame::write(&mut writer, &Frame::TooShort { first }).map_err(lost())?;
                    writer.flush().map_err(lost())?;
                    return Err(Error::LogTooShort { needed, first });
                }
                Err(error) => return Err(error),
            };
            let mut after = next;
            for (sequence, operation) in part.records {
                after = SequenceNumber(sequence.0 + 1);
                Frame::Record { sequence, operation }.encode(&mut bytes);
            }
            let mut place = lock(&cursor.0);
            // Asked for again meanwhile: from there, then.
            if place.0 == next {
                place.0 = after;
            }
        } else {
            Frame::Alive { last: feeds.applied.now() }.encode(&mut bytes);
        }
        writer.write_all(&bytes).and_then(|()| writer.flush()).map_err(lost())?;
    }
}

fn submissions(
    feeds: &Arc<Feeds>,
    reader: &mut BufReader<TcpStream>,
    writer: TcpStream,
) -> Result<(), Error> {
    // Whoever orders must not wait: there is room for every answer that may be under way.
    let (sender, answers) = sync_channel::<Frame>(UNDER_WAY_MAX);
    let under_way = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let done = Arc::clone(&under_way);
    let answering = thread::Builder::new()
        .name("answers".into())
        .spawn(move || send_answers(&answers, &writer, &done))
        .map_err(Error::io("starting a thread"))?;
    let result = hear_submissions(feeds, reader, &sender, &under_way);
    drop(sender);
    answering.join().expect("answering does not panic").and(result)
}

fn hear_submissions(
    feeds: &Feeds,
    reader: &mut BufReader<TcpStream>,
    sender: &SyncSender<Frame>,
    under_way: &(Mutex<usize>, Condvar),
) -> Result<(), Error> {
    while let Some(frame) = frame::read(reader)? {
        match frame {
            Frame::Submit { number, operation } => {
                let mut count = lock(&under_way.0);
                while *count >= UNDER_WAY_MAX {
                    count = under_way.1.wait(count).unwrap_or_else(PoisonError::into_inner);
                }
                *count += 1;
                drop(count);
                let sender = sender.clone();
                feeds.queue.submit(
                    operation,
                    Box::new(move |result| {
                        // A replica that is gone hears nothing: to it the outcome is in doubt.
                        let _ = sender.try_send(Frame::Answer { number, result });
                    }),
                );
            }
            Frame::Alive { .. } => {}
            _ => return Err(Error::Peer("a frame out of turn")),
        }
    }
    Ok(())
}

fn send_answers(
    answers: &Receiver<Frame>,
    stream: &TcpStream,
    under_way: &(Mutex<usize>, Condvar),
) -> Result<(), Error> {
    let mut result = Ok(());
    let mut bytes = Vec::new();
    // It counts to the end, so that nobody waits for room that never comes.
    while let Ok(first) = answers.recv() {
        bytes.clear();
        let mut count = 0;
        for answer in std::iter::once(first).chain(answers.try_iter()) {
            answer.encode(&mut bytes);
            count += 1;
        }
        if result.is_ok() {
            let mut stream = stream;
            result = stream.write_all(&bytes).map_err(Error::io("answering a replica"));
        }
        *lock(&under_way.0) -= count;
        under_way.1.notify_all();
    }
    // Answers that were never given: an end that comes early says so.
    let _ = stream.shutdown(Shutdown::Both);
    result
}

fn pin(
    feeds: &Feeds,
    member: MemberId,
    reader: &mut BufReader<TcpStream>,
    writer: &mut TcpStream,
) -> Result<(), Error> {
    while let Some(frame) = frame::read(reader)? {
        let answer = match frame {
            Frame::Pin { lease } => {
                let first = feeds.home.current()?.first_kept();
                match lock(&feeds.pins).pin(member, lease, first, Instant::now()) {
                    Ok(behind) => Frame::Pinned { behind, sent: feeds.applied.now() },
                    Err(refused) => Frame::PinRefused(refused),
                }
            }
            Frame::Unpin => {
                lock(&feeds.pins).unpin(member);
                continue;
            }
            Frame::Alive { .. } => continue,
            _ => return Err(Error::Peer("a frame out of turn")),
        };
        frame::write(writer, &answer).map_err(Error::io("talking to a member"))?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
