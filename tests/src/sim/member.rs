//! A member: one process on one host, its sessions, its plans, and what it is told.

use std::rc::Rc;

use longhaul_core::id::{ClusterId, Epoch, ItemId, Lane, MemberId, Token, TransferId};
use longhaul_core::plan::{self, Plan};
use longhaul_core::reason::Side;
use longhaul_core::session::Config;
use longhaul_core::time::Instant;
use longhaul_core::wire::{FRAME_MAX, Frame};

use super::agenda::{Agenda, Event};
use super::case::Case;
use super::clock::Clock;
use super::content::Piece;
use super::disk::{Disk, Ino};
use super::executor::Locks;
use super::faults::Rates;
use super::inbox::Inbox;
use super::join::Join;
use super::network::{Network, Segment};
use super::provide::Provide;
use super::session::{Role, Session};
use super::state::State;
use super::trace::Trace;
use super::{HANDSHAKE, Random, STALL};

/// Sessions of one plan.
pub(crate) const SESSIONS: usize = 8;

/// Work of a member's own that comes back to one of its sessions.
#[derive(Debug)]
pub(crate) enum Job {
    Tick,
    Dialled { lane: Lane, connection: Option<usize> },
    Grace { lane: Lane },
    Linger,
    Surveyed,
    Read { lane: Lane },
    Closed { id: ItemId },
    Landing,
    Wrote { id: ItemId, file: Ino, offset: u64, piece: Piece },
}

/// All of the world that a member can touch.
pub(crate) struct Io<'a> {
    pub(crate) agenda: &'a mut Agenda,
    pub(crate) network: &'a mut Network,
    pub(crate) random: &'a mut Random,
    pub(crate) trace: &'a mut Trace,
    pub(crate) disk: &'a mut Disk,
    pub(crate) locks: &'a mut Locks,
    pub(crate) clock: &'a Clock,
    pub(crate) scratch: &'a mut [u8; FRAME_MAX],
    pub(crate) rates: Rates,
    pub(crate) host: usize,
    pub(crate) incarnation: u64,
    /// Which of the member's sessions is at work.
    pub(crate) session: usize,
    pub(crate) now: Instant,
}

impl Io<'_> {
    /// The work comes back after so many nanoseconds.
    pub(crate) fn later(&mut self, nanos: u64, job: Job) {
        self.at(self.agenda.now() + nanos, job);
    }

    pub(crate) fn at(&mut self, time: u64, job: Job) {
        let (host, incarnation, session) = (self.host, self.incarnation, self.session);
        self.agenda.at(time, Event::Work { host, incarnation, session, job });
    }

    /// Dials another host: through, once its packets pass both ways, or given up.
    pub(crate) fn dial(&mut self, lane: Lane, host: usize) {
        let now = self.agenda.now();
        let there = self.network.blocked_until(self.host, host, now).unwrap_or(now);
        let back = self.network.blocked_until(host, self.host, now).unwrap_or(now);
        let through = there.max(back) + self.network.latency(self.random) + self.network.latency(self.random);
        let give_up = now + HANDSHAKE.as_nanos() as u64;
        if through > give_up {
            return self.at(give_up, Job::Dialled { lane, connection: None });
        }
        if !self.network.is_up(host) {
            return self.at(through, Job::Dialled { lane, connection: None });
        }
        let connection = self.network.connect(self.host, host);
        self.at(through, Job::Dialled { lane, connection: Some(connection) });
    }
}

/// A connection that nobody knows yet: its first frame says what it is.
struct Stranger {
    connection: usize,
    inbox: Inbox,
}

pub(crate) struct Member {
    id: MemberId,
    case: Rc<Case>,
    states: Rc<Vec<Rc<State>>>,
    strangers: Vec<Stranger>,
    pub(crate) sessions: Vec<Session>,
    plans: Vec<Plan<SESSIONS>>,
    attempts: u64,
}

impl Member {
    pub(crate) fn new(case: &Rc<Case>, states: &Rc<Vec<Rc<State>>>, random: &mut Random) -> Self {
        Self {
            id: MemberId(random_id(random)),
            case: Rc::clone(case),
            states: Rc::clone(states),
            strangers: Vec::new(),
            sessions: Vec::new(),
            plans: Vec::new(),
            attempts: 0,
        }
    }

