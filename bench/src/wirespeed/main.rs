//! How fast longhaul moves state on this machine, against what the machine can do at all, and against
//! the tools that people use today.
//!
//! Every figure of one table comes from one run: rounds are interleaved, the first is a warm-up and is
//! thrown away, medians and spreads are shown. Each side of a transfer is a process of its own, so
//! that CPU seconds and peak memory are known a side. Ratios hold from machine to machine; absolute
//! times do not.
//!
//! ```text
//! cargo run --release -p longhaul-bench --bin wirespeed            # full size
//! cargo run --release -p longhaul-bench --bin wirespeed -- --small # a size for CI
//! ```

mod bare;
mod disk;
mod peers;
mod report;
mod roles;
mod side;
mod tree;

use std::path::PathBuf;

use clap::Parser;

use report::Report;
use side::Measured;

/// Measures longhaul against the limits of this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    role: Option<roles::Role>,
    /// Sizes for CI: everything runs, nothing says much.
    #[arg(long)]
    small: bool,
    /// Rounds that count; one more warms up.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these: w1, w2, w3.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where states are made and land: a directory on the disk to be measured.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Where to write all figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What is measured, and how large.
struct Plan {
    w1_bytes: u64,
    w2_small: usize,
    w2_large: usize,
    w3_bytes: u64,
    rounds: usize,
    dir: PathBuf,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    if let Some(role) = &arguments.role {
        return role.play();
    }
    let (w1_bytes, w2_small, w2_large, w3_bytes) =
        if arguments.small { (64 << 20, 400, 40, 256 << 20) } else { (4 << 30, 20_000, 2_000, 16 << 30) };
    // What lands must not land in a directory that is part of what is measured next.
    let dir = tempfile::Builder::new().prefix("wirespeed.").tempdir_in(&arguments.dir)?;
    let plan = Plan {
        w1_bytes,
        w2_small,
        w2_large,
        w3_bytes,
        rounds: if arguments.small { 1 } else { arguments.rounds },
        dir: dir.path().canonicalize()?,
    };
    let wanted = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
    let mut report = Report::new();
    if wanted("w3") {
        memory_to_memory(&plan, &mut report)?;
    }
    if wanted("w2") {
        small_files(&plan, &mut report)?;
    }
    if wanted("w1") {
        one_file(&plan, &mut report)?;
    }
    report.print();
    if let Some(path) = &arguments.json {
        std::fs::write(path, report.to_json())?;
    }
    Ok(())
}

type Case<'a> = (&'static str, Box<dyn FnMut() -> std::io::Result<Measured> + 'a>);

/// Runs all cases in turn, `rounds` times and once to warm up.
fn interleave(
    table: &'static str,
    plan: &Plan,
    mut cases: Vec<Case<'_>>,
    report: &mut Report,
) -> std::io::Result<()> {
    for round in 0..=plan.rounds {
        for (name, case) in &mut cases {
            let measured = case()?;
            eprintln!("{table} {name}: {:.3} s", measured.seconds);
            if round > 0 || plan.rounds == 0 {
                report.add(table, name, measured);
            }
        }
    }
    Ok(())
}

fn memory_to_memory(plan: &Plan, report: &mut Report) -> std::io::Result<()> {
    let bytes = plan.w3_bytes;
    let cases: Vec<Case<'_>> = vec![
        ("socket copy", Box::new(move || bare::copy(bytes, false))),
        ("bare loop with checksums", Box::new(move || bare::copy(bytes, true))),
        ("longhaul std", Box::new(move || roles::memory(bytes))),
    ];
    interleave("W3", plan, cases, report)?;
    report.ratio("W3", "longhaul std", "bare loop with checksums", 0.95);
    report.ratio("W3", "longhaul std", "socket copy", 0.0);
    Ok(())
}

fn small_files(plan: &Plan, report: &mut Report) -> std::io::Result<()> {
    let source = tree::make(&plan.dir.join("tree"), plan.w2_small, plan.w2_large)?;
    let bytes = source.bytes;
    let landings = tree::Landings::new(&plan.dir, "w2");
    let landings = std::cell::RefCell::new(landings);
    let next = || landings.borrow_mut().next();
    let mut cases: Vec<Case<'_>> = vec![
        ("longhaul std", Box::new(|| roles::files(&source.path, &next(), bytes))),
        ("cp -r, then sync", Box::new(|| peers::copy(&source.path, &next(), bytes))),
    ];
    match peers::Rsync::start(&source.path) {
        Ok(rsync) => cases.push((
            "rsync daemon, then sync",
            Box::new({
                let next = &next;
                move || rsync.fetch(&next(), bytes)
            }),
        )),
        Err(why) => report.note(format!("rsync is left out: {why}")),
    }
    interleave("W2", plan, cases, report)?;
    report.ratio("W2", "longhaul std", "rsync daemon, then sync", 1.4);
    report.ratio("W2", "longhaul std", "cp -r, then sync", 0.0);
    Ok(())
}

fn one_file(plan: &Plan, report: &mut Report) -> std::io::Result<()> {
    let source = tree::file(&plan.dir.join("file"), plan.w1_bytes)?;
    let bytes = plan.w1_bytes;
    let landings = tree::Landings::new(&plan.dir, "w1");
    let landings = std::cell::RefCell::new(landings);
    let next = || landings.borrow_mut().next();
    let mut cases: Vec<Case<'_>> = vec![
        ("socket copy", Box::new(move || bare::copy(bytes, false))),
        ("buffered write, then sync", Box::new(|| disk::write(&next(), bytes, false))),
        ("longhaul std", Box::new(|| roles::files(&source, &next(), bytes))),
    ];
    match disk::write(&next(), 1 << 20, true) {
        Ok(_) => {
            cases.insert(1, ("direct write", Box::new(|| disk::write(&next(), bytes, true))));
        }
        Err(why) => report.note(format!("the direct write is left out: {why}")),
    }
    match peers::Rsync::start(&source) {
        Ok(rsync) => cases.push((
            "rsync daemon, then sync",
            Box::new({
                let next = &next;
                move || rsync.fetch(&next(), bytes)
            }),
        )),
        Err(why) => report.note(format!("rsync is left out: {why}")),
    }
    interleave("W1", plan, cases, report)?;
    report.ratio("W1", "longhaul std", "direct write", 0.0);
    report.ratio("W1", "longhaul std", "buffered write, then sync", 0.0);
    report.ratio("W1", "longhaul std", "rsync daemon, then sync", 0.0);
    Ok(())
}
