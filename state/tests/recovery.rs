//! A process that ends between any two steps of publishing leaves the old state or the new one, and a later one
//! sees it through: never the old state again, never neither.

mod scratch;

use std::fs;

use longhaul_core::id::ItemId;
use longhaul_core::integrity::{Checksum, Integrity, Root};
use longhaul_core::item::{Timestamp, Version};
use longhaul_state::item::Name;
use longhaul_state::landing::journal::Agreed;
use longhaul_state::landing::{Executor, Landing, LandingOptions, NativeExecutor, Site};
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions};
use longhaul_state::source::{Shape, Survey};
use longhaul_state::{Item, What};

use scratch::Scratch;

const AGREED: Agreed =
    Agreed { items: 2, bytes: 3, root: Root { integrity: Integrity::Crc32c, hash: [7; 32] } };

/// What was at the destination before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    Nothing,
    Empty,
    Directory,
    File,
}

impl Scratch {
    fn with(old: Old) -> Self {
        let scratch = Self::new();
        match old {
            Old::Nothing => {}
            Old::Empty => fs::create_dir(scratch.to()).unwrap(),
            Old::Directory => {
                fs::create_dir(scratch.to()).unwrap();
                fs::write(scratch.to().join("file"), b"old").unwrap();
            }
            Old::File => fs::write(scratch.to(), b"old").unwrap(),
        }
        scratch
    }

    /// What stands at the destination: "old", "new", or nothing.
    fn shows(&self) -> String {
        let file = self.to().join("file");
        let path = if self.to().is_dir() { file } else { self.to() };
        fs::read_to_string(path).unwrap_or_default()
    }
}

/// A process that ends after so many steps.
struct Mortal {
    landing: Landing,
    executor: NativeExecutor,
    steps: usize,
}

impl Mortal {
    fn new(scratch: &Scratch, steps: usize) -> Self {
        let options = LandingOptions { replace: true, resume: true, ..LandingOptions::default() };
        let site = Site::new(&scratch.to(), None).unwrap();
        Self { landing: Landing::new(options), executor: NativeExecutor::new(site), steps }
    }

    /// Whether it lived to see the end of the request.
    fn lives(&mut self, request: impl FnOnce(&mut Landing), payload: &[u8]) -> bool {
        request(&mut self.landing);
        while let Some((id, op)) = self.landing.poll_op() {
            let Some(left) = self.steps.checked_sub(1) else { return false };
            self.steps = left;
            let result = self.executor.execute(op, payload);
            self.landing.done(id, result);
        }
        self.landing.outcome().unwrap();
        true
    }

    /// Lands the new state and publishes it.
    fn publish(mut self, shape: Shape) -> bool {
        let name = if shape == Shape::File { Name::root() } else { Name::new(*b"file").unwrap() };
        let file = Item {
            name,
            mode: 0o644,
            mtime: Timestamp::default(),
            version: Version::new(&[1]).unwrap(),
            what: What::File { size: 3, linked: false, sparse: false },
        };
        let root = Item { name: Name::root(), mode: 0o555, what: What::Directory, ..file.clone() };
        let survey = Survey { shape, items: 2, bytes: Some(2 << 20), ..Survey::default() };
        self.lives(|landing| landing.begin(&survey), b"")
            && self.lives(|landing| landing.put(ItemId(0), &file), b"new")
            && self.lives(|landing| landing.claim(&file, 3, &Checksum::Crc32c(1)), b"")
            && (shape == Shape::File || self.lives(|landing| landing.put(ItemId(1), &root), b""))
            && self.lives(Landing::sync, b"")
            && {
                self.landing.agreed(AGREED);
                self.lives(Landing::publish, b"")
            }
            && self.lives(Landing::clean_up, b"")
    }
}

fn recover(scratch: &Scratch) -> Option<Agreed> {
    let options = DirectorySinkOptions { replace: true, ..DirectorySinkOptions::default() };
    DirectorySink::new(scratch.to(), options).unwrap().recover().unwrap()
}

