//! Words between two members, the connections that they are said on, and bulks that move beside them.

use longhaul_core::id::{MemberId, SnapshotId};
use longhaul_core::transfer::{Role, Tag};

use super::super::agenda::Event;
use super::super::machines::{FetchProvider, Giver, LiveProvider};
use super::super::process::Process;
use super::super::store::Delivered;
use super::super::wires::Load;
use super::super::world::{Shared, World};

const MS: u64 = 1_000_000;

impl World {
    /// The next piece of a bulk.
    pub(in crate::group) fn piece(
        &mut self,
        (joiner, provider): (u64, u64),
        tag: Tag,
        snapshot: SnapshotId,
        left: u32,
    ) {
        let now = self.shared.agenda.now();
        let hosts = [joiner, provider].map(|number| self.shared.hosts_of.get(&number).copied());
        let [Some(to), Some(from)] = hosts else { return };
        let away = self.shared.asleep[to].max(self.shared.asleep[from]) > now
            || self.shared.wires.is_blocked(from, to, now)
            || self.shared.wires.is_blocked(to, from, now);
        if away {
            let again = Event::Piece { joiner, provider, tag, snapshot, left };
            return self.shared.agenda.after(10 * MS, again);
        }
        let giver = self.processes[from].as_mut().expect("it lives");
        let captured = giver.captures.values().find(|captured| captured.id == snapshot && captured.is_whole);
        let Some(captured) = captured.filter(|_| giver.giving.contains(&tag.transfer)).cloned() else {
            return;
        };
        let heard = self.shared.clocks[from].read(now);
        giver.provider.as_mut().expect("it gives").fetch().handle_bulk_progress(tag.transfer, heard);
        if left > 0 {
            let time = self.shared.random.below(self.shared.case.piece) + 1;
            let next = Event::Piece { joiner, provider, tag, snapshot, left: left - 1 };
            self.shared.agenda.after(time, next);
        }
        self.at_once(joiner, |process, world| process.piece(&captured, tag, left, world));
    }

    /// Nothing that was said to or by a host comes any more; both sides hear of it.
    pub(in crate::group) fn part_from_all(&mut self, host: usize) {
        let Some(process) = &self.processes[host] else { return };
        let (number, member) = (process.number, process.member);
        self.shared.bereave(host, member);
        let others: Vec<_> = self.processes.iter().flatten().map(|one| (one.host, one.member)).collect();
        for (other, theirs) in others.into_iter().filter(|other| other.0 != host) {
            let parted = Event::Parted { process: number, member: theirs };
            self.shared.pass((other, theirs), (number, member), parted);
        }
    }
}

impl Shared {
    pub(in crate::group) fn say(&mut self, from: &Process, to: MemberId, bytes: Vec<u8>, load: Option<Load>) {
        let word = |process| Event::Word { process, from: from.member, cuts: 0, bytes, load };
        let Some(number) = self.process_of(to) else {
            return self.agenda.after(self.wires.latency, Event::Parted { process: from.number, member: to });
        };
        self.pass((from.host, from.member), (number, to), word(number));
    }

    /// Words between two members keep their order.
    pub(in crate::group) fn pass(&mut self, from: (usize, MemberId), to: (u64, MemberId), mut event: Event) {
        let host = self.hosts_of[&to.0];
        if let Event::Word { cuts, .. } = &mut event {
            *cuts = self.cuts[from.0] + self.cuts[host];
        }
        let arrival = self.wires.arrival(from.0, host, self.agenda.now(), &mut self.random);
        let reaches = self.words.entry((from.1, to.1)).or_default();
        *reaches = (*reaches + 1).max(arrival);
        let when = *reaches;
        self.agenda.at(when, event);
    }

    /// The machine of a member that has a state from the start.
    pub(in crate::group) fn provider(&self, member: MemberId) -> Giver {
        let machine = self.case.protocol.map(|protocol| {
            FetchProvider::new(self.fetch_config(member, protocol), Role::Provider, Delivered::new())
        });
        if let Some(machine) = machine {
            return Giver::Fetch(Box::new(machine.expect("its needs are met")));
        }
        let machine = LiveProvider::new(self.config(member), Role::Provider, Delivered::new(), []);
        Giver::Live(Box::new(machine.expect("its needs are met")))
    }

    /// Whether nothing was cut since a word was said.
    pub(in crate::group) fn is_whole(&self, process: u64, from: MemberId, cuts: u64) -> bool {
        let (from, to) = (usize::from(from.0[0]), self.hosts_of.get(&process));
        to.is_some_and(|to| self.cuts[from] + self.cuts[*to] == cuts)
    }

    /// All others hear that a member's connections are lost.
    pub(in crate::group) fn bereave(&mut self, host: usize, member: MemberId) {
        if self.case.protocol.is_none() {
            return;
        }
        let others: Vec<_> = self.members.iter().map(|(member, number)| (*number, *member)).collect();
        for other in others.into_iter().filter(|other| other.1 != member) {
            self.pass((host, member), other, Event::Parted { process: other.0, member });
        }
    }
}
