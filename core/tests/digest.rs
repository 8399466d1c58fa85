//! The laws of digests: of their algebra, of stability, and of their form on the wire.

use std::collections::BTreeMap;
use std::error::Error;

use longhaul_core::digest::{
    Assembly, Digest, DigestError, DigestPart, Entry, PART_ENTRIES, PART_LEN_MAX, PartError, SequenceNumber,
    Stability, ViewId, VoteError,
};
use longhaul_core::id::MemberId;
use proptest::prelude::*;

/// A digest as a plain map: what every rule is compared with.
type Model = BTreeMap<MemberId, (u64, u64)>;
type Small = Digest<64>;

const OWN: MemberId = member(3);
const VIEW: ViewId = ViewId { number: 8, maker: member(0) };

/// Sorted as their numbers are; they differ in the first and in the last byte.
const fn member(n: u16) -> MemberId {
    let mut id = [0x80; 16];
    [id[0], id[15]] = n.to_be_bytes();
    MemberId(id)
}

fn entry(member: MemberId, delivered: u64, received: u64) -> Entry {
    Entry::new(member, SequenceNumber(delivered), SequenceNumber(received)).unwrap()
}

fn digest<const MEMBERS: usize>(model: &Model) -> Digest<MEMBERS> {
    let mut digest = Digest::new();
    for (member, (delivered, received)) in model {
        digest.insert(entry(*member, *delivered, *received)).unwrap();
    }
    digest
}

fn model<const MEMBERS: usize>(digest: &Digest<MEMBERS>) -> Model {
    digest.entries().map(|entry| (entry.member(), (entry.delivered().0, entry.received().0))).collect()
}

/// `count` members, every one of the numbers another.
fn many(count: u16) -> Model {
    (0..count).map(|n| (member(n.reverse_bits()), (u64::from(n), 2 * u64::from(n)))).collect()
}

fn after<const MEMBERS: usize>(
    before: &Digest<MEMBERS>,
    rule: impl FnOnce(&mut Digest<MEMBERS>) -> Result<(), DigestError>,
) -> Digest<MEMBERS> {
    let mut after = before.clone();
    rule(&mut after).unwrap();
    after
}

fn set(ours: &Small, theirs: &Small) -> Small {
    after(ours, |digest| digest.set(theirs))
}

fn merge(ours: &Small, theirs: &Small) -> Small {
    after(ours, |digest| digest.merge(theirs))
}

fn overwrite(ours: &Small, theirs: &Small) -> Small {
    after(ours, |digest| digest.overwrite(OWN, theirs))
}

fn any_numbers() -> impl Strategy<Value = (u64, u64)> {
    let number = prop_oneof![8 => 0_u64..6, 1 => Just(u64::MAX), 1 => any::<u64>()];
    (number.clone(), number).prop_map(|(one, other)| (one.min(other), one.max(other)))
}

/// Few members, so that two digests have some in common and some apart.
fn any_model() -> impl Strategy<Value = Model> {
    let id = prop_oneof![0_u16..8, 254_u16..260].prop_map(member);
    proptest::collection::btree_map(id, any_numbers(), 0..12)
}

fn any_digest() -> impl Strategy<Value = Small> {
    any_model().prop_map(|model| digest(&model))
}

/// Of other members only: nobody else can know more of one's own messages than oneself.
fn any_foreign() -> impl Strategy<Value = Small> {
    any_model().prop_map(|mut model| {
        model.remove(&OWN);
        digest(&model)
    })
}

fn body(part: &DigestPart<'_>) -> Vec<u8> {
    let (head, entries) = part.as_bytes();
    [&head, entries].concat()
}

fn bodies<const MEMBERS: usize>(digest: &Digest<MEMBERS>) -> Vec<Vec<u8>> {
    digest.parts().map(|part| body(&part)).collect()
}

