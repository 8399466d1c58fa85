//! An honest driver of one session: it has a state to give, it lands what comes, and it answers every
//! command once, when it is told to.
//!
//! What it relies on is asserted, beside the machine's own invariants: payloads are sent in the order in
//! which they were read, nothing lands twice, what is rewound stays before the rewind, and an item is
//! finished when all of it has come.

use std::collections::{BTreeMap, VecDeque};

use longhaul_core::id::{ItemId, Lane, SnapshotId, TaskId};
use longhaul_core::integrity::{Checksum, Integrity, Prefix, RUN_LEN};
use longhaul_core::item::What;
use longhaul_core::reason::{Reason, Side};
use longhaul_core::session::{Command, Event, Payload, ReadPiece, Receive, Session, SessionError, Totals};
use longhaul_core::time::Instant;
use longhaul_core::wire::{FRAME_MAX, Failed, Frame, HEADER_LEN, Header, Refused, WireError};

use crate::bytes::Choices;
use crate::state::{Kind, Thing, UNIT, checksum, crc, root};

pub(crate) const LANES: usize = 4;
pub(crate) const WINDOW: usize = 96;
pub(crate) type Machine = Session<LANES, WINDOW>;

/// Frames that one drain may bring, far more than any does.
const DRAIN_MAX: usize = 100_000;

/// A frame on its way, with its payload.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) frame: Vec<u8>,
    pub(crate) payload: Vec<u64>,
}

/// A command that waits to be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Job {
    Survey(TaskId),
    Begin(TaskId),
    Opened(ItemId),
    /// An item without content is made.
    Made(ItemId),
    Finish {
        id: ItemId,
        size: u64,
        checksum: Checksum,
    },
    Read {
        lane: Lane,
        id: ItemId,
        offset: u64,
        len: u32,
    },
    Close(ItemId),
    Reoffer(ItemId),
    SumUp(Side, TaskId),
    MakeDurable,
    Install,
}

/// An item that is landing. Units that have not come, or were forgotten, are `None`.
#[derive(Clone, Debug)]
pub(crate) struct Landing {
    thing: Thing,
    units: Vec<Option<u64>>,
    finished: bool,
    /// Of no whole number of units, or of too many: only a peer of arbitrary frames has such items, and
    /// their content is not looked at.
    strange: bool,
}

/// The most units that an item is looked at with.
const UNITS_MAX: u64 = 1 << 14;

/// What a provider gives, a state a task; `None`: it refuses.
pub(crate) type Given = Vec<Option<Vec<Thing>>>;
/// What became of a task at its joiner.
pub(crate) type Landed = BTreeMap<TaskId, Vec<Thing>>;

pub(crate) struct Member {
    pub(crate) machine: Box<Machine>,
    pub(crate) now: Instant,
    integrity: Integrity,
    gives: Given,
    /// Totals are said only by the end, so that nothing is small.
    unknown_totals: bool,
    /// Something is left of an earlier run.
    holds: bool,
    /// Both sides know each other, and that the other one listens.
    pub(crate) is_established: bool,
    /// The task that is offered, and its next item; `None` when all are.
    walking: Option<(TaskId, usize)>,
    under_way: TaskId,
    /// Read for a lane, and not sent yet.
    read: [VecDeque<(Payload, Vec<u64>)>; LANES],
    landing: BTreeMap<ItemId, Landing>,
    landed: Landed,
    /// Item, kind and eagerness of the offer just handled.
    offered: Option<(ItemId, Thing, bool)>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) dials: Vec<Lane>,
    pub(crate) closed: Vec<Lane>,
    /// Frames to send, in order.
    pub(crate) sent: Vec<(Lane, Packet)>,
    /// Lanes whose writer has no room.
    pub(crate) blocked: [bool; LANES],
    /// A payload whose header was handled.
    arriving: [Option<Vec<u64>>; LANES],
    pub(crate) published: Option<Landed>,
    failure: Option<SessionError>,
}

