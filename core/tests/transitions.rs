//! The declared transitions of every machine, against checked-in tables and graphs: a change of protocol
//! shows as a diff. And what is true of every table.
//!
//! `LONGHAUL_BLESS=1 cargo test -p longhaul-core --test transitions` writes them anew;
//! `dot -Tsvg core/tests/golden/transitions/session.dot` draws one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use longhaul_core::transitions::{TABLES, Table};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/transitions");

/// Rows are states, columns inputs; `-` where a pair has no place.
fn text(table: &Table) -> String {
    let cell = |state: usize, input: usize| table.next(state, input).map_or("-", |next| table.states[next]);
    let mut columns = vec![column(table.machine, table.states.to_vec())];
    for (input, name) in table.inputs.iter().enumerate() {
        columns.push(column(name, (0..table.states.len()).map(|state| cell(state, input)).collect()));
    }
    let mut text = String::new();
    for row in 0..=table.states.len() {
        let cells: Vec<_> = columns.iter().map(|column| column[row].as_str()).collect();
        writeln!(text, "{}", cells.join("  ").trim_end()).unwrap();
    }
    text
}

/// A head and cells, all of one width.
fn column(head: &str, cells: Vec<&str>) -> Vec<String> {
    let all: Vec<_> = std::iter::once(head).chain(cells).collect();
    let width = all.iter().map(|cell| cell.len()).max().unwrap_or(0);
    all.into_iter().map(|cell| format!("{cell:width$}")).collect()
}

/// For graphviz: inputs that lead the same way share an arrow; ends have two rings.
fn graph(table: &Table) -> String {
    let mut arrows: BTreeMap<(usize, usize), Vec<&str>> = BTreeMap::new();
    for &(from, input, to) in table.transitions {
        arrows.entry((from, to)).or_default().push(table.inputs[input]);
    }
    let mut text = format!("digraph \"{}\" {{\n    rankdir=LR\n", table.machine);
    for (state, name) in table.states.iter().enumerate() {
        let rings = if is_end(table, state) { " [peripheries=2]" } else { "" };
        writeln!(text, "    {name}{rings}").unwrap();
    }
    for ((from, to), inputs) in arrows {
        let (from, to) = (table.states[from], table.states[to]);
        writeln!(text, "    {from} -> {to} [label=\"{}\"]", inputs.join("\\n")).unwrap();
    }
    text.push_str("}\n");
    text
}

/// Nothing leads out of it.
fn is_end(table: &Table, state: usize) -> bool {
    table.transitions.iter().all(|&(from, _, to)| from != state || to == state)
}

/// What can be reached from `first`, itself included.
fn reachable(table: &Table, first: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::from([first]);
    loop {
        let before = reached.len();
        let from_there = table.transitions.iter().filter(|transition| reached.contains(&transition.0));
        let next: Vec<_> = from_there.map(|transition| transition.2).collect();
        reached.extend(next);
        if reached.len() == before {
            return reached;
        }
    }
}

/// The states that nothing leads out of.
fn ends(table: &Table) -> Vec<usize> {
    (0..table.states.len()).filter(|&state| is_end(table, state)).collect()
}

/// Named as the machine is, without its article.
fn file(table: &Table, kind: &str) -> PathBuf {
    let machine = table.machine;
    let name = machine.strip_prefix("a ").or_else(|| machine.strip_prefix("an ")).unwrap_or(machine);
    Path::new(GOLDEN).join(format!("{}.{kind}", name.replace(' ', "-")))
}

#[test]
fn every_table_is_as_it_is_checked_in() {
    let mut expected = BTreeMap::new();
    for table in TABLES {
        expected.insert(file(table, "txt"), text(table));
        expected.insert(file(table, "dot"), graph(table));
    }
    assert_eq!(expected.len(), 2 * TABLES.len(), "every machine has a name of its own");
    if std::env::var_os("LONGHAUL_BLESS").is_some() {
        let _ = fs::remove_dir_all(GOLDEN);
        fs::create_dir_all(GOLDEN).unwrap();
        for (path, text) in &expected {
            fs::write(path, text).unwrap();
        }
    }
    for (path, text) in &expected {
        let golden = fs::read_to_string(path).unwrap_or_default();
        let path = path.display();
        assert!(golden == *text, "a machine has changed: LONGHAUL_BLESS=1 writes {path} anew\n{text}");
    }
    for entry in fs::read_dir(GOLDEN).unwrap() {
        let path = entry.unwrap().path();
        assert!(
            expected.contains_key(&path),
            "{} is of no machine: LONGHAUL_BLESS=1 removes it",
            path.display()
        );
    }
}

#[test]
fn every_state_can_be_reached_from_the_first() {
    for table in TABLES {
        let reached = reachable(table, 0);
        for (state, name) in table.states.iter().enumerate() {
            assert!(reached.contains(&state), "{}: {name}", table.machine);
        }
    }
}

#[test]
fn no_pair_leads_two_ways_and_every_input_has_a_place() {
    for table in TABLES {
        let pairs: BTreeSet<_> = table.transitions.iter().map(|&(state, input, _)| (state, input)).collect();
        assert_eq!(pairs.len(), table.transitions.len(), "{}: a pair is named twice", table.machine);
        for (input, name) in table.inputs.iter().enumerate() {
            assert!(pairs.iter().any(|pair| pair.1 == input), "{}: {name} has no place", table.machine);
        }
        let known = |&(from, input, to): &(usize, usize, usize)| {
            from < table.states.len() && input < table.inputs.len() && to < table.states.len()
        };
        assert!(table.transitions.iter().all(known), "{}", table.machine);
    }
}

/// A machine with ends can reach one from everywhere; one without (an item's slot) can be free again.
#[test]
fn every_state_can_come_to_an_end_or_back_to_the_first() {
    for table in TABLES {
        let ends = ends(table);
        let goals = if ends.is_empty() { vec![0] } else { ends };
        for (state, name) in table.states.iter().enumerate() {
            let reached = reachable(table, state);
            assert!(goals.iter().any(|goal| reached.contains(goal)), "{}: {name} is a trap", table.machine);
        }
    }
}

#[test]
fn ends_are_those_that_are_meant() {
    let named = |table: &Table| ends(table).into_iter().map(|state| table.states[state]).collect::<Vec<_>>();
    let ends: Vec<_> = TABLES.iter().map(|table| (table.machine, named(table))).collect();
    let meant: [(&str, &[&str]); 13] = [
        ("a session", &["Done", "Unconfirmed", "Failed"]),
        ("what a session gives", &["Over"]),
        ("what a session takes", &["Over"]),
        ("a task at its provider", &["Agreed", "Refused"]),
        ("a task at its joiner", &["Agreed", "Refused"]),
        ("an item at its provider", &[]),
        ("an item at its joiner", &[]),
        ("a plan", &["Done", "Failed"]),
        ("a joiner at its live provider", &["Over"]),
        ("a latch", &[]),
        ("a live joiner", &["Serving", "Failed"]),
        ("a joiner at its provider", &["Over"]),
        ("a joiner", &["Serving", "Failed", "Alone"]),
    ];
    assert_eq!(ends, meant.map(|(machine, ends)| (machine, ends.to_vec())));
}
