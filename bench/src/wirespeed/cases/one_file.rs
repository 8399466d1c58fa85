//! W1: one large file to durable, from the page cache; and W1c: from the disk.

use std::io;
use std::path::Path;
use std::thread;

use clap::ValueEnum;

use super::{RSYNC, rsync};
use crate::bare::{memory, relay};
use crate::latency::Latency;
use crate::peers::Pipe;
use crate::plan::{Case, Plan, interleave};
use crate::report::{Report, Table};
use crate::side::Measured;
use crate::tree::{self, Before, Landings};
use crate::way::{WAYS, Way};
use crate::{disk, roles};

const COPY: &str = "socket copy";
const WRITE: &str = "direct write";
const READ: &str = "direct read";
const BESIDE_COPY: &str = "direct write beside a socket copy";
const BESIDE_READ: &str = "direct write beside a direct read";
const BUFFERED: &str = "buffered write, then sync";
const NO_JOURNAL: &str = "longhaul std, no journal";

/// The source is in the page cache.
pub(super) fn warm(plan: &Plan, report: &mut Report) -> io::Result<Table> {
    let mut table = Table::new("W1", "one file, page cache to durable");
    let source = &tree::file(&plan.dir.join("file"), plan.file_bytes)?;
    let bytes = plan.file_bytes;
    let landings = Landings::new(&plan.dir, "w1", Before::Removed);
    let next = || landings.next();
    let (ways, unchecked) = (Way::all(report), Way::unchecked(report));
    let mut cases = vec![Case::new(COPY, || memory::copy(bytes, false))];
    if takes_direct(&next()?, report) {
        cases.push(Case::new(WRITE, || disk::write(&next()?, bytes, true)));
        cases.push(Case::new(BESIDE_COPY, || {
            let to = next()?;
            at_once(|| disk::write(&to, bytes, true), || memory::copy(bytes, false))
        }));
        cases.extend(
            relay::By::value_variants()
                .iter()
                .map(|by| Case::new(by.row(), || relay::copy(*by, source, &next()?, bytes))),
        );
    }
    cases.push(Case::new(BUFFERED, || disk::write(&next()?, bytes, false)));
    cases.push(Case::new(NO_JOURNAL, || roles::files(&WAYS[0], source, &next()?, false)));
    let all = ways.iter().chain(&unchecked);
    cases.extend(all.map(|way| Case::new(way.row(), || roles::files(way, source, &next()?, true))));
    cases.extend(rsync(source, bytes, &next, report));
    for pipe in Pipe::ALL {
        match pipe.find() {
            Ok(()) => cases.push(Case::new(pipe.name(), move || pipe.copy(source, &next()?, bytes))),
            Err(why) => report.note(format!("{} is left out: {why}", pipe.name())),
        }
    }
    interleave(plan, cases, &mut table)?;
    table.ratio(WAYS[0].row(), &[NO_JOURNAL], 0.98);
    for way in ways {
        for by in relay::By::value_variants() {
            table.ratio(way.row(), &[by.row()], way.targets.bare_loop);
        }
        table.ratio(way.row(), &[COPY, WRITE], way.targets.limits);
        table.ratio(way.row(), &[BUFFERED], 0.0);
        table.ratio(way.row(), &[RSYNC], 0.0);
        if let Some((sender, receiver)) = way.targets.cpu_per_gb {
            table.cpu(way.row(), sender, receiver);
        }
        table.latency(way.row(), &Latency::measure(way, source, &landings.next()?)?);
    }
    Ok(table)
}

/// Nothing of the source is in the page cache.
pub(super) fn cold(plan: &Plan, report: &mut Report) -> io::Result<Table> {
    let mut table = Table::new("W1c", "one file, disk to durable");
    let source = &tree::file(&plan.dir.join("cold"), plan.file_bytes)?;
    let bytes = plan.file_bytes;
    let landings = Landings::new(&plan.dir, "w1c", Before::Removed);
    let next = || {
        tree::forget(source)?;
        landings.next()
    };
    let ways = Way::all(report);
    let mut cases = Vec::new();
    if takes_direct(&next()?, report) {
        cases.push(Case::new(READ, || next().and_then(|_| disk::read(source, bytes))));
        cases.push(Case::new(WRITE, || disk::write(&next()?, bytes, true)));
        cases.push(Case::new(BESIDE_READ, || {
            let to = next()?;
            at_once(|| disk::write(&to, bytes, true), || disk::read(source, bytes))
        }));
        cases.extend(
            relay::By::value_variants()
                .iter()
                .map(|by| Case::new(by.row(), || relay::copy(*by, source, &next()?, bytes))),
        );
    }
    cases.extend(ways.iter().map(|way| Case::new(way.row(), || roles::files(way, source, &next()?, true))));
    cases.extend(rsync(source, bytes, &next, report));
    interleave(plan, cases, &mut table)?;
    for way in ways {
        table.ratio(way.row(), &[BESIDE_READ], 0.0);
        for by in relay::By::value_variants() {
            table.ratio(way.row(), &[by.row()], 0.0);
        }
        table.ratio(way.row(), &[RSYNC], 0.0);
    }
    Ok(table)
}

/// Whether files can be written past the page cache here; noted if not.
fn takes_direct(to: &Path, report: &mut Report) -> bool {
    let tried = disk::write(to, 1 << 20, true);
    tried.inspect_err(|why| report.note(format!("what passes the page cache by is left out: {why}"))).is_ok()
}

/// Both at once, until both are over; the bytes are those of one of them.
fn at_once(
    write: impl FnOnce() -> io::Result<Measured>,
    other: impl FnOnce() -> io::Result<Measured> + Send,
) -> io::Result<Measured> {
    thread::scope(|scope| {
        let other = scope.spawn(other);
        let written = write()?;
        let other = other.join().map_err(|_| io::Error::other("it panicked"))??;
        Ok(Measured {
            bytes: written.bytes,
            seconds: written.seconds.max(other.seconds),
            ..Measured::default()
        })
    })
}
