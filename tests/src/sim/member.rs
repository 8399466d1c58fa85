//! A member: one process on one host, its sessions, its plans, and what it is told.

use std::rc::Rc;

use longhaul_core::id::{ClusterId, Epoch, ItemId, Lane, MemberId, TaskId, Token, TransferId};
use longhaul_core::integrity::Checksum;
use longhaul_core::plan::{self, Plan};
use longhaul_core::reason::Side;
use longhaul_core::session::{Config, SessionError, capability, refusal};
use longhaul_core::time::Instant;
use longhaul_core::wire::{FRAME_MAX, Frame, Init, Roles};

use super::agenda::{Agenda, Event};
use super::case::Case;
use super::clock::Clock;
use super::content::Piece;
use super::disk::{Disk, Ino};
use super::executor::Locks;
use super::faults::Rates;
use super::inbox::Inbox;
use super::join::Join;
use super::lander::Host;
use super::network::{Network, Segment};
use super::provide::Provide;
use super::session::{Session, Setup};
use super::state::State;
use super::trace::Trace;
use super::{HANDSHAKE, Random, STALL};

/// Sessions of one plan.
pub(crate) const SESSIONS: usize = 8;

/// Work of a member's own that comes back to one of its sessions.
#[derive(Debug)]
pub(crate) enum Job {
    Tick,
    /// The dial of a lane, begun when so many connections had been lost, came through or did not.
    Dialled {
        lane: Lane,
        redials: u64,
        connection: Option<usize>,
    },
    Grace {
        lane: Lane,
        connection: usize,
    },
    Linger,
    Surveyed {
        task: TaskId,
    },
    Read {
        lane: Lane,
    },
    Closed {
        id: ItemId,
        size: u64,
        checksum: Checksum,
    },
    Landing {
        task: usize,
    },
    Wrote {
        id: ItemId,
        file: Ino,
        offset: u64,
        piece: Piece,
    },
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
    /// The process is of a version that knows no journal of today's.
    pub(crate) is_older: bool,
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
    pub(crate) fn dial(&mut self, lane: Lane, redials: u64, host: usize) {
        let now = self.agenda.now();
        let there = self.network.blocked_until(self.host, host, now).unwrap_or(now);
        let back = self.network.blocked_until(host, self.host, now).unwrap_or(now);
        let through = there.max(back) + self.network.latency(self.random) + self.network.latency(self.random);
        let give_up = now + HANDSHAKE.as_nanos() as u64;
        if through > give_up {
            return self.at(give_up, Job::Dialled { lane, redials, connection: None });
        }
        if !self.network.is_up(host) {
            return self.at(through, Job::Dialled { lane, redials, connection: None });
        }
        let connection = self.network.connect(self.host, host);
        self.at(through, Job::Dialled { lane, redials, connection: Some(connection) });
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

    /// What a session of the case is for this side: `dials` says which one it is.
    fn setup(&self, number: usize, plan: (usize, usize), dials: bool, io: &mut Io<'_>) -> Setup {
        let of = &self.case.sessions()[number];
        let (peer, gives, takes) =
            if dials { (of.listener, &of.gives, &of.takes) } else { (of.dialler, &of.takes, &of.gives) };
        let mut name = random_id(io.random);
        name[0] = number as u8;
        let holder = io.incarnation << 32 | io.session as u64;
        let host = Host { disk: io.disk, holder, is_older: io.is_older };
        let join = (!takes.is_empty()).then(|| Join::new(&self.case, takes, &self.states, &host));
        let config = Config {
            roles: Roles { provides: !gives.is_empty(), joins: !takes.is_empty() },
            requests: takes.len() as u16,
            member: self.id,
            cluster: ClusterId::default(),
            transfer: TransferId(name),
            epoch: Epoch(0),
            token: Token(random_id(io.random)),
            capabilities: if self.case.resume {
                capability::ALL
            } else {
                capability::ALL & !capability::RESUME
            },
            integrity: self.case.integrity,
            lanes: self.case.lanes,
            chunk: self.case.chunk,
            fresh: !join.as_ref().is_some_and(Join::holds),
            read_depth: self.case.reads,
            max_retries: 3,
            stall_timeout: STALL,
            handshake_timeout: HANDSHAKE,
            seed: io.random.next(),
        };
        let states = gives.iter().map(|transfer| Rc::clone(&self.states[*transfer])).collect();
        Setup {
            config,
            number,
            plan,
            peer,
            provide: config.roles.provides.then(|| Provide::new(states, self.case.integrity)),
            join,
        }
    }

    /// Whether anything of these sessions is still under way.
    pub(crate) fn is_busy(&self, numbers: &[usize]) -> bool {
        self.sessions.iter().any(|session| numbers.contains(&session.number()) && !session.is_over())
    }

    /// Begins a plan of these sessions, all dialled by this side.
    pub(crate) fn run(&mut self, numbers: &[usize], io: &mut Io<'_>) {
        self.attempts += 1;
        let (plan, mut place) = (self.plans.len(), 0);
        for &number in numbers {
            io.session = self.sessions.len();
            let setup = self.setup(number, (plan, place), true, io);
            place += usize::from(setup.join.is_some());
            self.sessions.push(Session::dial(setup, io));
        }
        self.plans.push(Plan::new(place));
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
        let refused = match frame {
            Frame::Init(init) if init.epoch > Epoch(0) => self.resume(connection, end, init, inbox, io),
            Frame::Init(init) => self.accept(connection, end, init, inbox, io),
            Frame::Attach(attach) => {
                let known = self.sessions.iter().position(|session| session.admits(attach.token));
                match known {
                    Some(session) => {
                        io.session = session;
                        self.sessions[session].lane_up(attach.lane, connection, end, inbox, io);
                        self.settle(session, io);
                    }
                    None => io.network.close(connection, end, io.random, io.agenda),
                }
                return;
            }
            _ => return io.network.close(connection, end, io.random, io.agenda),
        };
        if let Err(error) = refused {
            let len = refusal(&error, Side::Provider, io.scratch);
            let words = Segment::Bytes(io.scratch[..len].to_vec());
            io.network.send(connection, end, words, io.random, io.agenda);
            io.network.close(connection, end, io.random, io.agenda);
        }
    }

    fn accept(
        &mut self,
        connection: usize,
        end: usize,
        init: &Init,
        inbox: Inbox,
        io: &mut Io<'_>,
    ) -> Result<(), SessionError> {
        io.session = self.sessions.len();
        let setup = self.setup(usize::from(init.transfer.0[0]), (self.plans.len(), 0), false, io);
        let plan = Plan::new(usize::from(setup.join.is_some()));
        self.sessions.push(Session::accept(setup, init, io)?);
        self.plans.push(plan);
        let at = io.session;
        self.sessions[at].lane_up(Lane::CONTROL, connection, end, inbox, io);
        self.settle(at, io);
        Ok(())
    }

    /// The dialler of a session that lost its connection is here again.
    fn resume(
        &mut self,
        connection: usize,
        end: usize,
        init: &Init,
        inbox: Inbox,
        io: &mut Io<'_>,
    ) -> Result<(), SessionError> {
        let known = self.sessions.iter().position(|session| session.is_of(init.transfer));
        let session = known.ok_or(SessionError::Gone)?;
        io.session = session;
        let token = Token(random_id(io.random));
        self.sessions[session].resume(init, token, (connection, end), inbox, io)?;
        self.settle(session, io);
        Ok(())
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
            Job::Dialled { lane, redials, connection: Some(connection) }
                if !io.network.is_broken(connection) =>
            {
                self.sessions[session].dialled(lane, redials, connection, io);
            }
            Job::Dialled { lane, redials, .. } => self.sessions[session].not_dialled(lane, redials, io),
            job => self.sessions[session].work(job, io),
        }
        self.settle(session, io);
    }

    /// What a session's step means for its plan: the plan alone installs.
    fn settle(&mut self, session: usize, io: &mut Io<'_>) {
        let (plan, place) = self.sessions[session].plan();
        let Some(join) = self.sessions[session].join() else { return };
        if std::mem::take(&mut join.durable) {
            self.plans[plan].handle_durable(place);
        }
        if self.sessions[session].failure().is_some() {
            self.plans[plan].handle_failed();
        }
        let members: Vec<usize> = (0..self.sessions.len())
            .filter(|other| self.sessions[*other].plan().0 == plan && self.sessions[*other].join().is_some())
            .collect();
        let all = members.iter().all(|other| self.sessions[*other].claims(Side::Joiner));
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
