//! The provider's machine.

use std::collections::VecDeque;

use longhaul_core::digest::{Digest, Entry};
use longhaul_core::message::{Effect, Verdict};
use longhaul_core::time::Instant;
use longhaul_core::transfer::fetch::{Command, Provider};
use longhaul_core::transfer::wire::{FRAME_MAX, Frame, HEADER_LEN, Header};
use longhaul_core::transfer::{LogPoint, Role};

use super::config;
use crate::bytes::Choices;
use crate::group::{MEMBERS, SNAPSHOTS, effect, frames, message, tag, time};

struct Lone {
    machine: Provider<8, 2>,
    now: Instant,
    /// Commands that are to be answered.
    open: VecDeque<Command>,
    sent: [u64; 4],
    in_flight: u32,
}

pub(super) fn run(choices: &mut Choices<'_>) {
    let role = choices.pick(&[Role::Provider, Role::Provider, Role::NonParticipant, Role::Joining]);
    let machine = Provider::new(config(choices), role, Digest::new()).expect("its needs are met");
    let mut lone = Lone { machine, now: Instant::ZERO, open: VecDeque::new(), sent: [0; 4], in_flight: 0 };
    while !choices.is_empty() {
        lone.step(choices);
        lone.drain();
    }
    lone.ends();
}

impl Lone {
    fn step(&mut self, choices: &mut Choices<'_>) {
        let now = self.now;
        match choices.below(16) {
            0..=4 => {
                let (from, tag) = (choices.pick(&MEMBERS[1..]), tag(choices));
                if let Some(frame) = frames::any(choices, [2; 32]) {
                    self.machine.handle_frame(from, tag, &frame, now);
                }
            }
            5..=7 => self.message(choices),
            8..=10 => self.answer(choices),
            11 => self.machine.handle_lost(choices.pick(&MEMBERS), now),
            12 => {
                let admitted = self.machine.handle_request() == Verdict::Deliver;
                self.in_flight += u32::from(admitted);
            }
            13 if self.in_flight > 0 => {
                self.in_flight -= 1;
                self.machine.handle_request_done(now);
            }
            14 => match choices.below(4) {
                0 => self.machine.set_role(choices.pick(&[Role::Provider, Role::NonParticipant]), now),
                n => self.machine.handle_view(&MEMBERS[..=n], now),
            },
            _ => {
                self.now = now.after(time(choices));
                self.machine.handle_timeout(self.now);
            }
        }
    }

    fn message(&mut self, choices: &mut Choices<'_>) {
        let mut sent = self.sent;
        let message = message(choices, &mut sent);
        let (tag, control) = (tag(choices), frames::any(choices, [2; 32]).filter(|_| choices.yes()));
        let effect = if control.is_some() { Effect::Nothing } else { effect(choices) };
        let control = control.as_ref().map(|frame| (tag, frame));
        let before = self.machine.delivered().clone();
        let verdict = self.machine.handle_message(&message, effect, control, self.now);
        let delivered = self.machine.delivered();
        match verdict.expect("there is room for four members") {
            Verdict::Deliver => {
                assert!(!before.contains(message.sender, message.sequence), "a message is delivered once");
                assert!(delivered.contains(message.sender, message.sequence), "what is delivered is counted");
                self.sent = sent;
            }
            _ => assert!(*delivered == before, "what is not delivered is not counted"),
        }
    }

    /// Answers the oldest command that waits for one.
    fn answer(&mut self, choices: &mut Choices<'_>) {
        let now = self.now;
        match self.open.pop_front() {
            Some(Command::Capture { capture, .. }) if choices.below(8) == 7 => {
                self.machine.handle_capture_failed(capture, now);
            }
            Some(Command::Capture { capture, .. }) => {
                let mut digest = self.machine.delivered().clone();
                if choices.below(8) == 7 {
                    digest.retain(|_| false);
                    digest.insert(Entry::fresh(MEMBERS[1])).expect("there is room for one");
                }
                self.machine.handle_captured(capture, choices.pick(&SNAPSHOTS), &digest, now);
            }
            Some(Command::Sum { capture }) => self.machine.handle_summed(capture, [2; 32], now),
            Some(Command::ReadLog { transfer, from, end, max_bytes }) => {
                assert!(from.records < end.records, "there is something to read");
                let most = u64::from(max_bytes / 10).max(1).min(end.records - from.records);
                let records = choices.below(most.min(200) as usize) as u64 + 1;
                let to = LogPoint { records: from.records + records, bytes: from.bytes + records * 10 };
                self.machine.handle_log_read(transfer, from, to, frames::payload(choices), now);
            }
            Some(Command::Give { transfer, .. }) => self.machine.handle_bulk_progress(transfer, now),
            _ => {}
        }
    }

    /// Takes what the machine says; all of it parses.
    fn drain(&mut self) {
        self.commands();
        let mut out = [0; FRAME_MAX];
        while let Some(transmit) = self.machine.poll_transmit(&mut out, self.now) {
            let (head, body) =
                out[..transmit.len].split_first_chunk::<HEADER_LEN>().expect("it has a header");
            let header = Header::parse(head).expect("what is sent is a header");
            Frame::parse(&header, body).expect("what is sent is a frame");
            self.commands();
        }
        while self.machine.poll_event().is_some() {}
        self.machine.invariants();
    }

    fn commands(&mut self) {
        while let Some(command) = self.machine.poll_command() {
            self.open.push_back(command);
        }
    }

    /// Whatever has happened: when nobody says anything any more, all is released within a bound.
    fn ends(&mut self) {
        for member in MEMBERS {
            self.machine.handle_lost(member, self.now);
            self.drain();
        }
        for _ in 0..64 {
            let Some(deadline) = self.machine.poll_timeout() else { break };
            self.now = self.now.max(deadline);
            self.machine.handle_timeout(self.now);
            self.drain();
        }
        assert!(self.machine.is_idle(), "what nobody asks for is kept");
        assert!(!self.machine.is_suspended(), "writers go on by themselves");
    }
}
