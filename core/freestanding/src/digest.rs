//! A digest of as many members as one has, in parts and together again.

use longhaul_core::digest::{Assembly, Digest, DigestPart, Entry, PART_LEN_MAX, SequenceNumber};
use longhaul_core::id::MemberId;

const MEMBERS: u16 = 1024;

pub(crate) fn goes_to_bytes_and_back() {
    let mut digest: Digest<1024> = Digest::new();
    for n in 0..MEMBERS {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.reverse_bits().to_be_bytes());
        let number = SequenceNumber(n.into());
        let entry = Entry::new(MemberId(id), number, number).expect("nothing more was delivered");
        digest.insert(entry).expect("there is room for all");
    }
    let mut assembly: Assembly<1024> = Assembly::new();
    let mut body = [0; PART_LEN_MAX];
    for part in digest.parts() {
        let (head, entries) = part.as_bytes();
        let len = head.len() + entries.len();
        body[..head.len()].copy_from_slice(&head);
        body[head.len()..len].copy_from_slice(entries);
        let part = DigestPart::parse(&body[..len]).expect("it was just emitted");
        assembly.take(&part).expect("the parts are in order");
    }
    assert!(assembly.digest() == Some(&digest));
    digest.merge(&digest.clone()).expect("nobody is new");
    assert!(assembly.digest() == Some(&digest));
}
