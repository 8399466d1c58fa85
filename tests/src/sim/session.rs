//! One session of a member: the real machine, its lanes, and the half that this side plays.
//!
//! All that knows how the machine is driven stands here, in [`super::provide`] and in [`super::join`].

use std::collections::VecDeque;

use longhaul_core::id::Lane;
use longhaul_core::item::ItemName;
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::{self, Command, SessionError};
use longhaul_core::wire::{Failed, Frame, WireError};

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

/// What this side plays.
pub(crate) enum Role {
    Provide(Provide),
    Join(Join),
}

struct LaneEnd {
    connection: usize,
    end: usize,
    inbox: Inbox,
    out: VecDeque<Segment>,
    finished: bool,
    /// Nothing more comes.
    over: bool,
}

/// Frames that calls have encoded, each with its lane.
#[derive(Debug, Default)]
pub(crate) struct Said(pub(crate) Vec<(Lane, Vec<u8>)>);

pub(crate) struct Session {
    pub(crate) transfer: usize,
    /// Which plan of its member it belongs to.
    pub(crate) plan: usize,
    pub(crate) role: Role,
    /// None while lane 0 is dialled.
    machine: Option<Box<Machine>>,
    config: session::Config,
    peer: usize,
    lanes: [Option<LaneEnd>; LANES],
    said: Said,
    tick: Option<u64>,
    /// Lane 0 could not be dialled.
    unreachable: bool,
    ended: bool,
    advanced: u64,
    retries: u64,
    /// The most bytes that it ever held.
    pub(crate) held: u64,
}

impl Session {
    /// The session of the side that dials `peer`.
    pub(crate) fn dial(
        config: session::Config,
        transfer: usize,
        plan: usize,
        role: Role,
        peer: usize,
        io: &mut Io<'_>,
    ) -> Self {
        let session = Self::new(config, transfer, plan, role, peer);
        io.dial(Lane::CONTROL, peer);
        session
    }

    /// The session of the side that listened, on the connection that brought `init`.
    pub(crate) fn accept(
        config: session::Config,
        transfer: usize,
        plan: usize,
        role: Role,
        peer: usize,
        init: &longhaul_core::wire::Init,
        io: &Io<'_>,
    ) -> Result<Self, SessionError> {
        let machine = Machine::accept(config, init, io.now)?;
        let mut session = Self::new(config, transfer, plan, role, peer);
        session.machine = Some(Box::new(machine));
        Ok(session)
    }

    fn new(config: session::Config, transfer: usize, plan: usize, role: Role, peer: usize) -> Self {
        Self {
            transfer,
            plan,
            role,
            machine: None,
            config,
            peer,
            lanes: [const { None }; LANES],
            said: Said::default(),
            tick: None,
            unreachable: false,
            ended: false,
            advanced: 0,
            retries: 0,
            held: 0,
        }
    }

    /// Nothing will change any more, the landing included.
    pub(crate) fn is_over(&self) -> bool {
        let landed = match &self.role {
            Role::Provide(_) => true,
            Role::Join(join) => join.is_idle(),
        };
        landed && self.is_ended()
    }

