//! The joiner's side of the simulation.

use std::collections::HashMap;

use longhaul_core::id::{ItemId, Lane};
use longhaul_core::integrity::{Checksum, Integrity, crc32c};
use longhaul_core::item::ItemName;
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::{self, Command, Config, Receive};
use longhaul_core::time::Instant;
use longhaul_core::wire::{FRAME_MAX, Failed, Frame, HEADER_LEN, Header};
use longhaul_state::item::Item;
use longhaul_state::root::RootBuilder;

use super::state::{Content, State};
use super::{Agenda, Event, Machine, Random, dialled};

/// An item that is coming.
struct Coming {
    item: Item,
    eager: bool,
    pieces: Vec<(u64, Vec<u8>)>,
    bytes: u64,
}

pub(crate) struct Joiner {
    pub(crate) machine: Option<Machine>,
    config: Config,
    expected: State,
    integrity: Integrity,
    inbox: Vec<Vec<u8>>,
    pub(crate) tick: Option<Instant>,
    pub(crate) dials: Vec<Lane>,
    encoded: Vec<Vec<u8>>,
    offered: Option<(ItemId, bool, Item)>,
    coming: HashMap<ItemId, Coming>,
    landed: HashMap<ItemId, (Item, Content)>,
    durable: bool,
    pub(crate) published: bool,
    pub(crate) retries: u64,
}

impl Joiner {
    pub(crate) fn new(config: Config, dials: bool, expected: State, integrity: Integrity) -> Self {
        Self {
            machine: dials.then(|| Machine::dial(config, Instant::ZERO)),
            config,
            expected,
            integrity,
            inbox: vec![Vec::new(); 4],
            tick: None,
            dials: Vec::new(),
            encoded: Vec::new(),
            offered: None,
            coming: HashMap::new(),
            landed: HashMap::new(),
            durable: false,
            published: false,
            retries: 0,
        }
    }

    /// A listener that nobody has reached is not waiting for anything.
    pub(crate) fn is_over(&self) -> bool {
        self.machine.as_ref().is_none_or(Machine::is_over)
    }

    pub(crate) fn with(&mut self, act: impl FnOnce(&mut Machine)) {
        if let Some(machine) = &mut self.machine {
            act(machine);
        }
    }

    pub(crate) fn receive(
        &mut self,
        lane: usize,
        bytes: &[u8],
        write_fails: bool,
        now: Instant,
        random: &mut Random,
        agenda: &mut Agenda,
    ) {
        self.inbox[lane].extend_from_slice(bytes);
        while let Some(head) = self.inbox[lane].first_chunk::<HEADER_LEN>() {
            let header = match Header::parse(head) {
                Ok(header) => header,
                Err(error) => return self.invalid(lane, error),
            };
            let end = HEADER_LEN + header.len as usize;
            if self.inbox[lane].len() < end {
                return;
            }
            let body: Vec<u8> = self.inbox[lane].drain(..end).skip(HEADER_LEN).collect();
            let data = header.kind == longhaul_core::wire::Kind::Data;
            match Frame::parse(&header, if data { b"" } else { &body }) {
                Ok(Frame::Init(init)) if self.machine.is_none() => {
                    self.machine = Machine::accept(self.config, &init, now).ok();
                }
                Ok(frame) => self.frame(lane, &frame, &body, write_fails, now),
                Err(error) => return self.invalid(lane, error),
            }
            // After every mutation.
            while self.drain(now, random, agenda) {}
        }
    }

    fn invalid(&mut self, lane: usize, error: longhaul_core::wire::WireError) {
        self.inbox[lane].clear();
        self.with(|machine| machine.handle_invalid(error));
    }

    fn frame(&mut self, lane: usize, frame: &Frame<'_>, body: &[u8], write_fails: bool, now: Instant) {
        let lane = Lane(lane as u16);
        let Some(machine) = &mut self.machine else { return };
        machine.handle_frame(lane, frame, now);
        match frame {
            Frame::Offer { id, eager, item, .. } => self.offered = Some((*id, *eager, Item::from(item))),
            Frame::Data { id, offset, len, .. } => {
                let Some(receive) = machine.poll_receive(lane) else { return };
                let wanted = machine.handle_payload(lane, *len, Some(crc32c(body)), now);
                if wanted && write_fails {
                    return self.fail();
                }
                if let (true, Receive::Place(_)) = (wanted, receive) {
                    let coming = self.coming.get_mut(id).expect("payloads come for open items");
                    coming.bytes += u64::from(*len);
                    coming.pieces.push((*offset, body.to_vec()));
                }
            }
            _ => {}
        }
    }

    fn fail(&mut self) {
        let failed = Failed {
            reason: Reason::NoSpace,
            phase: Phase::Stream,
            side: Side::Joiner,
            offset: None,
            name: ItemName::ROOT,
            message: "the disk is full",
        };
        let mut out = vec![0; FRAME_MAX];
        if let Some(machine) = &mut self.machine {
            let len = machine.fail(&failed, &mut out);
            self.encoded.push(out[..len].to_vec());
        }
    }

