//! What is measured: each table on its own.

mod crowd;
mod memory;
mod one_file;
mod small_files;
mod small_state;

use std::io;
use std::path::{Path, PathBuf};

use crate::peers::Rsync;
use crate::plan::{Case, Plan};
use crate::report::{Report, Table};

/// Measures a table; what it leaves out it notes in the report.
type Measure = fn(&Plan, &mut Report) -> io::Result<Table>;

/// All of them, in the order in which they are measured: what removes much comes last.
pub(crate) const ALL: [(&str, Measure); 6] = [
    ("w3", memory::measure),
    ("w4", small_state::measure),
    ("w2", small_files::measure),
    ("w1", one_file::warm),
    ("w1c", one_file::cold),
    ("w5", crowd::measure),
];

/// Their names.
pub(crate) const NAMES: [&str; 6] = ["w1", "w1c", "w2", "w3", "w4", "w5"];

const RSYNC: &str = "rsync daemon, then sync";

/// rsync's row, if it is there; it is noted if not.
fn rsync<'a>(
    from: &Path,
    bytes: u64,
    next: &'a dyn Fn() -> io::Result<PathBuf>,
    report: &mut Report,
) -> Option<Case<'a>> {
    match Rsync::start(from) {
        Ok(rsync) => Some(Case::new(RSYNC, move || rsync.fetch(&next()?, bytes))),
        Err(why) => {
            report.note(format!("rsync is left out: {why}"));
            None
        }
    }
}
