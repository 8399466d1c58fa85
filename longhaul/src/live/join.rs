//! What a joiner's machine commands, and its connection to the provider.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use longhaul_core::id::{Epoch, MemberId, TransferId};
use longhaul_core::integrity::crc32c;
use longhaul_core::time::Instant;
use longhaul_core::transfer::Tag;
use longhaul_core::transfer::live::{Failure, JoinerCommand, State as Phase, Take};
use longhaul_core::transfer::wire::{Frame, Payload, Refusal};

use super::ApplicationError;
use super::batch::{prepares, records};
use super::calls::Call;
use super::ended::Ended;
use super::event::Event;
use super::fetch::{Fetched, Joined, Outcome};
use super::pin::Pinning;
use super::shared::{JoinerMachine, Shared, State};
use super::stage::{Item, Work};
use crate::error::Error;
use crate::member::control;
use crate::member::frames::Frames;

/// A transfer, as the driver knows it.
pub(super) struct Joining {
    pub(super) machine: Box<JoinerMachine>,
    /// Providers, and which of them is asked.
    targets: Vec<String>,
    at: usize,
    dials: u64,
    /// The connection that stands.
    link: Option<Connection>,
    /// One that is to be closed once all is sent.
    closing: Option<Connection>,
    /// What is done for an earlier one has no effect.
    pub(super) generation: u64,
    pub(super) work: Arc<Work>,
    pins: Sender<Pinning>,
    /// Coordinators of the prepares that the hidden copy holds.
    pub(super) prepared: Vec<MemberId>,
    /// The source that would not keep its messages when they were asked last.
    pub(super) unpinned: Option<MemberId>,
    /// Nobody is dialled before they have been asked again.
    pub(super) dials_once_pinned: bool,
    pin_round: u64,
    /// What was behind the last failure.
    pub(super) cause: Option<ApplicationError>,
    pub(super) bulk: Option<crate::Summary>,
    pub(super) outcome: Arc<Outcome>,
    /// The phase that was told last, and the epoch.
    told: (Option<Phase>, Epoch),
}

/// A connection to a provider.
struct Connection {
    number: u64,
    stream: Arc<TcpStream>,
    /// Frames to write; dropped, the connection ends behind the last one.
    frames: Sender<Vec<u8>>,
}

impl Joining {
    pub(super) fn new(
        machine: Box<JoinerMachine>,
        targets: Vec<String>,
        work: Arc<Work>,
        pins: Sender<Pinning>,
        outcome: Arc<Outcome>,
    ) -> Self {
        Self {
            machine,
            targets,
            at: 0,
            dials: 0,
            link: None,
            closing: None,
            generation: 0,
            work,
            pins,
            prepared: Vec::new(),
            unpinned: None,
            dials_once_pinned: false,
            pin_round: 0,
            cause: None,
            bulk: None,
            outcome,
            told: (None, Epoch(1)),
        }
    }

    /// How the machine calls a provider of this list.
    pub(super) fn name(at: usize) -> MemberId {
        MemberId((at as u128 + 1).to_be_bytes())
    }

    pub(super) fn poll_command(&mut self) -> Option<JoinerCommand> {
        self.machine.poll_command()
    }

    /// The provider that is asked.
    pub(super) fn target(&self) -> &str {
        &self.targets[self.at]
    }

    /// A frame for the provider.
    pub(super) fn send(&mut self, frame: &[u8]) {
        if let Some(connection) = self.link.as_ref().or(self.closing.as_ref()) {
            // A writer that has ended has closed the connection: its reader tells.
            let _ = connection.frames.send(frame.to_vec());
        }
    }

    /// Whether it is this connection that stands.
    fn stands(&self, number: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.number == number)
    }

    /// The connection, or the dial, is over.
    fn drop_link(&mut self) {
        self.dials += 1;
        if let Some(link) = self.link.take() {
            let _ = link.stream.shutdown(Shutdown::Both);
        }
    }

    /// The connection is given up: the machine begins a new try.
    pub(super) fn lose_link(&mut self, now: Instant) {
        self.drop_link();
        self.machine.handle_link_lost(now);
    }

    pub(super) fn stop(&mut self) {
        self.drop_link();
        self.work.stop();
    }

    /// Another provider is asked, if there is one.
    fn next_target(&mut self, now: Instant) -> bool {
        if self.targets.len() < 2 {
            return false;
        }
        self.at = (self.at + 1) % self.targets.len();
        self.machine.switch(Self::name(self.at), now);
        true
    }

    fn result(&mut self) -> Option<Result<Fetched, Error>> {
        let provider = self.target().to_owned();
        match self.machine.state() {
            Phase::Serving => {
                let (digest, bulk) = (Box::new(self.machine.digest().clone()), self.bulk.take());
                Some(Ok(Fetched::State(Joined { provider, digest, bulk })))
            }
            Phase::Failed if self.machine.failure() == Some(Failure::Refused(Refusal::Oneself)) => {
                Some(Ok(Fetched::NoState))
            }
            Phase::Failed => {
                let failure = self.machine.failure().unwrap_or(Failure::Lost);
                let epochs = self.machine.tag().epoch.0;
                Some(Err(Ended::new(failure, provider, epochs, self.cause.take()).into()))
            }
            _ => None,
        }
    }
}