impl Member {
    pub(crate) fn new(
        machine: Machine,
        now: Instant,
        integrity: Integrity,
        gives: Given,
        unknown_totals: bool,
        holds: bool,
    ) -> Self {
        Self {
            machine: Box::new(machine),
            now,
            integrity,
            gives,
            unknown_totals,
            holds,
            is_established: false,
            walking: None,
            under_way: TaskId(0),
            read: Default::default(),
            landing: BTreeMap::new(),
            landed: BTreeMap::new(),
            offered: None,
            jobs: Vec::new(),
            dials: Vec::new(),
            closed: Vec::new(),
            sent: Vec::new(),
            blocked: [false; LANES],
            arriving: Default::default(),
            published: None,
            failure: None,
        }
    }

    /// One mutation has happened: drains, and looks at every inequality.
    pub(crate) fn drain(&mut self) {
        let mut out = [0; FRAME_MAX];
        for round in 0.. {
            assert!(round < DRAIN_MAX, "a drain ends");
            let before = (self.jobs.len(), self.sent.len());
            let mut moved = false;
            while let Some(command) = self.machine.poll_command() {
                moved = true;
                self.command(command, &mut out);
            }
            while let Some(event) = self.machine.poll_event() {
                match event {
                    Event::Durable => self.jobs.push(Job::Install),
                    Event::Established => self.is_established = true,
                    _ => {}
                }
            }
            for lane in 0..LANES {
                if !self.blocked[lane] {
                    self.transmit(Lane(lane as u16), &mut out);
                }
            }
            if !moved && before == (self.jobs.len(), self.sent.len()) {
                break;
            }
        }
        self.offered = None;
        self.machine.thorough_invariants();
        if self.failure.is_some() {
            assert_eq!(self.machine.failure(), self.failure, "what failed stays failed");
        }
        self.failure = self.machine.failure();
        if self.machine.is_over() {
            self.jobs.clear();
            self.walking = None;
        }
        let waits = self.machine.poll_timeout().is_some() || self.waits_for_driver();
        assert!(waits || self.machine.is_over(), "every wait has a deadline");
    }

    /// A lost connection whose session has all: what is left is this side's own work.
    fn waits_for_driver(&self) -> bool {
        use longhaul_core::session::State;
        matches!(self.machine.state(), State::Installing | State::Reconnecting)
    }

    fn transmit(&mut self, lane: Lane, out: &mut [u8; FRAME_MAX]) {
        while let Some(sent) = self.machine.poll_transmit(lane, out) {
            let (head, body) = out[..sent.len].split_first_chunk::<HEADER_LEN>().expect("a header is first");
            let header = Header::parse(head).expect("what is sent is a header");
            Frame::parse(&header, body).expect("what is sent is a frame");
            let payload = sent.payload.map_or_else(Vec::new, |payload| {
                let (read, units) = self.read[lane.index()].pop_front().expect("it was read before");
                assert_eq!(read, payload, "payloads are sent as they were read");
                units
            });
            self.sent.push((lane, Packet { frame: out[..sent.len].to_vec(), payload }));
        }
    }

    /// Sends the frames that the machine has encoded in one go.
    fn send(&mut self, lane: Lane, len: usize, out: &[u8; FRAME_MAX]) {
        let mut rest = &out[..len];
        while let Some((head, _)) = rest.split_first_chunk::<HEADER_LEN>() {
            let header = Header::parse(head).expect("what is sent is a header");
            let (frame, behind) = rest.split_at(HEADER_LEN + header.len as usize);
            self.sent.push((lane, Packet { frame: frame.to_vec(), payload: Vec::new() }));
            rest = behind;
        }
    }

