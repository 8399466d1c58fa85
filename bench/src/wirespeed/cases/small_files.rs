//! W2: many small files, to durable.

use std::io;

use super::{RSYNC, rsync};
use crate::peers;
use crate::plan::{Case, Plan, interleave};
use crate::report::{Report, Table};
use crate::roles;
use crate::tree::{self, Before, Landings};
use crate::way::{WAYS, Way};

const COPY: &str = "cp -r, then sync";
const NO_JOURNAL: &str = "longhaul std, no journal";

pub(super) fn measure(plan: &Plan, report: &mut Report) -> io::Result<Table> {
    let mut table = Table::new("W2", "small files to durable");
    let source = tree::make(&plan.dir.join("tree"), plan.small_files, plan.large_files)?;
    let (path, bytes) = (source.path.as_path(), source.bytes);
    let landings = Landings::new(&plan.dir, "w2", Before::Kept);
    let next = || landings.next();
    let ways = Way::all(report);
    let mut cases = vec![
        Case::new(NO_JOURNAL, || roles::files(&WAYS[0], path, &next()?, false)),
        Case::new(COPY, || peers::copy(path, &next()?, bytes)),
    ];
    cases.extend(ways.iter().map(|way| Case::new(way.row(), || roles::files(way, path, &next()?, true))));
    cases.extend(rsync(path, bytes, &next, report));
    interleave(plan, cases, &mut table)?;
    table.ratio(WAYS[0].row(), &[NO_JOURNAL], 0.98);
    for way in ways {
        table.ratio(way.row(), &[RSYNC], way.targets.rsync);
        table.ratio(way.row(), &[COPY], way.targets.cp);
    }
    Ok(table)
}
