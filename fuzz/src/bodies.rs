//! The body of any control frame, behind an honest header.

use longhaul_core::digest::{Assembly, DigestPart, PART_ENTRIES};
use longhaul_core::id::{ItemId, TaskId};
use longhaul_core::integrity::crc32c;
use longhaul_core::item::{Item, MODE_MASK, PATH_MAX, What};
use longhaul_core::wire::{
    APP_META_MAX, APP_REPLY_MAX, Flags, Frame, Header, Kind, SELECTOR_MAX, STATE_ID_MAX, TASKS,
};

use crate::bytes::Choices;
use crate::frames::reads_back;

/// Bytes before the body.
const HEAD: usize = 6;

/// Kind, task, flags, item, offset (two bytes), then the body.
///
/// # Panics
/// If what parses breaks a bound, or is not emitted and parsed as the same.
pub fn check(bytes: &[u8]) {
    let Some((head, body)) = bytes.split_at_checked(HEAD) else { return };
    let mut choices = Choices::new(head);
    let kind = choices.pick(Kind::ALL);
    let task = choices.below(TASKS) as u16;
    let flags = choices.byte();
    let header = Header {
        kind,
        flags: Flags::new(u16::from(flags >> 4), flags),
        task: TaskId(if kind.has_task() { task } else { 0 }),
        len: body.len() as u32,
        item: ItemId(choices.byte().into()),
        offset: u64::from(choices.u16()).wrapping_mul(0x0001_0001_0001_0001),
        body_crc: crc32c(body),
    };
    let Ok(header) = Header::parse(&header.to_bytes()) else { return };
    let body = if kind == Kind::Data { &[] } else { body };
    let Ok(frame) = Frame::parse(&header, body) else { return };
    bounded(&frame);
    if let Frame::Digest(part) = frame {
        one_form(&part, body);
    }
    reads_back(&header, &frame);
}

/// Nobody checks these again behind the parser.
fn bounded(frame: &Frame<'_>) {
    match *frame {
        Frame::Init(init) => {
            assert!(init.versions.0 <= init.versions.1);
            assert!(init.roles.provides || init.roles.joins);
        }
        Frame::Attach(attach) => assert!(attach.lane.0 > 0),
        Frame::Prepare { requests } => assert!(usize::from(requests) <= TASKS),
        Frame::Request(request) => {
            assert!(request.lanes > 0);
            assert!(request.state_id.len() <= STATE_ID_MAX && request.selector.len() <= SELECTOR_MAX);
        }
        Frame::Task(task) => {
            assert!(task.shape <= 2 && task.small == (task.lanes == 0));
            assert!(task.app_meta.len() <= APP_META_MAX);
        }
        Frame::Refused(refused) => {
            assert!(refused.message.len() <= APP_REPLY_MAX && refused.app_reply.len() <= APP_REPLY_MAX);
        }
        Frame::Offer { item, .. } => offered(&item),
        Frame::Hole { offset, len, .. } => assert!(len > 0 && offset.checked_add(len).is_some()),
        Frame::Data { offset, len, .. } => {
            assert!(len > 0 && offset.checked_add(len.into()).is_some());
        }
        Frame::Grades(grades) => {
            assert!(grades.durable <= grades.verified && grades.verified <= grades.received);
        }
        Frame::Installed { app_reply } => assert!(app_reply.len() <= APP_REPLY_MAX),
        Frame::Failed(failed) => {
            assert!(failed.message.len() <= APP_REPLY_MAX && failed.app_reply.len() <= APP_REPLY_MAX);
        }
        Frame::Outcome(outcome) => assert!(outcome.app_reply.len() <= APP_REPLY_MAX),
        _ => {}
    }
}

fn offered(item: &Item<'_>) {
    assert!(item.mode & !MODE_MASK == 0 && item.mtime.nanos < 1_000_000_000);
    assert!(!item.name.is_root() || !matches!(item.what, What::SymbolicLink { .. } | What::HardLink { .. }));
    if let What::SymbolicLink { target } = item.what {
        assert!(!target.is_empty() && target.len() <= PATH_MAX && !target.contains(&0));
    }
}

/// A part of a digest has one encoding, and can be put together with others only in order.
fn one_form(part: &DigestPart<'_>, body: &[u8]) {
    let (head, entries) = part.as_bytes();
    assert_eq!((&head[..], entries), body.split_at(head.len()));
    assert!(part.entries().len() <= PART_ENTRIES);
    assert!(part.entries().is_sorted_by(|one, next| one.member() < next.member()));
    assert!(part.entries().all(|entry| entry.delivered() <= entry.received()));
    assert_eq!(part.is_last(), usize::from(part.first()) + part.entries().len() == part.total().into());
    let mut assembly: Assembly<64> = Assembly::new();
    let taken = assembly.take(part).is_ok();
    assert_eq!(taken, part.first() == 0 && part.total() <= 64);
    assert_eq!(assembly.digest().is_some(), taken && part.is_last());
    if let Some(digest) = assembly.digest() {
        assert!(digest.entries().eq(part.entries()));
        let again: Vec<_> = digest.parts().collect();
        assert_eq!(again, [*part]);
    }
    assert!(!taken || part.total() == 0 || assembly.take(part).is_err(), "no part comes twice");
}
