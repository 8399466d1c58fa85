//! One session of a member: the real machine, its lanes, and the half that this side plays.
//!
//! All that knows how the machine is driven stands here, in [`super::provide`] and in [`super::join`].

use std::collections::VecDeque;

use longhaul_core::id::{Lane, Token, TransferId};
use longhaul_core::item::ItemName;
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::{self, Command, Event, SessionError, State};
use longhaul_core::wire::{Failed, Frame, Init, WireError};

use super::inbox::{Inbound, Inbox};
use super::join::Join;
use super::member::{Io, Job};
use super::network::Segment;
use super::provide::Provide;
use super::world::Ended;

/// Lanes of a session, lane 0 included.
pub(crate) const LANES: usize = 4;
/// The machine under test, with a window small enough to fill.
pub(crate) type Machine = session::Session<LANES, 64>;

/// How long the word why a session failed may come behind the end of its data lanes.
const GRACE: u64 = 200_000_000;
/// How long a session that is over waits for its last words to be read.
const LINGER: u64 = 3_000_000_000;

/// What a session is begun with.
pub(crate) struct Setup {
    pub(crate) config: session::Config,
    /// Which of the case's sessions it is.
    pub(crate) number: usize,
    /// Which plan of its member it belongs to, and as which of its sessions.
    pub(crate) plan: (usize, usize),
    pub(crate) peer: usize,
    pub(crate) provide: Option<Provide>,
    pub(crate) join: Option<Join>,
}

struct LaneEnd {
    connection: usize,
    end: usize,
    inbox: Inbox,
    out: VecDeque<Segment>,
    finished: bool,
}

/// Frames that calls have encoded, each with its lane.
#[derive(Debug, Default)]
pub(crate) struct Said(pub(crate) Vec<(Lane, Vec<u8>)>);

pub(crate) struct Session {
    setup: Setup,
    dials: bool,
    /// None while lane 0 is dialled for the first time.
    machine: Option<Box<Machine>>,
    lanes: [Option<LaneEnd>; LANES],
    /// Admits further lanes.
    token: Token,
    /// Counts lost connections: a lane that was dialled before one is of no use.
    redials: u64,
    said: Said,
    tick: Option<u64>,
    /// Lane 0 could not be dialled at all.
    unreachable: bool,
    established: bool,
    ended: bool,
    advanced: u64,
    retries: u64,
    resumed: u64,
    lanes_lost: u64,
    /// The most bytes that it ever held.
    held: u64,
}

impl Session {
    /// The session of the side that dials.
    pub(crate) fn dial(setup: Setup, io: &mut Io<'_>) -> Self {
        io.dial(Lane::CONTROL, 0, setup.peer);
        Self::new(setup, true)
    }

    /// The session of the side that listened, on a connection that brought `init`.
    pub(crate) fn accept(setup: Setup, init: &Init, io: &Io<'_>) -> Result<Self, SessionError> {
        let machine = Machine::accept(setup.config, init, io.now)?;
        let mut session = Self::new(setup, false);
        session.setup.config.transfer = init.transfer;
        session.machine = Some(Box::new(machine));
        Ok(session)
    }

    fn new(setup: Setup, dials: bool) -> Self {
        Self {
            dials,
            machine: None,
            lanes: [const { None }; LANES],
            token: setup.config.token,
            redials: 0,
            said: Said::default(),
            tick: None,
            unreachable: false,
            established: false,
            ended: false,
            advanced: 0,
            retries: 0,
            resumed: 0,
            lanes_lost: 0,
            held: 0,
            setup,
        }
    }

    /// Nothing will change any more, the landing included.
    pub(crate) fn is_over(&self) -> bool {
        self.is_ended() && self.setup.join.as_ref().is_none_or(Join::is_idle)
    }

