//! A wire on which packets are lost and late: a network namespace whose only link is narrow, with a queue so short
//! that it drops what does not fit. Linux, as root, with `ip` and `tc`; skipped with a word elsewhere.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::{Command, Output};

use longhaul_tests::command::longhaul;
use longhaul_tests::listening::Listening;

/// Of the state that crosses: some seconds on this wire.
const BYTES: usize = 6 << 20;
/// What the link carries, and how much waits for it.
const LINK: [&str; 6] = ["rate", "20mbit", "burst", "4kb", "limit", "9000"];

/// A network namespace of its own, gone when this is dropped.
struct Namespace(String);

impl Namespace {
    /// One with a loopback link that drops; `None`, and why is said, where that can't be had.
    fn lossy() -> Option<Self> {
        let name = format!("longhaul-{}", std::process::id());
        let made = ip(&["netns", "add", &name]);
        if !made.as_ref().is_ok_and(|made| made.status.success()) {
            println!("skipped: no network namespace: {made:?}");
            return None;
        }
        let namespace = Self(name);
        let link = [&["tc", "qdisc", "add", "dev", "lo", "root", "tbf"][..], &LINK].concat();
        // Whole packets of an ordinary wire, not of 64 KiB.
        for words in [&["ip", "link", "set", "lo", "up", "mtu", "1500"][..], &link] {
            let did = namespace.run(words);
            if !did.status.success() {
                println!("skipped: {words:?}: {}", String::from_utf8_lossy(&did.stderr));
                return None;
            }
        }
        Some(namespace)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words[0]).args(&words[1..]).output().expect("ip is there")
    }

    /// Packets that the link has dropped.
    fn dropped(&self) -> u64 {
        let told = self.run(&["tc", "-s", "qdisc", "show", "dev", "lo"]).stdout;
        let told = String::from_utf8_lossy(&told).into_owned();
        let number = told.split("dropped ").nth(1).and_then(|rest| rest.split(',').next());
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no count of drops: {told}"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What can't be removed now goes with the machine.
        let _ = ip(&["netns", "del", &self.0]);
    }
}

fn ip(words: &[&str]) -> std::io::Result<Output> {
    Command::new("ip").args(words).output()
}

// Catalogue: F9
#[test]
fn what_crosses_a_wire_that_loses_packets_is_the_same() {
    let Some(namespace) = Namespace::lossy() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (source, copy) = (scratch.path().join("source"), scratch.path().join("copy"));
    fs::create_dir(&source).unwrap();
    for n in 0..30_usize {
        let bytes: Vec<u8> = (0..BYTES / 30).map(|at| (at * 7 + at / 251 + n) as u8).collect();
        fs::write(source.join(n.to_string()), bytes).unwrap();
    }
    let longhaul = longhaul();
    let program = longhaul.to_str().unwrap();
    let provider =
        Listening::start(namespace.command(program).arg("serve").arg(&source), scratch.path()).unwrap();
    let fetch = [program, "fetch", &provider.address, copy.to_str().unwrap(), "-q", "--lanes", "3"];
    let fetched = namespace.run(&fetch);
    assert!(fetched.status.success(), "{fetched:?}");
    assert!(namespace.dropped() > 0, "nothing was lost on the way");
    for n in 0..30 {
        let name = n.to_string();
        assert!(fs::read(copy.join(&name)).unwrap() == fs::read(source.join(&name)).unwrap(), "{name}");
    }
}
