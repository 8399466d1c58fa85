//! The joiner's machine: alone, or beside that of a member that has a state.

use longhaul_core::digest::{Digest, Entry, SequenceNumber};
use longhaul_core::id::{MemberId, SnapshotId};
use longhaul_core::message::Message;
use longhaul_core::time::Instant;
use longhaul_core::transfer::live::{Config, Joiner, JoinerCommand, Provider, Record, State, Take};
use longhaul_core::transfer::wire::{FRAME_MAX, Frame, HEADER_LEN, Header};

use super::config;
use crate::bytes::Choices;
use crate::group::{ME, MEMBERS, TRANSFERS, effect, frames, message, tag, time, transaction};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Link {
    Down,
    /// It was told to dial.
    Dials,
    Up,
}

pub(super) struct Lone {
    pub(super) machine: Joiner<8, 2>,
    now: Instant,
    link: Link,
    round: Option<u64>,
    staging: Option<SnapshotId>,
    /// Whose prepares have come since the hidden copy was rewound last.
    prepared: Vec<MemberId>,
    commits: bool,
    /// What was heard of its outcome.
    heard_commit: bool,
    serves: bool,
    sent: [u64; 4],
}

pub(super) fn run(choices: &mut Choices<'_>) {
    let mut lone = Lone::new(config(choices));
    while !choices.is_empty() {
        lone.step(choices, None);
    }
}

impl Lone {
    pub(super) fn new(config: Config) -> Self {
        let machine = Joiner::new(config, TRANSFERS[0], MEMBERS[1], Instant::ZERO);
        let mut lone = Self {
            machine: machine.expect("its needs are met"),
            now: Instant::ZERO,
            link: Link::Down,
            round: None,
            staging: None,
            prepared: Vec::new(),
            commits: false,
            heard_commit: false,
            serves: false,
            sent: [0; 4],
        };
        lone.drain();
        lone
    }

    /// Something happens. `old`: the machine of the state that this member has, if it has one.
    pub(super) fn step(&mut self, choices: &mut Choices<'_>, old: Option<&mut Provider<8, 2>>) {
        self.happens(choices, old);
        self.drain();
    }

    fn happens(&mut self, choices: &mut Choices<'_>, old: Option<&mut Provider<8, 2>>) {
        let now = self.now;
        match choices.below(16) {
            0..=4 if self.link == Link::Up => self.frame(choices),
            5 => self.payload(choices),
            // Messages come to the old state.
            6 if old.is_none() => {
                let _ = self.machine.handle_message(&message(choices, &mut self.sent), effect(choices));
            }
            7 => self.pinned(choices),
            8 if self.link == Link::Dials && choices.below(4) != 3 => {
                self.link = Link::Up;
                self.machine.handle_link_up(now);
            }
            8 | 9 if self.link != Link::Down => {
                self.link = Link::Down;
                self.machine.handle_link_lost(now);
            }
            10 => match self.staging.take() {
                Some(snapshot) => self.machine.handle_staged(snapshot, now),
                None => self.machine.handle_bulk_progress(now),
            },
            11 if choices.below(8) == 7 => self.machine.handle_application_failed(now),
            11 => self.machine.handle_applied(self.machine.received(), now),
            12 if self.commits => {
                self.commits = false;
                if let Some(old) = old {
                    self.replace(old);
                }
                self.machine.handle_committed(now);
            }
            13 => match choices.below(16) {
                15 => self.machine.cancel(now),
                14 => self.machine.switch(choices.pick(&MEMBERS), now),
                _ if old.is_some() => {}
                _ => {
                    let mut delivered = Digest::<8>::new();
                    let count = SequenceNumber(choices.pick(&[1, 3, 5, 9]));
                    delivered.insert(Entry::new(MEMBERS[1], count, count).expect("equal")).expect("room");
                    self.machine.handle_delivered(&delivered);
                }
            },
            _ => {
                self.now = now.after(time(choices));
                self.machine.handle_timeout(self.now);
            }
        }
    }

    /// Whether a message may be delivered into the old state now: no later than the new one's last message, and not while it is
    /// swapped in.
    pub(super) fn leaves_to_the_old_state(&self, message: &Message) -> bool {
        match self.machine.state() {
            State::Closing | State::Ready | State::Doubting => {
                self.machine.digest().contains(message.sender, message.sequence)
            }
            State::Committing => false,
            _ => true,
        }
    }

