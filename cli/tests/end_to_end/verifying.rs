//! Roots, receipts, and where two states differ.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::SystemTime;

use crate::rig::{Listening, Outcome, Scratch, fetch, names, push, run};
use crate::tree::{assert_same, bytes};

fn verify(path: &Path, options: &[&str]) -> Outcome {
    let mut args = vec!["verify", path.to_str().unwrap()];
    args.extend(options);
    run(args)
}

fn small(root: &Path) {
    fs::create_dir(root).unwrap();
    for name in ["same", "content", "mode", "time", "gone", "size", "kind"] {
        let file = File::create(root.join(name)).unwrap();
        fs::write(root.join(name), name).unwrap();
        file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH)).unwrap();
    }
    symlink("same", root.join("link")).unwrap();
}

#[test]
fn every_difference_is_told_by_name() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.join("one"), scratch.join("two"));
    small(&one);
    small(&two);
    let time = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    fs::write(two.join("content"), "cXntent").unwrap();
    fs::write(two.join("size"), "longer than size").unwrap();
    for name in ["content", "size"] {
        File::open(two.join(name)).unwrap().set_times(time).unwrap();
    }
    fs::set_permissions(two.join("mode"), Permissions::from_mode(0o600)).unwrap();
    File::open(two.join("time"))
        .unwrap()
        .set_times(FileTimes::new().set_modified(SystemTime::now()))
        .unwrap();
    for name in ["gone", "kind", "link"] {
        fs::remove_file(two.join(name)).unwrap();
    }
    fs::create_dir(two.join("kind")).unwrap();
    symlink("elsewhere", two.join("link")).unwrap();
    fs::write(two.join("more"), "more").unwrap();
    for root in [&one, &two] {
        File::open(root).unwrap().set_times(time).unwrap();
    }

    let object = verify(&one, &[two.to_str().unwrap(), "--json"]).expect(23).summary();
    let mut found: Vec<_> = object["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| (found["item"].as_str().unwrap(), found["differs"].as_str().unwrap()))
        .collect();
    found.sort_unstable();
    let expected = [
        ("content", "content"),
        ("gone", "missing"),
        ("kind", "kind"),
        ("link", "target"),
        ("mode", "mode"),
        ("more", "extra"),
        ("size", "size"),
        ("time", "modification-time"),
    ];
    assert_eq!(found, expected);
    assert_eq!(object["error"]["code"], 23);
    let said = verify(&one, &[two.to_str().unwrap()]).expect(23).says("error: the states differ");
    assert!(said.stdout.contains("content: content differs from byte 1 on"), "{said:?}");
}

#[test]
fn hard_links_are_part_of_the_state() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.dir("one"), scratch.dir("two"));
    let time = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
    for root in [&one, &two] {
        fs::write(root.join("a"), "content").unwrap();
        File::open(root.join("a")).unwrap().set_times(time).unwrap();
    }
    fs::hard_link(one.join("a"), one.join("b")).unwrap();
    fs::write(two.join("b"), "content").unwrap();
    for path in [one.clone(), two.join("b"), two.clone()] {
        File::open(path).unwrap().set_times(time).unwrap();
    }
    let said = verify(&one, &[two.to_str().unwrap()]).expect(23);
    assert!(said.stdout.contains("hard link"), "{said:?}");
    verify(&one, &[two.to_str().unwrap(), "--hard-links", "copy"]).expect(0);
}

#[test]
fn a_receipt_tells_later_whether_a_state_is_still_the_same() {
    let scratch = Scratch::new();
    let (state, copy, pushed) = (scratch.join("state"), scratch.join("copy"), scratch.join("pushed"));
    let receipts = [scratch.join("fetched.json"), scratch.join("received.json")];
    small(&state);
    let provider = Listening::serve(&state, &[]);
    let options = ["--integrity", "blake3", "--receipt", receipts[0].to_str().unwrap()];
    fetch(&provider.address, &copy, &options).expect(0);
    let joiner = Listening::receive(&pushed, &["--once", "--receipt", receipts[1].to_str().unwrap()]);
    push(&state, &joiner.address, &[]).expect(0);
    joiner.wait().expect(0);
    for receipt in &receipts {
        for root in [&state, &copy, &pushed] {
            verify(root, &["--receipt", receipt.to_str().unwrap()]).expect(0);
        }
    }
    fs::write(copy.join("same"), "some").unwrap();
    verify(&copy, &["--receipt", receipts[0].to_str().unwrap()]).expect(23);
    verify(&copy, &["--receipt", receipts[1].to_str().unwrap(), "--integrity", "blake3"]).expect(2);
}

#[test]
fn what_is_not_there_can_not_be_verified() {
    let scratch = Scratch::new();
    verify(&scratch.join("missing"), &[]).expect(20);
    fs::write(scratch.join("garbage"), "garbage").unwrap();
    verify(scratch.path(), &["--receipt", scratch.join("garbage").to_str().unwrap()]).expect(2);
    verify(scratch.path(), &["--receipt", scratch.join("no-receipt").to_str().unwrap()]).expect(2);
}

/// All of it is read back, by which checksum ever, small or not; what can't be compared is refused.
#[test]
fn a_fetch_that_reads_everything_back_publishes_the_same() {
    let scratch = Scratch::new();
    let (large, small) = (scratch.dir("large"), scratch.dir("small"));
    fs::write(small.join("file"), b"content").unwrap();
    for n in 0..40 {
        fs::write(large.join(format!("{n}")), bytes(n * 40_000, n as u32)).unwrap();
    }
    fs::write(scratch.join("file"), bytes(3 << 20, 7)).unwrap();
    for (n, source) in [small, large, scratch.join("file")].into_iter().enumerate() {
        let provider = Listening::serve(&source, &[]);
        for options in [&["--verify-after"][..], &["--verify-after", "--integrity", "blake3", "--no-resume"]]
        {
            let copy = scratch.join(&format!("copy{n}{}", options.len()));
            fetch(&provider.address, &copy, options).expect(0);
            if source.is_dir() {
                assert_same(&copy, &source);
            } else {
                assert!(fs::read(&copy).unwrap() == fs::read(&source).unwrap());
            }
        }
        let none = ["--verify-after", "--integrity", "none"];
        fetch(&provider.address, &scratch.join("none"), &none).expect(2).says("nothing to compare");
    }
    assert!(names(scratch.path()).iter().all(|name| !name.starts_with('.')), "{:?}", names(scratch.path()));
}
