//! Compares the speed of the working tree with that of any commit, and fails if a hot path became slower.
//!
//! ```text
//! cargo run --release -p longhaul-bench --bin compare -- main~3
//! cargo run --release -p longhaul-bench --bin compare -- main --threshold 5 --rounds 15 session
//! ```
//!
//! The commit is checked out beside the tree and both are built; then their criterion benches run in turn, round by
//! round, so that both see the same seconds: of each path the median of the rounds' ratios counts. What was measured last
//! stays as criterion's baselines, `tree` and the commit's short name, for `cargo bench -p longhaul-bench -- --baseline NAME`.

mod benches;
mod commit;
mod verdict;

use std::process::ExitCode;

use clap::Parser;

use benches::Benches;
use commit::Checkout;
use verdict::Rounds;

/// Fails if a hot path of the working tree is slower than it was in a commit.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The commit: whatever git takes for one.
    commit: String,
    /// Only paths whose name has this in it.
    only: Option<String>,
    /// What a path may take longer, in percent.
    #[arg(long, default_value_t = 7.0)]
    threshold: f64,
    /// Rounds.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

fn main() -> ExitCode {
    match compare(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// Whether nothing became slower.
fn compare(arguments: &Arguments) -> Result<bool, String> {
    let Arguments { commit, only, threshold, rounds } = arguments;
    let checkout = Checkout::of(commit)?;
    let before = Benches::build(checkout.path(), checkout.short_name(), "before")?;
    let now = Benches::build(&commit::top()?, "tree", "now")?;
    let (mut all_before, mut all_now) = (Rounds::default(), Rounds::default());
    for round in 1..=*rounds {
        eprintln!("round {round} of {rounds}");
        all_before.take(before.run(only.as_deref())?);
        all_now.take(now.run(only.as_deref())?);
    }
    let verdict = verdict::compare(&all_before, &all_now, *threshold);
    println!("{verdict}");
    Ok(verdict.is_fine())
}
