//! The marks above tests: `// Catalogue: B1, F3`, and `# Catalogue: F63` above a scenario line.
//!
//! Sources are read as a compiler finds them, from the root of each target along its `mod` lines, so
//! that a mark in a file that nothing includes is found out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::Number;
use crate::scenario::Scenario;

const WORD: &str = "Catalogue:";
/// The table of the conformance suite: a case that is not in it is never run.
const TABLE: &str = "tests/src/conformance/mod.rs";
/// The transports under the suite.
const SUITES: &str = "tests/tests/conformance.rs";

/// Who runs a marked test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Home {
    /// `cargo test -p PACKAGE --test NAME`, `--lib` or `--bins`.
    Target {
        /// The package.
        package: String,
        /// What selects the target.
        arguments: Vec<String>,
    },
    /// The simulator.
    Scenario {
        /// The line itself.
        line: String,
    },
}

/// A test that proves rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Marked {
    /// The file and line of its mark, from the workspace's root.
    pub at: String,
    /// The rows.
    pub numbers: Vec<Number>,
    /// Who runs it.
    pub home: Home,
    /// Its names there: a conformance case has one for each transport and way.
    pub paths: Vec<String>,
}

impl Marked {
    /// Its names, each with where it is.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.paths.iter().map(|path| match &self.home {
            Home::Target { package, arguments } => match &arguments[..] {
                [_, target] => format!("{package}::{target}::{path}"),
                _ => format!("{package}::{path}"),
            },
            Home::Scenario { .. } => format!("longhaul-tests::scenarios::{path}"),
        })
    }
}

/// All marks of the workspace at `root`.
pub(super) fn collect(root: &Path) -> Result<Vec<Marked>, String> {
    let mut collector = Collector { root, marked: Vec::new(), read: BTreeSet::new(), wrong: Vec::new() };
    let manifest = text(&root.join("Cargo.toml"))?;
    let members = between(&manifest, "members = [", "]").ok_or("Cargo.toml: it has no members")?;
    for member in members.split(',').map(|member| member.trim().trim_matches('"')) {
        collector.member(member)?;
    }
    collector.scenarios()?;
    let mut files = Vec::new();
    members.split(',').for_each(|member| sources(&root.join(member.trim().trim_matches('"')), &mut files));
    for file in files.iter().filter(|file| !collector.read.contains(*file)) {
        if text(file)?.lines().any(|line| mark_of(line, "//").is_some()) {
            collector.wrong.push(format!("{}: no target includes it", collector.shown(file)));
        }
    }
    if collector.wrong.is_empty() { Ok(collector.marked) } else { Err(collector.wrong.join("\n")) }
}

struct Collector<'a> {
    root: &'a Path,
    marked: Vec<Marked>,
    read: BTreeSet<PathBuf>,
    wrong: Vec<String>,
}

