//! The driver: one thread that owns a session machine, and carries out what it commands.
//!
//! It takes one message at a time from its queue,
//! hands it to the machine, drains the machine, and sleeps until the next message or deadline. It
//! touches no socket, no file and no user code: an [`Engine`] does, and threads of its own.

mod bucket;
mod build;
mod ending;
mod join;
mod message;
mod provide;
mod start;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use longhaul_core::id::Lane;
use longhaul_core::integrity::Integrity;
use longhaul_core::item::ItemName;
use longhaul_core::reason::{Reason, Side};
use longhaul_core::session::{self, Command, Session, State};
use longhaul_core::time::Instant;
use longhaul_core::wire::{FRAME_MAX, Failed, Frame, Init, Kind};
use longhaul_state::pool::{Buffer, Pool};
use longhaul_state::transfer::{Control, Event, Options, Stage, Summary, TransferError};
use longhaul_state::{Sink, Source};

pub(crate) use build::{Building, Spare};
pub(crate) use join::Join;
pub use join::WriteOp;
pub(crate) use message::{Admission, Message, Queue, Ticket, queue};
pub(crate) use provide::Provide;
pub use provide::{Close, Opened, Read, ReadOp, Reader};
pub(crate) use start::{begin, refuse, run};

use self::bucket::Bucket;
use crate::bytes::Bytes;
use crate::channel::Receiver;
use crate::chunk::Chunk;
use crate::engine::{Engine, Helpers};
use crate::lane::{Frames, Inbound, LaneEnd, Port};
use crate::stream::{Connection, TELL_EVERY};

/// Lanes of a session, lane 0 included.
pub(crate) const LANES: usize = 9;
const WINDOW: usize = 4096;
pub(crate) type Machine = Session<LANES, WINDOW>;

/// How long lane 0 has to say why a data lane was lost, before the others take over what it carried.
const REASON: Duration = Duration::from_millis(250);
/// Messages handled before lanes are flushed.
const BATCH: usize = 32;

/// Whose part of a session this side plays.
pub(crate) enum Role {
    Provide(Provide),
    Join(Join),
}

/// The same, before its helpers run.
pub(crate) enum Part {
    Provide(Arc<dyn Source>),
    Join(Box<dyn Sink>),
}

impl Part {
    pub(crate) const fn side(&self) -> Side {
        match self {
            Self::Provide(_) => Side::Provider,
            Self::Join(_) => Side::Joiner,
        }
    }

    /// Whether an earlier run has left something here.
    fn holds(&mut self) -> bool {
        match self {
            Self::Provide(_) => false,
            Self::Join(sink) => sink.resuming().is_some_and(|sink| sink.holds()),
        }
    }

    fn start(self, options: &Options, helpers: &Helpers, engine: &Arc<dyn Engine>) -> Role {
        match self {
            Self::Provide(source) => Role::Provide(Provide::new(source, helpers, engine)),
            Self::Join(sink) => Role::Join(Join::start(sink, options, helpers)),
        }
    }
}

/// How further lanes come about.
pub(crate) enum Lanes {
    /// This side dials them.
    Dial(std::net::SocketAddr),
    /// They come in with a token.
    Attach(Admission),
}

/// How a session began, and where its machine comes from.
pub(crate) enum Began {
    /// This side dialled: it is being built.
    Dialled(Building),
    /// A peer dialled, and said this first.
    Called { init: Init, spare: Arc<Spare> },
}

/// What a driver needs beside its role.
pub(crate) struct Setup<'a> {
    pub(crate) options: &'a Options,
    pub(crate) pool: &'a Pool,
    pub(crate) control: &'a Arc<Control>,
    pub(crate) lanes: Lanes,
    pub(crate) queue: Queue,
    pub(crate) messages: Receiver<Message>,
    /// What moves the bytes.
    pub(crate) engine: &'a Arc<dyn Engine>,
}