/// A body by hand: what is emitted can't be malformed.
fn raw(first: u16, total: u16, zero: u32, entries: &[(MemberId, u64, u64)]) -> Vec<u8> {
    let mut body = [first.to_le_bytes(), total.to_le_bytes()].concat();
    body.extend(zero.to_le_bytes());
    for (member, delivered, received) in entries {
        body.extend(member.0);
        body.extend(delivered.to_le_bytes());
        body.extend(received.to_le_bytes());
    }
    body
}

proptest! {
    #[test]
    fn a_digest_has_one_form_whatever_the_order_it_was_made_in(
        model in any_model(),
        order in any::<prop::sample::Index>(),
    ) {
        let entries: Vec<Entry> = model.iter().map(|(id, (one, two))| entry(*id, *one, *two)).collect();
        let mut made = Small::new();
        for at in 0..entries.len() {
            made.insert(entries[(at + order.index(entries.len())) % entries.len()]).unwrap();
        }
        prop_assert_eq!(&made, &digest(&model));
        prop_assert_eq!(bodies(&made), bodies(&digest::<1024>(&model)), "whatever its capacity");
        prop_assert!(made.entries().is_sorted_by_key(|entry| entry.member()));
        for (id, (delivered, received)) in model {
            let entry = made.entry(id).unwrap();
            prop_assert_eq!((entry.delivered().0, entry.received().0), (delivered, received));
            prop_assert!(made.contains(id, SequenceNumber(delivered)));
            prop_assert!(delivered == u64::MAX || !made.contains(id, SequenceNumber(delivered + 1)));
        }
    }

    #[test]
    fn set_takes_what_is_absent_and_leaves_what_is_present(a in any_digest(), b in any_digest()) {
        let mut expected = model(&b);
        expected.extend(model(&a));
        prop_assert_eq!(model(&set(&a, &b)), expected);
    }

    #[test]
    fn set_is_associative_and_idempotent_and_nothing_added_is_nothing_changed(
        a in any_digest(), b in any_digest(), c in any_digest(),
    ) {
        prop_assert_eq!(set(&set(&a, &b), &c), set(&a, &set(&b, &c)));
        prop_assert_eq!(set(&set(&a, &b), &b), set(&a, &b));
        prop_assert_eq!(set(&a, &a), a.clone());
        prop_assert_eq!((set(&a, &Small::new()), set(&Small::new(), &a)), (a.clone(), a));
    }

    #[test]
    fn merge_takes_the_higher_of_each_number(a in any_digest(), b in any_digest()) {
        let mut expected = model(&a);
        for (id, theirs) in model(&b) {
            let ours = expected.entry(id).or_default();
            *ours = (ours.0.max(theirs.0), ours.1.max(theirs.1));
        }
        prop_assert_eq!(model(&merge(&a, &b)), expected);
    }

    #[test]
    fn merge_is_commutative_associative_and_idempotent(
        a in any_digest(), b in any_digest(), c in any_digest(),
    ) {
        prop_assert_eq!(merge(&a, &b), merge(&b, &a));
        prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
        prop_assert_eq!(merge(&a, &a), a.clone());
        prop_assert_eq!(merge(&a, &Small::new()), a);
    }

    #[test]
    fn merge_is_the_least_digest_that_covers_both(a in any_digest(), b in any_digest(), c in any_digest()) {
        let both = merge(&a, &b);
        prop_assert!(both.covers(&a) && both.covers(&b));
        prop_assert_eq!(c.covers(&a) && c.covers(&b), c.covers(&both));
        let contained = model(&a).iter().all(|(id, (delivered, _))| {
            *delivered == 0 || b.contains(*id, SequenceNumber(*delivered))
        });
        prop_assert_eq!(b.covers(&a), contained);
    }

    #[test]
    fn merge_except_never_touches_ones_own_entry(a in any_digest(), b in any_digest()) {
        let merged = after(&a, |digest| digest.merge_except(OWN, &b));
        prop_assert_eq!(merged.entry(OWN), a.entry(OWN));
        let (mut merged, mut others) = (model(&merged), model(&merge(&a, &b)));
        merged.remove(&OWN);
        others.remove(&OWN);
        prop_assert_eq!(merged, others);
    }

    #[test]
    fn overwrite_takes_all_that_comes_backwards_too_and_keeps_what_is_absent(
        a in any_digest(), b in any_foreign(),
    ) {
        let mut expected = model(&a);
        expected.extend(model(&b));
        prop_assert_eq!(model(&overwrite(&a, &b)), expected);
    }

    #[test]
    fn overwrite_is_idempotent_associative_and_the_last_one_counts(
        a in any_digest(), b in any_foreign(), c in any_foreign(),
    ) {
        prop_assert_eq!(overwrite(&overwrite(&a, &b), &b), overwrite(&a, &b));
        prop_assert_eq!(overwrite(&overwrite(&a, &b), &c), overwrite(&a, &overwrite(&b, &c)));
        let last = overwrite(&overwrite(&a, &b), &c);
        prop_assert!(c.entries().all(|entry| last.entry(entry.member()) == Some(entry)));
    }

    #[test]
    fn overwrite_resets_what_is_delivered_of_ones_own_and_never_what_was_sent(
        a in any_digest(), delivered in 0_u64..8, received in 8_u64..9,
    ) {
        let sent = a.entry(OWN).map_or(0, |own| own.received().0);
        let state = digest::<4>(&Model::from([(OWN, (delivered, received))]));
        let mut after = a.clone();
        let result = after.overwrite(OWN, &state);
        if delivered <= sent {
            prop_assert_eq!(result, Ok(()));
            prop_assert_eq!(after.entry(OWN), Some(entry(OWN, delivered, sent)));
        } else {
            let ahead = DigestError::OwnAhead {
                sent: SequenceNumber(sent),
                delivered: SequenceNumber(delivered),
            };
            prop_assert_eq!(result, Err(ahead));
            prop_assert_eq!(after, a);
        }
    }

    #[test]
    fn a_rule_without_room_changes_nothing(a in any_model(), b in any_digest()) {
        let a: Model = a.into_iter().take(4).filter(|(id, _)| *id != OWN).collect();
        let b = after(&b, |b| { b.retain(|entry| entry.member() != OWN); Ok(()) });
        let before: Digest<4> = digest(&a);
        let needed = set(&digest(&a), &b).len();
        for rule in [Digest::set, Digest::merge, |a: &mut _, b: &_| Digest::merge_except(a, OWN, b),
                     |a: &mut _, b: &_| Digest::overwrite(a, OWN, b)] {
            let mut after: Digest<4> = before.clone();
            if needed <= 4 {
                prop_assert_eq!(rule(&mut after, &b), Ok(()));
                prop_assert_eq!(after.len(), needed);
            } else {
                prop_assert_eq!(rule(&mut after, &b), Err(DigestError::Full { needed, capacity: 4 }));
                prop_assert_eq!(&after, &before);
            }
        }
    }

    #[test]
    fn stable_is_the_lowest_delivered_and_the_highest_received_whatever_the_order_of_votes(
        votes in proptest::collection::vec(any_digest(), 1..6), from in any::<prop::sample::Index>(),
    ) {
        let members: Vec<MemberId> = (0..votes.len() as u16).map(member).collect();
        let mut stability = Stability::<64>::new(VIEW, members.iter().copied()).unwrap();
        for at in 0..votes.len() {
            prop_assert!(stability.stable().is_none(), "not before all have voted");
            let at = (at + from.index(votes.len())) % votes.len();
            stability.vote(VIEW, members[at], &votes[at]).unwrap();
        }
        let mut expected = Model::new();
        for id in votes.iter().flat_map(Digest::entries).map(|entry| entry.member()) {
            let said = votes.iter().map(|vote| vote.entry(id).unwrap_or(Entry::fresh(id)));
            let delivered = said.clone().map(|entry| entry.delivered().0).min().unwrap();
            let received = said.map(|entry| entry.received().0).max().unwrap();
            expected.insert(id, (delivered, received));
        }
        let stable = stability.stable().unwrap();
        prop_assert_eq!(model(stable), expected);
        prop_assert!(votes.iter().all(|vote| vote.covers(stable)), "nothing that somebody lacks");
    }

    #[test]
    fn a_digest_comes_back_from_its_parts(count in prop_oneof![0_u16..5, 510_u16..516, 1020_u16..=1024]) {
        let digest: Digest<1024> = digest(&many(count));
        let mut assembly = Assembly::<1024>::new();
        let bodies = bodies(&digest);
        prop_assert_eq!(digest.parts().len(), bodies.len());
        prop_assert_eq!(bodies.len(), usize::from(count).div_ceil(PART_ENTRIES).max(1));
        for body in &bodies {
            prop_assert!(assembly.digest().is_none() && body.len() <= PART_LEN_MAX);
            let part = DigestPart::parse(body).unwrap();
            prop_assert_eq!(usize::from(part.total()), digest.len());
            assembly.take(&part).unwrap();
            prop_assert_eq!(part.is_last(), assembly.digest().is_some());
        }
        prop_assert_eq!(assembly.digest(), Some(&digest));
    }

    #[test]
    fn bytes_that_parse_are_those_that_would_be_emitted(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        model in any_model(),
        at in any::<prop::sample::Index>(),
        flip in any::<u8>(),
    ) {
        let mut bent = bodies(&digest::<64>(&model)).swap_remove(0);
        let at = at.index(bent.len());
        bent[at] ^= flip;
        for bytes in [bytes, bent] {
            if let Ok(part) = DigestPart::parse(&bytes) {
                prop_assert_eq!(&body(&part), &bytes);
                prop_assert!(part.entries().all(|entry| entry.delivered() <= entry.received()));
            }
        }
    }
}