    /// The state that has come takes the place of the old one.
    fn replace(&mut self, old: &mut Provider<8, 2>) {
        let mut digest = self.machine.digest().clone();
        if digest.entry(ME).is_none() {
            digest.insert(Entry::fresh(ME)).expect("there is room for four members");
        }
        old.replace(digest.clone(), std::mem::take(&mut self.prepared), self.now);
        assert!(*old.delivered() == digest, "it contains what has come, and nothing else");
    }

    fn frame(&mut self, choices: &mut Choices<'_>) {
        let tag = if choices.below(8) == 7 { tag(choices) } else { self.machine.tag() };
        let Some(frame) = frames::any(choices, [2; 32]) else { return };
        let told = matches!(
            frame,
            Frame::Commit | Frame::Outcome { decision: longhaul_core::transfer::Decision::Commit }
        );
        self.heard_commit |= told && tag == self.machine.tag();
        self.machine.handle_frame(tag, &frame, self.now);
    }

    /// What was announced, or something else; and then what is in it.
    fn payload(&mut self, choices: &mut Choices<'_>) {
        if self.link != Link::Up || !self.machine.handle_payload(frames::payload(choices), self.now) {
            return;
        }
        for _ in 0..choices.below(4) {
            let taken = if choices.below(4) == 3 {
                let transaction = transaction(choices);
                let taken = self.machine.handle_prepare(transaction, self.now);
                self.prepared.extend((taken == Take::Apply).then_some(transaction.member));
                taken
            } else {
                let number = (self.machine.received().records).saturating_add(choices.pick(&[1, 1, 1, 0, 2]));
                let sender = choices.pick(&MEMBERS[1..]);
                let sequence = SequenceNumber(choices.pick(&[1, 2, 3, 4, 5]));
                let record = Record { number, sender, sequence, effect: effect(choices) };
                self.machine.handle_record(&record, self.now)
            };
            self.drain();
            if taken == Take::Stop {
                return;
            }
        }
    }

    fn pinned(&mut self, choices: &mut Choices<'_>) {
        let Some(round) = self.round.take() else { return };
        if choices.below(8) == 7 {
            return self.machine.handle_pin_refused(choices.pick(&MEMBERS), self.now);
        }
        let mut sources = Digest::<8>::new();
        let member: MemberId = choices.pick(&MEMBERS[1..]);
        let behind = SequenceNumber(choices.pick(&[0, 0, 1, 4]));
        let entry = Entry::new(member, behind, SequenceNumber(choices.pick(&[4, 5, 9])));
        sources.insert(entry.expect("it has sent what it keeps")).expect("room");
        self.machine.handle_pinned(round, &sources, self.now);
    }

    pub(super) fn drain(&mut self) {
        while let Some(command) = self.machine.poll_command() {
            match command {
                JoinerCommand::Dial { .. } => self.link = Link::Dials,
                JoinerCommand::Close => self.link = Link::Down,
                JoinerCommand::Pin { round } => self.round = Some(round),
                JoinerCommand::Stage { snapshot, .. } => self.staging = Some(snapshot),
                JoinerCommand::Rewind { to } => {
                    self.prepared.clear();
                    self.staging = self.staging.filter(|_| to.is_some());
                }
                JoinerCommand::Commit => {
                    assert!(self.heard_commit, "it commits what the provider has committed");
                    self.commits = true;
                }
                JoinerCommand::Serve => {
                    assert!(!self.serves, "it begins to serve once");
                    assert!(self.heard_commit && !self.commits, "it serves what it has swapped in");
                    self.serves = true;
                }
                JoinerCommand::Unpin | JoinerCommand::Reoffer => {}
            }
        }
        let mut out = [0; FRAME_MAX];
        while let Some(len) = self.machine.poll_transmit(&mut out) {
            let (head, body) = out[..len].split_first_chunk::<HEADER_LEN>().expect("it has a header");
            let header = Header::parse(head).expect("what is sent is a header");
            Frame::parse(&header, body).expect("what is sent is a frame");
        }
        self.machine.invariants();
        let state = self.machine.state();
        assert_eq!(state == State::Serving, self.serves, "who serves was told to");
        let waits = matches!(state, State::Serving | State::Failed | State::Committing);
        assert_eq!(self.machine.poll_timeout().is_none(), waits, "every wait has a deadline");
    }
}