impl Shared {
    pub(super) fn take(self: &Arc<Self>, state: &mut State, command: JoinerCommand) {
        let Some(joining) = &mut state.joining else { return };
        match command {
            // Without pins it would never be ready, and only cost the provider a latch.
            JoinerCommand::Dial { .. } if joining.unpinned.is_some() => {
                joining.dials_once_pinned = true;
                let _ = joining.pins.send(Pinning::Pin { round: joining.pin_round });
            }
            JoinerCommand::Dial { .. } => self.dial(joining),
            JoinerCommand::Close => {
                joining.dials += 1;
                joining.closing = joining.link.take();
            }
            // A pin thread that has ended takes no more pins.
            JoinerCommand::Pin { round } => {
                joining.pin_round = round;
                let _ = joining.pins.send(Pinning::Pin { round });
            }
            JoinerCommand::Unpin => {
                let _ = joining.pins.send(Pinning::Unpin);
            }
            JoinerCommand::Stage { snapshot, keep } => {
                let (provider, transfer) = (joining.target().to_owned(), joining.machine.tag().transfer);
                let item = Item::Stage { snapshot, keep, provider, transfer };
                joining.work.push(joining.generation, item);
            }
            JoinerCommand::Rewind { to } => {
                joining.generation += 1;
                joining.prepared.clear();
                let instead = if to.is_some() { Item::Forget } else { Item::Discard };
                joining.work.rewind(Some((joining.generation, instead)));
            }
            JoinerCommand::Reoffer => state.call(Call::Reoffer),
            JoinerCommand::Commit => joining.work.push(joining.generation, Item::Commit),
            JoinerCommand::Serve => {
                // What it has accepted it has got.
                state.accepts = false;
                self.serve_on(state);
            }
        }
    }

    /// Whoever refused is asked again only if there is nobody else.
    pub(super) fn dial(self: &Arc<Self>, joining: &mut Joining) {
        let now = self.clock.joiner();
        let refused = matches!(joining.machine.failure(), Some(Failure::Refused(_)));
        if refused && joining.next_target(now) {
            return;
        }
        joining.dials += 1;
        let (number, target, shared) = (joining.dials, joining.target().to_owned(), Arc::clone(self));
        if !self.threads.spawn("live-join", move || shared.converse(number, &target)) {
            joining.machine.handle_link_lost(now);
        }
    }

    /// The dialler, and reader: until the connection ends.
    fn converse(self: &Arc<Self>, number: u64, target: &str) {
        let stream = match control::connect(target, self.config.stall_timeout) {
            Ok(stream) => Arc::new(stream),
            Err(error) => return self.unreachable(number, target, &error),
        };
        let (frames, todo) = channel();
        {
            let mut state = self.lock();
            let Some(joining) = state.joining.as_mut().filter(|joining| joining.dials == number) else {
                return;
            };
            joining.link = Some(Connection { number, stream: Arc::clone(&stream), frames });
            let writes = Arc::clone(&stream);
            if self.threads.spawn("live-tell", move || tell(&writes, &todo)) {
                joining.machine.handle_link_up(self.clock.joiner());
            } else {
                joining.machine.handle_link_lost(self.clock.joiner());
            }
            self.drive(&mut state);
        }
        if let Err(error) = self.follow(number, &stream) {
            tracing::info!(%error, target, "the connection to a provider is over");
        }
        let mut state = self.lock();
        // One that was given up is closed by its writer, behind the last word.
        let Some(joining) = state.joining.as_mut().filter(|joining| joining.stands(number)) else { return };
        joining.lose_link(self.clock.joiner());
        self.drive(&mut state);
    }

    fn unreachable(self: &Arc<Self>, number: u64, target: &str, error: &io::Error) {
        tracing::info!(%error, target, "a provider can't be reached");
        let mut state = self.lock();
        let now = self.clock.joiner();
        let Some(joining) = state.joining.as_mut().filter(|joining| joining.dials == number) else { return };
        joining.cause = Some(format!("{target} can't be reached: {error}").into());
        if !joining.next_target(now) {
            joining.machine.handle_link_lost(now);
        }
        self.drive(&mut state);
    }

