//! The simulator's command, and the catalogue's.
//!
//! ```text
//! cargo run -p longhaul-tests --release -- soak --seconds 60 --cores 2
//! cargo run -p longhaul-tests --release -- seed 17 --trace
//! cargo run -p longhaul-tests --release -- minimise 17
//! cargo run -p longhaul-tests --release -- scenario tests/scenarios/network.txt
//! cargo run -p longhaul-tests --release -- catalogue --run
//! cargo run -p longhaul-tests --release -- kills --seconds 60
//! ```
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use longhaul_tests::broken;
use longhaul_tests::catalogue::{self, Catalogue, Results};
use longhaul_tests::kills;
use longhaul_tests::sim::{Case, minimise, parse_scenarios, run, soak};

#[derive(Parser)]
#[command(about = "Runs whole members in a simulated world, and tells what is proved")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run seed after seed for a time
    Soak {
        /// For how long
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// On how many cores
        #[arg(long, default_value_t = 1)]
        cores: usize,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// No more seeds than this
        #[arg(long, default_value_t = u64::MAX)]
        seeds: u64,
        /// Fail if fewer than this were run
        #[arg(long, default_value_t = 0)]
        least: u64,
    },
    /// Run one seed
    Seed {
        /// Which
        seed: u64,
        /// Print what happens as it happens
        #[arg(long)]
        trace: bool,
    },
    /// Run the cases of scenario files
    Scenario {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Print what happens as it happens
        #[arg(long)]
        trace: bool,
    },
    /// Break the code on purpose, and see that each mutation is found
    Broken {
        /// Only those whose name holds this
        #[arg(long, default_value = "")]
        only: String,
        /// Only so many, drawn by the seed
        #[arg(long)]
        sample: Option<usize>,
        /// What the sample is drawn by
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Tell every fault and bad input of the catalogue, its tests, and how they went
    Catalogue {
        /// Run the tests first, and keep the results
        #[arg(long)]
        run: bool,
        /// Where the results are kept [default: catalogue.txt in the target directory]
        #[arg(long)]
        results: Option<PathBuf>,
    },
    /// Kill the real command at its n-th call of the system, or make the call fail; needs strace, and the
    /// command beside this one (cargo build -p longhaul-cli, in the same profile)
    Kills {
        /// For how long
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// What the points are drawn by
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Every point, however long it takes
        #[arg(long)]
        all: bool,
    },
    /// Shrink a seed that fails to the smallest scenario line that does
    Minimise {
        /// Which
        seed: u64,
    },
}

fn main() -> ExitCode {
    // What breaks is reported with its seed; the panic's own words would say it twice.
    std::panic::set_hook(Box::new(|_| {}));
    match carry_out(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<(), String> {
    match command {
        Command::Kills { seconds, seed, all } => kill(Duration::from_secs(seconds), seed, all),
        Command::Soak { seconds, cores, from, seeds, least } => {
            let soaked = soak(from, seeds, Duration::from_secs(seconds), cores);
            println!(
                "{} seeds in {:.1} s on {cores} cores: {:.0} seeds a second; {} attempts, {} failed sessions, \
                 {} unconfirmed, \
                 {} resumed, {} lanes lost, {} items sent again, {} events, {:.0} s simulated",
                soaked.seeds,
                soaked.elapsed.as_secs_f64(),
                soaked.rate(),
                soaked.attempts,
                soaked.failures,
                soaked.unconfirmed,
                soaked.resumed,
                soaked.lanes_lost,
                soaked.retries,
                soaked.steps,
                soaked.simulated.as_secs_f64(),
            );
            match soaked.broken {
                Some((seed, what)) => Err(format!("seed {seed}: {what}\n{}", Case::draw(seed))),
                None if soaked.seeds < least => Err(format!("only {} seeds, not {least}", soaked.seeds)),
                None => Ok(()),
            }
        }
        Command::Seed { seed, trace } => report(&Case::draw(seed), trace),
        Command::Scenario { files, trace } => {
            for file in files {
                let text =
                    std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                let cases = parse_scenarios(&text).map_err(|why| format!("{}: {why}", file.display()))?;
                cases.iter().try_for_each(|(_, case)| report(case, trace))?;
            }
            Ok(())
        }
        Command::Broken { only, sample, seed } => broken::run(root(), &only, sample, seed),
        Command::Catalogue { run, results } => tell_catalogue(run, results),
        Command::Minimise { seed } => {
            if let Some((case, what)) = minimise(&Case::draw(seed)) {
                return Err(format!("{what}\n{case}"));
            }
            println!("seed {seed} does not fail");
            Ok(())
        }
    }
}

/// The workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

fn tell_catalogue(run: bool, file: Option<PathBuf>) -> Result<(), String> {
    let catalogue = Catalogue::read(root())?;
    let file = match file {
        Some(file) => file,
        None => target()?.join("catalogue.txt"),
    };
    if !run {
        print!("{}", catalogue.report(&Results::read(&file)?));
        return Ok(());
    }
    let results = catalogue::run(&catalogue, root())?;
    results.write(&file)?;
    print!("{}", catalogue.report(&results));
    let broken: Vec<&str> = results.broken().collect();
    if broken.is_empty() { Ok(()) } else { Err(format!("these do not hold:\n{}", broken.join("\n"))) }
}

/// The directory that this program was built in: it lies in one for its profile.
fn target() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = program.ancestors().nth(2).ok_or("this program lies in no target directory")?;
    Ok(target.to_owned())
}

fn report(case: &Case, trace: bool) -> Result<(), String> {
    println!("{case}");
    let outcome = run(case, trace).map_err(|what| format!("{case}\n{what}"))?;
    println!("{outcome:?}");
    Ok(())
}

fn kill(time: Duration, seed: u64, all: bool) -> Result<(), String> {
    if !kills::is_there() {
        println!("skipped: strace can't trace here");
        return Ok(());
    }
    let here = std::env::current_exe().map_err(|error| error.to_string())?;
    let tried = kills::kills(&here.with_file_name("longhaul"), time, seed, all)?;
    println!(
        "seed {seed}: {} cases at {} points; {} ended the command, {} of them when it had published",
        tried.cases, tried.points, tried.ended, tried.published,
    );
    Ok(())
}