#[test]
fn more_delivered_than_received_is_no_entry() {
    let (delivered, received) = (SequenceNumber(2), SequenceNumber::FIRST);
    let inverted = DigestError::Inverted { member: OWN, delivered, received };
    assert_eq!(Entry::new(OWN, delivered, received), Err(inverted));
    assert_eq!(Entry::fresh(OWN), entry(OWN, 0, 0));
}

#[test]
fn numbers_do_not_begin_anew() {
    assert_eq!(SequenceNumber::NONE.next(), Some(SequenceNumber::FIRST));
    assert_eq!(SequenceNumber(u64::MAX).next(), None);
}

#[test]
fn only_retain_makes_room() {
    let mut digest: Digest<4> = digest(&many(4));
    let one_more = entry(member(7), 1, 1);
    assert_eq!(digest.insert(one_more), Err(DigestError::Full { needed: 5, capacity: 4 }));
    let gone = digest.entries().next().unwrap();
    digest.insert(entry(gone.member(), 9, 9)).unwrap();
    digest.retain(|entry| entry.member() != gone.member());
    digest.insert(one_more).unwrap();
    assert_eq!((digest.len(), digest.entry(gone.member())), (4, None));
}

#[test]
fn the_rules_hold_at_1024_members() {
    let (all, reversed) = (many(1024), many(1024).into_iter().rev());
    let full: Digest<1024> = digest(&all);
    let mut other: Digest<1024> =
        digest(&reversed.map(|(id, (_, received))| (id, (received, received))).collect());
    let even: Digest<512> = digest(&all.iter().step_by(2).map(|(id, numbers)| (*id, *numbers)).collect());
    let odd: Digest<512> =
        digest(&all.iter().skip(1).step_by(2).map(|(id, numbers)| (*id, *numbers)).collect());

    let mut woven: Digest<1024> = digest(&model(&even));
    woven.merge(&odd).unwrap();
    assert_eq!(woven, full);
    woven.insert(full.entries().next().unwrap()).unwrap();
    let stranger: Digest<1> = digest(&Model::from([(MemberId([0x7f; 16]), (1, 1))]));
    let no_room = Err(DigestError::Full { needed: 1025, capacity: 1024 });
    assert_eq!((woven.merge(&stranger), woven.set(&stranger)), (no_room, no_room));
    assert_eq!(woven, full);

    assert!(other.covers(&full) && !full.covers(&other));
    woven.merge(&other).unwrap();
    assert_eq!(woven, other);
    other.overwrite(MemberId([0xff; 16]), &full).unwrap();
    assert_eq!(other, full);
}

