//! What a live transfer costs those who write meanwhile.
//!
//! Writers are threads of the provider's process, as a server's clients are: each has its times to write, at a stated
//! rate, and what a write takes counts from its time on, not from when the writer came to it; so a writer who is held up does
//! not hide what that cost those behind it. Provider and joiner are processes of their own on this machine, and so share
//! its processors: on two machines the joiner's part would not be felt. The joiner checks the bulk and drops it.
//!
//! ```text
//! cargo build --release -p longhaul-bench --bin live
//! target/release/live                                   # writers, latch, cut-over
//! target/release/live --small                           # a size for CI
//! target/release/live --sizes 64MiB,1GiB,8GiB --only latch   # a state is in memory once: the joiner drops it
//! ```
//!
//! | table | what |
//! | --- | --- |
//! | writers | their latency before, during a live transfer as fast as can be, at two priorities, and during a flush, which stops them for all of it |
//! | latch | how long nothing was delivered, against the size of the state, which moves as fast as can be |
//! | cut-over | how long until the joiner serves, against the rate of writes |

mod chart;
mod engine;
mod flush;
mod joiner;
mod provider;
mod report;
mod run;
mod writers;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};

use report::Report;
use run::Plan;

/// Measures what a live transfer costs those who write meanwhile.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    play: Option<Play>,
    #[command(flatten)]
    run: Run,
}

#[derive(Args)]
struct Run {
    /// What the state has, where its size is not what is varied.
    #[arg(long, default_value = "512MiB")]
    size: ByteSize,
    /// Writes a second, where their rate is not what is varied.
    #[arg(long, default_value_t = 2000)]
    rate: u32,
    /// How long the writers are watched before a transfer.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds: all of their writes count together.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The sizes of the table "latch".
    #[arg(long, value_delimiter = ',', default_value = "64MiB,256MiB,1GiB,2GiB")]
    sizes: Vec<ByteSize>,
    /// The rates of the table "cut-over".
    #[arg(long, value_delimiter = ',', default_value = "500,2000,8000")]
    rates: Vec<u32>,
    /// Only these: writers, latch, cut-over.
    #[arg(long, value_delimiter = ',', value_parser = ["writers", "latch", "cut-over"])]
    only: Vec<String>,
    /// A size for CI, one round: everything runs, nothing says much.
    #[arg(long)]
    small: bool,
    /// Where to write all figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where to write a chart.
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// What a child process does.
#[derive(Subcommand)]
enum Play {
    #[command(hide = true)]
    Provide(provider::Provide),
    #[command(hide = true)]
    Join {
        /// Whom to get the state from.
        address: String,
        /// How its threads compete for processors.
        priority: provider::At,
        /// All writers are stopped for it.
        #[arg(long)]
        flush: bool,
    },
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { play, run } = Arguments::parse();
    match play {
        Some(Play::Provide(provide)) => return provide.run(),
        Some(Play::Join { address, priority, flush }) => return joiner::run(&address, priority, flush),
        None => {}
    }
    let wants = |name: &str| run.only.is_empty() || run.only.iter().any(|only| only == name);
    let mut plan = Plan {
        size: run.size.as_u64(),
        rate: run.rate,
        watched: Duration::from_secs_f64(run.seconds),
        rounds: run.rounds,
    };
    let (mut sizes, mut rates) = (run.sizes.clone(), run.rates.clone());
    if run.small {
        plan = Plan { size: 8 << 20, rate: 500, watched: Duration::from_millis(500), rounds: 1 };
        (sizes, rates) = (vec![ByteSize::mib(4)], vec![500]);
    }
    let mut report = Report::default();
    if wants("writers") {
        report.writers = plan.writers()?;
    }
    if wants("latch") {
        let sizes: Vec<u64> = sizes.iter().map(ByteSize::as_u64).collect();
        report.latch = plan.by_size(&sizes)?;
    }
    if wants("cut-over") {
        report.cut_over = plan.by_rate(&rates)?;
    }
    // Files first: whoever reads the output may stop reading.
    if let Some(path) = &run.json {
        std::fs::write(path, report.to_json().to_string())?;
    }
    if let Some(path) = &run.svg {
        std::fs::write(path, report.to_svg())?;
    }
    Ok(writeln!(std::io::stdout(), "{report}")?)
}