    fn config(&self, side: Side, transfer: usize, io: &mut Io<'_>) -> Config {
        let mut name = random_id(io.random);
        name[0] = transfer as u8;
        Config {
            side,
            member: self.id,
            cluster: ClusterId::default(),
            transfer: TransferId(name),
            epoch: Epoch(0),
            token: Token(random_id(io.random)),
            integrity: self.case.integrity,
            lanes: self.case.lanes,
            chunk: self.case.chunk,
            read_depth: self.case.reads,
            max_retries: 3,
            stall_timeout: STALL,
            handshake_timeout: HANDSHAKE,
        }
    }

    fn role(&self, side: Side, transfer: usize, io: &Io<'_>) -> Role {
        let state = Rc::clone(&self.states[transfer]);
        match side {
            Side::Provider => Role::Provide(Provide::new(state, self.case.integrity)),
            Side::Joiner => {
                let destination = Case::destination(transfer);
                let holder = io.incarnation << 32 | io.session as u64;
                Role::Join(Join::new(&destination, self.case.replace, state, holder))
            }
        }
    }

    /// Whether anything of these transfers is still under way.
    pub(crate) fn is_busy(&self, transfers: &[usize]) -> bool {
        self.sessions.iter().any(|session| transfers.contains(&session.transfer) && !session.is_over())
    }

    /// Begins a plan of these transfers, all dialled by this side.
    pub(crate) fn run(&mut self, side: Side, transfers: &[usize], io: &mut Io<'_>) {
        self.attempts += 1;
        self.plans.push(Plan::new(transfers.len()));
        let plan = self.plans.len() - 1;
        for &transfer in transfers {
            io.session = self.sessions.len();
            let give = self.case.transfers[transfer];
            let peer = if side == Side::Joiner { give.provider } else { give.joiner };
            let config = self.config(side, transfer, io);
            let role = self.role(side, transfer, io);
            self.sessions.push(Session::dial(config, transfer, plan, role, peer, io));
        }
    }

    /// Whether what comes on a connection can be taken now.
    pub(crate) fn has_room(&self, connection: usize) -> bool {
        self.find(connection).is_none_or(|(session, lane)| self.sessions[session].has_room(lane))
    }

    fn find(&self, connection: usize) -> Option<(usize, usize)> {
        let find = |(n, session): (usize, &Session)| session.lane_of(connection).map(|lane| (n, lane));
        self.sessions.iter().enumerate().rev().find_map(find)
    }

    /// Bytes have come; the end that is ours is `end`.
    pub(crate) fn received(
        &mut self,
        connection: usize,
        end: usize,
        segments: Vec<Segment>,
        io: &mut Io<'_>,
    ) {
        if let Some((session, lane)) = self.find(connection) {
            io.session = session;
            self.sessions[session].received(lane, segments, io);
            return self.settle(session, io);
        }
        let known = self.strangers.iter().position(|stranger| stranger.connection == connection);
        let at = known.unwrap_or_else(|| {
            self.strangers.push(Stranger { connection, inbox: Inbox::default() });
            self.strangers.len() - 1
        });
        self.strangers[at].inbox.push(segments);
        match self.strangers[at].inbox.next() {
            Ok(None) => {}
            Ok(Some(first)) => {
                let inbox = self.strangers.swap_remove(at).inbox;
                match Frame::parse(&first.header, &first.body) {
                    Ok(frame) => self.greet(connection, end, &frame, inbox, io),
                    Err(_) => io.network.close(connection, end, io.random, io.agenda),
                }
            }
            Err(_) => {
                self.strangers.swap_remove(at);
                io.network.close(connection, end, io.random, io.agenda);
            }
        }
    }