    fn command(&mut self, command: Command, out: &mut [u8; FRAME_MAX]) {
        match command {
            Command::Request { task } => {
                let len = self.machine.handle_request(task, b"state", &[task.0 as u8], out);
                self.send(Lane::CONTROL, len, out);
            }
            Command::Survey { task } => self.jobs.push(Job::Survey(task)),
            Command::SendDigest { .. } => unreachable!("no digest was announced"),
            Command::Begin { task } => self.jobs.push(Job::Begin(task)),
            Command::Walk { task } => {
                (self.walking, self.under_way) = (Some((task, 0)), task);
            }
            Command::Dial { lane } => self.dials.push(lane),
            Command::CloseLane { lane } => self.close_lane(lane),
            Command::Read { lane, id, offset, len, .. } => {
                self.jobs.push(Job::Read { lane, id, offset, len });
            }
            Command::Close { id } => self.jobs.push(Job::Close(id)),
            Command::Reoffer { id } => self.jobs.push(Job::Reoffer(id)),
            Command::Skipped { .. } => {}
            Command::Forget { before } => {
                self.jobs.retain(|job| !matches!(job, Job::Reoffer(id) if *id < before));
            }
            Command::Open { id } => self.open(id),
            Command::Continue { id, .. } => {
                assert!(self.landing.contains_key(&id), "only what has a place goes on");
            }
            Command::Hole { id, offset, len, .. } => {
                self.land(id, offset, len, &vec![0; (len / UNIT).min(UNITS_MAX) as usize]);
            }
            Command::Finish { id, size, checksum } => self.jobs.push(Job::Finish { id, size, checksum }),
            Command::Discard { id } => {
                self.landing.remove(&id);
            }
            Command::Rewind { id, to } => {
                let landing = self.landing.get_mut(&id).expect("only what has a place is rewound");
                let kept = (to / UNIT) as usize;
                let stays = &landing.units[..kept.min(landing.units.len())];
                assert!(landing.strange || stays.iter().all(Option::is_some), "what stays has come");
                landing.units.iter_mut().skip(kept).for_each(|unit| *unit = None);
            }
            Command::TellKept { id, offset } => {
                let whole = self.landing[&id].thing.size() == offset;
                let sums = any_sums(self.integrity, offset, whole);
                let len = self.machine.handle_kept_sums(id, offset, &sums, out);
                self.send(Lane::CONTROL, len, out);
            }
            Command::SumUp { side, task } => self.jobs.push(Job::SumUp(side, task)),
            Command::MakeDurable => self.jobs.push(Job::MakeDurable),
        }
    }

    /// The connection is closed, and what waited for it is forgotten.
    fn close_lane(&mut self, lane: Lane) {
        self.lane_gone(lane);
        if lane == Lane::CONTROL {
            self.jobs.retain(|job| !matches!(job, Job::Survey(_) | Job::Reoffer(_)));
        }
        self.closed.push(lane);
    }

    /// Nothing that was under way on the lane comes any more.
    pub(crate) fn lane_gone(&mut self, lane: Lane) {
        self.arriving[lane.index()] = None;
        self.read[lane.index()].clear();
        self.dials.retain(|dial| *dial != lane);
        self.sent.retain(|sent| sent.0 != lane);
    }

    fn open(&mut self, id: ItemId) {
        let (offered, thing, eager) = self.offered.take().expect("what is opened was just offered");
        assert_eq!(offered, id);
        let units = vec![None; thing.units.len()];
        let content = thing.item().what.has_content();
        let strange = thing.units.len() as u64 > UNITS_MAX;
        self.landing.insert(id, Landing { thing, units, finished: false, strange });
        match (content, eager) {
            (false, _) => self.jobs.push(Job::Made(id)),
            (true, false) => self.jobs.push(Job::Opened(id)),
            (true, true) => {}
        }
    }

    fn land(&mut self, id: ItemId, offset: u64, len: u64, units: &[u64]) {
        let landing = self.landing.get_mut(&id).expect("bytes come after their item was opened");
        let fits =
            offset.is_multiple_of(UNIT) && offset / UNIT < UNITS_MAX && len == units.len() as u64 * UNIT;
        landing.strange |= !fits;
        if landing.strange {
            return;
        }
        let at = (offset / UNIT) as usize;
        if landing.units.len() < at + units.len() {
            landing.units.resize(at + units.len(), None);
        }
        for (place, unit) in landing.units[at..].iter_mut().zip(units) {
            assert!(place.is_none(), "nothing lands twice");
            *place = Some(*unit);
        }
    }

    /// A packet of a lane: its frame now, its payload by [`Member::arrive`].
    pub(crate) fn receive(&mut self, lane: Lane, packet: Packet) {
        let parsed = match packet.frame.split_first_chunk::<HEADER_LEN>() {
            Some((head, body)) => {
                Header::parse(head).and_then(|header| Ok((header, Frame::parse(&header, body)?)))
            }
            None => Err(WireError::BufferTooSmall),
        };
        match parsed {
            Err(error) => {
                self.machine.handle_invalid(lane, error, self.now);
            }
            Ok((header, frame)) => self.frame(lane, header.task, &frame, packet.payload),
        }
        self.drain();
    }

