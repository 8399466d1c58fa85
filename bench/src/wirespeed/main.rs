//! How fast longhaul moves state on this machine, against what the machine can do at all, and against
//! the tools that people use today.
//!
//! Every figure of one table comes from one run: rounds are interleaved, the first is a warm-up and is
//! thrown away, medians and spreads are shown. Each side of a transfer is a process of its own, so
//! that CPU seconds and peak memory are known a side. Ratios hold from machine to machine; absolute
//! times do not.
//!
//! ```text
//! cargo build --release --workspace
//! target/release/wirespeed                                  # full size
//! target/release/wirespeed --small                          # a size for CI
//! target/release/wirespeed --only w1 --json one.json        # a table of it
//! target/release/wirespeed join one.json two.json --svg chart.svg
//! ```
//!
//! | table | what is moved |
//! | --- | --- |
//! | W1 | one file, from the page cache to durable |
//! | W1c | the same, from the disk: nothing of it is in the page cache |
//! | W2 | many small files, to durable |
//! | W3 | memory to memory |
//! | W4 | 1 KiB, command to command |
//! | W5 | a file to eight joiners at once, to durable |
//!
//! What is compared with longhaul stands in `bare` (the same system calls without a protocol), `disk` (the disk
//! alone) and `peers` (other tools); longhaul itself, by each transport and data path, in `way`.

mod bare;
mod cases;
mod disk;
mod latency;
mod peers;
mod plan;
mod report;
mod roles;
mod side;
mod tree;
mod way;

use std::io::Write;
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};

use plan::Plan;
use report::Report;

/// Measures longhaul against the limits of this machine.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    instead: Option<Instead>,
    #[command(flatten)]
    run: Run,
}

#[derive(Args)]
struct Run {
    /// What one large file has; all else is in proportion.
    #[arg(long, default_value = "4GiB")]
    size: ByteSize,
    /// A size for CI, one round: everything runs, nothing says much.
    #[arg(long)]
    small: bool,
    /// Rounds that count; one more warms up.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these: w1, w1c, w2, w3, w4, w5.
    #[arg(long, value_delimiter = ',', value_parser = cases::NAMES)]
    only: Vec<String>,
    /// Where states are made and land: a directory on the disk to be measured.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    outputs: Outputs,
}

#[derive(Args)]
struct Outputs {
    /// Where to write all figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where to write a chart.
    #[arg(long)]
    svg: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Instead {
    /// Reports what several runs measured as one: rounds of the same case count together.
    Join {
        /// What they wrote with --json.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        outputs: Outputs,
    },
    #[command(flatten)]
    Play(roles::Role),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { instead, run } = Arguments::parse();
    match instead {
        Some(Instead::Play(role)) => role.play(),
        Some(Instead::Join { files, outputs }) => {
            let mut report = Report::default();
            for file in files {
                report.join(&std::fs::read(file)?)?;
            }
            publish(&report, &outputs)
        }
        None => publish(&measure(&run)?, &run.outputs),
    }
}

fn measure(run: &Run) -> Result<Report, Box<dyn std::error::Error>> {
    // What lands must not land in a directory that is part of what is measured next.
    let dir = tempfile::Builder::new().prefix("wirespeed.").tempdir_in(&run.dir)?;
    let (size, rounds) = if run.small { (64 << 20, 1) } else { (run.size.as_u64(), run.rounds) };
    let plan = Plan::new(size, rounds, dir.path().canonicalize()?);
    let mut report = Report::default();
    for (name, measure) in cases::ALL {
        if run.only.is_empty() || run.only.iter().any(|only| only == name) {
            let table = measure(&plan, &mut report)?;
            report.add(table);
        }
    }
    Ok(report)
}

fn publish(report: &Report, outputs: &Outputs) -> Result<(), Box<dyn std::error::Error>> {
    // Files first: whoever reads the output may stop reading.
    if let Some(path) = &outputs.json {
        std::fs::write(path, report.to_json().to_string())?;
    }
    if let Some(path) = &outputs.svg {
        std::fs::write(path, report.to_svg())?;
    }
    Ok(writeln!(std::io::stdout(), "{report}")?)
}
