//! How the marked tests went when they were last run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Catalogue, Home};
use crate::scenario::Scenario;

/// How one test went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// It could not be tried here, and says why.
    Skipped(String),
    /// Nothing ran by its name.
    Missing,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed => f.write_str("FAILED"),
            Self::Skipped(why) => write!(f, "skipped: {why}"),
            Self::Missing => f.write_str("MISSING"),
        }
    }
}

/// Results by the names of tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results(BTreeMap<String, Verdict>);

impl Results {
    /// Reads what [`Self::write`] wrote; nothing if there is no such file.
    ///
    /// # Errors
    /// If it can't be read, or is none.
    pub fn read(path: &Path) -> Result<Self, String> {
        match std::fs::read_to_string(path) {
            Ok(text) => parse(&text).ok_or_else(|| format!("{}: these are no results", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Writes them, a line each.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let lines = self.0.iter().map(|(name, verdict)| format!("{verdict}\t{name}\n"));
        std::fs::write(path, lines.collect::<String>())
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// How a test went.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Verdict> {
        self.0.get(name)
    }

    /// The tests that did not hold, or that nothing ran.
    pub fn broken(&self) -> impl Iterator<Item = &str> {
        let broken = |verdict: &Verdict| matches!(verdict, Verdict::Failed | Verdict::Missing);
        self.0.iter().filter(move |(_, verdict)| broken(verdict)).map(|(name, _)| name.as_str())
    }
}

fn parse(text: &str) -> Option<Results> {
    let line = |line: &str| {
        let (verdict, name) = line.split_once('\t')?;
        let verdict = match verdict {
            "passed" => Verdict::Passed,
            "FAILED" => Verdict::Failed,
            "MISSING" => Verdict::Missing,
            _ => Verdict::Skipped(verdict.strip_prefix("skipped: ")?.to_owned()),
        };
        Some((name.to_owned(), verdict))
    };
    text.lines().map(line).collect::<Option<_>>().map(Results)
}

/// Runs every marked test of the workspace at `root`: with cargo, and scenario lines here.
///
/// Cargo builds them as `cargo test` does: with the machines' invariants checked.
///
/// # Errors
/// If cargo can't be run, or something does not build.
pub fn run(catalogue: &Catalogue, root: &Path) -> Result<Results, String> {
    let mut results = BTreeMap::new();
    let mut targets = BTreeMap::<_, BTreeMap<&str, String>>::new();
    for marked in catalogue.marked() {
        match &marked.home {
            Home::Target { package, arguments } => {
                let names = marked.paths.iter().map(String::as_str).zip(marked.names());
                targets.entry((package, arguments)).or_default().extend(names);
            }
            Home::Scenario { line } => {
                let held = Scenario::parse(line)?.run(false).is_ok();
                let verdict = if held { Verdict::Passed } else { Verdict::Failed };
                results.extend(marked.names().map(|name| (name, verdict.clone())));
            }
        }
    }
    for ((package, arguments), names) in targets {
        eprintln!("{package} {}: {} tests", arguments.join(" "), names.len());
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(root).args(["test", "--quiet", "-p", package]).args(arguments);
        command.arg("--").args(["--exact", "--show-output", "--format=pretty"]).args(names.keys());
        command.stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output().map_err(|error| format!("cargo: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !said.contains("test result: ") {
            return Err(format!("{package} {}: nothing was run", arguments.join(" ")));
        }
        results.extend(names.into_iter().map(|(path, name)| (name, verdict(&said, path))));
    }
    Ok(Results(results))
}

/// What a test program says about one of its tests.
fn verdict(said: &str, path: &str) -> Verdict {
    let result = said.lines().find_map(|line| {
        let result = line.strip_prefix("test ")?.strip_prefix(path)?;
        result.starts_with(' ').then(|| result.rsplit(' ').next())?
    });
    match result {
        Some("ok") => {
            let heading = format!("---- {path} stdout ----");
            let own = said.lines().skip_while(|line| *line != heading).skip(1);
            let why = own
                .take_while(|line| !line.starts_with("---- "))
                .find_map(|line| line.strip_prefix("skipped: "));
            why.map_or(Verdict::Passed, |why| Verdict::Skipped(why.to_owned()))
        }
        Some("FAILED") => Verdict::Failed,
        _ => Verdict::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "test a::b ... ok\ntest a::c - should panic ... ok\ntest d ... FAILED\ntest e ... ok\n\n\
                        ---- e stdout ----\nskipped: not for root\n\n---- a::b stdout ----\nwords\n\n\
                        test result: FAILED.\n";

    #[test]
    fn a_verdict_is_read_from_what_a_test_program_says() {
        let skipped = Verdict::Skipped("not for root".into());
        for (path, expected) in [
            ("a::b", Verdict::Passed),
            ("a::c", Verdict::Passed),
            ("a", Verdict::Missing),
            ("d", Verdict::Failed),
            ("e", skipped),
        ] {
            assert_eq!(verdict(SAID, path), expected, "{path}");
        }
    }

    #[test]
    fn results_read_back() {
        let all = [Verdict::Passed, Verdict::Failed, Verdict::Missing, Verdict::Skipped("why".into())];
        let results = Results(all.into_iter().enumerate().map(|(n, v)| (n.to_string(), v)).collect());
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("results");
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path), Ok(results.clone()));
        assert_eq!(results.broken().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(Results::read(&scratch.path().join("none")), Ok(Results::default()));
        std::fs::write(&path, "nonsense\n").unwrap();
        assert!(Results::read(&path).is_err());
    }
}
