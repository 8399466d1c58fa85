//! A joiner's connection at a member: a thread that reads frames, and one that writes them and reads the log.
//!
//! The joiner dials, and says first who it is. The writer does one thing after another, and each stretch of the log is read
//! only when the one before was written: so nobody's slowness costs more memory than a batch.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use longhaul_core::id::{MemberId, TransferId};
use longhaul_core::integrity::crc32c;
use longhaul_core::time::Instant;
use longhaul_core::transfer::fetch::Transmit;
use longhaul_core::transfer::wire::{Frame, Kind, PAYLOAD_MAX, Payload, Refusal};
use longhaul_core::transfer::{LogPoint, Tag};
use longhaul_transport::Arrival;

use super::shared::{Shared, State, Unsaid};
use crate::live::batch::Batch;
use crate::live::shared::guarded;
use crate::member::control;
use crate::member::frames::{Frames, emitted};

/// Connections at once: beyond them they are closed as they come.
const PEERS: usize = 64;
/// Words that wait for members to dial.
const UNSAID: usize = 64;
/// How long a connection may stand while nothing is kept for anybody.
const PATIENCE: Duration = Duration::from_secs(10);
/// When asking a member without a state again makes sense.
const RETRY_AFTER_MS: u32 = 100;

/// Where a frame's kind stands, and the kinds that answer a word to the group.
const KIND: usize = 3;
const ANSWERS: [u8; 2] = [Kind::Suspended.code(), Kind::Abort.code()];

/// A joiner's connection, as the driver knows it.
pub(super) struct Peer {
    stream: Arc<TcpStream>,
    jobs: Sender<Job>,
    /// Who dialled, once it has said so.
    member: Option<MemberId>,
    /// What it asked for last.
    transfer: Option<TransferId>,
    /// What was read for it, and is announced next.
    payload: Option<Vec<u8>>,
    /// The last answer to a word of it to the group: it may not have come, and is said again on its next connection.
    word: Option<Vec<u8>>,
    /// It has offered its state, which is being got.
    pub(super) has_offered: bool,
    /// When it was last known to have business here.
    busy: Instant,
}

/// What its writer does next.
pub(super) enum Job {
    /// Writes a frame, and the payload behind it.
    Frame(Vec<u8>, Vec<u8>),
    /// Reads records of the log.
    ReadLog { transfer: TransferId, from: LogPoint, end: LogPoint, max_bytes: u32 },
}

impl Peer {
    pub(super) fn close(&self) {
        // One that is gone already is as closed as can be.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// From where it has dialled.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    pub(super) fn give(&self, job: Job) {
        // A writer that has ended has closed the connection: its reader tells.
        let _ = self.jobs.send(job);
    }

    /// Closes it when nobody has had business here for long.
    pub(super) fn look(&mut self, is_busy: bool, now: Instant) {
        if is_busy && self.member.is_some() || self.has_offered {
            self.busy = now;
        }
        if now.since(self.busy) > PATIENCE {
            self.close();
        }
    }
}

impl State {
    fn peer_of(&mut self, member: MemberId) -> Option<&mut Peer> {
        self.peers.values_mut().find(|peer| peer.member == Some(member))
    }

    pub(super) fn send_to_joiner(&mut self, sent: &Transmit, frame: &[u8], now: Instant) {
        let frame = frame[..sent.len].to_vec();
        let Some(peer) = self.peer_of(sent.to) else {
            // A word to the group has come sooner than the connection of who said it.
            return self.keep_unsaid(sent.to, frame, now);
        };
        if frame.get(KIND).is_some_and(|kind| ANSWERS.contains(kind)) {
            peer.word = Some(frame.clone());
        }
        let payload = if sent.records.is_some() { peer.payload.take() } else { None };
        if sent.records.is_some() == payload.is_some() {
            peer.give(Job::Frame(frame, payload.unwrap_or_default()));
        }
    }

    fn keep_unsaid(&mut self, to: MemberId, frame: Vec<u8>, since: Instant) {
        if self.unsaid.len() == UNSAID {
            self.unsaid.pop_front();
        }
        self.unsaid.push_back(Unsaid { to, frame, since });
    }

