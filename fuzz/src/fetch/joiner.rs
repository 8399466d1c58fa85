//! The joiner's machine.

use longhaul_core::digest::Digest;
use longhaul_core::id::{SnapshotId, StateId};
use longhaul_core::message::Verdict;
use longhaul_core::time::Instant;
use longhaul_core::transfer::Tag;
use longhaul_core::transfer::fetch::{Config, Destination, Joiner, JoinerCommand, Protocol, State, Want};
use longhaul_core::transfer::live::Take;
use longhaul_core::transfer::wire::{FRAME_MAX, Frame, HEADER_LEN, Header};

use super::config;
use crate::bytes::Choices;
use crate::group::{MEMBERS, TRANSFERS, frames, message, tag, time};

struct Lone {
    machine: Joiner<8>,
    config: Config,
    now: Instant,
    joins: bool,
    staging: Option<SnapshotId>,
    commits: bool,
    serves: bool,
    /// What it said to the group, which comes back as a message.
    told: Option<(Tag, Frame<'static>)>,
    sent: [u64; 4],
}

pub(super) fn run(choices: &mut Choices<'_>) {
    let config = config(choices);
    let wants = if config.protocol == Protocol::Copy {
        &[Want::One, Want::Quorum, Want::All][..]
    } else {
        &[Want::One]
    };
    let state = (StateId([choices.pick(&[0, 1]); 16]), choices.pick(wants));
    let members = &MEMBERS[..=choices.below(MEMBERS.len())];
    let machine = Joiner::new(config, TRANSFERS[0], state, members, Digest::new(), Instant::ZERO);
    let mut lone = Lone {
        machine: machine.expect("its needs are met"),
        config,
        now: Instant::ZERO,
        joins: false,
        staging: None,
        commits: false,
        serves: false,
        told: None,
        sent: [0; 4],
    };
    lone.drain();
    while !choices.is_empty() {
        lone.step(choices);
        lone.drain();
    }
}

impl Lone {
    fn step(&mut self, choices: &mut Choices<'_>) {
        let now = self.now;
        match choices.below(16) {
            0..=4 => {
                let from = self.machine.provider().filter(|_| choices.yes());
                let from = from.unwrap_or_else(|| choices.pick(&MEMBERS));
                let tag = if choices.below(8) == 7 { tag(choices) } else { self.machine.tag() };
                if let Some(frame) = frames::any(choices, [2; 32]) {
                    self.machine.handle_frame(from, tag, &frame, now);
                }
            }
            5 => self.payload(choices),
            6 | 7 => self.message(choices),
            8 => self.machine.handle_lost(choices.pick(&MEMBERS), now),
            9 => self.machine.handle_view(&MEMBERS[..=choices.below(MEMBERS.len())], now),
            10 => match self.staging.take() {
                Some(snapshot) => {
                    let root = choices.pick(&[Some([2; 32]), Some([2; 32]), Some([1; 32]), None]);
                    self.machine.handle_staged(snapshot, root, now);
                }
                None => self.machine.handle_bulk_progress(now),
            },
            11 if choices.below(8) == 7 => self.machine.handle_application_failed(),
            11 => self.machine.handle_applied(frames::point(choices), now),
            12 if self.commits => {
                self.commits = false;
                self.machine.handle_committed();
            }
            13 if choices.below(16) == 15 => self.machine.cancel(),
            13 if self.joins => {
                self.joins = false;
                self.machine.handle_joined(&Digest::<8>::new(), now);
            }
            _ => {
                self.now = now.after(time(choices));
                self.machine.handle_timeout(self.now);
            }
        }
    }

    /// A message of the group: one of a member, or what this machine has said to all.
    fn message(&mut self, choices: &mut Choices<'_>) {
        let message = message(choices, &mut self.sent);
        let told = self.told.take_if(|_| choices.yes());
        let any = frames::any(choices, [2; 32]).filter(|_| choices.yes());
        let control = told.or_else(|| any.map(|frame| (tag(choices), frame)));
        let control = control.as_ref().map(|(tag, frame)| (*tag, frame));
        let verdict = self.machine.handle_message(&message, control, self.now);
        let verdict = verdict.expect("there is room for four members");
        assert!(verdict != Verdict::Deliver || self.config.serves, "only who serves delivers");
    }

    /// What was announced, or something else; and then what is in it.
    fn payload(&mut self, choices: &mut Choices<'_>) {
        if !self.machine.handle_payload(frames::payload(choices), self.now) {
            return;
        }
        for number in 0..choices.below(6) as u64 {
            let number = number + choices.pick(&[0, 1, 2]);
            let taken = self.machine.handle_record(number, self.now);
            self.drain();
            if taken == Take::Stop {
                return;
            }
        }
    }

    fn drain(&mut self) {
        while let Some(command) = self.machine.poll_command() {
            match command {
                JoinerCommand::Join => self.joins = true,
                JoinerCommand::Stage { snapshot, .. } => self.staging = Some(snapshot),
                JoinerCommand::StopStaging | JoinerCommand::Rewind { to: None } => self.staging = None,
                JoinerCommand::Commit => self.commits = true,
                JoinerCommand::Serve => {
                    assert!(!self.serves && !self.commits, "it serves once, what it has swapped in");
                    self.serves = true;
                }
                JoinerCommand::Rewind { .. } | JoinerCommand::Reoffer => {}
            }
        }
        let mut out = [0; FRAME_MAX];
        while let Some(transmit) = self.machine.poll_transmit(&mut out) {
            let (head, body) =
                out[..transmit.len].split_first_chunk::<HEADER_LEN>().expect("it has a header");
            let header = Header::parse(head).expect("what is sent is a header");
            let frame = Frame::parse(&header, body).expect("what is sent is a frame");
            if transmit.to == Destination::Group {
                self.told = owned(&frame).map(|frame| (header.tag, frame));
            }
        }
        self.machine.invariants();
        let state = self.machine.state();
        let ends = matches!(state, State::Serving | State::Failed | State::Alone | State::Committing);
        assert!(ends || self.machine.poll_timeout().is_some(), "every wait has a deadline");
    }
}

/// What is said to the group borrows nothing.
fn owned(frame: &Frame<'_>) -> Option<Frame<'static>> {
    match *frame {
        Frame::MakeCopy { member, lease_ns, have } => Some(Frame::MakeCopy { member, lease_ns, have }),
        Frame::Collect => Some(Frame::Collect),
        Frame::Suspend { member, lease_ns } => Some(Frame::Suspend { member, lease_ns }),
        Frame::Resume => Some(Frame::Resume),
        _ => None,
    }
}
