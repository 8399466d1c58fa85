//! What a provider's machine has its driver do.

use std::collections::VecDeque;

use longhaul_core::id::SnapshotId;
use longhaul_core::time::Instant;
use longhaul_core::transfer::LogPoint;
use longhaul_core::transfer::fetch::{CaptureNumber, Command};

use super::super::agenda::Event;
use super::super::machines::Giver;
use super::super::process::Process;
use super::super::store::State;
use super::super::wires::Load;
use super::super::world::Shared;
use super::Captured;

const MS: u64 = 1_000_000;
/// Pieces of a scan.
const PIECES: u64 = 4;

impl Process {
    pub(in crate::group) fn give(&mut self, command: Command, now: Instant, world: &mut Shared) {
        match command {
            Command::Capture { capture, .. } => self.copy_state(capture, world),
            Command::Sum { capture } => {
                let delay = world.random.below(2 * MS);
                world.agenda.after(delay, Event::Summed { process: self.number, capture });
            }
            Command::Give { transfer, .. } => {
                self.giving.insert(transfer);
            }
            Command::StopGiving { transfer } => {
                self.giving.remove(&transfer);
            }
            Command::DropCapture { capture } => {
                self.captures.remove(&capture);
            }
            Command::KeepLog => {
                self.store.as_mut().expect("it has a state").requests = Some(VecDeque::new());
            }
            Command::ReadLog { transfer, from, end, max_bytes } => {
                let log =
                    self.store.as_ref().and_then(|store| store.requests.as_ref()).expect("a log is kept");
                let mut to = from;
                for one in log.iter().filter(|one| one.end > from && one.end <= end) {
                    if to > from && one.end.bytes - from.bytes > max_bytes.into() {
                        break;
                    }
                    assert_eq!(one.end.records, to.records + 1, "a hole in the log");
                    to = one.end;
                }
                let load = self.requests(from, to);
                let machine = self.provider.as_mut().expect("it commands").fetch();
                machine.handle_log_read(transfer, from, to, load.payload(), now);
            }
            Command::TrimLog { before } => {
                let log = self.store.as_mut().and_then(|store| store.requests.as_mut());
                log.expect("a log is kept").retain(|one| one.end > before);
            }
            Command::StopLog => self.store.as_mut().expect("it has a state").requests = None,
            Command::Reoffer => self.retry_requests(world),
        }
    }

    /// The engine's snapshot is taken at once where it is atomic, and told a little later; a scan takes its time.
    pub(in crate::group) fn copy_state(&mut self, capture: CaptureNumber, world: &mut Shared) {
        let store = self.store.as_ref().expect("it has a state");
        let id = SnapshotId(std::array::from_fn(|n| (world.random.next() >> n) as u8));
        let state = if world.case.fuzzy { State::default() } else { store.state.clone() };
        let (prepared, digest) = (store.prepared.clone(), store.digest.clone());
        self.captures.insert(capture, Captured { id, state, prepared, digest, is_whole: false });
        let piece = if world.case.fuzzy { 0 } else { PIECES };
        let delay = world.random.below(5 * MS);
        world.agenda.after(delay, Event::Copied { process: self.number, capture, piece });
    }

    /// The next piece of a scan is copied; after the last one the capture is whole.
    pub(in crate::group) fn copied(&mut self, capture: CaptureNumber, piece: u64, world: &mut Shared) {
        let Some(captured) = self.captures.get_mut(&capture) else { return };
        if piece < PIECES {
            let store = self.store.as_ref().expect("it has a state");
            captured.state.copy_piece(&store.state, piece, PIECES);
            let delay = world.random.below(5 * MS);
            let next = Event::Copied { process: self.number, capture, piece: piece + 1 };
            return world.agenda.after(delay, next);
        }
        captured.is_whole = true;
        let (id, digest) = (captured.id, captured.digest.clone());
        let now = self.now(world);
        self.provider.as_mut().expect("it captures").fetch().handle_captured(capture, id, &digest, now);
        self.drive(world);
    }

    /// The engine has lost what it had captured.
    pub(in crate::group) fn lose_captures(&mut self, world: &mut Shared) {
        let now = self.now(world);
        for (capture, _) in std::mem::take(&mut self.captures) {
            if let Some(Giver::Fetch(provider)) = &mut self.provider {
                provider.handle_capture_lost(capture, now);
            }
        }
        self.drive(world);
    }

    pub(in crate::group) fn summed(&mut self, capture: CaptureNumber, world: &mut Shared) {
        let Some(captured) = self.captures.get(&capture) else { return };
        let (root, now) = (captured.state.root(), self.now(world));
        self.provider.as_mut().expect("it captures").fetch().handle_summed(capture, root, now);
        self.drive(world);
    }

    pub(in crate::group) fn requests(&self, from: LogPoint, to: LogPoint) -> Load {
        let log = self.store.as_ref().and_then(|store| store.requests.as_ref()).expect("a log is kept");
        Load::Requests(log.iter().filter(|one| one.end > from && one.end <= to).cloned().collect())
    }
}
