//! The criterion benches of a checkout: built, run, and what they found.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::commit::top;

/// For how long a path warms up, and is measured, in seconds, and how often what was measured is drawn from again: rounds make
/// up for it.
const TIMES: [&str; 6] = ["--warm-up-time", "0.1", "--measurement-time", "0.25", "--nresamples", "1000"];

/// Nanoseconds that each path took.
pub(crate) type Times = BTreeMap<String, f64>;

/// Those of one checkout.
pub(crate) struct Benches {
    programs: Vec<PathBuf>,
    /// Where it is, and what criterion calls what it finds.
    checkout: PathBuf,
    baseline: String,
}

impl Benches {
    /// Those of `checkout`, built into a directory of this name: to cargo, two checkouts of a package are the same, and the
    /// programs of the one would take the place of the other's.
    pub(crate) fn build(checkout: &Path, baseline: &str, into: &str) -> Result<Self, String> {
        eprintln!("building the benches of {}", checkout.display());
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(checkout).args([
            "bench",
            "--locked",
            "--no-run",
            "--package",
            "longhaul-bench",
            "--benches",
        ]);
        build.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
        // Beside the checkout, which goes: the next one is built from what others wrote already.
        build.env("CARGO_TARGET_DIR", top()?.join("target/compare").join(into));
        let output = build.output().map_err(|error| format!("cargo: {error}"))?;
        if !output.status.success() {
            return Err(format!("the benches of {} do not build", checkout.display()));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let programs: Vec<PathBuf> = said.lines().filter_map(bench).collect();
        if programs.is_empty() {
            return Err(format!("{} has no benches", checkout.display()));
        }
        // What an earlier comparison found may be of paths that are no more.
        each_saved(&top()?.join("target/criterion"), baseline, &mut |saved| {
            fs::remove_dir_all(saved).map_err(|error| format!("{}: {error}", saved.display()))
        })?;
        Ok(Self { programs, checkout: checkout.to_owned(), baseline: baseline.to_owned() })
    }

    /// Runs all of them, or those whose name has `only` in it.
    pub(crate) fn run(&self, only: Option<&str>) -> Result<Times, String> {
        let home = top()?.join("target/criterion");
        for program in &self.programs {
            let mut run = Command::new(program);
            run.args(["--bench", "--noplot", "--save-baseline", &self.baseline]).args(TIMES).args(only);
            run.current_dir(&self.checkout).env("CRITERION_HOME", &home).stdin(Stdio::null());
            let output = run.output().map_err(|error| format!("{}: {error}", program.display()))?;
            if !output.status.success() {
                let words = String::from_utf8_lossy(&output.stderr);
                return Err(format!("{}: {}, {words}", program.display(), output.status));
            }
        }
        let mut times = Times::new();
        each_saved(&home, &self.baseline, &mut |saved| {
            times.extend([
                saved_time(saved).ok_or_else(|| format!("{} holds no estimates", saved.display()))?
            ]);
            Ok(())
        })?;
        Ok(times)
    }
}

/// The program, if cargo speaks of a bench that it has built.
fn bench(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_bench = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "bench");
    message["executable"].as_str().filter(|_| is_bench).map(PathBuf::from)
}

/// Calls `found` with every directory below `dir` where criterion saved something under this name.
fn each_saved(
    dir: &Path,
    baseline: &str,
    found: &mut dyn FnMut(&Path) -> Result<(), String>,
) -> Result<(), String> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        if path.ends_with(baseline) {
            found(&path)?;
        } else {
            each_saved(&path, baseline, found)?;
        }
    }
    Ok(())
}

/// The name of a path, and its time.
fn saved_time(saved: &Path) -> Option<(String, f64)> {
    let read =
        |file: &str| -> Option<Value> { serde_json::from_slice(&fs::read(saved.join(file)).ok()?).ok() };
    let (bench, estimates) = (read("benchmark.json")?, read("estimates.json")?);
    Some((bench["full_id"].as_str()?.to_owned(), estimates["median"]["point_estimate"].as_f64()?))
}