    /// A frame was handled; a payload that was announced is kept for [`Member::arrive`].
    pub(crate) fn frame(&mut self, lane: Lane, task: TaskId, frame: &Frame<'_>, payload: Vec<u64>) {
        if let Frame::Offer { id, eager, item, .. } = frame {
            let kind = match item.what {
                What::File { sparse, .. } => Kind::File { sparse },
                What::Stream => Kind::Stream,
                What::Directory => Kind::Directory,
                What::SymbolicLink { .. } => Kind::SymbolicLink,
                What::HardLink { .. } => Kind::HardLink,
            };
            let size = item.what.size().unwrap_or(0);
            let fits = size.is_multiple_of(UNIT) && size / UNIT <= UNITS_MAX;
            let units = if fits { size / UNIT } else { UNITS_MAX + 1 } as usize;
            let thing = Thing { name: item.name.as_bytes().to_vec(), kind, units: vec![0; units] };
            self.offered = Some((*id, thing, *eager));
        }
        self.machine.handle_frame(lane, task, frame, self.now);
        if matches!(frame, Frame::Data { .. }) && self.machine.poll_receive(lane).is_some() {
            self.arriving[lane.index()] = Some(payload);
        }
    }

    /// The rest of the payload will not come.
    pub(crate) fn forget_payload(&mut self, lane: Lane) {
        self.arriving[lane.index()] = None;
    }

    /// Gives up.
    pub(crate) fn fail(&mut self, failed: &Failed<'_>) {
        let mut out = [0; FRAME_MAX];
        let len = self.machine.fail(failed, &mut out);
        self.send(Lane::CONTROL, len, &out);
    }

    pub(crate) const fn is_arriving(&self, lane: Lane) -> bool {
        self.arriving[lane.index()].is_some()
    }

    /// The payload announced last on the lane has come; `bad`: not as it was sent.
    pub(crate) fn arrive(&mut self, lane: Lane, bad: bool) {
        let Some(units) = self.arriving[lane.index()].take() else { return };
        let Some(receive) = self.machine.poll_receive(lane) else { return };
        let (place, len) = match receive {
            Receive::Place(place) => (Some(place), place.len),
            Receive::Discard { len } => (None, len),
        };
        let crc = if bad { !crc(&units) } else { crc(&units) };
        if self.machine.handle_payload(lane, len, Some(crc))
            && let Some(place) = place
        {
            self.land(place.id, place.offset, place.len.into(), &units);
        }
        self.drain();
    }

    /// Jobs that may be done now: of the reads of one lane only the first.
    fn ready(&self) -> Vec<usize> {
        let mut lanes = [false; LANES];
        let first = |(at, job): (usize, &Job)| {
            let ready = match job {
                Job::Read { lane, .. } => !std::mem::replace(&mut lanes[lane.index()], true),
                Job::Reoffer(id) => {
                    self.thing(*id).is_some_and(|thing| self.machine.can_reoffer(&thing.item()))
                }
                _ => true,
            };
            ready.then_some(at)
        };
        self.jobs.iter().enumerate().filter_map(first).collect()
    }

    fn thing(&self, id: ItemId) -> Option<&Thing> {
        let things = self.gives.get(self.under_way.index())?.as_ref()?;
        things.get(id.0 as usize)
    }

    /// Does one job, or offers an item, as `choices` say. `false`: there is nothing to do.
    pub(crate) fn work(&mut self, choices: &mut Choices<'_>) -> bool {
        if self.machine.is_over() {
            return false;
        }
        let ready = self.ready();
        let offers = self.can_offer();
        if ready.is_empty() && !offers {
            return false;
        }
        let at = choices.below(ready.len() + usize::from(offers));
        let mut out = [0; FRAME_MAX];
        match ready.get(at) {
            Some(&at) => {
                let job = self.jobs.remove(at);
                self.job(job, choices, &mut out);
            }
            None => self.offer(&mut out),
        }
        self.drain();
        true
    }

