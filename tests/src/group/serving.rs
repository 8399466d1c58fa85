//! What a provider's machine has its driver do.

use std::collections::VecDeque;

use longhaul_core::id::SnapshotId;
use longhaul_core::time::Instant;
use longhaul_core::transfer::live::{Command, Link, Send};
use longhaul_core::transfer::wire::{Frame, HEADER_LEN, Header, Payload};

use super::agenda::Event;
use super::process::Process;
use super::store::Snapshot;
use super::wires::{Load, Parcel};
use super::world::Shared;

const MS: u64 = 1_000_000;
/// Pieces of a scan.
const PIECES: u64 = 4;

impl Process {
    pub(super) fn serve(&mut self, command: Command, now: Instant, world: &mut Shared) {
        match command {
            Command::Capture => self.capture(world),
            Command::Give { transfer, .. } => {
                self.giving.insert(transfer);
            }
            Command::StopGiving { transfer } => {
                self.giving.remove(&transfer);
            }
            Command::ReadLog { link, from, max_bytes } => {
                let log = self.store.as_ref().and_then(|store| store.log.as_ref()).expect("a log is kept");
                let mut to = from;
                for logged in log.iter().filter(|logged| logged.end > from) {
                    if to > from && logged.end.bytes - from.bytes > max_bytes.into() {
                        break;
                    }
                    assert_eq!(logged.record.number, to.records + 1, "a hole in the log");
                    to = logged.end;
                }
                let load = self.load(Send::Log { from, to });
                let machine = self.provider.as_mut().expect("it commands").live();
                machine.handle_log_read(link, from, to, load.payload(), now);
            }
            Command::ReadPending { link } => {
                let load = self.load(Send::Pending);
                let machine = self.provider.as_mut().expect("it commands").live();
                machine.handle_pending_read(link, load.payload(), now);
            }
            Command::DropCapture { .. } => self.snapshot = None,
            Command::TrimLog { before } => {
                let log = self.store.as_mut().and_then(|store| store.log.as_mut()).expect("a log is kept");
                log.retain(|logged| logged.end > before);
            }
            Command::StopLog => self.store.as_mut().expect("it has a state").log = None,
            Command::Reoffer => {
                self.reoffer(world);
                self.retry_requests(world);
            }
            Command::Throttle { on } => self.clients.is_throttled = on,
            Command::Close { link: Link(connection) } => {
                world.wires.send(connection as usize, 0, Parcel::Lost, &mut world.agenda, &mut world.random);
            }
        }
    }

    /// The engine's snapshot is taken at once where it is atomic, and told a little later; a scan takes its time.
    fn capture(&mut self, world: &mut Shared) {
        let store = self.store.as_mut().expect("it has a state");
        store.log.get_or_insert_with(VecDeque::new);
        let id = SnapshotId(std::array::from_fn(|n| (world.random.next() >> n) as u8));
        let state = if world.case.fuzzy { super::store::State::default() } else { store.state.clone() };
        let digest = store.digest.clone();
        self.snapshot = Some(Snapshot { id, state, digest, is_whole: false });
        let piece = if world.case.fuzzy { 0 } else { PIECES };
        let delay = world.random.below(5 * MS);
        world.agenda.after(delay, Event::Scan { process: self.number, snapshot: id, piece });
    }

    /// The next piece of a scan is copied; after the last one the capture is whole.
    pub(super) fn scan(&mut self, id: SnapshotId, piece: u64, world: &mut Shared) {
        let Some(snapshot) =
            self.snapshot.as_mut().filter(|snapshot| snapshot.id == id && !snapshot.is_whole)
        else {
            return;
        };
        if piece < PIECES {
            let store = self.store.as_ref().expect("it has a state");
            snapshot.state.copy_piece(&store.state, piece, PIECES);
            let delay = world.random.below(5 * MS);
            return world
                .agenda
                .after(delay, Event::Scan { process: self.number, snapshot: id, piece: piece + 1 });
        }
        snapshot.is_whole = true;
        let digest = snapshot.digest.clone();
        let now = self.now(world);
        self.provider.as_mut().expect("it captures").live().handle_captured(id, &digest, now);
        self.drive(world);
    }

    /// The bytes of a payload.
    pub(super) fn load(&self, payload: Send) -> Load {
        let store = self.store.as_ref().expect("it has a state");
        match payload {
            Send::Log { from, to } => {
                let log = store.log.as_ref().expect("a log is kept");
                Load::Log(log.iter().filter(|one| one.end > from && one.end <= to).cloned().collect())
            }
            Send::Pending => {
                Load::Prepared(store.prepared.iter().map(|(key, value)| (*key, *value)).collect())
            }
        }
    }

    pub(super) fn serve_parcel(
        &mut self,
        connection: usize,
        parcel: Parcel,
        now: Instant,
        world: &mut Shared,
    ) {
        let link = Link(connection as u32);
        let (host, _) = world.wires.connections[connection].ends[0];
        let Some(provider) = &mut self.provider else {
            // It has no state: who dials is told so by the end of the connection.
            return world.wires.send(connection, 0, Parcel::Lost, &mut world.agenda, &mut world.random);
        };
        match parcel {
            Parcel::Up => world.wires.send(connection, 0, Parcel::Up, &mut world.agenda, &mut world.random),
            Parcel::Lost => provider.live().handle_link_lost(link, now),
            Parcel::Frame { bytes, .. } => {
                let header =
                    Header::parse(bytes[..HEADER_LEN].try_into().expect("a header")).expect("a frame");
                let frame = Frame::parse(&header, &bytes[HEADER_LEN..]).expect("a frame");
                world.trace.say(world.agenda.now(), || {
                    format!("{host} -> {}: {:?} {frame:?}", self.host, header.tag.epoch)
                });
                provider.live().handle_frame(link, header.tag, &frame, now);
            }
        }
    }
}

impl Load {
    /// What is announced of it.
    pub(super) fn payload(&self) -> Payload {
        let (len, hash) = match self {
            Self::Log(records) => {
                (records.len(), records.iter().fold(0, |hash, one| crate::sim::mix(hash ^ one.hash())))
            }
            Self::Requests(requests) => {
                (requests.len(), requests.iter().fold(2, |hash, one| crate::sim::mix(hash ^ one.hash())))
            }
            Self::Prepared(prepared) => {
                let hash =
                    |hash, (transaction, (_, value)): &(longhaul_core::message::Transaction, (u8, u64))| {
                        crate::sim::mix(hash ^ transaction.number ^ value.rotate_left(9))
                    };
                (prepared.len(), prepared.iter().fold(1, hash))
            }
        };
        Payload { len: len as u32 * 64, crc: hash as u32 }
    }
}
