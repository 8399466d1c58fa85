//! The state that is fetched, and what stands at a destination.

use std::fs;
use std::path::Path;

/// More than a state that is landed without a journal.
const LARGE: usize = 1_500_000;
const SMALL: usize = 12;

/// Makes a state that bears `mark` in every file.
pub(super) fn make(root: &Path, mark: &str) {
    fs::create_dir_all(root.join("dir/empty")).expect("room for a state");
    fs::write(root.join("large"), mark.repeat(LARGE / mark.len())).expect("room for a state");
    for n in 0..SMALL {
        fs::write(root.join(format!("dir/{n}")), format!("{mark}{n}")).expect("room for a state");
    }
    fs::hard_link(root.join("dir/0"), root.join("dir/linked")).expect("room for a state");
    std::os::unix::fs::symlink("dir/0", root.join("symbolic")).expect("room for a state");
}

/// The mark of the state at `root`; nothing if there is none, and what is wrong if it is not whole.
pub(super) fn shows(root: &Path) -> String {
    if fs::symlink_metadata(root).is_err() {
        return String::new();
    }
    let large = fs::read_to_string(root.join("large")).unwrap_or_default();
    let mark = large.get(..3).unwrap_or_default().to_owned();
    let small =
        |n: usize| fs::read_to_string(root.join(format!("dir/{n}"))).ok() == Some(format!("{mark}{n}"));
    let whole = large == mark.repeat(LARGE / 3)
        && (0..SMALL).all(small)
        && fs::read_to_string(root.join("dir/linked")).ok() == Some(format!("{mark}0"))
        && root.join("dir/empty").is_dir()
        && fs::read_link(root.join("symbolic")).is_ok_and(|target| target == Path::new("dir/0"))
        && fs::read_dir(root.join("dir")).is_ok_and(|names| names.count() == SMALL + 2);
    if whole { mark } else { format!("a broken {mark:?}") }
}
