//! The provider's machine; and beside it a joiner's, while the member gets another state.

use std::collections::VecDeque;

use longhaul_core::digest::{Digest, Entry};
use longhaul_core::message::Verdict;
use longhaul_core::time::Instant;
use longhaul_core::transfer::live::{At, Command, Config, Link, Provider, Role, State};
use longhaul_core::transfer::wire::{FRAME_MAX, Frame, HEADER_LEN, Header};
use longhaul_core::transfer::{LogPoint, digest_sum};

use super::{config, joiner};
use crate::bytes::Choices;
use crate::group::{MEMBERS, SNAPSHOTS, TRANSFERS, effect, frames, message, tag, time};

const LINKS: usize = 4;
/// Bytes of a record.
const RECORD: u32 = 10;

struct Lone {
    config: Config,
    machine: Provider<8, 2>,
    /// While it gets another state.
    joiner: Option<Box<joiner::Lone>>,
    now: Instant,
    /// Commands that are to be answered.
    open: VecDeque<Command>,
    sent: [u64; 4],
    in_flight: u32,
}

pub(super) fn run(choices: &mut Choices<'_>) {
    let role = choices.pick(&[Role::Provider, Role::Provider, Role::NonParticipant, Role::Joining]);
    let config = config(choices);
    let machine = Provider::new(config, role, Digest::new(), []).expect("its needs are met");
    let (now, open) = (Instant::ZERO, VecDeque::new());
    let mut lone = Lone { config, machine, joiner: None, now, open, sent: [0; 4], in_flight: 0 };
    while !choices.is_empty() {
        if lone.joiner.is_some() && choices.yes() {
            lone.joins_on(choices);
        } else {
            lone.step(choices);
        }
        lone.drain();
    }
    lone.ends();
}

impl Lone {
    fn step(&mut self, choices: &mut Choices<'_>) {
        let now = self.now;
        match choices.below(16) {
            0..=4 => {
                let (link, tag) = (Link(choices.below(LINKS) as u32), tag(choices));
                let sum = digest_sum(self.machine.delivered());
                if let Some(frame) = frames::any(choices, sum) {
                    self.machine.handle_frame(link, tag, &frame, now);
                }
            }
            5..=7 => self.message(choices),
            8..=10 => self.answer(choices),
            11 => self.machine.handle_link_lost(Link(choices.below(LINKS) as u32), now),
            12 => {
                let admitted = self.machine.handle_request(now) == Verdict::Deliver;
                assert!(!admitted || self.machine.role() != Role::Joining, "who joins admits no request");
                self.in_flight += u32::from(admitted);
            }
            13 if self.in_flight > 0 => {
                self.in_flight -= 1;
                self.machine.handle_request_done(now);
            }
            14 if self.joiner.is_none() => {
                let role = choices.pick(&[Role::Provider, Role::NonParticipant, Role::Joining]);
                if role == Role::Joining {
                    self.joins_again();
                } else if self.machine.role() != Role::Joining || choices.yes() {
                    self.machine.set_role(role, now);
                }
            }
            _ => {
                self.now = now.after(time(choices));
                self.machine.handle_timeout(self.now);
            }
        }
    }

    /// It gets another state from now on, and goes on with the old one.
    fn joins_again(&mut self) {
        self.machine.set_role(Role::Joining, self.now);
        assert!(TRANSFERS.iter().all(|transfer| self.machine.at(*transfer).is_none()), "it gives nothing");
        self.joiner = Some(Box::new(joiner::Lone::new(self.config)));
    }

    /// The joiner's machine goes on; when it is over, the member provides what it has then.
    fn joins_on(&mut self, choices: &mut Choices<'_>) {
        let Some(joiner) = &mut self.joiner else { return };
        let before = self.machine.delivered().clone();
        joiner.step(choices, Some(&mut self.machine));
        if *self.machine.delivered() != before {
            // What it had delivered beyond the other state comes again.
            let delivered =
                |member| self.machine.delivered().entry(member).map_or(0, |entry| entry.delivered().0);
            self.sent = MEMBERS.map(delivered);
        }
        if matches!(joiner.machine.state(), State::Serving | State::Failed) {
            self.joiner = None;
            self.machine.set_role(Role::Provider, self.now);
        }
    }

