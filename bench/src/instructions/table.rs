//! The file that the counts are compared with.

use std::fmt::Write;
use std::fs;

/// Its name in messages, and where it is.
const NAME: &str = "bench/instructions.txt";
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");
/// What a count may differ by, in percent.
const TOLERANCE: u64 = 3;
/// What it may differ by in any case: a step of a hundred instructions moves by one or two.
const SLACK: u64 = 2;

const HEAD: &str = "\
# Instructions of one step of each hot path, counted by callgrind; see src/instructions/main.rs.
# Written by: LONGHAUL_BLESS=1 cargo run --release -p longhaul-bench --bin instructions
#
# The program is the one that people run: checksums by crc-fast, which picks its code by the CPU it
# finds. Under valgrind it finds the same one everywhere: a Haswell (SSE4.2, AVX2, carry-less multiply,
# no AVX-512), as long as the machine itself has AVX2. So the counts hold from machine to machine;
# another compiler, another valgrind or another C library may move them: then bless them anew.
";

/// One path's count.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) instructions: u64,
}

/// All counts, and what they were counted with.
pub(crate) struct Table {
    pub(crate) compiler: String,
    pub(crate) counter: String,
    pub(crate) rows: Vec<Row>,
}

impl Table {
    pub(crate) fn read() -> Result<Self, String> {
        let text = fs::read_to_string(FILE).map_err(|error| format!("{NAME}: {error}"))?;
        let mut table = Self { compiler: String::new(), counter: String::new(), rows: Vec::new() };
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let broken = || format!("{NAME}: this is no count: {line}");
            let (name, value) = line.rsplit_once("  ").ok_or_else(broken)?;
            match name.trim() {
                "compiler" => value.trim().clone_into(&mut table.compiler),
                "counter" => value.trim().clone_into(&mut table.counter),
                name => {
                    let instructions = value.trim().parse().map_err(|_| broken())?;
                    table.rows.push(Row { name: name.to_owned(), instructions });
                }
            }
        }
        Ok(table)
    }

    pub(crate) fn write(&self) -> Result<(), String> {
        let mut text = String::from(HEAD);
        // Writing into a string does not fail.
        let _ = writeln!(text, "\ncompiler  {}\ncounter  {}\n", self.compiler, self.counter);
        for row in &self.rows {
            let _ = writeln!(text, "{:44}{:>8}", row.name, row.instructions);
        }
        fs::write(FILE, text).map_err(|error| format!("{NAME}: {error}"))
    }

    /// Compares what was counted with what the file says.
    pub(crate) fn compare(&self, written: &Self) -> Result<(), String> {
        let mut differing = String::new();
        for row in &self.rows {
            let Some(before) = written.rows.iter().find(|other| other.name == row.name) else {
                let _ = writeln!(differing, "{}: it is new", row.name);
                continue;
            };
            let (old, new) = (before.instructions, row.instructions);
            if old.abs_diff(new) > SLACK.max(old * TOLERANCE / 100) {
                let percent = (new as f64 / old as f64 - 1.0) * 100.0;
                let _ = writeln!(differing, "{}: {new}, was {old} ({percent:+.1} %)", row.name);
            }
        }
        for gone in written.rows.iter().filter(|old| !self.rows.iter().any(|row| row.name == old.name)) {
            let _ = writeln!(differing, "{}: it is gone", gone.name);
        }
        if differing.is_empty() {
            return Ok(());
        }
        if (&self.compiler, &self.counter) != (&written.compiler, &written.counter) {
            let _ = writeln!(
                differing,
                "They were counted with {} and {}, now with {} and {}: that alone may be why.",
                written.compiler, written.counter, self.compiler, self.counter
            );
        }
        Err(format!(
            "The hot paths need other instructions than {NAME} says, by more than {TOLERANCE} %:\n{differing}\
             If that is as it should be, run it again with LONGHAUL_BLESS=1 and say why in the commit."
        ))
    }
}
