//! What is measured, how large, and how often.

use std::io;
use std::path::PathBuf;

use crate::report::Table;
use crate::side::Measured;

/// The sizes of a run.
pub(crate) struct Plan {
    /// One large file.
    pub(crate) file_bytes: u64,
    /// Files of 4 KiB, and files of 256 KiB.
    pub(crate) small_files: usize,
    pub(crate) large_files: usize,
    /// From memory to memory.
    pub(crate) memory_bytes: u64,
    /// Fetches of 1 KiB in one round.
    pub(crate) fetches: usize,
    /// Rounds that count; one more warms up.
    pub(crate) rounds: usize,
    /// Where states are made and land.
    pub(crate) dir: PathBuf,
}

impl Plan {
    /// A large file has `size` bytes, all else is in proportion: 20 000 and 2 000 files to 4 GiB.
    pub(crate) fn new(size: u64, rounds: usize, dir: PathBuf) -> Self {
        let mib = (size >> 20).max(1);
        Self {
            file_bytes: mib << 20,
            small_files: (mib * 20_000 / 4096).max(1) as usize,
            large_files: (mib * 2_000 / 4096).max(1) as usize,
            memory_bytes: mib << 22,
            fetches: (mib * 20 / 4096).max(3) as usize,
            rounds,
            dir,
        }
    }
}

/// A row of a table, and what measures it once.
pub(crate) struct Case<'a> {
    row: String,
    measure: Box<dyn FnMut() -> io::Result<Measured> + 'a>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(row: impl Into<String>, measure: impl FnMut() -> io::Result<Measured> + 'a) -> Self {
        Self { row: row.into(), measure: Box::new(measure) }
    }
}

/// Measures all cases in turn, as often as is planned and once to warm up: so each of them sees the same minutes. Every
/// other round goes backwards: what one case leaves to the disk is not always paid by the same other one.
pub(crate) fn interleave(plan: &Plan, mut cases: Vec<Case<'_>>, table: &mut Table) -> io::Result<()> {
    for round in 0..=plan.rounds {
        for case in &mut cases {
            let measured = (case.measure)()?;
            eprintln!("{} {}: {:.4} s", table.name(), case.row, measured.seconds);
            if round > 0 || plan.rounds == 0 {
                table.add(&case.row, measured);
            }
        }
        if round > 0 {
            cases.reverse();
        }
    }
    Ok(())
}