    fn can_offer(&self) -> bool {
        let Some((task, next)) = self.walking else { return false };
        let things = self.gives[task.index()].as_ref().expect("what is walked was announced");
        things.get(next).is_none_or(|thing| self.machine.can_offer(&thing.item()))
    }

    fn offer(&mut self, out: &mut [u8; FRAME_MAX]) {
        let Some((task, next)) = self.walking else { return };
        let things = self.gives[task.index()].as_ref().expect("what is walked was announced");
        let Some(thing) = things.get(next) else {
            self.walking = None;
            return self.machine.handle_items_end(self.now);
        };
        let offered = self.machine.handle_item(&thing.item(), self.now, out);
        assert_eq!(offered.id, ItemId(next as u32), "items are numbered as they are named");
        self.walking = Some((task, next + 1));
        // After what was drained from that lane before.
        self.send(offered.lane, offered.len, out);
    }

    fn job(&mut self, job: Job, choices: &mut Choices<'_>, out: &mut [u8; FRAME_MAX]) {
        let now = self.now;
        match job {
            Job::Survey(task) => self.survey(task, out),
            Job::Begin(task) => self.machine.handle_begun(task, now),
            Job::Opened(id) => match self.keep(id, choices) {
                0 => self.machine.handle_opened(id, now),
                offset => self.machine.handle_kept(id, offset, now),
            },
            Job::Made(id) => {
                let landing = self.landing.get_mut(&id).expect("it was just made");
                landing.finished = true;
                self.machine.handle_finished(id, true, now);
            }
            Job::Finish { id, size, checksum } => self.finish(id, size, checksum),
            Job::Read { lane, id, offset, len } => {
                let (piece, units) = self.piece(id, offset, len, choices);
                if self.machine.handle_read(lane, id, offset, piece, now)
                    && let ReadPiece::Data { len, .. } = piece
                {
                    self.read[lane.index()].push_back((Payload { id, offset, len }, units));
                }
            }
            Job::Close(id) => {
                let thing = self.thing(id).expect("what is closed was offered");
                let (size, sum) = (thing.size(), checksum(self.integrity, &thing.units));
                self.machine.handle_closed(id, size, sum, now);
            }
            Job::Reoffer(id) => {
                let item = self.thing(id).expect("what is offered again was offered").clone();
                let offered = self.machine.handle_reoffer(id, &item.item(), out);
                self.send(offered.lane, offered.len, out);
            }
            Job::SumUp(side, task) => self.sum_up(side, task),
            Job::MakeDurable => self.machine.handle_durable(now),
            Job::Install => {
                self.machine.handle_installing();
                self.published = Some(self.landed.clone());
                let len = self.machine.handle_installed(b"", out);
                self.send(Lane::CONTROL, len, out);
            }
        }
    }

    /// Takes over what an earlier run left of an item, if there is such a thing: so many bytes.
    fn keep(&mut self, id: ItemId, choices: &mut Choices<'_>) -> u64 {
        let landing = self.landing.get_mut(&id).expect("it was just opened");
        let file = matches!(landing.thing.kind, Kind::File { .. }) && !landing.strange;
        let Some(same) = landing.thing.again().filter(|_| self.holds && file) else { return 0 };
        let runs = (same.units.len() as u64 * UNIT).div_ceil(RUN_LEN);
        let offset = same.size().min(choices.below(runs as usize + 1) as u64 * RUN_LEN);
        let kept = (offset / UNIT) as usize;
        for (place, unit) in landing.units.iter_mut().zip(&same.units).take(kept) {
            *place = Some(*unit);
        }
        offset
    }

    fn survey(&mut self, task: TaskId, out: &mut [u8; FRAME_MAX]) {
        let len = if let Some(things) = self.gives.get(task.index()).and_then(Option::as_ref) {
            let bytes = things.iter().map(Thing::size).sum();
            let totals = Totals {
                shape: 0,
                items: things.len() as u64,
                bytes: if self.unknown_totals { None } else { Some(bytes) },
                allocated: 0,
                longest_name: 0,
                snapshot: SnapshotId::default(),
                digest_members: 0,
                app_meta: b"",
            };
            self.machine.handle_surveyed(task, &totals, self.now, out)
        } else {
            let refused = Refused { reason: Reason::Refused, message: "no", app_reply: b"" };
            self.machine.handle_refused(task, &refused, self.now, out)
        };
        self.send(Lane::CONTROL, len, out);
    }

