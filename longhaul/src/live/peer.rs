//! A joiner's connection at its provider: a thread that reads frames, and one that writes them and reads the log.
//!
//! The writer does one thing after another, and each stretch of the log is read only when the one before was
//! written: so nobody's slowness costs more memory than a batch.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use longhaul_core::id::{MemberId, TransferId};
use longhaul_core::integrity::crc32c;
use longhaul_core::time::Instant;
use longhaul_core::transfer::live::{Link, Transmit};
use longhaul_core::transfer::wire::{Frame, PAYLOAD_MAX, Payload, Refusal};
use longhaul_core::transfer::{Decision, LogPoint, Tag};
use longhaul_transport::Arrival;

use super::application::ApplicationError;
use super::batch::Batch;
use super::pace::{Meter, Pace, Sample};
use super::shared::{Shared, State, guarded};
use crate::member::control;
use crate::member::frames::{Frames, emitted};

/// Connections at once: beyond them they are closed as they come.
const PEERS: usize = 64;
/// How long a connection may stand without business.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a joiner has to hear the last words.
const LINGER: Duration = Duration::from_secs(1);
/// Pieces of log that are sent in a second, at least, as long as there is log to send.
const PIECES_A_SECOND: u64 = 50;

/// A joiner's connection, as the driver knows it.
pub(super) struct Peer {
    stream: Arc<TcpStream>,
    jobs: Sender<Job>,
    /// What was read for it, and is announced next.
    payload: Option<Vec<u8>>,
    /// What it asked for last, and who it is.
    pub(super) transfer: Option<TransferId>,
    pub(super) member: Option<MemberId>,
    /// It has offered its state, which is being got.
    pub(super) has_offered: bool,
    /// Up to where it has applied the log.
    pub(super) applied: LogPoint,
    meter: Option<Meter>,
    /// When it was last known to have business here.
    busy: Instant,
    /// Since when it is to be closed.
    closes: Option<Instant>,
}

/// What its writer does next.
pub(super) enum Job {
    /// Writes a frame, and the payload behind it.
    Frame(Vec<u8>, Vec<u8>),
    /// Reads records of the log.
    ReadLog { from: LogPoint, max_bytes: u32 },
    /// Reads the pending prepares.
    ReadPending,
    /// Nothing more is written.
    Close,
}

impl Peer {
    pub(super) fn close(&self) {
        // One that is gone already is as closed as can be.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Nothing more comes, once all is written.
    pub(super) fn finish(&mut self, now: Instant) {
        self.closes.get_or_insert(now);
        self.give(Job::Close);
    }

    /// Where it dialled from.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    pub(super) fn give(&self, job: Job) {
        // A writer that has ended has closed the connection: its reader tells.
        let _ = self.jobs.send(job);
    }

    /// Closes it when it has no business here any more.
    pub(super) fn look(&mut self, has_place: bool, now: Instant) {
        if has_place || self.has_offered {
            self.busy = now;
        }
        let lingers = self.closes.is_some_and(|since| now.since(since) > LINGER);
        if lingers || now.since(self.busy) > PATIENCE {
            self.close();
        }
    }

    /// How it comes along, since it was measured last.
    pub(super) fn measure(&mut self, member: MemberId, sample: Sample) -> Option<Pace> {
        let Some(meter) = &mut self.meter else {
            self.meter = Some(Meter::new(sample));
            return None;
        };
        Some(meter.measure(member, sample))
    }

    /// What a frame says of how far it is.
    fn note(&mut self, tag: Tag, frame: &Frame<'_>, now: Instant) {
        self.busy = now;
        match frame {
            Frame::Request { member, have } => {
                (self.transfer, self.member) = (Some(tag.transfer), Some(*member));
                self.applied = have.map_or(self.applied, |have| have.point);
            }
            Frame::Applied { to } => self.applied = *to,
            _ => {}
        }
    }
}