    pub(crate) fn landed(&mut self, id: ItemId, matched: bool, now: Instant) {
        self.with(|machine| machine.handle_finished(id, matched, now));
    }

    pub(crate) fn install(&mut self) {
        assert!(self.durable, "published before it was durable");
        let mut out = vec![0; FRAME_MAX];
        let Some(machine) = self.machine.as_mut().filter(|machine| !machine.is_over()) else { return };
        let len = machine.handle_installed(b"", &mut out);
        self.encoded.push(out[..len].to_vec());
        self.published = true;
    }

    pub(crate) fn drain(&mut self, now: Instant, random: &mut Random, agenda: &mut Agenda) -> bool {
        let mut moved = false;
        while let Some(command) = self.machine.as_mut().and_then(Machine::poll_command) {
            moved = true;
            if let Some(command) = dialled(command, &mut self.dials) {
                self.command(command, now, random, agenda);
            }
        }
        while let Some(event) = self.machine.as_mut().and_then(Machine::poll_event) {
            match event {
                session::Event::Retrying { .. } => self.retries += 1,
                session::Event::Durable => {
                    self.durable = true;
                    self.with(Machine::handle_installing);
                    agenda.after(random.below(1_000_000), Event::Installed);
                }
                _ => {}
            }
        }
        moved
    }

    fn command(&mut self, command: Command, now: Instant, random: &mut Random, agenda: &mut Agenda) {
        let delay = 1 + random.below(1_000_000);
        match command {
            Command::Begin => agenda.after(delay, Event::Begun),
            Command::Open { id } => {
                let (offered, eager, item) = self.offered.take().expect("opens answer offers");
                assert_eq!(offered, id);
                if item.as_wire().what.has_content() {
                    self.coming.insert(id, Coming { item, eager, pieces: Vec::new(), bytes: 0 });
                    if !eager {
                        agenda.after(delay, Event::Opened { id });
                    }
                } else {
                    self.landed.insert(id, (item, Content::default()));
                    agenda.after(delay, Event::Landed { id, matched: true });
                }
            }
            Command::Hole { id, len, .. } => {
                self.coming.get_mut(&id).expect("holes come for open items").bytes += len;
            }
            Command::Finish { id, size, checksum } => {
                let coming = self.coming.remove(&id).expect("items finish once");
                assert_eq!(coming.bytes, size, "finished with bytes missing");
                let mut extents = coming.pieces;
                extents.sort();
                let content = Content { size, extents: joined(extents) };
                let matched = content.checksum(self.integrity) == checksum;
                if matched {
                    self.landed.insert(id, (coming.item, content));
                }
                let _ = coming.eager;
                agenda.after(delay, Event::Landed { id, matched });
            }
            Command::Discard { id } => {
                self.coming.remove(&id);
            }
            Command::SumUp => {
                let mut builder = RootBuilder::new(self.integrity);
                for (id, (item, content)) in &self.landed {
                    let checksum = if item.as_wire().what.has_content() {
                        content.checksum(self.integrity)
                    } else {
                        Checksum::None
                    };
                    builder.add(*id, item, content.size, &checksum).expect("no hard links");
                }
                let (items, bytes) = builder.totals();
                let root = builder.finish();
                self.with(|machine| machine.handle_root(items, bytes, root, now));
            }
            Command::MakeDurable => agenda.after(delay, Event::Synced),
            other => panic!("{other:?} at a joiner"),
        }
    }

    pub(crate) fn transmit(&mut self, lane: usize, out: &mut [u8]) -> (usize, Vec<u8>) {
        if lane == 0 && !self.encoded.is_empty() {
            let frame = self.encoded.remove(0);
            out[..frame.len()].copy_from_slice(&frame);
            return (frame.len(), Vec::new());
        }
        let transmit =
            self.machine.as_mut().and_then(|machine| machine.poll_transmit(Lane(lane as u16), out));
        (transmit.map_or(0, |transmit| transmit.len), Vec::new())
    }

    /// What was published is exactly what the provider has.
    pub(crate) fn assert_complete(&self, context: &str) {
        assert_eq!(self.landed.len(), self.expected.items.len(), "{context}: another number of items");
        for (n, (item, content)) in self.expected.items.iter().enumerate() {
            let (landed, bytes) = &self.landed[&ItemId(n as u32)];
            assert_eq!(landed, item, "{context}");
            assert!(bytes == content, "{context}: {} has other bytes", item.name);
        }
    }
}

/// Pieces that touch each other, as one; overlapping ones are a defect.
fn joined(pieces: Vec<(u64, Vec<u8>)>) -> Vec<(u64, Vec<u8>)> {
    let mut joined: Vec<(u64, Vec<u8>)> = Vec::new();
    for (offset, bytes) in pieces {
        match joined.last_mut() {
            Some((start, last)) if *start + last.len() as u64 == offset => last.extend_from_slice(&bytes),
            Some((start, last)) => {
                assert!(*start + (last.len() as u64) < offset, "bytes came twice");
                joined.push((offset, bytes));
            }
            None => joined.push((offset, bytes)),
        }
    }
    joined
}