    /// The machine has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.unreachable || self.machine.as_ref().is_some_and(|machine| machine.is_over())
    }

    /// Why it failed.
    pub(crate) fn failure(&self) -> Option<SessionError> {
        if self.unreachable {
            return Some(SessionError::LaneLost(Lane::CONTROL));
        }
        self.machine.as_ref().and_then(|machine| machine.failure())
    }

    pub(crate) fn is_installing(&self) -> bool {
        self.machine.as_ref().is_some_and(|machine| machine.state() == session::State::Installing)
    }

    /// What admits further lanes.
    pub(crate) const fn token(&self) -> longhaul_core::id::Token {
        self.config.token
    }

    /// The lane that a connection is.
    pub(crate) fn lane_of(&self, connection: usize) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.as_ref().is_some_and(|lane| lane.connection == connection))
    }

    /// The connection that a lane is.
    pub(crate) fn connection(&self, lane: usize) -> Option<usize> {
        self.lanes.get(lane)?.as_ref().map(|lane| lane.connection)
    }

    /// Whether what comes on a connection can be taken now.
    pub(crate) fn has_room(&self, lane: usize) -> bool {
        match &self.role {
            Role::Join(join) if lane > 0 => self.is_ended() || join.has_room(),
            _ => true,
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
        let lane_end = LaneEnd { connection, end, inbox, out: VecDeque::new(), finished: false, over: false };
        if self.is_ended() || lane.index() >= LANES {
            return io.network.close(connection, end, io.random, io.agenda);
        }
        if lane == Lane::CONTROL {
            let (config, now) = (self.config, io.now);
            self.machine.get_or_insert_with(|| Box::new(Machine::dial(config, now)));
        } else if let Some(machine) = &mut self.machine {
            machine.handle_lane_up(lane, io.now);
        }
        self.lanes[lane.index()] = Some(lane_end);
        // A lane that was dialled says what it is before anything else goes out on it.
        self.transmit(io);
        self.drain(io);
        self.read(lane.index(), io);
    }

    /// What was commanded to be dialled can't be reached.
    pub(crate) fn not_dialled(&mut self, lane: Lane, io: &mut Io<'_>) {
        match &mut self.machine {
            Some(machine) => machine.handle_lane_lost(lane),
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
        if let Some(end) = &mut self.lanes[lane] {
            end.over = true;
        }
        if lane == 0 {
            if let Some(machine) = &mut self.machine {
                machine.handle_lane_lost(Lane::CONTROL);
            }
            self.drain(io);
        } else if !self.is_ended() {
            io.later(GRACE, Job::Grace { lane: Lane(lane as u16) });
        }
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
        let lane = Lane(lane as u16);
        let Some(machine) = &mut self.machine else { return };
        io.trace.say(io.agenda.now(), || format!("host {}: {} {lane} {frame:?}", io.host, io.session));
        machine.handle_frame(lane, &frame, io.now);
        if let Role::Join(join) = &mut self.role {
            join.frame(lane, &frame, inbound.payload, machine, io);
        }
        self.drain(io);
    }

    fn invalid(&mut self, lane: usize, error: WireError, io: &mut Io<'_>) {
        if let Some(end) = &mut self.lanes[lane] {
            end.inbox = Inbox::default();
        }
        if let Some(machine) = &mut self.machine {
            machine.handle_invalid(error);
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
        match (job, &mut self.role) {
            (Job::Tick, _) => {
                self.tick = None;
                if machine.poll_timeout().is_some_and(|deadline| deadline <= io.now) {
                    machine.handle_timeout(io.now);
                }
            }
            (Job::Grace { lane }, _) => machine.handle_lane_lost(lane),
            (Job::Landing, Role::Join(join)) => join.landing(machine, &mut self.said, io),
            (Job::Wrote { id, file, offset, piece }, Role::Join(join)) => {
                join.wrote((id, file, offset, piece), machine, &mut self.said, io);
            }
            _ if machine.is_over() => {}
            (Job::Surveyed, Role::Provide(provide)) => provide.surveyed(machine, &mut self.said, io),
            (Job::Read { lane }, Role::Provide(provide)) => {
                if !provide.read(lane, machine, io) {
                    self.said.fail(machine, Reason::Source, Phase::Stream);
                }
            }
            (Job::Closed { id }, Role::Provide(provide)) => provide.closed(id, machine, io),
            (job, _) => panic!("{job:?} on the wrong side"),
        }
        self.drain(io);
        for lane in 1..LANES {
            self.read(lane, io);
        }
    }

    /// The plan installs.
    pub(crate) fn install(&mut self, io: &mut Io<'_>) {
        if let (Some(machine), Role::Join(join)) = (&mut self.machine, &mut self.role) {
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
        let Role::Join(join) = &self.role else { return false };
        let verified = self.machine.as_ref().map_or(0, |machine| machine.grades().verified);
        let now = u64::from(verified) + join.done;
        std::mem::replace(&mut self.advanced, now) != now
    }

    /// Other sessions of the plan have come further: one that is durable waits for them, and does not hang.
    pub(crate) fn wait(&mut self, io: &Io<'_>) {
        if let (Some(machine), Role::Join(Join { waits: true, .. })) = (&mut self.machine, &self.role)
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
        machine.invariants();
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
            if let Role::Join(join) = &mut self.role {
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
        let Some(machine) = &mut self.machine else { return false };
        let mut moved = false;
        while let Some(command) = machine.poll_command() {
            moved = true;
            match (command, &mut self.role) {
                (Command::Dial { lane }, _) => io.dial(lane, self.peer),
                (command, Role::Provide(provide)) => provide.command(command, machine, io),
                (command, Role::Join(join)) => join.command(command, machine, io),
            }
        }
        while let Some(event) = machine.poll_event() {
            match (event, &mut self.role) {
                (session::Event::Retrying { .. }, _) => self.retries += 1,
                (session::Event::Durable, Role::Join(join)) => (join.durable, join.waits) = (true, true),
                _ => {}
            }
        }
        moved |= match &mut self.role {
            Role::Provide(provide) => provide.offer(machine, &mut self.said, io),
            Role::Join(join) => join.pump(machine, &mut self.said, io),
        };
        moved | self.transmit(io)
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
                if let (Some(payload), Role::Provide(provide)) = (transmit.payload, &mut self.role) {
                    end.out.push_back(Segment::Piece(provide.payload(lane, &payload)));
                    machine.handle_sent(payload.len.into(), io.now);
                }
            }
        }
        moved
    }

    fn note_held(&mut self) {
        let inboxes: usize = self.lanes.iter().flatten().map(|lane| lane.inbox.len()).sum();
        let held = match &self.role {
            Role::Provide(provide) => provide.held(),
            Role::Join(join) => join.held(),
        };
        self.held = self.held.max(held + inboxes as u64);
    }

    /// Which side this is.
    pub(crate) const fn side(&self) -> Side {
        match self.role {
            Role::Provide(_) => Side::Provider,
            Role::Join(_) => Side::Joiner,
        }
    }

    /// What became of it.
    pub(crate) fn outcome(&self) -> Ended {
        (self.side(), self.failure(), self.retries)
    }

    /// Where it is, for people.
    pub(crate) fn describe(&self) -> String {
        let Some(machine) = &self.machine else { return "lane 0 is dialled".into() };
        format!("{:?}, {:?}, deadline {:?}", machine.state(), machine.grades(), machine.poll_timeout())
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
        };
        self.encode(|out| (Lane::CONTROL, machine.fail(&failed, out)));
    }
}