    fn message(&mut self, choices: &mut Choices<'_>) {
        let mut sent = self.sent;
        let message = message(choices, &mut sent);
        let effect = effect(choices);
        if let Some(joiner) = &mut self.joiner {
            let allows = joiner.machine.allows_delivery(self.machine.delivered(), &message, effect);
            joiner.drain();
            if !allows {
                return;
            }
        }
        let before = self.machine.delivered().clone();
        let decides = TRANSFERS.iter().any(|transfer| self.machine.at(*transfer) == Some(At::Deciding));
        let verdict = self.machine.handle_message(&message, effect, RECORD, self.now);
        let verdict = verdict.expect("there is room for four members");
        let delivered = self.machine.delivered();
        if verdict == Verdict::Deliver {
            assert!(!decides, "nothing is delivered while an epoch is undecided");
            assert!(!before.contains(message.sender, message.sequence), "a message is delivered once");
            assert!(delivered.contains(message.sender, message.sequence), "what is delivered is counted");
            self.sent = sent;
        } else {
            assert!(*delivered == before, "what is not delivered is not counted");
        }
        if let Some(joiner) = &mut self.joiner {
            assert!(
                verdict != Verdict::Deliver || joiner.leaves_to_the_old_state(&message),
                "into the wrong state"
            );
            joiner.machine.handle_delivered(self.machine.delivered());
            joiner.drain();
        }
    }

    /// Answers the oldest command that waits for one.
    fn answer(&mut self, choices: &mut Choices<'_>) {
        let now = self.now;
        match self.open.pop_front() {
            Some(Command::Capture) if choices.below(8) == 7 => self.machine.handle_capture_failed(now),
            Some(Command::Capture) => {
                let mut digest = self.machine.delivered().clone();
                if choices.below(8) == 7 {
                    let entry = Entry::fresh(MEMBERS[1]);
                    digest.retain(|_| false);
                    digest.insert(entry).expect("there is room for one");
                }
                self.machine.handle_captured(choices.pick(&SNAPSHOTS), &digest, now);
            }
            Some(Command::ReadLog { link, from, max_bytes }) => {
                let end = self.machine.log_end();
                assert!(from.records < end.records, "there is something to read");
                let most = u64::from(max_bytes / RECORD).max(1).min(end.records - from.records);
                let records = choices.below(most.min(200) as usize) as u64 + 1;
                let bytes = from.bytes + records * u64::from(RECORD);
                let to = LogPoint { records: from.records + records, bytes };
                self.machine.handle_log_read(link, from, to, frames::payload(choices), now);
            }
            Some(Command::ReadPending { link }) => {
                self.machine.handle_pending_read(link, frames::payload(choices), now);
            }
            Some(Command::Give { transfer, .. }) => self.machine.handle_bulk_progress(transfer, now),
            _ => {}
        }
    }

    /// Takes what the machine says; all of it parses.
    fn drain(&mut self) {
        while let Some(command) = self.machine.poll_command() {
            match command {
                Command::Capture
                | Command::ReadLog { .. }
                | Command::ReadPending { .. }
                | Command::Give { .. } => {
                    self.open.push_back(command);
                }
                _ => {}
            }
        }
        let mut out = [0; FRAME_MAX];
        while let Some(transmit) = self.machine.poll_transmit(&mut out, self.now) {
            let (head, body) =
                out[..transmit.len].split_first_chunk::<HEADER_LEN>().expect("it has a header");
            let header = Header::parse(head).expect("what is sent is a header");
            let frame = Frame::parse(&header, body).expect("what is sent is a frame");
            assert_eq!(frame.payload().is_some(), transmit.payload.is_some(), "a payload is announced");
            while let Some(command) = self.machine.poll_command() {
                self.open.push_back(command);
            }
        }
        while self.machine.poll_event().is_some() {}
        self.machine.invariants();
    }

    /// Whatever has happened: when nobody says anything any more, all is released within a bound.
    fn ends(&mut self) {
        for link in 0..LINKS as u32 {
            self.machine.handle_link_lost(Link(link), self.now);
            self.drain();
        }
        for _ in 0..64 {
            let Some(deadline) = self.machine.poll_timeout() else { break };
            self.now = self.now.max(deadline);
            self.machine.handle_timeout(self.now);
            self.drain();
        }
        assert!(self.machine.is_idle(), "what nobody asks for is kept");
        assert!(!self.machine.is_latched(), "a latch opens by itself");
    }
}