impl Collector<'_> {
    fn member(&mut self, member: &str) -> Result<(), String> {
        let home = self.root.join(member);
        let manifest = text(&home.join("Cargo.toml"))?;
        let package = between(&manifest, "name = \"", "\"").ok_or(format!("{member}: no name"))?.to_owned();
        let of = |arguments: &[&str]| Home::Target {
            package: package.clone(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
        };
        for (file, home_of) in [("src/lib.rs", of(&["--lib"])), ("src/main.rs", of(&["--bins"]))] {
            if home.join(file).is_file() {
                self.file(&home.join(file), &home.join("src"), "", &home_of)?;
            }
        }
        for entry in fs::read_dir(home.join("tests")).into_iter().flatten().flatten() {
            let path = entry.path();
            let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            let target = of(&["--test", name]);
            if path.extension().is_some_and(|extension| extension == "rs") {
                self.file(&path, &home.join("tests"), "", &target)?;
            } else if path.join("main.rs").is_file() {
                self.file(&path.join("main.rs"), &path, "", &target)?;
            }
        }
        Ok(())
    }

    /// Reads a file of a target, whose own modules lie in `below`, and whose tests begin with `prefix`.
    fn file(&mut self, path: &Path, below: &Path, prefix: &str, home: &Home) -> Result<(), String> {
        self.read.insert(path.to_owned());
        let content = text(path)?;
        for name in content.lines().filter_map(module_elsewhere) {
            let (flat, deep) = (below.join(format!("{name}.rs")), below.join(name).join("mod.rs"));
            let inner = format!("{prefix}{name}::");
            if flat.is_file() || deep.is_file() {
                let file = if flat.is_file() { flat } else { deep };
                self.file(&file, &below.join(name), &inner, home)?;
            }
        }
        for found in marks_in(&content) {
            let at = format!("{}:{}", self.shown(path), found.line);
            let (numbers, test) = match (found.numbers, found.test) {
                (Ok(numbers), Some(test)) => (numbers, test),
                (Err(word), _) => {
                    self.wrong.push(format!("{at}: `{word}` is no row's number"));
                    continue;
                }
                (_, None) => {
                    self.wrong.push(format!("{at}: no test follows the mark"));
                    continue;
                }
            };
            let marked = match test {
                Test::Plain(name) => {
                    Marked { at, numbers, home: home.clone(), paths: vec![format!("{prefix}{name}")] }
                }
                Test::Case(name) => {
                    // `prefix` is `conformance::MODULE::`.
                    let module = prefix.trim_end_matches("::").rsplit("::").next().unwrap_or_default();
                    let case = format!("{module}::{name}");
                    if !text(&self.root.join(TABLE))?.lines().any(|line| line.trim() == case) {
                        self.wrong.push(format!("{at}: {case} is not in the suite's table"));
                    }
                    let package = "longhaul-tests".to_owned();
                    let home =
                        Home::Target { package, arguments: vec!["--test".into(), "conformance".into()] };
                    let suites = text(&self.root.join(SUITES))?;
                    let paths = suites_in(&suites)
                        .flat_map(|suite| ["fetch", "push"].map(|way| format!("{suite}{way}::{name}")));
                    Marked { at, numbers, home, paths: paths.collect() }
                }
            };
            self.marked.push(marked);
        }
        Ok(())
    }

    fn scenarios(&mut self) -> Result<(), String> {
        let home = self.root.join("tests/scenarios");
        let entries = fs::read_dir(&home).map_err(|error| format!("{}: {error}", home.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let content = text(&path)?;
            let mut lines = content.lines().enumerate();
            while let Some((number, line)) = lines.next() {
                let Some(numbers) = mark_of(line, "#") else { continue };
                let at = format!("{}:{}", self.shown(&path), number + 1);
                let next = lines.next().map_or("", |(_, line)| line);
                match (numbers, Scenario::parse(next), next.split_once(':')) {
                    (Err(word), ..) => self.wrong.push(format!("{at}: `{word}` is no row's number")),
                    (Ok(numbers), Ok(_), Some((name, _))) => {
                        let file = path.file_stem().unwrap_or_default().to_string_lossy();
                        let (home, paths) =
                            (Home::Scenario { line: next.into() }, vec![format!("{file}::{name}")]);
                        self.marked.push(Marked { at, numbers, home, paths });
                    }
                    _ => self.wrong.push(format!("{at}: no case follows the mark")),
                }
            }
        }
        Ok(())
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(self.root).unwrap_or(path).display().to_string()
    }
}

fn text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(inside, _)| inside)
}

/// All sources below a directory.
fn sources(below: &Path, files: &mut Vec<PathBuf>) {
    for path in fs::read_dir(below).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The name in `mod name;`.
fn module_elsewhere(line: &str) -> Option<&str> {
    after_visibility(line.trim_start()).strip_prefix("mod ")?.strip_suffix(';')
}

/// The name in `mod name {`.
fn module_here(line: &str) -> Option<&str> {
    after_visibility(line.trim_start()).strip_prefix("mod ")?.strip_suffix(" {")
}

fn after_visibility(line: &str) -> &str {
    match line.strip_prefix("pub") {
        Some(rest) => rest.split_once(' ').map_or(rest, |(_, rest)| rest),
        None => line,
    }
}

/// The rows of a mark, or the word that is none.
fn mark_of(line: &str, comment: &str) -> Option<Result<Vec<Number>, String>> {
    let rows = line.trim_start().strip_prefix(comment)?.trim_start().strip_prefix(WORD)?;
    let number = |word: &str| Number::parse(word.trim()).ok_or_else(|| word.trim().to_owned());
    Some(rows.split(',').map(number).collect())
}

struct Found {
    line: usize,
    numbers: Result<Vec<Number>, String>,
    test: Option<Test>,
}

#[derive(Debug, PartialEq, Eq)]
enum Test {
    /// A `#[test]`, with the modules of its file.
    Plain(String),
    /// A case of the conformance suite.
    Case(String),
}

/// The modules that a line stands in; rustfmt closes each at the indentation where it began.
#[derive(Default)]
struct Inside<'a>(Vec<(usize, &'a str)>);