    /// The first frame of a connection that came in.
    fn greet(&mut self, connection: usize, end: usize, frame: &Frame<'_>, inbox: Inbox, io: &mut Io<'_>) {
        let peer = io.network.host(connection, 1 - end);
        match frame {
            Frame::Init(init) => {
                let transfer = usize::from(init.transfer.0[0]);
                let side = if self.case.joiner_dials { Side::Provider } else { Side::Joiner };
                io.session = self.sessions.len();
                let config = self.config(side, transfer, io);
                let role = self.role(side, transfer, io);
                let plan = self.plans.len();
                match Session::accept(config, transfer, plan, role, peer, init, io) {
                    Ok(session) => {
                        self.plans.push(Plan::new(1));
                        self.sessions.push(session);
                        let at = io.session;
                        self.sessions[at].lane_up(Lane::CONTROL, connection, end, inbox, io);
                        self.settle(at, io);
                    }
                    Err(_) => io.network.close(connection, end, io.random, io.agenda),
                }
            }
            Frame::Attach(attach) => {
                let known = self.sessions.iter().position(|session| session.token() == attach.token);
                match known {
                    Some(session) => {
                        io.session = session;
                        self.sessions[session].lane_up(attach.lane, connection, end, inbox, io);
                        self.settle(session, io);
                    }
                    None => io.network.close(connection, end, io.random, io.agenda),
                }
            }
            _ => io.network.close(connection, end, io.random, io.agenda),
        }
    }

    /// A connection has ended.
    pub(crate) fn ended(&mut self, connection: usize, io: &mut Io<'_>) {
        self.strangers.retain(|stranger| stranger.connection != connection);
        if let Some((session, lane)) = self.find(connection) {
            io.session = session;
            self.sessions[session].lane_ended(lane, io);
            self.settle(session, io);
        }
    }

    /// A connection has room again.
    pub(crate) fn room(&mut self, connection: usize, io: &mut Io<'_>) {
        if let Some((session, _)) = self.find(connection) {
            io.session = session;
            self.sessions[session].drain(io);
            self.settle(session, io);
        }
    }

    /// A session's own work comes back.
    pub(crate) fn work(&mut self, session: usize, job: Job, io: &mut Io<'_>) {
        io.session = session;
        match job {
            Job::Dialled { lane, connection: Some(connection) } if !io.network.is_broken(connection) => {
                self.sessions[session].lane_up(lane, connection, 0, Inbox::default(), io);
            }
            Job::Dialled { lane, .. } => self.sessions[session].not_dialled(lane, io),
            job => self.sessions[session].work(job, io),
        }
        self.settle(session, io);
    }

    /// What a session's step means for its plan: the plan alone installs.
    fn settle(&mut self, session: usize, io: &mut Io<'_>) {
        let (plan, side) = (self.sessions[session].plan, self.sessions[session].side());
        if side == Side::Provider {
            return;
        }
        let members: Vec<usize> =
            (0..self.sessions.len()).filter(|other| self.sessions[*other].plan == plan).collect();
        let at = members.iter().position(|other| *other == session).expect("it is one of them");
        let Role::Join(join) = &mut self.sessions[session].role else { return };
        if std::mem::take(&mut join.durable) {
            self.plans[plan].handle_durable(at);
        }
        if self.sessions[session].failure().is_some() {
            self.plans[plan].handle_failed();
        }
        let published = |session: &Session| matches!(&session.role, Role::Join(join) if join.published);
        let all = members.iter().all(|other| published(&self.sessions[*other]));
        if all && self.plans[plan].state() == plan::State::Installing {
            self.plans[plan].handle_installed();
        }
        match self.plans[plan].poll_command() {
            Some(plan::Command::Install) => {
                for other in members {
                    io.session = other;
                    self.sessions[other].install(io);
                }
            }
            Some(plan::Command::Abandon) => {
                for other in members {
                    if !self.sessions[other].is_ended() && !self.sessions[other].is_installing() {
                        io.session = other;
                        self.sessions[other].cancel(io);
                    }
                }
            }
            None if self.sessions[session].has_advanced() => {
                for other in members {
                    if other != session {
                        self.sessions[other].wait(io);
                    }
                }
            }
            None => {}
        }
        io.session = session;
    }

    /// The clock was meddled with: deadlines come at other times.
    pub(crate) fn rearm(&mut self, io: &mut Io<'_>) {
        for session in 0..self.sessions.len() {
            io.session = session;
            self.sessions[session].drain(io);
            self.settle(session, io);
        }
    }

    /// How often this process has begun a plan.
    pub(crate) const fn attempts(&self) -> u64 {
        self.attempts
    }
}

fn random_id(random: &mut Random) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&random.next().to_le_bytes());
    id[8..].copy_from_slice(&random.next().to_le_bytes());
    id
}
