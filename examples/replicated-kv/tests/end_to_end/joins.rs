//! Replicas join by live transfer while clients write, from the primary and from a replica; whoever is killed when.
//!
//! `REPLICATED_KV_SIZE` (bytes, or as in 2GiB) and `REPLICATED_KV_KILLS` make it as large as one likes.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytesize::ByteSize;
use replicated_kv::load::{self, Journal, Random, Reply};
use tempfile::TempDir;

use crate::kills::{compare, load_on, wait_for};
use crate::rig::{Member, one_root, poll, random};

#[test]
fn a_replica_joins_from_a_replica_while_all_write_and_what_is_prepared_comes_along() {
    joins_from_a_replica("live");
}

#[test]
fn a_replica_joins_by_a_copy_of_one_place_and_what_is_prepared_comes_along() {
    joins_from_a_replica("copy");
}

#[test]
fn a_join_costs_neither_side_more_memory_than_their_caches_and_buffers() {
    let mut random = random();
    let home = TempDir::new().unwrap();
    let primary = Member::primary(&home.path().join("p"), &["--full-speed"]);
    load::fill(&mut primary.connect(), 32 << 20, random.draw()).unwrap();
    let replica = Member::replica(&home.path().join("r"), &primary, &[]);
    for member in [&primary, &replica] {
        let peak = member.peak_bytes().unwrap_or(0);
        assert!(peak <= JOIN_PEAK, "a process has had {peak} bytes");
    }
}

fn joins_from_a_replica(by: &str) {
    let mut random = random();
    let home = TempDir::new().unwrap();
    let primary = Member::primary(&home.path().join("p"), &[]);
    load::fill(&mut primary.connect(), 2 << 20, random.draw()).unwrap();
    let mut client = primary.connect();
    for line in ["BEGIN", "PUT held 1", "PREPARE"] {
        assert!(matches!(client.ask(line).unwrap(), Reply::Done(_)), "{line}");
    }
    let pending = primary.connect().ask_for_lines("PENDING").unwrap();
    let path = home.path().join("journal");
    let journal = Journal::create(&path).unwrap();
    let by = ["--join-by", by];
    let first = Member::replica(&home.path().join("a"), &primary, &by);
    let (stop, load) = (AtomicBool::new(false), load_on(&[&primary, &first], &mut random));
    let second = thread::scope(|scope| {
        let load = scope.spawn(|| load::write(&load, &journal, &stop).unwrap());
        wait_for(&path, 1000);
        let options = [&by[..], &["--from", &first.address]].concat();
        let second = Member::replica(&home.path().join("b"), &primary, &options);
        wait_for(&path, 1000);
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap();
        second
    });
    one_root(&[&primary, &first, &second]);
    compare(&path, &second);
    assert!(second.connect().ask_for_lines("PENDING").unwrap().contains(&pending[0]));
    let Some((number, _)) = pending[0].split_once(' ') else { panic!("{pending:?}") };
    assert!(matches!(second.ask(&format!("COMMIT {number}")), Reply::Done(_)));
    assert_eq!(second.ask("GET held"), Reply::Done("1".into()));
    one_root(&[&primary, &first, &second]);
}

// Catalogue: F46
#[test]
fn who_was_away_for_longer_than_the_log_reaches_back_joins_anew() {
    let home = TempDir::new().unwrap();
    let primary = Member::primary(&home.path().join("p"), &["--log", "1KiB"]);
    let mut replica = Member::replica(&home.path().join("r"), &primary, &[]);
    replica.terminate();
    // Four times as much is kept while somebody might hold a pin.
    for n in 0..100 {
        primary.ask(&format!("PUT key/{n} {}", "x".repeat(100)));
    }
    let status = primary.connect().ask_for_lines("STATUS").unwrap();
    assert!(!status.contains(&"log_first 1".to_owned()), "{status:?}");
    replica.start();
    one_root(&[&primary, &replica]);
    poll("the old copy to be gone", || (copies(&replica) == 1).then_some(()));
    primary.ask("PUT more 1");
    one_root(&[&primary, &replica]);
}

fn copies(member: &Member) -> usize {
    let names = fs::read_dir(member.data()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("state-")).count()
}

/// Bytes in the copies of a member.
fn staged(data: &Path) -> u64 {
    let sizes = fs::read_dir(data).into_iter().flatten().flatten();
    sizes.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}

