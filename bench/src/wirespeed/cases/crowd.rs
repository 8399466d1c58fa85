//! W5: a file to eight joiners at once, to durable; beside one joiner that gets as much as all of them.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use crate::plan::{Case, Plan, interleave};
use crate::report::{Report, Table};
use crate::roles::{self, join_path, provide_path};
use crate::side::{Cost, Measured, Side};
use crate::tree::{self, Before, Landings};
use crate::way::Way;

const JOINERS: usize = 8;

pub(super) fn measure(plan: &Plan, report: &mut Report) -> io::Result<Table> {
    let mut table = Table::new("W5", "eight joiners at once, page cache to durable");
    let whole = &tree::file(&plan.dir.join("whole"), plan.file_bytes)?;
    let part_bytes = plan.file_bytes / JOINERS as u64;
    let part = &tree::file(&plan.dir.join("part"), part_bytes)?;
    let landings = Landings::new(&plan.dir, "w5", Before::Removed);
    let ways = Way::all(report);
    let spread = Way::spread(report);
    let cases = ways.iter().flat_map(|way| {
        let landings = &landings;
        [
            Case::new(alone(way), move || roles::files(way, whole, &landings.next()?, true)),
            Case::new(crowd(way), move || gather(way, part, &landings.next()?, part_bytes)),
        ]
    });
    let more = spread.iter().map(|way| {
        let landings = &landings;
        Case::new(crowd(way), move || gather(way, part, &landings.next()?, part_bytes))
    });
    interleave(plan, cases.chain(more).collect(), &mut table)?;
    let one_ring: Vec<_> = ways.iter().filter(|way| way.is_ring()).collect();
    for way in &ways {
        table.ratio(crowd(way), &[&alone(way)], 0.9);
        table.fairness(crowd(way), 0.5);
    }
    for way in spread {
        // What more rings give over one.
        for one in &one_ring {
            table.ratio(crowd(way), &[&crowd(one)], 0.0);
        }
        table.fairness(crowd(way), 0.5);
    }
    Ok(table)
}

fn alone(way: &Way) -> String {
    format!("{}, one joiner", way.row())
}

fn crowd(way: &Way) -> String {
    format!("{}, {JOINERS} joiners", way.row())
}

/// All joiners, each a process of its own, from one provider into one directory. It takes until the last one is done.
fn gather(way: &Way, from: &Path, to: &Path, bytes: u64) -> io::Result<Measured> {
    fs::create_dir(to)?;
    let (provider, address) = Side::listen(&provide_path(way, from, JOINERS))?;
    let started = Instant::now();
    let joiners = (0..JOINERS)
        .map(|n| Side::start(&join_path(way, &address, &to.join(n.to_string()), true)))
        .collect::<io::Result<Vec<_>>>()?;
    let ended = joiners.into_iter().map(Side::finish).collect::<io::Result<Vec<_>>>()?;
    let seconds = started.elapsed().as_secs_f64();
    let provider = provider.finish()?;
    if ended.iter().any(|joiner| joiner.told["digest"] != provider.told["digest"]) {
        return Err(io::Error::other("the joiners do not have the same state"));
    }
    let times = ended.iter().map(|joiner| joiner.seconds);
    let (fastest, slowest) = (times.clone().fold(f64::INFINITY, f64::min), times.fold(0.0, f64::max));
    let receiver = Cost {
        cpu_seconds: ended.iter().map(|joiner| joiner.cost.cpu_seconds).sum(),
        peak_bytes: ended.iter().map(|joiner| joiner.cost.peak_bytes).max().unwrap_or(0),
    };
    Ok(Measured {
        bytes: bytes * JOINERS as u64,
        seconds,
        sender: Some(provider.cost),
        receiver: Some(receiver),
        digest: provider.told["digest"].as_str().unwrap_or_default().to_owned(),
        fairness: Some(fastest / slowest),
    })
}
