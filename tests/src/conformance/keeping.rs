//! What one transfer made durable, another one does not send again.
#![expect(clippy::missing_panics_doc, reason = "a case panics when what it states is not so")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use longhaul_core::integrity::{Integrity, RUN_LEN};
use longhaul_core::reason::Reason;
use longhaul_state::pool::DEFAULT_MEMORY;
use longhaul_state::sink::{DirectorySink, DirectorySinkOptions, SinkError, UNCLAIMED};
use longhaul_state::source::{DirectoryOptions, DirectorySource, RepeatedSource};
use longhaul_state::transfer::Summary;

use super::doubles::{LazySink, MeddledSink, Taking};
use super::tree::{Scratch, look, noise, write};
use super::{Rig, Settings};

/// Files that travel with their offers, that wait for an answer, of several runs, on the grid of runs, empty,
/// with holes and with two names; directories and a link.
fn state(scratch: &Scratch) -> u64 {
    let source = scratch.source();
    let sizes = [0, 1, 5000, 300_000, RUN_LEN as usize, 2 * RUN_LEN as usize + 12_345];
    for (n, size) in sizes.into_iter().enumerate() {
        write(&source.join(format!("dir{}/{n}", n % 2)), &noise(n as u64, size));
    }
    fs::hard_link(source.join("dir0/2"), source.join("again")).unwrap();
    std::os::unix::fs::symlink("dir0/2", source.join("link")).unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sizes.iter().sum::<usize>() as u64 + (3 << 20)
}

fn source(scratch: &Scratch) -> Arc<DirectorySource> {
    Arc::new(DirectorySource::new(scratch.source(), DirectoryOptions::default()).unwrap())
}

fn sink(scratch: &Scratch) -> DirectorySink {
    DirectorySink::new(scratch.destination(), DirectorySinkOptions::default()).unwrap()
}

/// A transfer that fails at its last step, when everything is durable.
fn almost(rig: &Rig<'_>, scratch: &Scratch, settings: &Settings) {
    let fails = |now| {
        let error = || Err(SinkError::user("not today"));
        if now == Taking::Publish { error() } else { Ok(()) }
    };
    let meddled = MeddledSink::new(sink(scratch), fails);
    let _ = rig.run(source(scratch), Box::new(meddled), settings).failed(Reason::Destination);
    assert!(!scratch.destination().exists());
}

fn again(rig: &Rig<'_>, scratch: &Scratch, settings: &Settings) -> Summary {
    let (_, joiner) = rig.run(source(scratch), Box::new(sink(scratch)), settings).agreed();
    assert_eq!(look(&scratch.destination()), look(&scratch.source()));
    assert_eq!(scratch.residue(), ["DEST"]);
    joiner
}

// Catalogue: F3
/// All of it is there: nothing of it is sent.
pub fn what_is_durable_is_not_sent_again(rig: &Rig<'_>) {
    for integrity in [Integrity::Crc32c, Integrity::Blake3, Integrity::None] {
        let scratch = Scratch::new();
        let bytes = state(&scratch);
        almost(rig, &scratch, &Settings::new(integrity, 2));
        let joiner = again(rig, &scratch, &Settings::new(integrity, 2));
        assert_eq!((joiner.bytes_sent, joiner.bytes_resumed), (0, bytes), "{integrity}");
    }
}

// Catalogue: B41
/// What changed, came or went at the source since is sent anew; the rest is kept.
pub fn what_changed_since_is_sent_anew_and_the_rest_is_kept(rig: &Rig<'_>) {
    let scratch = Scratch::new();
    let bytes = state(&scratch);
    almost(rig, &scratch, &Settings::default());
    let changed = noise(9, 300_000);
    write(&scratch.source().join("dir1/3"), &changed);
    write(&scratch.source().join("new"), &noise(10, 7000));
    fs::remove_file(scratch.source().join("dir0/4")).unwrap();
    let joiner = again(rig, &scratch, &Settings::default());
    assert_eq!(joiner.bytes_sent, 307_000);
    assert_eq!(joiner.bytes_resumed, bytes - 300_000 - RUN_LEN);
}