    /// Has records read for a transfer.
    pub(super) fn read_log(&self, transfer: TransferId, from: LogPoint, end: LogPoint, max_bytes: u32) {
        if let Some(peer) = self.peers.values().find(|peer| peer.transfer == Some(transfer)) {
            peer.give(Job::ReadLog { transfer, from, end, max_bytes });
        }
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
            member: None,
            transfer: None,
            payload: None,
            word: None,
            has_offered: false,
            busy: self.now(),
        };
        state.peers.insert(number, peer);
        drop(state);
        let (shared, writes) = (Arc::clone(self), Arc::clone(&stream));
        let started = self.threads.spawn("states-write", move || shared.write(number, &writes, &todo));
        let (shared, reads) = (Arc::clone(self), Arc::clone(&stream));
        if !started || !self.threads.spawn("states-read", move || shared.listen(number, &head, &reads)) {
            self.lose(number);
        }
    }

    /// The reader: until the connection ends, or says what it must not.
    fn listen(self: &Arc<Self>, number: u32, head: &[u8], stream: &TcpStream) {
        let mut frames = Frames::new(BufReader::new(head.chain(stream)));
        while let Ok((tag, frame)) = frames.next() {
            // Joiners announce no payloads.
            if frame.payload().is_some() || !self.hear(number, tag, &frame) {
                break;
            }
        }
        self.lose(number);
    }

    /// A joiner says something; `false` if it is nobody's concern any more.
    fn hear(self: &Arc<Self>, number: u32, tag: Tag, frame: &Frame<'_>) -> bool {
        let mut state = self.lock();
        let now = self.now();
        let State { peers, provider, .. } = &mut *state;
        let Some(peer) = peers.get_mut(&number) else { return false };
        peer.busy = now;
        let member = match (peer.member, frame) {
            (None, Frame::Hello { from, to }) => return self.greeted(&mut state, number, *from, *to),
            (None, _) | (_, Frame::Hello { .. }) => return false,
            (Some(member), _) => member,
        };
        if let Frame::Offer { port, .. } = *frame {
            return self.take_offer(&mut state, number, tag, (member, port));
        }
        if matches!(frame, Frame::Fetch { .. }) {
            peer.transfer = Some(tag.transfer);
        }
        if let Some(machine) = provider {
            machine.handle_frame(member, tag, frame, now);
        } else if matches!(frame, Frame::Fetch { .. } | Frame::AskRoot { .. }) {
            let why = Refusal::NotOperational;
            let refused = Frame::Refused { why, retry_after_ms: RETRY_AFTER_MS };
            peer.give(Job::Frame(emitted(tag, &refused), Vec::new()));
        }
        self.drive(&mut state);
        true
    }

    /// A joiner says who it is. An earlier connection of it is over.
    fn greeted(self: &Arc<Self>, state: &mut State, number: u32, from: MemberId, to: MemberId) -> bool {
        if to != self.config.member {
            return false;
        }
        if let Some(earlier) = state.peer_of(from) {
            earlier.member = None;
            earlier.close();
            let word = earlier.word.take();
            self.part(state, from, word);
        }
        let State { peers, unsaid, .. } = state;
        let Some(peer) = peers.get_mut(&number) else { return false };
        peer.member = Some(from);
        unsaid.retain(|word| {
            if word.to == from {
                peer.give(Job::Frame(word.frame.clone(), Vec::new()));
            }
            word.to != from
        });
        true
    }

    /// A joiner's connection is over.
    fn lose(self: &Arc<Self>, number: u32) {
        let mut state = self.lock();
        let Some(peer) = state.peers.remove(&number) else { return };
        peer.close();
        if let Some(member) = peer.member {
            self.part(&mut state, member, peer.word);
        }
    }

    fn part(self: &Arc<Self>, state: &mut State, member: MemberId, word: Option<Vec<u8>>) {
        if let Some(word) = word {
            state.keep_unsaid(member, word, self.now());
        }
        if let Some(machine) = &mut state.provider {
            machine.handle_lost(member, self.now());
        }
        self.drive(state);
    }

    /// The writer: until there is nothing more to say, or nobody hears it.
    fn write(self: &Arc<Self>, number: u32, mut stream: &TcpStream, jobs: &Receiver<Job>) {
        for job in jobs {
            let done = match job {
                Job::Frame(frame, payload) => {
                    stream.write_all(&frame).and_then(|()| stream.write_all(&payload))
                }
                Job::ReadLog { transfer, from, end, max_bytes } => {
                    self.read_records(number, transfer, (from, end), max_bytes)
                }
            };
            if let Err(error) = done {
                tracing::info!(%error, "a joiner's connection can't be used any more");
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn read_records(
        self: &Arc<Self>,
        number: u32,
        transfer: TransferId,
        (from, end): (LogPoint, LogPoint),
        max_bytes: u32,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        let max_bytes = max_bytes.min(PAYLOAD_MAX) as usize;
        let to = guarded(|| {
            let log = self.log.as_ref().ok_or("there is no log")?;
            let mut batch = Batch::up_to(end.records, &mut bytes, from, max_bytes);
            log.read(from, &mut batch)?;
            Ok(batch.end())
        });
        let to = to.map_err(|error| io::Error::other(format!("the log can't be read: {error}")))?;
        let fits = from.records < to.records && to.is_between(from, end);
        if !fits || (to.records == end.records && to != end) {
            return Err(io::Error::other("the log does not hold what the messages told"));
        }
        let payload = Payload { len: bytes.len() as u32, crc: crc32c(&bytes) };
        let mut state = self.lock();
        let State { peers, provider, .. } = &mut *state;
        let (Some(peer), Some(machine)) = (peers.get_mut(&number), provider) else { return Ok(()) };
        peer.payload = Some(bytes);
        machine.handle_log_read(transfer, from, to, payload, self.now());
        self.drive(&mut state);
        Ok(())
    }
}
