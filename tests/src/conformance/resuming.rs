//! Connections that are lost in the middle: replaced, or taken over by the others.
#![expect(clippy::missing_panics_doc, reason = "a case panics when what it states is not so")]

use std::sync::Arc;
use std::time::Duration;

use longhaul_core::integrity::{Integrity, RUN_LEN};
use longhaul_core::reason::Reason;
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions};
use longhaul_state::source::{DirectoryOptions, DirectorySource};
use longhaul_state::transfer::{Event, Summary};

use super::tree::{Scratch, look, noise, write};
use super::{Ends, Rig, Settings, Way};
use crate::hostile::{Meddle, Meddling, Toward};

/// One large file of several runs, files whose offers wait for an answer, and small ones.
fn state(scratch: &Scratch) -> u64 {
    let large = 5 * RUN_LEN as usize + 12_345;
    write(&scratch.source().join("large"), &noise(1, large));
    for n in 0..60 {
        write(&scratch.source().join(format!("middle/{n}")), &noise(n, 300_000));
        write(&scratch.source().join(format!("small/{n}")), &noise(n, 5000));
    }
    large as u64 + 60 * 305_000
}

fn transfer(rig: &Rig<'_>, scratch: &Scratch, meddling: &[Meddling], settings: &Settings) -> Ends {
    let source = DirectorySource::new(scratch.source(), DirectoryOptions::default()).unwrap();
    let sink = DirectorySink::new(scratch.destination(), DirectorySinkOptions::default()).unwrap();
    rig.run_through(meddling, Arc::new(source), Box::new(sink), settings)
}

const fn toward_joiner(rig: &Rig<'_>) -> Toward {
    match rig.way {
        Way::Fetch => Toward::Dialler,
        Way::Push => Toward::Listener,
    }
}

fn cut(rig: &Rig<'_>, connection: usize, at: usize) -> Meddling {
    Meddling { connection, toward: toward_joiner(rig), at, what: Meddle::Cut }
}

/// What the joiner's handle heard of lost and replaced connections.
fn reconnected(events: &std::sync::mpsc::Receiver<Event>) -> (usize, usize) {
    let heard: Vec<Event> = events.try_iter().collect();
    let count = |event: &Event| heard.iter().filter(|heard| *heard == event).count();
    (count(&Event::Reconnecting), count(&Event::Resumed))
}

fn arrived(scratch: &Scratch, ends: Ends) -> Summary {
    let (_, joiner) = ends.agreed();
    assert_eq!(look(&scratch.destination()), look(&scratch.source()));
    assert_eq!(scratch.residue(), ["DEST"]);
    joiner
}

// Catalogue: F3
/// Lane 0 is cut while items move: the same session goes on, from what is verified.
pub fn a_lost_connection_is_replaced_and_not_all_is_sent_again(rig: &Rig<'_>) {
    for integrity in [Integrity::Crc32c, Integrity::Blake3] {
        let scratch = Scratch::new();
        let bytes = state(&scratch);
        let settings = Settings::new(integrity, 2);
        let events = settings.joiner.control.events();
        // Connection 0 carries offers that wait for an answer, some 60 bytes each.
        let ends = transfer(rig, &scratch, &[cut(rig, 0, 180)], &settings);
        let joiner = arrived(&scratch, ends);
        assert_eq!(reconnected(&events), (1, 1));
        // What stays are verified files, and what came of the large one before its first run that is not whole:
        // lanes may be ahead of it.
        let again = joiner.bytes_sent - bytes;
        assert!(again < bytes, "{again} bytes were sent again");
    }
}

// Catalogue: F3
/// One after another is cut, early and late.
pub fn connections_lost_again_and_again_are_replaced(rig: &Rig<'_>) {
    let scratch = Scratch::new();
    state(&scratch);
    let settings = Settings::new(Integrity::Crc32c, 1);
    let events = settings.joiner.control.events();
    // Two connections an epoch: lane 0 in the middle of Prepare, when both have heard of each other, lane 1 in the middle of the large file,
    // then lane 0 again.
    let meddling = [cut(rig, 0, 180), cut(rig, 2, 40_000_000), cut(rig, 3, 1000)];
    arrived(&scratch, transfer(rig, &scratch, &meddling, &settings));
    let (lost, replaced) = reconnected(&events);
    assert!(lost >= 2 && lost == replaced, "{lost} lost, {replaced} replaced");
}

// Catalogue: F17
/// The others carry what it carried; nobody dials again.
pub fn a_lost_data_lane_leaves_the_others_to_go_on(rig: &Rig<'_>) {
    for lost in [1, 2] {
        let scratch = Scratch::new();
        let bytes = state(&scratch);
        let settings = Settings::new(Integrity::Crc32c, 3);
        let events = settings.joiner.control.events();
        let ends = transfer(rig, &scratch, &[cut(rig, lost, 5_000_000)], &settings);
        let joiner = arrived(&scratch, ends);
        assert_eq!(reconnected(&events), (0, 0));
        assert!(joiner.retries > 0, "what it carried was asked for again");
        let again = joiner.bytes_sent - bytes;
        assert!(again <= 5 * RUN_LEN, "{again} bytes were sent again");
    }
}

/// A session without a data lane can't go on: it begins its connection anew.
pub fn the_last_data_lane_is_replaced_with_the_connection(rig: &Rig<'_>) {
    let scratch = Scratch::new();
    state(&scratch);
    let settings = Settings::new(Integrity::Crc32c, 2);
    let events = settings.joiner.control.events();
    let meddling = [cut(rig, 1, 5_000_000), cut(rig, 2, 20_000_000)];
    arrived(&scratch, transfer(rig, &scratch, &meddling, &settings));
    assert_eq!(reconnected(&events), (1, 1));
}

/// As it was asked for.
pub fn without_redial_a_lost_connection_is_an_error(rig: &Rig<'_>) {
    let scratch = Scratch::new();
    state(&scratch);
    let mut settings = Settings::default();
    settings.joiner.options.redial = false;
    transfer(rig, &scratch, &[cut(rig, 0, 180)], &settings).failed(Reason::Unreachable);
    assert_eq!(scratch.residue(), Vec::<String>::new());
}

// Catalogue: F14
/// Bytes that come, however slowly, are progress: a chunk may take longer than the stall timeout. The provider, whose
/// system has taken all of them at once, hears of it from the joiner.
pub fn a_chunk_that_takes_longer_than_the_stall_timeout_is_no_stall(rig: &Rig<'_>) {
    let scratch = Scratch::new();
    write(&scratch.source().join("file"), &noise(1, 12 << 20));
    let mut settings = Settings::new(Integrity::Crc32c, 1);
    for side in [&mut settings.provider, &mut settings.joiner] {
        side.options.stall_timeout = Duration::from_millis(2400);
    }
    // So slow that less comes within the timeout than a reader waits for at once where all is well.
    let what = Meddle::Slow { bytes: 160 << 10, per_second: 48 << 10 };
    let slow = Meddling { connection: 1, toward: toward_joiner(rig), at: 1000, what };
    arrived(&scratch, transfer(rig, &scratch, &[slow], &settings));
}