#[test]
fn votes_of_1024_members_make_1024_entries_stable() {
    let members: Vec<MemberId> = many(1024).into_keys().collect();
    let mut stability = Box::new(Stability::<1024>::new(VIEW, members.iter().copied()).unwrap());
    for (at, voter) in members.iter().enumerate() {
        // Everyone is one behind with another member's messages.
        let behind = |n: usize| if n == at { 9 } else { 10 };
        let vote = members.iter().enumerate().map(|(n, id)| (*id, (behind(n), 10 + at as u64))).collect();
        assert_eq!(stability.missing().count(), 1024 - at);
        stability.vote(VIEW, *voter, &digest::<1024>(&vote)).unwrap();
    }
    let expected: Model = members.iter().map(|id| (*id, (9, 1033))).collect();
    assert_eq!(model(stability.stable().unwrap()), expected);
    assert_eq!(
        Stability::<1023>::new(VIEW, members).err(),
        Some(DigestError::Full { needed: 1024, capacity: 1023 })
    );
}

#[test]
fn a_vote_that_does_not_count_changes_nothing() {
    let mut stability = Stability::<2>::new(VIEW, [member(2), member(1), member(2)]).unwrap();
    let five: Digest<2> = digest(&Model::from([(member(1), (5, 5))]));
    let ten: Digest<2> = digest(&Model::from([(member(1), (10, 10))]));
    let three: Digest<4> = digest(&many(3));
    stability.vote(VIEW, member(1), &five).unwrap();

    let same_number = ViewId { maker: member(1), ..VIEW };
    let next = ViewId { number: VIEW.number + 1, ..VIEW };
    for theirs in [same_number, next] {
        let other = Err(VoteError::OtherView { ours: VIEW, theirs });
        assert_eq!(stability.vote(theirs, member(2), &ten), other);
    }
    assert_eq!(stability.vote(VIEW, member(3), &ten), Err(VoteError::Stranger(member(3))));
    assert_eq!(stability.vote(VIEW, member(1), &Small::new()), Err(VoteError::Twice(member(1))));
    let no_room = VoteError::Digest(DigestError::Full { needed: 4, capacity: 2 });
    assert_eq!(stability.vote(VIEW, member(2), &three), Err(no_room));
    assert_eq!(stability.missing().collect::<Vec<_>>(), [member(2)]);

    stability.vote(VIEW, member(2), &ten).unwrap();
    assert_eq!(model(stability.stable().unwrap()), Model::from([(member(1), (5, 10))]));
    stability.restart();
    assert_eq!((stability.stable(), stability.missing().count()), (None, 2));
    stability.vote(VIEW, member(1), &ten).unwrap();
    stability.vote(VIEW, member(2), &ten).unwrap();
    assert_eq!(stability.stable(), Some(&ten));
}

