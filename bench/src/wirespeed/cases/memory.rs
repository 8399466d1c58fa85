//! W3: memory to memory.

use std::io;

use crate::bare::memory;
use crate::plan::{Case, Plan, interleave};
use crate::report::{Report, Table};
use crate::roles;
use crate::way::Way;

const COPY: &str = "socket copy";
const CHECKED: &str = "bare loop with checksums";

pub(super) fn measure(plan: &Plan, report: &mut Report) -> io::Result<Table> {
    let bytes = plan.memory_bytes;
    let mut table = Table::new("W3", "memory to memory");
    let mut ways = Way::all(report);
    ways.extend(Way::narrow(report));
    let mut cases = vec![
        Case::new(COPY, move || memory::copy(bytes, false)),
        Case::new(CHECKED, move || memory::copy(bytes, true)),
    ];
    cases.extend(ways.iter().map(|way| Case::new(way.row(), move || roles::memory(way, bytes))));
    interleave(plan, cases, &mut table)?;
    for way in ways {
        table.ratio(way.row(), &[CHECKED], 0.95);
        table.ratio(way.row(), &[COPY], 0.0);
    }
    Ok(table)
}