impl<'a> Inside<'a> {
    fn line(&mut self, line: &'a str) {
        let indent = line.len() - line.trim_start().len();
        if let Some(name) = module_here(line) {
            self.0.push((indent, name));
        } else if line.trim_start() == "}" && self.0.last().is_some_and(|(began, _)| *began == indent) {
            self.0.pop();
        }
    }

    fn prefix(&self) -> String {
        self.0.iter().flat_map(|(_, name)| [*name, "::"]).collect()
    }
}

fn marks_in(text: &str) -> Vec<Found> {
    let (mut found, mut modules) = (Vec::new(), Inside::default());
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        modules.line(line);
        if let Some(numbers) = mark_of(line, "//") {
            found.push(Found {
                line: at + 1,
                numbers,
                test: test_after(&lines[at + 1..], &modules.prefix()),
            });
        }
    }
    found
}

/// The test below a mark: nothing but comments and attributes may stand between them.
fn test_after(lines: &[&str], prefix: &str) -> Option<Test> {
    let mut is_test = false;
    for line in lines.iter().map(|line| line.trim_start()) {
        if line.starts_with("#[") {
            is_test |= line == "#[test]";
        } else if let Some(name) = line.strip_prefix("fn ").filter(|_| is_test) {
            return Some(Test::Plain(format!("{prefix}{}", name.split('(').next()?)));
        } else if let Some(case) = line.strip_prefix("pub fn ") {
            let (name, arguments) = case.split_once('(')?;
            return arguments.starts_with("rig: &Rig<'_>)").then(|| Test::Case(name.to_owned()));
        } else if !line.starts_with("//") || mark_of(line, "//").is_some() {
            return None;
        }
    }
    None
}

/// The modules in which the conformance suite is put over a transport.
fn suites_in(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut inside = Inside::default();
    text.lines().filter_map(move |line| {
        inside.line(line);
        line.trim_start().starts_with("conformance!(").then(|| inside.prefix())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text with marks, written otherwise here: these are none of this file's.
    fn text(lines: &[&str]) -> String {
        lines.join("\n").replace('@', "// Catalogue:")
    }

    #[test]
    fn a_mark_belongs_to_the_test_below_it() {
        let text = text(&[
            "@ B1, F2",
            "#[test]",
            "fn one() {",
            "}",
            "mod a {",
            "    mod b {",
            "        @ F3",
            "        /// Words.",
            "        #[test]",
            "        fn two() {}",
            "    }",
            "}",
            "/// Words.",
            "@ F4",
            "pub fn three(rig: &Rig<'_>) {",
        ]);
        let found: Vec<_> = marks_in(&text).into_iter().map(|found| (found.line, found.test)).collect();
        let (one, two) = (Test::Plain("one".into()), Test::Plain("a::b::two".into()));
        assert_eq!(found, [(1, Some(one)), (7, Some(two)), (14, Some(Test::Case("three".into())))]);
        assert_eq!(marks_in(&text)[0].numbers, Ok(vec![Number::BadInput(1), Number::Fault(2)]));
    }

    #[test]
    fn a_mark_without_a_test_and_a_word_that_is_no_row_are_found_out() {
        for lines in [&["@ B1"][..], &["@ B1", "fn helper() {}"], &["@ B1", "", "#[test]", "fn x() {}"]] {
            assert!(marks_in(&text(lines))[0].test.is_none(), "{lines:?}");
        }
        assert_eq!(marks_in(&text(&["@ B1, X"]))[0].numbers, Err("X".to_owned()));
    }

    #[test]
    fn the_suite_is_found_in_its_module() {
        let text = "mod std_transport {\n    use x;\n    impl A {\n    }\n    conformance!(Std);\n}\nconformance!(B);\n";
        assert_eq!(suites_in(text).collect::<Vec<_>>(), ["std_transport::", ""]);
    }
}