impl State {
    pub(super) fn send_to_joiner(&mut self, sent: &Transmit, frame: &[u8]) {
        let Some(peer) = self.peers.get_mut(&sent.link.0) else { return };
        let payload = if sent.payload.is_some() { peer.payload.take() } else { None };
        peer.give(Job::Frame(frame[..sent.len].to_vec(), payload.unwrap_or_default()));
    }
}

impl Shared {
    /// A joiner has dialled.
    pub(super) fn arrive(self: &Arc<Self>, arrival: Arrival) {
        let Arrival { stream, peer: address, head } = arrival;
        let mut state = self.lock();
        if state.stopped
            || state.peers.len() >= PEERS
            || control::prepare(&stream, self.config.stall_timeout).is_err()
        {
            tracing::info!(%address, "a joiner was turned away");
            return;
        }
        state.peers_so_far = state.peers_so_far.wrapping_add(1);
        let (number, stream, (jobs, todo)) = (state.peers_so_far, Arc::new(stream), channel());
        let peer = Peer {
            stream: Arc::clone(&stream),
            jobs,
            payload: None,
            transfer: None,
            member: None,
            has_offered: false,
            applied: LogPoint::default(),
            meter: None,
            busy: self.clock.provider(),
            closes: None,
        };
        state.peers.insert(number, peer);
        drop(state);
        let (link, shared, writes) = (Link(number), Arc::clone(self), Arc::clone(&stream));
        let started = self.threads.spawn("live-write", move || shared.write(link, &writes, &todo));
        let (shared, reads) = (Arc::clone(self), Arc::clone(&stream));
        if !started || !self.threads.spawn("live-read", move || shared.listen(link, &head, &reads)) {
            self.lose(link);
        }
    }

    /// The reader: until the connection ends, or says what it must not.
    fn listen(self: &Arc<Self>, link: Link, head: &[u8], stream: &TcpStream) {
        let mut frames = Frames::new(BufReader::new(head.chain(stream)));
        while let Ok((tag, frame)) = frames.next() {
            // Joiners announce no payloads.
            if frame.payload().is_some() || !self.hear(link, tag, &frame) {
                break;
            }
        }
        self.lose(link);
    }

    /// A joiner says something; `false` if it is nobody's concern any more.
    fn hear(self: &Arc<Self>, link: Link, tag: Tag, frame: &Frame<'_>) -> bool {
        let mut state = self.lock();
        let now = self.clock.provider();
        let Some(peer) = state.peers.get_mut(&link.0) else { return false };
        peer.note(tag, frame, now);
        if let Frame::Offer { port, .. } = *frame {
            return self.take_offer(&mut state, link, tag, port);
        }
        let Some(machine) = &mut state.provider else {
            return self.answer_without_state(&mut state, link, tag, frame);
        };
        machine.handle_frame(link, tag, frame, now);
        self.drive(&mut state);
        true
    }

    /// This member has no state: it gives none, and of no epoch it knows an outcome.
    fn answer_without_state(&self, state: &mut State, link: Link, tag: Tag, frame: &Frame<'_>) -> bool {
        let answer = match frame {
            Frame::Request { .. } => Frame::Refused { why: Refusal::NotOperational, retry_after_ms: 100 },
            Frame::Ask => Frame::Outcome { decision: Decision::Abort },
            _ => return false,
        };
        if let Some(peer) = state.peers.get_mut(&link.0) {
            peer.give(Job::Frame(emitted(tag, &answer), Vec::new()));
            peer.finish(self.clock.provider());
        }
        true
    }

    /// A joiner's connection is over.
    fn lose(self: &Arc<Self>, link: Link) {
        let mut state = self.lock();
        if let Some(peer) = state.peers.remove(&link.0) {
            peer.close();
        }
        let now = self.clock.provider();
        if let Some(machine) = &mut state.provider {
            machine.handle_link_lost(link, now);
        }
        self.drive(&mut state);
    }