    /// Takes what the provider says, as long as the connection stands.
    fn follow(self: &Arc<Self>, number: u64, stream: &TcpStream) -> io::Result<()> {
        let mut frames = Frames::new(BufReader::with_capacity(64 << 10, stream));
        loop {
            let (tag, frame) = frames.next()?;
            let (payload, is_log) = (frame.payload(), matches!(frame, Frame::Records { .. }));
            if !self.told(number, tag, &frame) {
                return Ok(());
            }
            if let Some(announced) = payload {
                let bytes = frames.payload(announced)?;
                if !self.loaded(number, bytes, is_log) {
                    return Ok(());
                }
            }
        }
    }

    /// The provider says something; `false` if the connection stands no more.
    fn told(self: &Arc<Self>, number: u64, tag: Tag, frame: &Frame<'_>) -> bool {
        let mut state = self.lock();
        let Some(joining) = state.joining.as_mut().filter(|joining| joining.stands(number)) else {
            return false;
        };
        joining.machine.handle_frame(tag, frame, self.clock.joiner());
        self.drive(&mut state);
        state.joining.as_ref().is_some_and(|joining| joining.stands(number))
    }

    /// A payload has come: it goes to the hidden copy.
    fn loaded(self: &Arc<Self>, number: u64, bytes: Vec<u8>, is_log: bool) -> bool {
        let payload = Payload { len: bytes.len() as u32, crc: crc32c(&bytes) };
        let mut state = self.lock();
        let Some(joining) = state.joining.as_mut().filter(|joining| joining.stands(number)) else {
            return false;
        };
        let now = self.clock.joiner();
        if joining.machine.handle_payload(payload, now) {
            let item = if is_log { joining.records(bytes, now) } else { whole_prepares(bytes) };
            let (work, generation) = (Arc::clone(&joining.work), joining.generation);
            self.drive(&mut state);
            drop(state);
            // Here the provider is held back when it is quicker than the hidden copy.
            return item.is_some_and(|item| work.push_when_room(generation, item));
        }
        self.drive(&mut state);
        state.joining.as_ref().is_some_and(|joining| joining.stands(number))
    }

    /// Tells how it goes, and ends what is over. Whether there is more to do now.
    pub(super) fn settle_joining(self: &Arc<Self>, state: &mut State) -> bool {
        let Some(joining) = &mut state.joining else { return false };
        // Dropped: its writer ends it behind the last frame.
        joining.closing = None;
        let (phase, epoch) = (joining.machine.state(), joining.machine.tag().epoch);
        let (before, epoch_before) = std::mem::replace(&mut joining.told, (Some(phase), epoch));
        if epoch != epoch_before
            && let Some(why) = joining.machine.failure()
        {
            self.watchers.emit(&Event::Again { why });
        }
        if before != Some(phase) {
            self.watchers.emit(&Event::Phase(phase));
        }
        let Some(result) = joining.result() else { return false };
        joining.outcome.set(result);
        joining.work.close();
        // With it goes the way to the pin thread, which ends behind the last pin.
        state.joining = None;
        if phase == Phase::Failed {
            self.serve_on(state);
        }
        true
    }

    /// The member is operational from now on, if it has a state: another one, or still the old one.
    fn serve_on(&self, state: &mut State) {
        let role = state.wanted;
        let Some(machine) = &mut state.provider else { return };
        machine.set_role(role, self.clock.provider());
        self.admit();
        state.call(Call::Serve);
        state.call(Call::Reoffer);
    }
}

impl Joining {
    /// Which records of a payload are to be applied.
    fn records(&mut self, bytes: Vec<u8>, now: Instant) -> Option<Item> {
        let (mut skipped, mut taken) = (0, 0);
        for record in records(&bytes) {
            match self.machine.handle_record(&record?.record, now) {
                Take::Apply => taken += 1,
                Take::Skip => skipped += 1,
                Take::Stop => return None,
            }
        }
        let to = self.machine.received();
        Some(Item::Apply { bytes, skipped, taken, to })
    }
}

/// The pending prepares of a payload, unless one is none.
fn whole_prepares(bytes: Vec<u8>) -> Option<Item> {
    let whole = prepares(&bytes).all(|prepare| prepare.is_some());
    whole.then_some(Item::Prepare { bytes })
}

/// The writer: until there is nothing more to say, or nobody hears it.
fn tell(mut stream: &TcpStream, frames: &Receiver<Vec<u8>>) {
    for frame in frames {
        if stream.write_all(&frame).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// A transfer's id, fresh.
pub(super) fn fresh_transfer() -> Result<TransferId, Error> {
    crate::settings::random().map(TransferId)
}