/// Ends at every step, then recovers, ending after each of these many steps first, one after another.
fn ends_at_every_step(old: Old, shape: Shape, deaths: &[usize]) {
    let before = if matches!(old, Old::Directory | Old::File) { "old" } else { "" };
    let mut saw = (false, false);
    for steps in 0.. {
        let scratch = Scratch::with(old);
        if Mortal::new(&scratch, steps).publish(shape) {
            assert!(saw.0 && saw.1, "{old:?}: some ends leave a state to publish, others have published it");
            assert_eq!((scratch.shows().as_str(), scratch.names()), ("new", vec!["to".to_owned()]));
            return;
        }
        let case = format!("{old:?} {shape:?}, ended after {steps} steps");
        let mut shown = scratch.shows();
        assert!(shown == before || shown == "new", "{case}: {shown:?}");
        saw.1 |= shown == "new";
        for &death in deaths {
            let mut mortal = Mortal::new(&scratch, death);
            saw.0 |= mortal.lives(Landing::recover, b"") && mortal.landing.recovered().is_some();
            drop(mortal);
            let now = scratch.shows();
            assert!(now == shown || now == "new", "{case}, then {death}: {shown:?} became {now:?}");
            shown = now;
        }
        match recover(&scratch) {
            Some(agreed) => {
                saw.0 = true;
                assert_eq!((agreed, scratch.shows().as_str()), (AGREED, "new"), "{case}");
                assert_eq!(scratch.names(), ["to"], "{case}: nothing is left");
            }
            // Nothing was ready yet, or all was cleared up but for what no process holds any more.
            None => assert_eq!(scratch.shows(), shown, "{case}: nothing is touched"),
        }
        // Where directories can't be exchanged, what is published is not replaced.
        if cfg!(longhaul_portable) && scratch.shows() == "new" && shape == Shape::Directory {
            continue;
        }
        // Whatever was left, the same command comes to its end.
        assert!(Mortal::new(&scratch, usize::MAX).publish(shape), "{case}");
        assert_eq!((scratch.shows().as_str(), scratch.names()), ("new", vec!["to".to_owned()]), "{case}");
    }
}

const ONE_BY_ONE: [usize; 7] = [1, 2, 3, 4, 5, 6, 7];

#[test]
fn a_state_that_is_new_is_seen_through() {
    ends_at_every_step(Old::Nothing, Shape::Directory, &[]);
    ends_at_every_step(Old::Empty, Shape::Directory, &[]);
    ends_at_every_step(Old::Nothing, Shape::File, &[]);
}

#[test]
fn a_state_that_replaces_an_old_one_is_seen_through() {
    if !cfg!(longhaul_portable) {
        ends_at_every_step(Old::Directory, Shape::Directory, &[]);
    }
    ends_at_every_step(Old::File, Shape::File, &[]);
}

// Catalogue: F56
#[test]
fn who_recovers_may_end_at_any_step_too() {
    ends_at_every_step(Old::Nothing, Shape::Directory, &ONE_BY_ONE);
    ends_at_every_step(Old::File, Shape::File, &ONE_BY_ONE);
    if !cfg!(longhaul_portable) {
        ends_at_every_step(Old::Directory, Shape::Directory, &ONE_BY_ONE);
        // A hundred times in a row, at the same step, before it is let through.
        for step in 4..8 {
            ends_at_every_step(Old::Directory, Shape::Directory, &[step; 100]);
        }
    }
}

// Catalogue: F55
/// As btrfs does it, which replays the fsync of the destination's parent alone.
#[test]
fn a_file_whose_old_name_is_back_after_a_crash_is_seen_through() {
    for old in [Old::Nothing, Old::File] {
        let mut seen = 0;
        for steps in 0.. {
            let scratch = Scratch::with(old);
            if Mortal::new(&scratch, steps).publish(Shape::File) {
                break;
            }
            let staged = scratch.to().with_file_name(".to.longhaul").join("state");
            // Before it is published there is no old name, and at the end nothing to put it into.
            if scratch.shows() == "new" && fs::hard_link(scratch.to(), &staged).is_ok() {
                assert_eq!(recover(&scratch), Some(AGREED), "{old:?}, ended after {steps} steps");
                assert_eq!((scratch.shows().as_str(), scratch.names()), ("new", vec!["to".to_owned()]));
                seen += 1;
            }
        }
        assert!(seen > 0, "{old:?}");
    }
}
