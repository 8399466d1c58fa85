//! A person with netcat: what is said, and what is answered.

use replicated_kv::load::Connection;
use tempfile::TempDir;

use crate::rig::{Member, one_root};

/// Says lines as a person would type them, and compares the answers; `..` stands for any rest.
#[track_caller]
fn talk(member: &Member, script: &[(&str, &str)]) -> Connection {
    let mut connection = member.connect();
    go_on(&mut connection, script);
    connection
}

#[track_caller]
fn go_on(connection: &mut Connection, script: &[(&str, &str)]) {
    for (line, expected) in script {
        connection.say(format!("{line}\n").as_bytes()).unwrap();
        for expected in expected.lines() {
            let answer = String::from_utf8(connection.hear().unwrap()).unwrap();
            if expected.ends_with("..") {
                assert!(answer.starts_with(expected.trim_end_matches('.')), "{line}: {answer}");
            } else {
                assert_eq!(answer, expected, "{line}");
            }
        }
    }
}

#[test]
fn the_session_in_the_readme_goes_as_it_is_written() {
    let home = TempDir::new().unwrap();
    let primary = Member::primary(&home.path().join("p"), &[]);
    let replica = Member::replica(&home.path().join("r"), &primary, &[]);
    let readme = include_str!("../../README.md");
    let (_, session) = readme.split_once("```text\n> ").unwrap();
    let (session, _) = session.split_once("\n```").unwrap();
    let mut connection = replica.connect();
    for said in session.split("\n> ") {
        let (line, answers) = said.split_once('\n').unwrap();
        go_on(&mut connection, &[(line, answers)]);
    }
}

#[test]
fn what_is_written_at_one_member_is_read_at_another() {
    let home = TempDir::new().unwrap();
    let primary = Member::primary(&home.path().join("p"), &[]);
    let replica = Member::replica(&home.path().join("r"), &primary, &[]);
    talk(
        &replica,
        &[
            ("GET colour", "NONE"),
            ("PUT colour dark blue", "OK 1"),
            ("GET colour", "VALUE dark blue"),
            ("DELETE colour", "OK 2"),
            ("put colour green", "OK 3"),
        ],
    );
    talk(
        &primary,
        &[
            ("GET colour", "VALUE green"),
            ("PUT", "ERR a key has.."),
            ("dance", "ERR unknown.."),
            ("QUIT", "BYE"),
        ],
    );
    one_root(&[&primary, &replica]);
}

#[test]
fn a_transaction_is_one_step_and_what_is_prepared_waits_for_its_second_phase() {
    let home = TempDir::new().unwrap();
    let primary = Member::primary(&home.path().join("p"), &[]);
    let replica = Member::replica(&home.path().join("r"), &primary, &[]);
    let mut one = talk(
        &primary,
        &[
            ("BEGIN", "OK"),
            ("PUT a 1", "QUEUED"),
            ("PUT b 1", "QUEUED"),
            ("GET a", "NONE"),
            ("COMMIT", "OK 1"),
            ("GET a", "VALUE 1"),
            ("BEGIN", "OK"),
            ("BEGIN", "ERR a transaction is open.."),
            ("DELETE a", "QUEUED"),
            ("ROLLBACK", "OK"),
            ("BEGIN", "OK"),
            ("PUT a 2", "QUEUED"),
            ("PUT c 2", "QUEUED"),
            ("PREPARE", "PREPARED 2"),
            ("COMMIT 99", "ERR transaction 99 is not prepared.."),
        ],
    );
    one_root(&[&primary, &replica]);
    talk(
        &replica,
        &[
            ("PUT c 3", "ERR c is locked by transaction 2: COMMIT 2 or ROLLBACK 2 first"),
            ("PENDING", "2 a c\nEND"),
            ("GET a", "VALUE 1"),
            ("COMMIT 2", "OK 3"),
            ("GET a", "VALUE 2"),
            ("PENDING", "END"),
            ("COMMIT", "ERR no transaction is open or prepared.."),
        ],
    );
    go_on(&mut one, &[("COMMIT", "ERR transaction 2 is not prepared.."), ("ROOT", "ROOT 3 blake3:..")]);
    one_root(&[&primary, &replica]);
}

#[test]
fn help_and_status_say_what_can_be_said_and_who_this_is() {
    let home = TempDir::new().unwrap();
    let primary = Member::primary(&home.path().join("p"), &[]);
    let replica = Member::replica(&home.path().join("r"), &primary, &[]);
    let help = primary.connect().ask_for_lines("HELP").unwrap();
    assert!(help.iter().any(|line| line.starts_with("PUT key value")), "{help:?}");
    let status = replica.connect().ask_for_lines("STATUS").unwrap();
    for begin in ["role replica", "applied ", &format!("primary {}", primary.address)] {
        assert!(status.iter().any(|line| line.starts_with(begin)), "no {begin:?} in {status:?}");
    }
    assert!(primary.connect().ask_for_lines("STATUS").unwrap().contains(&"role primary".to_owned()));
}
