//! Processes are killed at drawn moments while clients write: what was acknowledged stays, and all members are one.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use replicated_kv::load::{self, Journal, Load, Random, Reply};
use tempfile::TempDir;

use crate::rig::{Member, one_root, poll, random};

pub(crate) fn load_on(members: &[&Member], random: &mut Random) -> Load {
    Load {
        members: members.iter().map(|member| member.address.clone()).collect(),
        writers: 6,
        rate: 600.0,
        // Longer than any run: it is told when to stop.
        time: Duration::from_hours(24),
        value_bytes: 200,
        keys: 200,
        two_phase_one_in: 4,
        seed: random.draw(),
    }
}

/// Waits until so much more was tried.
pub(crate) fn wait_for(journal: &Path, bytes: u64) {
    let from = fs::metadata(journal).unwrap().len();
    poll("the load to go on", || (fs::metadata(journal).unwrap().len() >= from + bytes).then_some(()));
}

/// What the journal says, next to what a member has.
#[track_caller]
pub(crate) fn compare(journal: &Path, member: &Member) -> load::Checked {
    let attempts = Journal::read(journal).unwrap();
    let checked = load::check(&attempts, &mut member.connect()).unwrap();
    assert_eq!(checked.wrong, Vec::<String>::new());
    assert!(checked.acknowledged > 0);
    checked
}

#[test]
fn nothing_acknowledged_is_lost_whoever_is_killed_when() {
    let mut random = random();
    let home = TempDir::new().unwrap();
    let primary = Member::primary(&home.path().join("p"), &[]);
    let replicas = ["a", "b"].map(|name| Member::replica(&home.path().join(name), &primary, &[]));
    let [a, b] = replicas;
    let path = home.path().join("journal");
    let journal = Journal::create(&path).unwrap();
    let (stop, load) = (AtomicBool::new(false), load_on(&[&primary, &a, &b], &mut random));
    let mut members = [primary, a, b];
    thread::scope(|scope| {
        let load = scope.spawn(|| load::write(&load, &journal, &stop).unwrap());
        for victim in [0, 1, 0, 2] {
            wait_for(&path, 500 + random.below(2500));
            members[victim].kill();
            wait_for_some(&mut random);
            members[victim].start();
        }
        wait_for(&path, 2000);
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    one_root(&[&members[0], &members[1], &members[2]]);
    compare(&path, &members[1]);

    // All at once, and again: what is on the disks is the same.
    members.iter_mut().for_each(Member::kill);
    members.iter_mut().for_each(Member::start);
    one_root(&[&members[0], &members[1], &members[2]]);
    compare(&path, &members[0]);
}

/// A process that is started at once after it was killed, or after a moment in which the others go on.
fn wait_for_some(random: &mut Random) {
    for _ in 0..random.below(3) {
        thread::yield_now();
    }
}

#[test]
fn a_clean_stop_answers_everybody_and_everything_is_there_again() {
    let mut random = random();
    let home = TempDir::new().unwrap();
    let primary = Member::primary(&home.path().join("p"), &[]);
    let replica = Member::replica(&home.path().join("r"), &primary, &[]);
    let path = home.path().join("journal");
    let journal = Journal::create(&path).unwrap();
    let (stop, load) = (AtomicBool::new(false), load_on(&[&primary, &replica], &mut random));
    let mut members = [primary, replica];
    thread::scope(|scope| {
        let load = scope.spawn(|| load::write(&load, &journal, &stop).unwrap());
        for victim in [1, 0] {
            wait_for(&path, 1000);
            assert_eq!(members[victim].terminate(), Some(0));
            members[victim].start();
        }
        wait_for(&path, 1000);
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    one_root(&[&members[0], &members[1]]);
    compare(&path, &members[1]);
}

#[test]
fn what_is_prepared_outlives_its_members_and_still_holds_its_keys() {
    let home = TempDir::new().unwrap();
    let mut primary = Member::primary(&home.path().join("p"), &[]);
    let mut replica = Member::replica(&home.path().join("r"), &primary, &[]);
    let mut client = replica.connect();
    for line in ["BEGIN", "PUT a 1", "PUT b 1", "PREPARE"] {
        assert!(matches!(client.ask(line).unwrap(), Reply::Done(_)), "{line}");
    }
    primary.kill();
    replica.kill();
    primary.start();
    replica.start();
    assert!(matches!(primary.ask("PUT a 2"), Reply::Refused(why) if why.contains("locked by transaction 1")));
    assert_eq!(primary.connect().ask_for_lines("PENDING").unwrap(), ["1 a b"]);
    assert_eq!(replica.ask("COMMIT 1"), Reply::Done("2".into()));
    assert_eq!(replica.ask("GET b"), Reply::Done("1".into()));
    one_root(&[&primary, &replica]);
}
