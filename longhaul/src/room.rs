//! Which sessions run at once, and which gives way when there are too many.
//!
//! A caller that finds all places taken is turned away, unless
//!
//! 1. a session is over, and only waits for its peer to take its last words; or
//! 2. a session is not established: its peer has said who it is, and nothing since. It is the stranger that a
//!    provider without authentication can tell; or
//! 3. another origin holds more places than the caller's would, and one of its sessions has not gone on for a quarter
//!    of the stall timeout: a peer that stopped reading, or died, can't keep others out by itself.
//!
//! Who gives way is told that this side is busy, and may come again; what it has is kept.

use std::time::{Duration, Instant};

use longhaul_state::transfer::{Stage, Stats};
use longhaul_transport::Origin;

use crate::service::Session;

/// How many may wind up beside those that run.
const WINDING_UP: usize = 2;

/// The sessions of a service.
#[derive(Debug)]
pub(crate) struct Room {
    places: usize,
    /// Without progress for so long, a session may have to give way.
    patience: Duration,
    held: Vec<Held>,
}

/// One session that runs, or winds up.
#[derive(Debug)]
struct Held {
    session: Session,
    origin: Origin,
    /// How far it was when it was looked at last, and since when.
    seen: Stats,
    since: Instant,
}

impl Room {
    /// Room for so many, whose sessions stall after `stall_timeout`.
    pub(crate) const fn new(places: usize, stall_timeout: Duration) -> Self {
        Self { places, patience: Duration::from_nanos(stall_timeout.as_nanos() as u64 / 4), held: Vec::new() }
    }

    /// How many run or wind up at most where there are so many places; one that is alone shares with nobody for long.
    pub(crate) const fn sessions_at_most(places: usize) -> usize {
        if places == 1 { 1 } else { places + WINDING_UP }
    }

    /// The sessions that run or wind up.
    pub(crate) fn sessions(&self) -> Vec<Session> {
        self.held.iter().map(|held| held.session.clone()).collect()
    }

    /// A session begins.
    pub(crate) fn enter(&mut self, session: Session, origin: Origin, now: Instant) {
        let seen = session.watch().stats();
        self.held.push(Held { session, origin, seen, since: now });
    }

    /// It is over.
    pub(crate) fn leave(&mut self, id: u64) {
        self.held.retain(|held| held.session.id() != id);
    }

    /// Whether there is a place for a caller from `origin`; another session may have been told to give way.
    pub(crate) fn has_place(&mut self, origin: Origin, now: Instant) -> bool {
        for held in &mut self.held {
            let stats = held.session.watch().stats();
            if stats != held.seen {
                (held.seen, held.since) = (stats, now);
            }
        }
        let running = || self.held.iter().filter(|held| !held.session.watch().gives_way());
        if running().count() < self.places {
            return true;
        }
        // Those who wind up still cost something.
        if self.held.len() >= self.places + WINDING_UP {
            return false;
        }
        let over = running().find(|held| held.seen.stage == Stage::Over);
        let holds = |origin: Origin| running().filter(|held| held.origin == origin).count();
        let strangers = running().filter(|held| !held.session.watch().is_established());
        let idle = running().filter(|held| {
            now.duration_since(held.since) >= self.patience && holds(held.origin) > holds(origin) + 1
        });
        // Of those who hold most the one that waits longest.
        let first = |held: &&Held| (usize::MAX - holds(held.origin), held.since);
        let gives_way = over.or_else(|| strangers.min_by_key(first)).or_else(|| idle.min_by_key(first));
        if let Some(held) = gives_way {
            tracing::info!(session = held.session.id(), "gives way to another caller");
            held.session.watch().give_way();
        }
        gives_way.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::watch::Watch;

    struct Rig {
        room: Room,
        start: Instant,
        next: u64,
    }

    impl Rig {
        fn new() -> Self {
            Self { room: Room::new(3, Duration::from_secs(40)), start: Instant::now(), next: 0 }
        }

        /// A caller from this address comes at this second; its session, if there is a place.
        fn comes(&mut self, address: u8, second: u64, established: bool) -> Option<Watch> {
            let origin = Origin::from(IpAddr::from([10, 0, 0, address]));
            let now = self.start + Duration::from_secs(second);
            let has_place = self.room.has_place(origin, now);
            has_place.then(|| {
                self.next += 1;
                let watch = Watch::new();
                if established {
                    watch.control().establish();
                }
                let session = Session::new(self.next, ([10, 0, 0, address], 1).into(), watch.clone());
                self.room.enter(session, origin, now);
                watch
            })
        }
    }

    // Catalogue: F79
    #[test]
    fn a_session_that_is_not_established_gives_way_at_once() {
        let mut rig = Rig::new();
        let _honest = [rig.comes(1, 0, true).unwrap(), rig.comes(1, 0, true).unwrap()];
        let stranger = rig.comes(1, 1, false).unwrap();
        let next = rig.comes(1, 1, false).expect("the stranger gives way");
        assert!(stranger.gives_way());
        let last = rig.comes(1, 1, true).expect("and so does the next one");
        assert!(next.gives_way());
        assert!(rig.comes(1, 1, true).is_none(), "those who are established stay");
        assert!(!last.gives_way());
    }

    // Catalogue: F79, F85
    #[test]
    fn a_session_that_does_not_go_on_gives_way_to_another_origin() {
        let mut rig = Rig::new();
        let held = [(), (), ()].map(|()| rig.comes(1, 0, true).unwrap());
        assert!(rig.comes(2, 9, true).is_none(), "they may be slow");
        held[0].control().add_bytes(1, 1);
        assert!(rig.comes(1, 10, true).is_none(), "not to its own");
        let other = rig.comes(2, 10, true).expect("one has not gone on for ten seconds");
        assert_eq!(held.each_ref().map(Watch::gives_way), [false, true, false], "the first of them");
        rig.room.leave(2);
        assert!(rig.comes(3, 19, true).is_some(), "another one");
        assert_eq!(held.each_ref().map(Watch::gives_way), [false, true, true]);
        assert!(rig.comes(4, 30, true).is_none(), "nobody holds more than the next one would");
        assert!(!other.gives_way());
    }

    #[test]
    fn a_session_that_is_over_gives_way_first() {
        let mut rig = Rig::new();
        let held = [false, true, true].map(|established| rig.comes(1, 0, established).unwrap());
        held[1].control().enter(Stage::Over);
        assert!(rig.comes(1, 0, true).is_some());
        assert_eq!(held.each_ref().map(Watch::gives_way), [false, true, false]);
    }

    #[test]
    fn those_who_wind_up_are_bounded_too() {
        let mut rig = Rig::new();
        let came = (0..10).filter(|_| rig.comes(1, 0, false).is_some()).count();
        assert_eq!(came, 3 + WINDING_UP);
    }
}
