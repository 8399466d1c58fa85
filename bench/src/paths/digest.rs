//! Digests of 1024 members.

use std::hint::black_box;

use longhaul_core::digest::{Assembly, Digest, DigestPart, Entry, SequenceNumber, Stability, ViewId};
use longhaul_core::id::MemberId;

use super::Path;

const MEMBERS: u16 = 1024;
const OWN: MemberId = MemberId([0xff; 16]);

pub(super) fn merged() -> Path {
    let (mut ours, theirs) = (digest(0), digest(1));
    Path::new("digest/merge of 1024 into 1024", move || {
        ours.merge(black_box(&theirs)).expect("nobody is new");
        ours.len() as u64
    })
}

pub(super) fn overwritten() -> Path {
    let (mut ours, theirs) = (digest(1), digest(0));
    Path::new("digest/overwrite of 1024 by 1024", move || {
        ours.overwrite(OWN, black_box(&theirs)).expect("nobody is new");
        ours.len() as u64
    })
}

pub(super) fn voted() -> Path {
    let view = ViewId { number: 1, maker: OWN };
    let vote = digest(0);
    let voters: Vec<MemberId> = vote.entries().map(|entry| entry.member()).collect();
    let mut stability = Box::new(Stability::<1024>::new(view, voters.iter().copied()).expect("all fit"));
    let mut next = voters.into_iter().cycle();
    Path::new("digest/vote of 1024 in a view of 1024", move || {
        if stability.stable().is_some() {
            stability.restart();
        }
        let voter = next.next().expect("they come round");
        stability.vote(view, voter, black_box(&vote)).expect("one vote each");
        u64::from(voter.0[0])
    })
}

pub(super) fn assembled() -> Path {
    let digest = digest(0);
    let bodies: Vec<Vec<u8>> = digest
        .parts()
        .map(|part| {
            let (head, entries) = part.as_bytes();
            [&head, entries].concat()
        })
        .collect();
    Path::new("digest/1024 entries parsed and assembled", move || {
        let mut assembly = Assembly::<1024>::new();
        for body in black_box(&bodies) {
            let part = DigestPart::parse(body).expect("it was just emitted");
            assembly.take(&part).expect("parts are in order");
        }
        assembly.digest().expect("all parts came").len() as u64
    })
}

fn digest(more: u64) -> Digest<1024> {
    let mut digest = Digest::new();
    for n in 0..MEMBERS {
        let mut id = [0x80; 16];
        id[..2].copy_from_slice(&n.reverse_bits().to_be_bytes());
        let number = SequenceNumber(u64::from(n) + more);
        let entry = Entry::new(MemberId(id), number, number).expect("no more delivered than received");
        digest.insert(entry).expect("all fit");
    }
    digest
}