pub(crate) struct Driver<'a> {
    machine: Box<Machine>,
    side: Side,
    role: Role,
    lanes: Vec<Option<LaneEnd>>,
    helpers: Helpers,
    setup: Setup<'a>,
    started: Clock,
    scratch: Box<[u8; FRAME_MAX]>,
    /// The first error, in more words than the machine has.
    error: Option<TransferError>,
    /// Why a lane could not be dialled last.
    undialled: Option<std::io::Error>,
    /// Data lanes that were lost, and when the machine hears of it: the reason may still be on its way.
    lost: Vec<(Lane, Instant)>,
    /// How often the connection was lost.
    redials: u32,
    /// Lane 0 brings nothing more.
    control_ended: bool,
    /// The provider will not give what was asked for.
    refused: Option<TransferError>,
    /// What the joiner's application said of the publishing.
    app_reply: Vec<u8>,
    /// What a provider may send on its data lanes by now.
    bucket: Bucket,
    /// When it is looked after lanes that may bring payloads.
    look_at: Option<Instant>,
}

/// The machine's time: nanoseconds since the session's start.
fn now_of(started: Clock) -> Instant {
    Instant::from_nanos(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

impl Driver<'_> {
    fn now(&self) -> Instant {
        now_of(self.started)
    }

    fn drive(mut self) -> Result<Summary, TransferError> {
        self.drain();
        while !self.machine.is_over() {
            self.wait();
            for _ in 0..BATCH {
                match self.setup.messages.try_recv() {
                    Some(message) => self.handle(message),
                    None => break,
                }
            }
            // A peer that is never silent does not keep time from passing.
            self.deadlines();
            self.drain();
        }
        self.wind_up()
    }

    /// Sleeps until the next message or deadline, and handles the message.
    fn wait(&mut self) {
        let heard = self.lost.iter().map(|(_, heard)| *heard);
        let checkpoint = match &self.role {
            Role::Join(join) => join.checkpoint_due(),
            Role::Provide(_) => None,
        };
        let others = [self.machine.poll_timeout(), checkpoint, self.bucket.filled_at(), self.look_at];
        let deadline = others.into_iter().flatten().chain(heard).min();
        // Without a deadline this side waits for its own helpers alone.
        let patience = deadline.map_or(Duration::MAX, |deadline| deadline.since(self.now()));
        if let Some(message) = self.setup.messages.recv_within(patience) {
            self.handle(message);
        }
    }

    /// What is due by now.
    fn deadlines(&mut self) {
        let now = self.now();
        if self.machine.poll_timeout().is_some_and(|deadline| deadline <= now) {
            let busy = match &mut self.role {
                Role::Provide(_) => 0,
                Role::Join(join) => join.disk_progress(),
            };
            self.machine.handle_work(busy, now);
            self.machine.handle_timeout(now);
        }
        let due = |(_, heard): &mut (Lane, Instant)| *heard <= now;
        for (lane, _) in self.lost.extract_if(.., due) {
            self.machine.handle_lane_lost(lane, now);
        }
        if self.look_at.is_some_and(|look| look <= now) {
            self.look_at = Some(now.after(TELL_EVERY));
            self.lanes.iter_mut().flatten().for_each(LaneEnd::look);
        }
    }

    /// Something has come on a lane.
    fn hear(&mut self, lane: Lane) {
        self.lanes[lane.index()].iter_mut().for_each(LaneEnd::hear);
    }

    fn handle(&mut self, message: Message) {
        let now = self.now();
        match message {
            Message::Inbound { port, buffer, frames } if self.is_current(port) => {
                self.hear(port.lane);
                self.frames(port.lane, buffer, &frames, now);
            }
            Message::Spliced { port, header, chunk } if self.is_current(port) => {
                let inbound = Inbound { header, body: 0..0, crc: None, run: None };
                self.inbound(port.lane, b"", Some(chunk), &inbound, now);
            }
            Message::Invalid { port, error } if self.is_current(port) => {
                self.machine.handle_invalid(port.lane, error, now);
            }
            Message::LaneEnded { port, error } if self.is_current(port) => {
                self.lane_ended(port.lane, error, now);
            }
            Message::Sent { port, bytes, burst } if self.is_current(port) => {
                if let Some(end) = &mut self.lanes[port.lane.index()] {
                    end.sent(burst);
                }
                self.machine.handle_sent(bytes, now);
            }
            Message::Taken { port, bytes } if self.is_current(port) => self.machine.handle_sent(bytes, now),
            Message::Coming { port, bytes } if self.is_current(port) => {
                self.hear(port.lane);
                self.machine.handle_coming(bytes, now);
            }
            // Of a connection that was lost, or closed already.
            Message::Inbound { .. }
            | Message::Spliced { .. }
            | Message::Invalid { .. }
            | Message::LaneEnded { .. }
            | Message::Sent { .. }
            | Message::Taken { .. }
            | Message::Coming { .. }
            | Message::WriterEnded { .. } => {}
            Message::LaneUp { ticket, connection, .. } if !self.is_valid(ticket) => connection.close(),
            Message::LaneUp { lane, connection, .. } => self.lane_up(lane, connection, now),
            Message::DialFailed { ticket, .. } if !self.is_valid(ticket) => {}
            Message::DialFailed { lane, error, .. } => {
                tracing::info!(lane = lane.0, %error, "a lane could not be dialled");
                self.undialled = Some(error);
                self.machine.handle_dial_failed(lane, now);
            }
            Message::Resume { init, connection, admission } => {
                self.resume(&init, connection, admission, now);
            }
            // What is being published is published: its outcome is the truth.
            Message::Cancel if self.machine.state() == State::Installing => {}
            Message::Cancel => {
                let (reason, words) = if self.helpers.control.gives_way() {
                    (Reason::Busy, "others wait, and this session did not go on")
                } else {
                    (Reason::Cancelled, "cancelled")
                };
                self.fail(TransferError::new(reason, self.side, self.machine.phase(), words));
            }
            Message::Work(more) => self.machine.handle_work(more, now),
            // What is being published is published: only the sink can say that it was not.
            Message::HelperLost(how) if self.machine.state() == State::Installing => {
                tracing::warn!(how, "a helper ended while the state is published");
            }
            Message::HelperLost(how) => {
                self.fail(TransferError::new(Reason::Internal, self.side, self.machine.phase(), how));
            }
            Message::Panicked(what) if self.machine.state() == State::Installing => {
                tracing::error!(what, "panicked while the state is published");
            }
            Message::Panicked(what) => self.fail(TransferError::new(
                Reason::Internal,
                self.side,
                self.machine.phase(),
                format!("{what} panicked"),
            )),
            Message::FromSource(report) => {
                self.with_role(|role, io| match role {
                    Role::Provide(provide) => provide.handle(report, io),
                    Role::Join(_) => Ok(()),
                });
            }
            Message::FromSink(report) => {
                self.with_role(|role, io| match role {
                    Role::Join(join) => join.handle(report, io),
                    Role::Provide(_) => Ok(()),
                });
            }
        }
        self.commands();
    }

    /// What a reader handed on: a payload alone keeps its buffer to itself, others share theirs.
    fn frames(&mut self, lane: Lane, buffer: Buffer, frames: &Frames, now: Instant) {
        if let Some(frame) = frames.lone_payload() {
            let payload = Bytes::Alone(buffer, frame.body.clone());
            return self.inbound(lane, b"", Some(payload.into()), frame, now);
        }
        if !frames.have_payload() {
            // Handled here and now: nobody else needs their buffer.
            for frame in frames.iter() {
                let body = frame.body.clone();
                self.inbound(lane, &buffer[body], None, frame, now);
            }
            return;
        }
        let buffer = Arc::new(buffer);
        for frame in frames.iter() {
            let part = frame.body.clone();
            if frame.header.kind == Kind::Data {
                let payload = Bytes::Buffer(Arc::clone(&buffer), part);
                self.inbound(lane, b"", Some(payload.into()), frame, now);
            } else {
                self.inbound(lane, &buffer[part], None, frame, now);
            }
        }
    }

    /// One frame from a lane, with its body or its payload: to the machine, then what the machine says to
    /// the role.
    fn inbound(&mut self, lane: Lane, body: &[u8], payload: Option<Chunk>, inbound: &Inbound, now: Instant) {
        if self.machine.is_over() {
            return;
        }
        let frame = match Frame::parse(&inbound.header, body) {
            Ok(frame) => frame,
            Err(error) => return self.machine.handle_invalid(lane, error, now),
        };
        if let Frame::Refused(refused) = &frame {
            self.refused.get_or_insert_with(|| TransferError::refused(refused));
        }
        if let Frame::Installed { app_reply } = &frame {
            self.app_reply = app_reply.to_vec();
        }
        if let Frame::Failed(failed) = &frame {
            self.error.get_or_insert_with(|| TransferError::peer(failed));
        }
        self.machine.handle_frame(lane, inbound.header.task, &frame, now);
        if let (Role::Provide(provide), Frame::Request(request)) = (&mut self.role, &frame) {
            provide.requested(request);
        }
        if let Frame::Kept { id, offset, integrity, sums } = frame
            && !self.machine.is_over()
        {
            self.with_role(|role, io| match role {
                Role::Provide(provide) => provide.kept(id, offset, integrity, sums, io),
                Role::Join(_) => Ok(()),
            });
        }
        self.with_role_at(now, |role, io| match role {
            Role::Join(join) => join.frame(lane, &frame, payload, inbound, io),
            Role::Provide(_) => Ok(()),
        });
        self.commands();
    }

    fn lane_up(&mut self, lane: Lane, connection: Connection, now: Instant) {
        // A lane that is late belongs to the connection that was lost: its end would be taken for a new one's.
        if !self.machine.handle_lane_up(lane, now) {
            return connection.close();
        }
        self.undialled = None;
        self.connect(lane, connection);
        // A lane that was dialled says what it is before anything else goes out on it.
        self.transmit();
    }

    /// Has a lane receive from its connection.
    fn connect(&mut self, lane: Lane, connection: Connection) {
        let data = lane != Lane::CONTROL;
        // Lane 0's reader learns of the integrity from the task.
        let terms = self.machine.terms(self.side).filter(|_| data);
        let integrity = terms.map_or(Integrity::None, |terms| terms.integrity);
        // A provider's data lanes bring nothing in; a joiner's bring payloads.
        let share = match self.side {
            Side::Joiner if data => &self.helpers.share,
            _ => &self.helpers.reserved,
        };
        let pipes = (self.side == Side::Joiner && data).then(|| self.helpers.pipes()).flatten();
        let end = LaneEnd::start(
            Port { lane, connection: self.redials },
            connection,
            share.clone(),
            integrity,
            pipes,
            &self.helpers,
            self.setup.engine,
        );
        self.lanes[lane.index()] = Some(end);
        if matches!(self.role, Role::Join(_)) {
            self.look_at = Some(self.now().after(TELL_EVERY));
        }
    }

    /// Whether a report is about a connection that still stands.
    fn is_current(&self, port: Port) -> bool {
        self.lanes[port.lane.index()].as_ref().is_some_and(|end| end.port == port)
    }

    /// Whether a lane belongs to the connection that stands now.
    fn is_valid(&self, ticket: Ticket) -> bool {
        match (ticket, &self.setup.lanes) {
            (Ticket::Dialled(redials), Lanes::Dial(_)) => redials == self.redials,
            (Ticket::Attached(token), Lanes::Attach(admission)) => token == admission.token,
            _ => false,
        }
    }

    fn lane_ended(&mut self, lane: Lane, error: Option<std::io::Error>, now: Instant) {
        if let Some(error) = error {
            tracing::debug!(lane = lane.0, %error, "a connection failed");
        }
        self.control_ended |= lane == Lane::CONTROL;
        if lane == Lane::CONTROL {
            self.machine.handle_lane_lost(lane, now);
        } else if !self.machine.is_over() && !self.lost.iter().any(|(lost, _)| *lost == lane) {
            self.lost.push((lane, now.after(REASON)));
        }
    }

    /// The peer that dialled this session has dialled again.
    fn resume(&mut self, init: &Init, connection: Connection, admission: Admission, now: Instant) {
        if let Err(error) = self.machine.handle_resume(init, admission.token, now) {
            tracing::info!(%error, "a session could not be resumed");
            return refuse(&error, self.side, &connection);
        }
        // What the old connection left is closed before the new one is lane 0.
        self.commands();
        self.setup.lanes = Lanes::Attach(admission);
        self.connect(Lane::CONTROL, connection);
        self.control_ended = false;
    }

    fn close_lane(&mut self, lane: Lane) {
        if let Some(end) = self.lanes[lane.index()].take() {
            end.close();
        }
        self.lost.retain(|(lost, _)| *lost != lane);
        if let Role::Provide(provide) = &mut self.role {
            provide.lane_closed(lane);
        }
    }

    /// Drains commands and events. Commands that are carried out at once may bring more.
    fn commands(&mut self) {
        while let Some(command) = self.machine.poll_command() {
            match command {
                Command::Dial { lane } => self.dial(lane),
                Command::CloseLane { lane } => self.close_lane(lane),
                other => self.with_role(|role, io| match role {
                    Role::Provide(provide) => provide.command(other, io),
                    Role::Join(join) => join.command(other, io),
                }),
            }
        }
        while let Some(event) = self.machine.poll_event() {
            self.event(event);
        }
    }

    fn with_role(&mut self, act: impl FnOnce(&mut Role, &mut Io<'_>) -> Result<(), TransferError>) {
        self.with_role_at(self.now(), act);
    }

    fn with_role_at(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Role, &mut Io<'_>) -> Result<(), TransferError>,
    ) {
        let mut io = Io {
            machine: &mut self.machine,
            lanes: &mut self.lanes,
            scratch: &mut self.scratch,
            control: &self.helpers.control,
            engine: &**self.setup.engine,
            refused: &mut self.refused,
            now,
        };
        if let Err(error) = act(&mut self.role, &mut io) {
            self.fail(error);
        }
    }

    fn dial(&self, lane: Lane) {
        let Lanes::Dial(address) = self.setup.lanes else { return };
        let (queue, timeout) = (self.helpers.queue.clone(), self.setup.options.handshake_timeout);
        let ticket = Ticket::Dialled(self.redials);
        self.helpers.threads.spawn(format!("longhaul-dial-{}", lane.0), move || {
            let dialled = crate::stream::dial(&[address], timeout).and_then(Connection::tcp);
            queue.send(match dialled {
                Ok(connection) => Message::LaneUp { lane, ticket, connection },
                Err(error) => Message::DialFailed { lane, ticket, error },
            });
        });
    }

    fn event(&mut self, event: session::Event) {
        let control = &self.helpers.control;
        match event {
            session::Event::Established => {
                control.establish();
                control.enter(Stage::Surveying);
                if let Some(peer) = self.machine.peer() {
                    control.emit(&Event::Established { peer });
                }
            }
            session::Event::Streaming { .. } => {
                control.enter(Stage::Streaming);
                control.emit(&Event::Streaming);
            }
            session::Event::Graded { grades, .. } => control.set_items(grades.verified.into()),
            session::Event::Retrying { id, failures } => {
                control.add_retry();
                control.emit(&Event::Retrying { item: id.0, attempt: failures });
            }
            session::Event::LaneLost(lane) => {
                tracing::warn!(lane = lane.0, "a data lane was lost; the others go on");
            }
            session::Event::Reconnecting => {
                tracing::warn!("the connection was lost");
                self.redials += 1;
                if let Role::Provide(provide) = &mut self.role {
                    provide.disconnected();
                }
                self.helpers.control.emit(&Event::Reconnecting);
            }
            session::Event::Resumed => {
                self.control_ended = false;
                control.emit(&Event::Resumed);
            }
            session::Event::Agreed { .. } => control.enter(Stage::Syncing),
            session::Event::Durable => {
                control.emit(&Event::Durable);
                self.with_role(|role, io| match role {
                    Role::Join(join) => {
                        join.durable(io);
                        Ok(())
                    }
                    Role::Provide(_) => Ok(()),
                });
            }
            session::Event::Installed { .. } => control.emit(&Event::Installed),
            session::Event::Busy { retry_after } => control.emit(&Event::Busy { retry_after }),
            session::Event::Prepared { .. }
            | session::Event::Refused { .. }
            | session::Event::Unconfirmed
            | session::Event::Failed => {}
        }
    }

    /// Drains everything: the role's waiting items, commands, events, every lane's frames.
    fn drain(&mut self) {
        loop {
            self.commands();
            self.with_role(|role, io| match role {
                Role::Provide(provide) => provide.offer(io),
                Role::Join(join) => {
                    join.flush(io.now);
                    Ok(())
                }
            });
            self.commands();
            if !self.transmit() {
                break;
            }
        }
    }

    /// Moves frames from the machine to lanes that have room; `true` if that made room in the machine.
    fn transmit(&mut self) -> bool {
        let mut moved = false;
        let (now, limit) = (self.now(), self.limit());
        self.bucket.look(now);
        for lane in 0..LANES {
            let Some(end) = &mut self.lanes[lane] else { continue };
            // Control is never held back.
            let is_limited = lane > 0 && limit.is_some();
            if is_limited && !self.bucket.may_send() {
                continue;
            }
            while end.has_room() {
                let Some(transmit) = self.machine.poll_transmit(Lane(lane as u16), &mut self.scratch[..])
                else {
                    break;
                };
                end.building.control(&self.scratch[..transmit.len]);
                moved = true;
                if let (Some(payload), Role::Provide(provide)) = (transmit.payload, &mut self.role) {
                    end.building.payload(provide.payload(lane, &payload));
                }
            }
            let said = end.say_little();
            if said > 0 {
                self.machine.handle_sent(said, now);
            }
            let bytes = end.building.len();
            if end.flush() {
                moved = true;
                self.bucket.take(bytes, limit.filter(|_| is_limited), now);
            }
        }
        moved
    }

    /// How many bytes of payload a second may leave this side.
    fn limit(&self) -> Option<NonZeroU64> {
        self.helpers.control.rate_limit().filter(|_| self.side == Side::Provider)
    }

    /// This side fails the session, and tells the peer.
    fn fail(&mut self, error: TransferError) {
        if self.machine.is_over() {
            return;
        }
        let name = error.item.as_ref().map_or(ItemName::ROOT, |name| name.as_name());
        let failed = Failed {
            reason: error.reason,
            phase: error.phase,
            side: error.side,
            offset: error.offset,
            name,
            message: &error.message,
            app_reply: &error.app_reply,
        };
        let len = self.machine.fail(&failed, &mut self.scratch[..]);
        if let Some(end) = &mut self.lanes[0] {
            end.building.control(&self.scratch[..len]);
        }
        self.error = Some(error);
    }
}

/// What a role may touch of the driver while it handles something.
pub(crate) struct Io<'a> {
    pub(crate) machine: &'a mut Machine,
    pub(crate) lanes: &'a mut [Option<LaneEnd>],
    pub(crate) scratch: &'a mut [u8; FRAME_MAX],
    pub(crate) control: &'a Arc<Control>,
    pub(crate) engine: &'a dyn Engine,
    /// Set when this side refuses what was asked for.
    pub(crate) refused: &'a mut Option<TransferError>,
    pub(crate) now: Instant,
}

/// What a role knows at the end.
pub(crate) struct Totals {
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    pub(crate) root: longhaul_core::integrity::Root,
    pub(crate) caveat: Option<&'static str>,
    pub(crate) app_meta: Vec<u8>,
}