    /// What a read finds: less than it asked for only before a hole or a stream's end.
    fn piece(&self, id: ItemId, offset: u64, len: u32, choices: &mut Choices<'_>) -> (ReadPiece, Vec<u64>) {
        let thing = self.thing(id).expect("what is read was offered");
        let at = (offset / UNIT) as usize;
        let rest = &thing.units[at.min(thing.units.len())..];
        let asked = &rest[..rest.len().min((u64::from(len) / UNIT) as usize)];
        let until = |hole: bool| asked.iter().position(|unit| (*unit == 0) != hole).unwrap_or(asked.len());
        let sparse = thing.kind == Kind::File { sparse: true };
        if sparse && asked.first() == Some(&0) {
            return (ReadPiece::Hole { len: until(true) as u64 * UNIT }, Vec::new());
        }
        let whole = match thing.kind {
            Kind::File { sparse: true } => until(false),
            // A pipe gives what it has.
            Kind::Stream if asked.len() > 1 => asked.len() - choices.below(2),
            _ => asked.len(),
        };
        if whole == 0 {
            return (ReadPiece::End, Vec::new());
        }
        let units = asked[..whole].to_vec();
        let crc = (self.integrity != Integrity::None).then(|| crc(&units));
        (ReadPiece::Data { len: (whole as u64 * UNIT) as u32, crc }, units)
    }

    fn finish(&mut self, id: ItemId, size: u64, sent: Checksum) {
        let landing = self.landing.get_mut(&id).expect("only what was opened is finished");
        let units: Option<Vec<u64>> = landing.units.iter().copied().collect();
        if !landing.strange {
            let len = units.as_ref().map(|units| units.len() as u64 * UNIT);
            assert_eq!(len, Some(size), "the machine vouches for the count of bytes");
        }
        let whole = units.unwrap_or_default();
        let matched = checksum(self.integrity, &whole) == sent || landing.strange;
        landing.thing.units = whole;
        landing.finished = matched;
        self.machine.handle_finished(id, matched, self.now);
    }

    fn sum_up(&mut self, side: Side, task: TaskId) {
        let sums = match side {
            Side::Provider => root(self.integrity, self.gives[task.index()].iter().flatten()),
            Side::Joiner => {
                let landing = std::mem::take(&mut self.landing);
                assert!(landing.values().all(|landing| landing.finished), "all items are verified");
                assert!(landing.keys().copied().eq((0..landing.len() as u32).map(ItemId)));
                let things: Vec<Thing> = landing.into_values().map(|landing| landing.thing).collect();
                let sums = root(self.integrity, things.iter());
                self.landed.insert(task, things);
                sums
            }
        };
        self.machine.handle_root(side, task, sums, self.now);
    }

    /// Whether any task is given.
    pub(crate) fn gives_something(&self) -> bool {
        self.gives.iter().any(Option::is_some)
    }

    /// Whether what was published, if anything, is what `provider` gives.
    pub(crate) fn has_published(&self, provider: &Self) -> bool {
        self.published.as_ref().is_none_or(|published| {
            let given = |(task, state): (usize, &Option<Vec<Thing>>)| {
                published.get(&TaskId(task as u16)) == state.as_ref()
            };
            provider.gives.iter().enumerate().all(given)
        })
    }
}

/// Sums of as many bytes as are sent for so much of an item: nobody looks into them here.
fn any_sums(integrity: Integrity, offset: u64, whole: bool) -> Vec<u8> {
    if whole {
        return checksum(integrity, &[]).as_sums().to_vec();
    }
    let sums = |len| vec![0; len];
    let fits = |len: &usize| Prefix::new(integrity, offset, &sums(*len)).is_some();
    (0..=64).map(|n| n * 4).find(fits).map(sums).expect("some number of sums is right")
}
