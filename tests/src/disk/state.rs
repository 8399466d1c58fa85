//! The states that are moved, and those that they replace.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::conformance::tree::{noise, set, write, write_sparse};

/// What a state is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// More than is landed without a journal, and so many small files.
    Tree(u64),
    /// Little enough to be landed without a journal.
    Small,
    /// One file, more than is landed without a journal.
    File,
}

/// Makes the state that `seed` draws.
pub(crate) fn make(root: &Path, shape: Shape, seed: u64) -> std::io::Result<()> {
    let content = |n: u64, len: usize| noise(seed ^ (n << 32), len);
    // The same wherever it is made: every time is set.
    let file = |name: &str, mode: u32, content: &[u8]| {
        let path = if name.is_empty() { root.to_path_buf() } else { root.join(name) };
        write(&path, content);
        set(&path, mode, (1_500_000_000 + content.len() as u64, seed as u32 % 1000));
    };
    let small_files = match shape {
        Shape::File => {
            file("", 0o640, &content(1, 3 << 20));
            return Ok(());
        }
        Shape::Tree(small_files) => {
            file("large", 0o600, &content(1, (3 << 20) + 123));
            file("a/medium", 0o644, &content(2, 700_001));
            let sparse = root.join("a/sparse");
            write_sparse(&sparse, 2 << 20, &[(1 << 20, &content(3, 100_000))]);
            set(&sparse, 0o644, (1_300_000_000, 1));
            small_files
        }
        Shape::Small => {
            file("large", 0o644, &content(1, 300_000));
            12
        }
    };
    for n in 0..small_files {
        let mode = if n % 5 == 0 { 0o400 } else { 0o644 };
        file(&format!("a/{}/b/{n}", n % 3), mode, &content(4 + n, (n * 1237 % 9000) as usize));
    }
    file("nothing", 0o644, b"");
    fs::create_dir_all(root.join("empty/er"))?;
    fs::hard_link(root.join("a/0/b/0"), root.join("linked"))?;
    symlink("a/0/b/0", root.join("symbolic"))?;
    let directories = ["a/0/b", "a/1/b", "a/2/b", "a/0", "a/1", "a/2", "a", "empty/er", "empty", ""];
    for (n, directory) in (0..).zip(directories) {
        set(&root.join(directory), 0o750, (1_400_000_000 + n, seed as u32 % 1000));
    }
    Ok(())
}