/// Who demands another checksum than the earlier run did keeps nothing of it.
pub fn what_was_checked_otherwise_is_sent_again(rig: &Rig<'_>) {
    let scratch = Scratch::new();
    let bytes = state(&scratch);
    almost(rig, &scratch, &Settings::new(Integrity::Crc32c, 2));
    let joiner = again(rig, &scratch, &Settings::new(Integrity::Blake3, 2));
    // A hole costs nothing, where it is found.
    let holes = if cfg!(longhaul_portable) { 0 } else { 3 << 20 };
    assert_eq!((joiner.bytes_sent, joiner.bytes_resumed), (bytes - holes, 0));
}

// Catalogue: B68
/// A staged file that was changed behind our back is found out by who trusts nothing.
pub fn what_was_changed_in_staging_is_sent_again(rig: &Rig<'_>) {
    let scratch = Scratch::new();
    state(&scratch);
    almost(rig, &scratch, &Settings::default());
    let staged = scratch.home().join(".DEST.longhaul/state/dir1/5");
    let mut content = fs::read(&staged).unwrap();
    content[20 << 20] ^= 1;
    fs::write(&staged, content).unwrap();
    let options = DirectorySinkOptions { paranoid: true, ..DirectorySinkOptions::default() };
    let sink = DirectorySink::new(scratch.destination(), options).unwrap();
    let (_, joiner) = rig.run(source(&scratch), Box::new(sink), &Settings::default()).agreed();
    assert_eq!(look(&scratch.destination()), look(&scratch.source()));
    assert_eq!(joiner.bytes_sent, 2 * RUN_LEN + 12_345);
}

// Catalogue: F31
/// A file that is not on the disk what it was when it came is found out by who reads everything back, and is all
/// that is sent again.
pub fn what_has_rotted_is_found_and_sent_again(rig: &Rig<'_>) {
    for integrity in [Integrity::Crc32c, Integrity::Blake3] {
        let scratch = Scratch::new();
        let bytes = state(&scratch);
        let options = || DirectorySinkOptions { verify_after: true, ..DirectorySinkOptions::default() };
        let sink = || DirectorySink::new(scratch.destination(), options()).unwrap();
        let staged = scratch.home().join(".DEST.longhaul/state/dir1/5");
        let rots = move |now| {
            if now == Taking::Sync {
                let file = fs::OpenOptions::new().read(true).write(true).open(&staged).unwrap();
                let mut byte = [0];
                file.read_exact_at(&mut byte, 20 << 20).unwrap();
                file.write_all_at(&[byte[0] ^ 1], 20 << 20).unwrap();
            }
            Ok(())
        };
        let settings = || Settings::new(integrity, 2);
        let (_, joiner) = rig
            .run(source(&scratch), Box::new(MeddledSink::new(sink(), rots)), &settings())
            .failed(Reason::Rotten);
        assert_eq!(joiner.item.unwrap().as_bytes(), b"dir1/5");
        assert!(!scratch.destination().exists());
        let (_, joiner) = rig.run(source(&scratch), Box::new(sink()), &settings()).agreed();
        assert_eq!(look(&scratch.destination()), look(&scratch.source()));
        let rotten = 2 * RUN_LEN + 12_345;
        assert_eq!((joiner.bytes_sent, joiner.bytes_resumed), (rotten, bytes - rotten), "{integrity}");
    }
}

/// Where the disk is slower than the wire, no more lands than one checkpoint, until something of it is claimed.
pub fn what_is_not_claimed_is_never_more_than_a_checkpoint(rig: &Rig<'_>) {
    let scratch = Scratch::new();
    let file = fs::File::create_new(scratch.destination()).unwrap();
    let noted = Arc::new(Mutex::new(None));
    let enough = UNCLAIMED - DEFAULT_MEMORY as u64;
    let source = RepeatedSource::new(noise(1, 1 << 20).into(), UNCLAIMED + (64 << 20));
    let sink = LazySink::new(file, enough, &noted);
    let _ = rig.run(Arc::new(source), Box::new(sink), &Settings::default()).agreed();
    let landed = noted.lock().unwrap().expect("something was claimed before the end");
    assert!((enough..=UNCLAIMED).contains(&landed), "{landed} bytes had landed");
}