    /// The machine has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.unreachable || self.machine.as_ref().is_some_and(|machine| machine.is_over())
    }

    /// Which of the case's sessions it is.
    pub(crate) const fn number(&self) -> usize {
        self.setup.number
    }

    /// Which plan it belongs to, and as which of its sessions.
    pub(crate) const fn plan(&self) -> (usize, usize) {
        self.setup.plan
    }

    pub(crate) const fn join(&mut self) -> Option<&mut Join> {
        self.setup.join.as_mut()
    }

    /// Why it failed, or ended unconfirmed.
    pub(crate) fn failure(&self) -> Option<SessionError> {
        if self.unreachable {
            return Some(SessionError::LaneLost(Lane::CONTROL));
        }
        self.machine.as_ref().and_then(|machine| machine.failure())
    }

    /// Whether this side has said, or was told, that everything of the direction is published.
    pub(crate) fn claims(&self, side: Side) -> bool {
        match side {
            Side::Joiner => self.setup.join.as_ref().is_some_and(Join::has_published),
            Side::Provider => {
                let done = self.machine.as_ref().is_some_and(|machine| machine.state() == State::Done);
                done && self.setup.provide.is_some()
            }
        }
    }

    pub(crate) fn is_installing(&self) -> bool {
        self.machine.as_ref().is_some_and(|machine| machine.state() == State::Installing)
    }

    /// Whether a connection with this token, or this transfer, is about this session.
    pub(crate) fn admits(&self, token: Token) -> bool {
        !self.dials && !self.is_ended() && self.token == token
    }

    /// Whether a dialler that comes again means this session.
    pub(crate) fn is_of(&self, transfer: TransferId) -> bool {
        !self.dials && !self.is_ended() && self.setup.config.transfer == transfer
    }

    /// The lane that a connection is.
    pub(crate) fn lane_of(&self, connection: usize) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.as_ref().is_some_and(|lane| lane.connection == connection))
    }

    /// The connection that a lane is.
    pub(crate) fn connection(&self, lane: usize) -> Option<usize> {
        self.lanes.get(lane)?.as_ref().map(|lane| lane.connection)
    }

    /// Whether what comes on a lane can be taken now.
    pub(crate) fn has_room(&self, lane: usize) -> bool {
        lane == 0 || self.is_ended() || self.setup.join.as_ref().is_none_or(Join::has_room)
    }

    /// A lane that was dialled stands.
    pub(crate) fn dialled(&mut self, lane: Lane, redials: u64, connection: usize, io: &mut Io<'_>) {
        if redials == self.redials {
            self.lane_up(lane, connection, 0, Inbox::default(), io);
        } else {
            io.network.close(connection, 0, io.random, io.agenda);
        }
    }

    /// A connection is this session's lane: dialled, or come in with its token, with what it brought.
    pub(crate) fn lane_up(
        &mut self,
        lane: Lane,
        connection: usize,
        end: usize,
        inbox: Inbox,
        io: &mut Io<'_>,
    ) {
        let ended = self.is_ended();
        let admitted = match &mut self.machine {
            _ if ended => false,
            None => {
                self.machine = Some(Box::new(Machine::dial(self.setup.config, io.now)));
                true
            }
            // A listener's first connection stands already.
            Some(machine) if lane != Lane::CONTROL || self.dials => machine.handle_lane_up(lane, io.now),
            Some(_) => true,
        };
        if admitted {
            self.connect(lane, connection, end, inbox, io);
        } else {
            io.network.close(connection, end, io.random, io.agenda);
        }
        // A lane that was dialled says what it is before anything else goes out on it.
        self.transmit(io);
        self.drain(io);
        self.read(lane.index(), io);
    }

    /// The dialler of this session is here again.
    pub(crate) fn resume(
        &mut self,
        init: &Init,
        token: Token,
        (connection, end): (usize, usize),
        inbox: Inbox,
        io: &mut Io<'_>,
    ) -> Result<(), SessionError> {
        let Some(machine) = &mut self.machine else { return Err(SessionError::Gone) };
        machine.handle_resume(init, token, io.now)?;
        // What the old connection left is closed before the new one is lane 0.
        self.token = token;
        self.commands(io);
        self.connect(Lane::CONTROL, connection, end, inbox, io);
        self.drain(io);
        self.read(0, io);
        Ok(())
    }

    fn connect(&mut self, lane: Lane, connection: usize, end: usize, inbox: Inbox, io: &mut Io<'_>) {
        self.close_lane(lane, io);
        let fresh = LaneEnd { connection, end, inbox, out: VecDeque::new(), finished: false };
        self.lanes[lane.index()] = Some(fresh);
    }

    fn close_lane(&mut self, lane: Lane, io: &mut Io<'_>) {
        if let Some(end) = self.lanes[lane.index()].take() {
            io.network.close(end.connection, end.end, io.random, io.agenda);
        }
        // What was encoded for it and not sent belongs to the lost connection.
        self.said.0.retain(|(other, _)| *other != lane);
        if let Some(provide) = &mut self.setup.provide {
            provide.lane_closed(lane);
        }
        if let Some(join) = &mut self.setup.join {
            join.lane_closed(lane);
        }
    }

    /// What was commanded to be dialled can't be reached.
    pub(crate) fn not_dialled(&mut self, lane: Lane, redials: u64, io: &mut Io<'_>) {
        match &mut self.machine {
            Some(_) if redials != self.redials => {}
            Some(machine) => machine.handle_dial_failed(lane, io.now),
            None => self.unreachable = true,
        }
        self.drain(io);
    }

    /// Bytes have come.
    pub(crate) fn received(&mut self, lane: usize, segments: Vec<Segment>, io: &mut Io<'_>) {
        if let Some(lane) = self.lanes[lane].as_mut().filter(|_| !self.ended) {
            lane.inbox.push(segments);
        }
        self.read(lane, io);
    }

    /// A connection has ended.
    pub(crate) fn lane_ended(&mut self, lane: usize, io: &mut Io<'_>) {
        let Some(end) = &self.lanes[lane] else { return };
        if lane > 0 {
            let connection = end.connection;
            return io.later(GRACE, Job::Grace { lane: Lane(lane as u16), connection });
        }
        if let Some(machine) = &mut self.machine {
            machine.handle_lane_lost(Lane::CONTROL, io.now);
        }
        self.drain(io);
    }

    fn read(&mut self, lane: usize, io: &mut Io<'_>) {
        while self.has_room(lane) && !self.is_ended() {
            let Some(end) = &mut self.lanes[lane] else { return };
            match end.inbox.next() {
                Ok(Some(inbound)) => self.inbound(lane, &inbound, io),
                Ok(None) => return,
                Err(error) => return self.invalid(lane, error, io),
            }
        }
    }

    fn inbound(&mut self, lane: usize, inbound: &Inbound, io: &mut Io<'_>) {
        let frame = match Frame::parse(&inbound.header, &inbound.body) {
            Ok(frame) => frame,
            Err(error) => return self.invalid(lane, error, io),
        };
        let (lane, task) = (Lane(lane as u16), inbound.header.task);
        let Some(machine) = &mut self.machine else { return };
        io.trace.say(io.agenda.now(), || format!("host {}: {} {lane} {frame:?}", io.host, io.session));
        machine.handle_frame(lane, task, &frame, io.now);
        if let (Some(provide), Frame::Kept { id, offset, integrity, sums }, false) =
            (&mut self.setup.provide, &frame, machine.is_over())
        {
            provide.kept(*id, *offset, *integrity, sums);
        }
        if let Some(join) = &mut self.setup.join {
            join.frame((lane, task), &frame, inbound.payload, machine, io);
        }
        self.drain(io);
    }

    fn invalid(&mut self, lane: usize, error: WireError, io: &mut Io<'_>) {
        if let Some(end) = &mut self.lanes[lane] {
            end.inbox = Inbox::default();
        }
        if let Some(machine) = &mut self.machine {
            machine.handle_invalid(Lane(lane as u16), error, io.now);
        }
        self.drain(io);
    }

    /// This side's own work comes back.
    pub(crate) fn work(&mut self, job: Job, io: &mut Io<'_>) {
        if let Job::Linger = job {
            for end in self.lanes.iter_mut().flatten() {
                io.network.cut(end.connection, io.random, io.agenda);
                end.out.clear();
            }
            return;
        }
        let Some(machine) = &mut self.machine else { return };
        let Setup { provide, join, .. } = &mut self.setup;
        match (job, provide, join) {
            (Job::Tick, ..) => {
                self.tick = None;
                if machine.poll_timeout().is_some_and(|deadline| deadline <= io.now) {
                    machine.handle_timeout(io.now);
                }
            }
            (Job::Grace { lane, connection }, ..) => {
                let end = self.lanes[lane.index()].as_ref();
                if end.is_some_and(|end| end.connection == connection) {
                    machine.handle_lane_lost(lane, io.now);
                }
            }
            (Job::Landing { task }, _, Some(join)) => join.landing(task, machine, &mut self.said, io),
            (Job::Wrote { id, file, offset, piece }, _, Some(join)) => {
                join.wrote((id, file, offset, piece), machine, &mut self.said, io);
            }
            _ if machine.is_over() => {}
            (Job::Surveyed { task }, Some(provide), _) => provide.surveyed(task, machine, &mut self.said, io),
            (Job::Read { lane }, Some(provide), _) => {
                if !provide.read(lane, machine, io) {
                    self.said.fail(machine, Reason::Source, Phase::Stream);
                }
            }
            (Job::Closed { id, size, checksum }, Some(_), _) => {
                machine.handle_closed(id, size, checksum, io.now);
            }
            (job, ..) => panic!("{job:?} on the wrong side"),
        }
        self.drain(io);
        for lane in 1..LANES {
            self.read(lane, io);
        }
    }

    /// The plan installs.
    pub(crate) fn install(&mut self, io: &mut Io<'_>) {
        if let (Some(machine), Some(join)) = (&mut self.machine, &mut self.setup.join) {
            machine.handle_installing();
            join.publish();
        }
        self.drain(io);
    }

    /// The plan, or whoever runs the member, gives up.
    pub(crate) fn cancel(&mut self, io: &mut Io<'_>) {
        match &mut self.machine {
            Some(machine) => self.said.fail(machine, Reason::Cancelled, machine.phase()),
            None => self.unreachable = true,
        }
        self.drain(io);
    }

    /// Whether the joiner has come further since this was asked last.
    pub(crate) fn has_advanced(&mut self) -> bool {
        let Some(join) = &self.setup.join else { return false };
        let verified = self.machine.as_ref().map_or(0, |machine| machine.grades(Side::Joiner).verified);
        let now = u64::from(verified) + join.done;
        std::mem::replace(&mut self.advanced, now) != now
    }

    /// Other sessions of the plan have come further: one that is durable waits for them, and does not hang.
    pub(crate) fn wait(&mut self, io: &Io<'_>) {
        if let (Some(machine), Some(Join { waits: true, .. })) = (&mut self.machine, &self.setup.join)
            && !machine.is_over()
        {
            machine.handle_work(1, io.now);
        }
    }

    /// One mutation, then drain: commands, events, what is offered, every lane's frames.
    pub(crate) fn drain(&mut self, io: &mut Io<'_>) {
        while self.drain_once(io) {}
        self.note_held();
        let over = self.is_ended();
        let Some(machine) = &mut self.machine else { return };
        if over {
            machine.invariants();
        } else {
            machine.thorough_invariants();
        }
        if let Some(deadline) = machine.poll_timeout() {
            let when = io.clock.when(deadline);
            if self.tick.is_none_or(|tick| when < tick) {
                self.tick = Some(when);
                io.at(when, Job::Tick);
            }
        }
        if over && !std::mem::replace(&mut self.ended, true) {
            let words = machine.failure().map(|failure| failure.to_string());
            io.trace.say(io.agenda.now(), || format!("host {}: {} is over: {words:?}", io.host, io.session));
            if let Some(join) = &mut self.setup.join {
                join.give_up();
            }
            io.later(LINGER, Job::Linger);
            self.drain_once(io);
        }
        if self.ended {
            for lane in self.lanes.iter_mut().flatten() {
                if lane.out.is_empty() && !std::mem::replace(&mut lane.finished, true) {
                    io.network.finish(lane.connection, lane.end, io.random, io.agenda);
                }
            }
        }
    }

    fn drain_once(&mut self, io: &mut Io<'_>) -> bool {
        let mut moved = self.commands(io);
        let Some(machine) = &mut self.machine else { return false };
        if let Some(provide) = &mut self.setup.provide {
            moved |= provide.offer(machine, &mut self.said, io);
        }
        if let Some(join) = &mut self.setup.join {
            moved |= join.pump(machine, &mut self.said, io);
        }
        moved | self.transmit(io)
    }

    fn commands(&mut self, io: &mut Io<'_>) -> bool {
        let mut moved = false;
        while let Some(command) = self.machine.as_mut().and_then(|machine| machine.poll_command()) {
            moved = true;
            self.command(command, io);
        }
        while let Some(event) = self.machine.as_mut().and_then(|machine| machine.poll_event()) {
            self.event(event, io);
        }
        moved
    }

    fn command(&mut self, command: Command, io: &mut Io<'_>) {
        let Some(machine) = &mut self.machine else { return };
        let Setup { provide, join, .. } = &mut self.setup;
        match (command, provide, join) {
            (Command::Dial { lane }, ..) => io.dial(lane, self.redials, self.setup.peer),
            (Command::CloseLane { lane }, ..) => self.close_lane(lane, io),
            (
                command @ (Command::Survey { .. }
                | Command::Walk { .. }
                | Command::Read { .. }
                | Command::Close { .. }
                | Command::Reoffer { .. }
                | Command::Skipped { .. }
                | Command::Forget { .. }
                | Command::SumUp { side: Side::Provider, .. }),
                Some(provide),
                _,
            ) => provide.command(command, machine, io),
            (command, _, Some(join)) => join.command(command, machine, &mut self.said, io),
            (command, ..) => panic!("{command:?} on the wrong side"),
        }
    }

    fn event(&mut self, event: Event, io: &mut Io<'_>) {
        match event {
            Event::Established => self.established = true,
            Event::Retrying { .. } => self.retries += 1,
            Event::LaneLost(_) => self.lanes_lost += 1,
            Event::Reconnecting => {
                self.redials += 1;
                if let Some(provide) = &mut self.setup.provide {
                    provide.disconnected();
                }
            }
            Event::Resumed => self.resumed += 1,
            _ => {}
        }
        if !matches!(event, Event::Graded { .. }) {
            io.trace.say(io.agenda.now(), || format!("host {}: {} {event:?}", io.host, io.session));
        }
        if let Some(join) = &mut self.setup.join {
            join.event(&event);
        }
    }

    fn transmit(&mut self, io: &mut Io<'_>) -> bool {
        // What was encoded in a call precedes what the machine has queued since.
        for (lane, frame) in self.said.0.drain(..) {
            if let Some(end) = &mut self.lanes[lane.index()] {
                end.out.push_back(Segment::Bytes(frame));
            }
        }
        let Some(machine) = &mut self.machine else { return false };
        let mut moved = false;
        for lane in 0..LANES {
            let Some(end) = &mut self.lanes[lane] else { continue };
            while io.network.has_room(end.connection, end.end) {
                if let Some(segment) = end.out.pop_front() {
                    io.network.send(end.connection, end.end, segment, io.random, io.agenda);
                    continue;
                }
                let Some(transmit) = machine.poll_transmit(Lane(lane as u16), io.scratch) else { break };
                moved = true;
                end.out.push_back(Segment::Bytes(io.scratch[..transmit.len].to_vec()));
                if let (Some(payload), Some(provide)) = (transmit.payload, &mut self.setup.provide) {
                    end.out.push_back(Segment::Piece(provide.payload(lane, &payload)));
                    machine.handle_sent(payload.len.into(), io.now);
                }
            }
        }
        moved
    }

    fn note_held(&mut self) {
        let inboxes: usize = self.lanes.iter().flatten().map(|lane| lane.inbox.len()).sum();
        let read = self.setup.provide.as_ref().map_or(0, Provide::held);
        let eager = self.setup.join.as_ref().map_or(0, Join::held);
        self.held = self.held.max(read + eager + inboxes as u64);
    }

    /// What became of it.
    pub(crate) fn outcome(&self) -> Ended {
        let machine = self.machine.as_ref();
        Ended {
            dialled: self.dials,
            established: self.established,
            unconfirmed: machine.is_some_and(|machine| machine.state() == State::Unconfirmed),
            failure: self.failure(),
            retries: self.retries,
            resumed: self.resumed,
            lanes_lost: self.lanes_lost,
            kept: self.setup.join.as_ref().map_or(0, |join| join.kept),
            held: self.held,
        }
    }

    /// Where it is, for people.
    pub(crate) fn describe(&self) -> String {
        let Some(machine) = &self.machine else { return "lane 0 is dialled".into() };
        let grades = [Side::Provider, Side::Joiner].map(|side| machine.grades(side));
        format!("{:?}, {grades:?}, deadline {:?}", machine.state(), machine.poll_timeout())
    }
}

impl Said {
    /// This side gives up, and says why.
    pub(crate) fn fail(&mut self, machine: &mut Machine, reason: Reason, phase: Phase) {
        let failed = Failed {
            reason,
            phase,
            side: Side::Joiner,
            offset: None,
            name: ItemName::ROOT,
            message: "the simulation says so",
            app_reply: b"",
        };
        self.encode(|out| (Lane::CONTROL, machine.fail(&failed, out)));
    }
}
