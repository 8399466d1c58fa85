//! What is refused, and how.

use std::process::Command;

use replicated_kv::load::Reply;
use tempfile::TempDir;

use crate::rig::{Member, one_root, poll};

#[test]
fn a_line_that_is_too_long_ends_its_connection_and_no_other() {
    let home = TempDir::new().unwrap();
    let primary = Member::primary(home.path(), &[]);
    let mut other = primary.connect();
    let mut long = primary.connect();
    let line = vec![b'x'; 70_000];
    // The member may have closed its end by then.
    let _ = long.say(&line);
    let answer = String::from_utf8(long.hear().unwrap()).unwrap();
    assert!(answer.starts_with("ERR a line has at most"), "{answer}");
    assert!(long.hear().is_err(), "and then it is over");
    assert_eq!(other.ask("PUT a 1").unwrap(), Reply::Done("1".into()));
}

#[test]
fn who_comes_beyond_the_most_clients_is_told_so_and_finds_room_later() {
    let home = TempDir::new().unwrap();
    let primary = Member::primary(home.path(), &["--max-clients", "2"]);
    let mut clients = vec![primary.connect(), primary.connect()];
    for client in &mut clients {
        client.ask("GET a").unwrap();
    }
    let Reply::Refused(why) = primary.ask("GET a") else { panic!("a third client was admitted") };
    assert!(why.contains("2 clients are connected"), "{why}");
    clients.pop();
    poll("room", || matches!(primary.ask("GET a"), Reply::Done(_)).then_some(()));
}

#[test]
fn others_than_this_machine_need_a_word() {
    let home = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_replicated-kv"));
    let output =
        command.args(["primary", "--listen", "0.0.0.0:0", "--data"]).arg(home.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--insecure"), "{said}");
}

#[test]
fn a_replica_of_another_primary_is_refused_with_a_reason() {
    let home = TempDir::new().unwrap();
    let (first, second) =
        (Member::primary(&home.path().join("a"), &[]), Member::primary(&home.path().join("b"), &[]));
    let mut replica = Member::replica(&home.path().join("r"), &first, &[]);
    // Both have come equally far, with other records.
    first.ask("PUT a 1");
    second.ask("PUT b 2");
    one_root(&[&first, &replica]);
    replica.terminate();
    let mut command = Command::new(env!("CARGO_BIN_EXE_replicated-kv"));
    command.args(["replica", "--of", &second.address, "--listen", "127.0.0.1:0", "--data"]);
    let output = command.arg(home.path().join("r/data")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("is of primary") && said.contains("hint"), "{said}");
}

#[test]
fn a_check_of_members_that_stay_apart_says_how_far_each_is() {
    let home = TempDir::new().unwrap();
    let [first, second] = ["a", "b"].map(|name| Member::primary(&home.path().join(name), &[]));
    first.ask("PUT a 1");
    let journal = home.path().join("journal");
    std::fs::write(&journal, "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_replicated-kv"));
    command.args(["check", "--at", &first.address, &second.address, "--within", "0s", "--journal"]);
    let output = command.arg(&journal).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let places = format!("{} is at 1, {} is at 0", first.address, second.address);
    assert!(!output.status.success() && said.contains(&places) && said.contains("--within"), "{said}");
}
