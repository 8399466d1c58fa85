//! Counts the instructions of every hot path and compares them with `bench/instructions.txt`, so that
//! a path that became slower is a diff, on whatever machine and however busy it is.
//!
//! A path is run twice under callgrind, each time in a process of its own: what the longer run needed
//! more, divided by the steps that it took more, is what one step needs. All else (start, set-up,
//! first-time work) is in both runs and drops out.
//!
//! ```text
//! cargo run --release -p longhaul-bench --bin instructions                     # compare
//! LONGHAUL_BLESS=1 cargo run --release -p longhaul-bench --bin instructions    # rewrite the file
//! ```

mod table;

use std::io;
use std::process::{Command, ExitCode};

use longhaul_bench::paths::{GROUPS, Make};
use table::{Row, Table};

/// Steps of the shorter run and of the longer one: many of what happens once in 32 or 128 steps.
const STEPS: (u64, u64) = (512, 2560);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [] => compare(),
        [path, steps] => run(path, steps),
        _ => Err("usage: instructions [PATH STEPS]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn paths() -> impl Iterator<Item = &'static Make> {
    GROUPS.iter().flat_map(|(_, paths)| *paths)
}

/// What callgrind watches: so many steps of one path.
fn run(path: &str, steps: &str) -> Result<(), String> {
    let steps: u64 = steps.parse().map_err(|_| format!("{steps} is no number of steps"))?;
    let make = paths().find(|make| make().name == path).ok_or_else(|| format!("there is no path {path}"))?;
    let mut path = make();
    let work = (0..steps).fold(0_u64, |work, _| work.wrapping_add(path.step()));
    println!("{work:016x}");
    Ok(())
}

fn compare() -> Result<(), String> {
    let mut rows = Vec::new();
    for make in paths() {
        let name = make().name;
        let (short, long) = (collected(name, STEPS.0)?, collected(name, STEPS.1)?);
        let instructions = long.saturating_sub(short) / (STEPS.1 - STEPS.0);
        println!("{name:44}{instructions:>8}");
        rows.push(Row { name: name.to_owned(), instructions });
    }
    let counted = Table { compiler: version("rustc")?, counter: version("valgrind")?, rows };
    if std::env::var_os("LONGHAUL_BLESS").is_some() {
        return counted.write();
    }
    counted.compare(&Table::read()?)
}

/// Instructions of a whole process that takes so many steps.
fn collected(name: &str, steps: u64) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([name, &steps.to_string()])
        .output()
        .map_err(missing)?;
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines()
        .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
        .filter(|_| output.status.success())
        .ok_or_else(|| format!("callgrind failed on {name}:\n{said}"))
}

fn version(tool: &str) -> Result<String, String> {
    let output = Command::new(tool).arg("--version").output().map_err(missing)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err gives")]
fn missing(error: io::Error) -> String {
    format!("rustc and valgrind count the instructions (apt-get install valgrind): {error}")
}