fn setting<T>(name: &str, otherwise: T, parse: impl Fn(&str) -> Option<T>) -> T {
    match std::env::var(name) {
        Ok(text) => parse(&text).unwrap_or_else(|| panic!("{name}={text}")),
        Err(_) => otherwise,
    }
}

/// The processes of one run: a primary, a replica, and one that joins again and again.
struct Group {
    members: [Member; 3],
    /// Bytes of the state, about.
    size: u64,
}

const JOINER: usize = 2;

/// A process that provides or joins once has a cache of 64 MiB, 16 MiB of buffers, and some pieces of the state.
const JOIN_PEAK: u64 = 128 << 20;

/// No process of a run has more memory than this, however large the state is, and however often it provides.
const RUN_PEAK: u64 = 256 << 20;

impl Group {
    /// A new joiner, from the primary or from the replica; who is killed at some moment of it; and its end.
    fn round(&mut self, journal: &Path, random: &mut Random) {
        let provider = random.below(2) as usize;
        let victims: &[usize] = match random.below(3) {
            0 => &[JOINER],
            1 => &[provider],
            _ => &[provider, JOINER],
        };
        // Some of it, or all of it and a little more of the log.
        let part = self.size * random.below(120) / 100;
        let more = random.below(3000);
        println!("from {provider}, killed: {victims:?}, at {part} bytes and {more} of the journal");
        self.join_anew(provider);
        let data = self.members[JOINER].data();
        poll("the bulk", || (staged(&data) >= part.min(self.size) || self.has_joined()).then_some(()));
        if part > self.size {
            wait_for(journal, more);
        }
        for &victim in victims {
            self.members[victim].kill();
        }
        for &victim in victims {
            self.members[victim].start();
        }
        poll("a replica that has joined", || self.has_joined().then_some(()));
        let peaks = self.members.each_ref().map(Member::peak_bytes);
        println!("most memory: {peaks:?}");
        assert!(peaks.iter().flatten().all(|peak| *peak <= RUN_PEAK), "for a state of {}", self.size);
    }

    /// The joiner begins with nothing.
    fn join_anew(&mut self, provider: usize) {
        let from = self.members[provider].address.clone();
        let joiner = &mut self.members[JOINER];
        joiner.kill();
        fs::remove_dir_all(joiner.data()).unwrap();
        joiner.joins_from(&from);
        joiner.start();
    }

    fn has_joined(&self) -> bool {
        self.members[JOINER].applied().is_some()
    }
}

// Catalogue: F48, F49, F69, F70
#[test]
fn nothing_acknowledged_is_lost_whoever_is_killed_while_a_replica_joins() {
    killed_while_a_replica_joins("live");
}

// Catalogue: F48, F49, F69, F70
#[test]
fn nothing_acknowledged_is_lost_whoever_is_killed_while_a_replica_joins_by_a_copy() {
    killed_while_a_replica_joins("copy");
}

/// Joins by `by`, again and again, and somebody is killed at some moment of each.
fn killed_while_a_replica_joins(by: &str) {
    let mut random = random();
    let size = setting("REPLICATED_KV_SIZE", 4 << 20, |text| Some(text.parse::<ByteSize>().ok()?.as_u64()));
    let kills = setting("REPLICATED_KV_KILLS", 3, |text| text.parse().ok());
    let home = TempDir::new().unwrap();
    let primary = Member::primary(&home.path().join("p"), &[]);
    load::fill(&mut primary.connect(), size, random.draw()).unwrap();
    let replica = Member::replica(&home.path().join("r"), &primary, &[]);
    let joiner = Member::replica(&home.path().join("j"), &primary, &["--join-by", by]);
    let path = home.path().join("journal");
    let journal = Journal::create(&path).unwrap();
    let (stop, load) = (AtomicBool::new(false), load_on(&[&primary, &replica, &joiner], &mut random));
    let mut group = Group { members: [primary, replica, joiner], size };
    let written = thread::scope(|scope| {
        let load = scope.spawn(|| load::write(&load, &journal, &stop).unwrap());
        for _ in 0..kills {
            group.round(&path, &mut random);
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    println!("{} acknowledged, {} in doubt", written.acknowledged, written.in_doubt);
    let [primary, replica, joiner] = &group.members;
    println!("root {}", one_root(&[primary, replica, joiner]));
    compare(&path, joiner);
}