#[test]
fn a_view_of_nobody_is_never_stable() {
    assert!(Stability::<2>::new(VIEW, []).unwrap().stable().is_none());
}

#[test]
fn what_a_vote_does_not_speak_of_is_not_stable() {
    let gone = member(9);
    let knows: Digest<2> = digest(&Model::from([(gone, (5, 6))]));
    for silent_first in [true, false] {
        let mut stability = Stability::<2>::new(VIEW, [member(1), member(2)]).unwrap();
        let (silent, speaking) = if silent_first { (1, 2) } else { (2, 1) };
        if silent_first {
            stability.vote(VIEW, member(silent), &Small::new()).unwrap();
        }
        stability.vote(VIEW, member(speaking), &knows).unwrap();
        if !silent_first {
            stability.vote(VIEW, member(silent), &Small::new()).unwrap();
        }
        assert_eq!(model(stability.stable().unwrap()), Model::from([(gone, (0, 6))]));
    }
}

#[test]
fn a_part_stands_on_the_wire_as_it_is_written_down() {
    let digest: Digest<2> = digest(&Model::from([(member(0x0102), (3, 0x0405))]));
    let mut expected = vec![0, 0, 1, 0, 0, 0, 0, 0, 1];
    expected.extend([0x80; 14]);
    expected.extend([2, 3, 0, 0, 0, 0, 0, 0, 0, 5, 4, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bodies(&digest), [expected]);
    assert_eq!(bodies(&Digest::<2>::new()), [[0; 8]]);
}

#[test]
fn malformed_parts_are_refused_by_what_is_wrong_with_them() {
    let [a, b, c] = [member(1), member(2), member(3)];
    let good = raw(0, 2, 0, &[(a, 1, 1), (b, 0, 2)]);
    let long: Vec<_> = (0..=PART_ENTRIES as u16).map(|n| (member(n), 0, 0)).collect();
    assert!(DigestPart::parse(&good).is_ok());
    assert!(DigestPart::parse(&raw(0, 513, 0, &long[..PART_ENTRIES])).is_ok());
    assert!(DigestPart::parse(&raw(65_534, 65_535, 0, &[(a, u64::MAX, u64::MAX)])).is_ok());
    for (body, error, what) in [
        (vec![], PartError::Length, "no head"),
        (good[..7].to_vec(), PartError::Length, "half a head"),
        (good[..good.len() - 1].to_vec(), PartError::Length, "cut"),
        ([good.as_slice(), &[0]].concat(), PartError::Length, "trailing bytes"),
        (raw(0, 513, 0, &long), PartError::Length, "more than a part takes"),
        (raw(0, 2, 1, &[(a, 1, 1), (b, 0, 2)]), PartError::Reserved, "a reserved field"),
        (raw(0, 1, 0, &[(a, 1, 1), (b, 0, 2)]), PartError::Count, "more entries than in total"),
        (raw(1, 2, 0, &[(a, 1, 1), (b, 0, 2)]), PartError::Count, "the last ones behind the end"),
        (raw(65_535, 65_535, 0, &[(a, 1, 1)]), PartError::Count, "past what can be counted"),
        (raw(1, 0, 0, &[]), PartError::Count, "behind a digest of nobody"),
        (raw(0, 2, 0, &[]), PartError::Empty, "no entries of some"),
        (raw(2, 2, 0, &[]), PartError::Empty, "no entries at the end"),
        (raw(0, 2, 0, &[(b, 1, 1), (a, 0, 2)]), PartError::Order, "not sorted"),
        (raw(0, 3, 0, &[(a, 1, 1), (c, 1, 1), (c, 1, 1)]), PartError::Order, "a member twice"),
        (raw(0, 1, 0, &[(a, 2, 1)]), PartError::Inverted, "delivered, not received"),
    ] {
        assert_eq!(DigestPart::parse(&body), Err(error), "{what}");
    }
}

#[test]
fn parts_are_taken_in_their_order_only() {
    let digest: Digest<1030> = digest(&many(1030));
    let parts: Vec<DigestPart<'_>> = digest.parts().collect();
    let mut assembly = Assembly::<1030>::new();
    assert_eq!(assembly.take(&parts[1]), Err(PartError::OutOfTurn), "the second first");
    assembly.take(&parts[0]).unwrap();
    assert_eq!(assembly.take(&parts[0]), Err(PartError::OutOfTurn), "the first twice");
    assert_eq!(assembly.take(&parts[2]), Err(PartError::OutOfTurn), "the second left out");
    let id = member(u16::MAX);
    let body = raw(512, 1029, 0, &[(id, 0, 0)]);
    assert_eq!(assembly.take(&DigestPart::parse(&body).unwrap()), Err(PartError::OutOfTurn), "other total");
    let last_again = digest.entries().nth(511).unwrap().member();
    let body = raw(512, 1030, 0, &[(last_again, 0, 0), (id, 0, 0)]);
    assert_eq!(assembly.take(&DigestPart::parse(&body).unwrap()), Err(PartError::Order), "a member again");
    assembly.take(&parts[1]).unwrap();
    assert_eq!(assembly.digest(), None);
    assembly.take(&parts[2]).unwrap();
    assert_eq!(assembly.digest(), Some(&digest));
    for part in &parts {
        assert_eq!(assembly.take(part), Err(PartError::OutOfTurn), "it is whole");
    }
}

#[test]
fn a_digest_that_does_not_fit_is_refused_by_its_first_part() {
    let digest: Digest<1024> = digest(&many(1024));
    let first = digest.parts().next().unwrap();
    assert_eq!(Assembly::<1023>::new().take(&first), Err(PartError::Full));
}

#[test]
fn a_digest_of_nobody_is_one_part() {
    assert!(Digest::<4>::new().is_empty() && !digest::<4>(&many(1)).is_empty());
    let mut assembly = Assembly::<4>::new();
    assert_eq!(assembly.digest(), None);
    assembly.take(&Digest::<4>::new().parts().next().unwrap()).unwrap();
    assert_eq!(assembly.digest(), Some(&Digest::new()));
    let part = raw(0, 0, 0, &[]);
    assert_eq!(assembly.take(&DigestPart::parse(&part).unwrap()), Err(PartError::OutOfTurn));
}

#[test]
fn digests_and_what_is_wrong_with_them_are_shown_in_words() {
    let one: Digest<4> = digest(&Model::from([(OWN, (3, 5))]));
    let own = format!("{OWN:?}");
    assert_eq!(format!("{one:?}"), format!("{{{own}: (3, 5)}}"));
    let part = one.parts().next().unwrap();
    assert_eq!(format!("{part:?}"), "DigestPart(1 from 0 of 1)");
    let order = "a part of a digest with an impossible order of members";
    assert_eq!(PartError::Order.to_string(), order);
    let (two, one) = (SequenceNumber(2), SequenceNumber(1));
    let full = DigestError::Full { needed: 5, capacity: 4 };
    assert_eq!(full.to_string(), "a digest of 5 members, where there is room for 4");
    let inverted = DigestError::Inverted { member: OWN, delivered: two, received: one };
    assert_eq!(inverted.to_string(), format!("of member {OWN} message 2 was delivered, but only 1 received"));
    let ahead = DigestError::OwnAhead { sent: one, delivered: two };
    assert!(ahead.to_string().starts_with("a state contains message 2 of this member, which has sent 1"));
    let view = format!("view 8 of {}", VIEW.maker);
    assert_eq!(VIEW.to_string(), view);
    let other = VoteError::OtherView { ours: VIEW, theirs: VIEW };
    assert_eq!(other.to_string(), format!("a vote about {view}, where {view} votes"));
    assert_eq!(VoteError::Twice(OWN).to_string(), format!("a second vote of {OWN}"));
    assert_eq!(
        VoteError::Stranger(OWN).to_string(),
        format!("a vote of {OWN}, which is no member of the view")
    );
    let vote = VoteError::Digest(full);
    assert_eq!(vote.to_string(), format!("a vote that does not count: {full}"));
    assert_eq!(vote.source().map(ToString::to_string), Some(full.to_string()));
    assert!(VoteError::Twice(OWN).source().is_none());
    let votes: Stability<4> = Stability::new(VIEW, [OWN]).unwrap();
    assert_eq!(votes.view(), VIEW);
}

#[test]
fn parts_know_their_place_and_how_many_are_left() {
    for (members, parts) in [(0, 1), (1, 1), (PART_ENTRIES, 1), (PART_ENTRIES + 1, 2)] {
        let digest: Digest<1024> = digest(&many(members as u16));
        let mut left = digest.parts();
        for n in (0..=parts).rev() {
            assert_eq!(left.size_hint(), (n, Some(n)), "{members} members");
            let place = left.next().map(|part| (usize::from(part.first()), part.total(), part.is_last()));
            let meant = ((parts - n) * PART_ENTRIES, members as u16, n == 1);
            assert_eq!(place, (n > 0).then_some(meant), "{members} members");
        }
    }
}