    /// The writer: until there is nothing more to say, or nobody hears it.
    fn write(self: &Arc<Self>, link: Link, mut stream: &TcpStream, jobs: &Receiver<Job>) {
        let mut owed = Duration::ZERO;
        for job in jobs {
            let done = match job {
                Job::Frame(frame, payload) => {
                    stream.write_all(&frame).and_then(|()| stream.write_all(&payload))
                }
                Job::ReadLog { from, max_bytes } => {
                    self.hold_back(owed);
                    self.read_log(link, from, max_bytes).map(|time| owed = time)
                }
                Job::ReadPending => self.read_pending(link),
                Job::Close => {
                    // It may have gone first.
                    let _ = stream.shutdown(Shutdown::Write);
                    return;
                }
            };
            if let Err(error) = done {
                tracing::info!(%error, "a joiner's connection can't be used any more");
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    /// Reads and hands on a stretch of the log; how long the next one has to wait, so that this is not too much.
    fn read_log(self: &Arc<Self>, link: Link, from: LogPoint, max_bytes: u32) -> io::Result<Duration> {
        let mut bytes = Vec::new();
        let limit = self.lock().log_limit().map_or(u64::MAX, NonZeroU64::get);
        // What is sent slowly is sent in small pieces: nobody waits long for what comes behind one.
        let max_bytes = limit.div_ceil(PIECES_A_SECOND).min(max_bytes.min(PAYLOAD_MAX).into()) as usize;
        let to = guarded(|| {
            let mut batch = Batch::new(&mut bytes, from, max_bytes);
            self.application.read(from, &mut batch)?;
            Ok(batch.end())
        });
        let to = match to {
            Ok(to) => to,
            Err(error) => {
                self.lose_log(&error);
                return Ok(Duration::ZERO);
            }
        };
        let len = bytes.len() as u64;
        self.have_read(link, bytes, |machine, payload, now| {
            let end = machine.log_end();
            let fits = from.records < to.records && to.is_between(from, end);
            if !fits || (to.records == end.records && to != end) {
                return Err(io::Error::other("the log does not hold what the messages told"));
            }
            machine.handle_log_read(link, from, to, payload, now);
            Ok(())
        })?;
        self.lock().log_sent += len;
        Ok(Duration::from_secs_f64(len as f64 / limit as f64))
    }

    /// All who need the log are told so: the connection is closed behind the words.
    fn lose_log(self: &Arc<Self>, error: &ApplicationError) {
        tracing::error!(%error, "the log can't be read");
        let mut state = self.lock();
        let now = self.clock.provider();
        if let Some(machine) = &mut state.provider {
            machine.handle_log_failed(now);
        }
        self.drive(&mut state);
    }

    fn read_pending(self: &Arc<Self>, link: Link) -> io::Result<()> {
        let mut bytes = Vec::new();
        let prepares = guarded(|| {
            let mut batch = Batch::new(&mut bytes, LogPoint::default(), PAYLOAD_MAX as usize);
            self.application.pending(&mut batch)?;
            Ok(batch.prepares())
        });
        let read = prepares.map_err(|error| format!("the pending prepares can't be read: {error}"));
        let prepares = read.map_err(io::Error::other)?;
        self.have_read(link, bytes, |machine, payload, now| {
            // The latch is closed, so it is the number that the joiner hears; unless that has been aborted.
            if machine.is_latched() && machine.pending() != prepares {
                return Err(io::Error::other("not all pending prepares could be told"));
            }
            machine.handle_pending_read(link, payload, now);
            Ok(())
        })
    }

    /// Hands on what was read for a joiner.
    fn have_read(
        self: &Arc<Self>,
        link: Link,
        bytes: Vec<u8>,
        hand_on: impl FnOnce(&mut super::shared::ProviderMachine, Payload, Instant) -> io::Result<()>,
    ) -> io::Result<()> {
        let payload = Payload { len: bytes.len() as u32, crc: crc32c(&bytes) };
        let mut state = self.lock();
        let State { peers, provider, .. } = &mut *state;
        let (Some(peer), Some(machine)) = (peers.get_mut(&link.0), provider) else { return Ok(()) };
        peer.payload = Some(bytes);
        hand_on(machine, payload, self.clock.provider())?;
        self.drive(&mut state);
        Ok(())
    }
}
