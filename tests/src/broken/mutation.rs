//! The list of mutations, as text.

use std::fmt;

/// One change of the code, and what finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mutation {
    pub(super) name: String,
    /// Of which file, from the workspace's root.
    pub(super) file: String,
    /// What stands there once.
    pub(super) find: String,
    /// What stands there instead.
    pub(super) with: String,
    pub(super) finder: Finder,
}

/// A directed run that fails when the code is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finder {
    /// A line of `tests/scenarios`, by its name.
    Case(String),
    /// A test, by package, test binary and name.
    Test { package: String, binary: String, name: String },
}

impl fmt::Display for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Case(name) => write!(f, "the case \"{name}\""),
            Self::Test { package, binary, name } => write!(f, "{package}'s {binary}, {name}"),
        }
    }
}

/// The mutations of a file.
///
/// # Errors
/// The mutation that lacks something, and what.
pub(super) fn parse(text: &str) -> Result<Vec<Mutation>, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let blocks = lines.collect::<Vec<_>>();
    blocks.split(|line| line.trim().is_empty()).filter(|block| !block.is_empty()).map(mutation).collect()
}

fn mutation(block: &[&str]) -> Result<Mutation, String> {
    let name = block[0].trim().to_owned();
    // A field goes on in the lines after it, up to the next field.
    let mut fields: Vec<(&str, String)> = Vec::new();
    for line in &block[1..] {
        let field = ["file", "find", "with", "case", "test"].into_iter().find_map(|field| {
            line.strip_prefix("  ")?.strip_prefix(field)?.strip_prefix(':').map(|value| (field, value))
        });
        match (field, fields.last_mut()) {
            (Some((field, value)), _) => fields.push((field, value.trim().to_owned())),
            (None, Some((_, value))) => {
                value.push('\n');
                value.push_str(line);
            }
            (None, None) => return Err(format!("{name}: a line before any field: {line}")),
        }
    }
    let field = |wanted| fields.iter().find(|(field, _)| *field == wanted).map(|(_, value)| value.clone());
    let needed = |wanted| field(wanted).ok_or_else(|| format!("{name}: it has no `{wanted}:`"));
    let finder = match (field("case"), field("test")) {
        (Some(case), None) => Finder::Case(case),
        (None, Some(test)) => match test.split_whitespace().collect::<Vec<_>>()[..] {
            [package, binary, test] => {
                Finder::Test { package: package.into(), binary: binary.into(), name: test.into() }
            }
            _ => return Err(format!("{name}: a test is `PACKAGE BINARY NAME`")),
        },
        _ => return Err(format!("{name}: one of `case:` and `test:`")),
    };
    Ok(Mutation { file: needed("file")?, find: needed("find")?, with: needed("with")?, name, finder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutation_is_read_with_values_of_several_lines() {
        let text = "# a remark\n\none\n  file: a.rs\n  find: x\n    y\n  with: z\n  case: c\n";
        let read = parse(text).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].find.as_str(), read[0].with.as_str()), ("x\n    y", "z"));
        assert_eq!(read[0].finder, Finder::Case("c".into()));
        assert!(parse("one\n  file: a.rs\n  find: x\n  with: y\n").unwrap_err().contains("case"));
    }
}
