//! Small files on a file system where each call waits for somebody else.
#![cfg(all(target_os = "linux", not(longhaul_portable)))]

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use longhaul_state::sink::{DirectorySink, DirectorySinkOptions};
use longhaul_state::source::{DirectoryOptions, DirectorySource};
use longhaul_tests::conformance::Party;
use longhaul_tests::conformance::tree::{Scratch, noise, write};
use longhaul_tests::disk::{Slow, prepare};

/// Fetches these directories of so many small files onto such a file system. How many of them were written beside others.
fn fetched(directories: usize, files: usize) -> usize {
    let scratch = Scratch::new();
    let content = |n: usize| noise(n as u64, 100 + n);
    let name = |n: usize| format!("{}/{n}", n / files);
    for n in 0..directories * files {
        write(&scratch.source().join(name(n)), &content(n));
    }
    let (below, place) = (scratch.home().join("below"), scratch.home().join("slow"));
    fs::create_dir(&below).unwrap();
    fs::create_dir(&place).unwrap();
    let (slow, _mounted) = Slow::mount(&below, &place);

    let (provider, joiner) = (Party::new(1), Party::new(2));
    let listener = longhaul_transport_std::listen("127.0.0.1:0").unwrap();
    let source = Arc::new(DirectorySource::new(scratch.source(), DirectoryOptions::default()).unwrap());
    let sink = Box::new(DirectorySink::new(place.join("DEST"), DirectorySinkOptions::default()).unwrap());
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            let caller = listener.accept().unwrap().unwrap();
            caller.provide(source, &provider.options, &provider.pool, &provider.control).unwrap();
        });
        let (address, Party { options, control, pool, .. }) = (listener.local_addr(), &joiner);
        longhaul_transport_std::join(address, sink, options, pool, control).unwrap();
    });
    println!(
        "{directories} directories of {files} files in {:?}, {} beside others",
        began.elapsed(),
        slow.together()
    );
    for n in 0..directories * files {
        assert_eq!(fs::read(below.join("DEST").join(name(n))).unwrap(), content(n), "file {n}");
    }
    slow.together()
}

#[test]
fn small_files_are_landed_together_where_each_alone_would_wait() {
    if let Err(why) = prepare() {
        println!("skipped: {why}");
        return;
    }
    // But those by which it is found out, and the first of each directory.
    assert!(fetched(1, 600) > 400);
    assert!(fetched(20, 30) > 400);
}
