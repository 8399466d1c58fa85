//! The simulator's command, and the catalogue's.
//!
//! ```text
//! cargo run -p longhaul-tests --release -- soak --seconds 60 --cores 2
//! cargo run -p longhaul-tests --release -- seed 17 --trace
//! cargo run -p longhaul-tests --release -- soak --groups --seconds 60 --cores 2
//! cargo run -p longhaul-tests --release -- seed --group 17 --trace
//! cargo run -p longhaul-tests --release -- minimise 17
//! cargo run -p longhaul-tests --release -- scenario tests/scenarios/network.txt
//! cargo run -p longhaul-tests --release -- catalogue --run
//! cargo run -p longhaul-tests --release -- kills --seconds 60
//! cargo run -p longhaul-tests --release -- restarts
//! cargo run -p longhaul-tests --release -- proxy
//! cargo run -p longhaul-tests --release -- strangers
//! cargo run -p longhaul-tests --release -- crash --seconds 60
//! ```
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use longhaul_tests::broken;
use longhaul_tests::carrier::Carrier;
use longhaul_tests::catalogue::{self, Catalogue, Results};
use longhaul_tests::command;
#[cfg(target_os = "linux")]
use longhaul_tests::crash;
#[cfg(target_os = "linux")]
use longhaul_tests::disk;
use longhaul_tests::group;
use longhaul_tests::kills;
use longhaul_tests::proxy;
use longhaul_tests::restarts::{self, Restarted};
use longhaul_tests::scenario::Scenario;
use longhaul_tests::sim::{Case, minimise, soak};
use longhaul_tests::strangers;

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
        /// Of groups whose members join while everybody writes
        #[arg(long)]
        groups: bool,
    },
    /// Run one seed
    Seed {
        /// Which
        seed: u64,
        /// Print what happens as it happens
        #[arg(long)]
        trace: bool,
        /// Of a group whose members join while everybody writes
        #[arg(long)]
        group: bool,
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
        /// By this transport alone, or by what it splices
        #[arg(long)]
        transport: Option<Carrier>,
        /// Every point, however long it takes
        #[arg(long)]
        all: bool,
    },
    /// Kill the real joiner and the real provider at drawn moments of a transfer, and start them again; needs
    /// the command beside this one
    Restarts {
        /// Bytes of the state
        #[arg(long, default_value_t = 4 << 30)]
        bytes: u64,
        /// Small files in it
        #[arg(long, default_value_t = 20_000)]
        files: usize,
        /// Kills of each side
        #[arg(long, default_value_t = 50)]
        kills: usize,
        /// What all is drawn by
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Print each kill as it happens
        #[arg(long)]
        trace: bool,
        /// Where to copy to [default: the system's directory for temporary files]
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Where to make the state that is copied [default: there too]
        #[arg(long)]
        source_dir: Option<PathBuf>,
    },
    /// Put a proxy between the real provider and the real joiner that does something to the bytes; needs the
    /// command beside this one
    Proxy {
        /// How often
        #[arg(long, default_value_t = 500)]
        rounds: usize,
        /// What the first round is drawn by; the next ones by the numbers after it
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Let strangers call the real provider while a well-behaved joiner fetches from it; needs the command
    /// beside this one
    Strangers {
        /// How many
        #[arg(long, default_value_t = 1000)]
        strangers: usize,
        /// For how long
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Bytes that the joiner fetches each time
        #[arg(long, default_value_t = 256 << 20)]
        bytes: u64,
        /// The least part of its rate alone that the joiner must have
        #[arg(long, default_value_t = strangers::LEAST)]
        least: f64,
        /// Where to copy to [default: the system's directory for temporary files]
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Record what the real command and a real file system do with a disk, and try what a power cut leaves of it; needs
    /// root, FUSE, loop devices, and the command beside this one (cargo build -p longhaul-cli, in the same profile)
    #[cfg(target_os = "linux")]
    Crash(Crash),
    /// What the crash rig starts for itself
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    CrashVisit(crash::Visitor),
    /// Shrink a seed that fails to the smallest scenario line that does
    Minimise {
        /// Which
        seed: u64,
    },
}

#[cfg(target_os = "linux")]
#[derive(clap::Args)]
struct Crash {
    /// For how long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What the states are drawn by
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// On this file system alone
    #[arg(long)]
    fs: Option<disk::FileSystem>,
    /// In this mode alone
    #[arg(long)]
    mode: Option<crash::Mode>,
    /// By this transport alone, or by what it splices; by all else, in turn
    #[arg(long)]
    transport: Option<Carrier>,
    /// No more than so many states of each file system
    #[arg(long, default_value_t = u64::MAX)]
    states: u64,
    /// Only states that hold all that was written until the power went, with nothing lost or torn in between
    #[arg(long)]
    prefixes: bool,
    /// Try one state of this case again, which a run that failed has kept
    #[arg(long, requires = "at")]
    again: Option<PathBuf>,
    /// Which state of it
    #[arg(long, value_name = "CUT.DRAW")]
    at: Option<String>,
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
        #[cfg(target_os = "linux")]
        Command::Crash(arguments) => try_crashes(&arguments),
        #[cfg(target_os = "linux")]
        Command::CrashVisit(visitor) => visitor.run(),
        Command::Kills { seconds, seed, transport: carrier, all } => {
            let time = if all { Duration::MAX } else { Duration::from_secs(seconds) };
            kill(kills::Plan { side: None, carrier, seed, time, cases: usize::MAX })
        }
        Command::Strangers { strangers, seconds, bytes, least, dir } => {
            let time = Duration::from_secs(seconds);
            withstand(strangers::Size { strangers, time, bytes }, least, dir)
        }
        Command::Proxy { rounds, seed } => meddle(rounds, seed),
        Command::Restarts { bytes, files, kills, seed, trace, dir, source_dir } => {
            restart(&restarts::Size { bytes, files, kills, seed, trace }, dir, source_dir)
        }
        Command::Soak { seconds, cores, from, seeds, least, groups: true } => {
            soak_groups(from, seeds, Duration::from_secs(seconds), cores, least)
        }
        Command::Soak { seconds, cores, from, seeds, least, groups: false } => {
            let soaked = soak(from, seeds, Duration::from_secs(seconds), cores);
            println!(
                "{} seeds in {:.1} s on {cores} cores: {:.0} seeds a second; {} attempts, {} failed sessions, \
                 {} unconfirmed, \
                 {} resumed, {} lanes lost, {} items sent again, {} items kept, {} states seen through, {} events, {:.0} s simulated",
                soaked.seeds,
                soaked.elapsed.as_secs_f64(),
                soaked.rate(),
                soaked.attempts,
                soaked.failures,
                soaked.unconfirmed,
                soaked.resumed,
                soaked.lanes_lost,
                soaked.retries,
                soaked.kept,
                soaked.recovered,
                soaked.steps,
                soaked.simulated.as_secs_f64(),
            );
            match soaked.broken {
                Some((seed, what)) => Err(format!("seed {seed}: {what}\n{}", Case::draw(seed))),
                None if soaked.seeds < least => Err(format!("only {} seeds, not {least}", soaked.seeds)),
                None => Ok(()),
            }
        }
        Command::Seed { seed, trace, group: true } => {
            report(&Scenario::Group(Box::new(group::Case::draw(seed))), trace)
        }
        Command::Seed { seed, trace, group: false } => {
            report(&Scenario::Members(Box::new(Case::draw(seed))), trace)
        }
        Command::Scenario { files, trace } => {
            for file in files {
                let text =
                    std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                for (n, line) in text.lines().enumerate().filter(|(_, line)| is_a_case(line)) {
                    let failed = |why| format!("{}:{}: {why}", file.display(), n + 1);
                    report(&Scenario::parse(line).map_err(failed)?, trace)?;
                }
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

fn report(scenario: &Scenario, trace: bool) -> Result<(), String> {
    println!("{scenario}");
    let outcome = scenario.run(trace).map_err(|what| format!("{scenario}\n{what}"))?;
    println!("{outcome}");
    Ok(())
}

/// Neither empty nor a remark.
fn is_a_case(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim_start().starts_with('#')
}

fn soak_groups(from: u64, seeds: u64, time: Duration, cores: usize, least: u64) -> Result<(), String> {
    let soaked = group::soak(from, seeds, time, cores);
    let (seconds, sum) = (soaked.elapsed.as_secs_f64(), soaked.sum);
    println!(
        "{} seeds in {seconds:.1} s on {cores} cores: {:.0} seeds a second; {} members came to serve, {} epochs \
         aborted, {} outcomes asked for, {} joiners released, {} logs did not converge, {} writes, {} transactions, \
         {} pending prepares travelled, {} messages held, {} events, {:.0} s simulated",
        soaked.seeds,
        soaked.seeds as f64 / seconds,
        sum.served,
        sum.aborted,
        sum.doubts,
        sum.released,
        sum.stuck,
        sum.writes,
        sum.transactions,
        sum.pending,
        sum.held,
        sum.steps,
        sum.simulated.as_secs_f64(),
    );
    match soaked.broken {
        Some((seed, what)) => Err(format!("seed {seed}: {what}\n{}", group::Case::draw(seed))),
        None if soaked.seeds < least => Err(format!("only {} seeds, not {least}", soaked.seeds)),
        None => Ok(()),
    }
}

fn kill(plan: kills::Plan) -> Result<(), String> {
    if !kills::is_there() {
        println!("skipped: strace can't trace here");
        return Ok(());
    }
    let tried = kills::kills(&command::beside()?, plan)?;
    println!(
        "seed {}: {} cases at {} points; {} ended the command, {} of them when it had published",
        plan.seed, tried.cases, tried.points, tried.ended, tried.published,
    );
    Ok(())
}

fn restart(size: &restarts::Size, dir: Option<PathBuf>, source_dir: Option<PathBuf>) -> Result<(), String> {
    let seed = size.seed;
    let dir = dir.unwrap_or_else(std::env::temp_dir);
    let scratch = |dir: PathBuf| tempfile::tempdir_in(dir).map_err(|error| error.to_string());
    let (home, source) = (scratch(dir.clone())?, scratch(source_dir.unwrap_or(dir))?);
    let tally = restarts::restarts(&command::beside()?, source.path(), home.path(), size)
        .map_err(|error| format!("seed {seed}: {error}"))?;
    println!(
        "seed {seed}: {} transfers of {} MiB in {} small files and a few large ones, {} MiB carried",
        tally.transfers,
        size.bytes >> 20,
        size.files,
        tally.carried >> 20,
    );
    let bound = tally.bound;
    println!(
        "  bound of a kill: {} MiB, of it {} unclaimed, {} in buffers, {} in sockets",
        bound.bytes() >> 20,
        bound.unclaimed >> 20,
        bound.buffers >> 20,
        bound.sockets >> 20,
    );
    for (who, kills) in [("joiner", &tally.joiners), ("provider", &tally.providers)] {
        let (median, most) = Restarted::costs(kills);
        println!(
            "  {} kills of the {who}: {:.1} MiB sent again at the median, {:.1} at most",
            kills.len(),
            median as f64 / 1_048_576.0,
            most as f64 / 1_048_576.0,
        );
    }
    Ok(())
}

fn meddle(rounds: usize, seed: u64) -> Result<(), String> {
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let start = std::time::Instant::now();
    let tally = proxy::rounds(&command::beside()?, scratch.path(), rounds, seed)?;
    let mut codes: Vec<_> = tally.codes.iter().collect();
    codes.sort();
    println!(
        "seed {seed}: {} rounds in {:.0} s, {} of them with a fault; exit codes and how often: {codes:?}; \
         at most {:.2} s to the end after the last fault, {:.2} s at the listener",
        tally.rounds,
        start.elapsed().as_secs_f64(),
        tally.meddled,
        tally.longest.as_secs_f64(),
        tally.longest_listener.as_secs_f64(),
    );
    Ok(())
}

fn withstand(size: strangers::Size, least: f64, dir: Option<PathBuf>) -> Result<(), String> {
    let scratch =
        tempfile::tempdir_in(dir.unwrap_or_else(std::env::temp_dir)).map_err(|error| error.to_string())?;
    let seen = strangers::strangers(&command::beside()?, scratch.path(), size)?;
    let mib = |bytes: f64| bytes / 1_048_576.0;
    for [alone, with] in &seen.turns {
        println!("  alone {:.0} MiB/s, with strangers {:.0} MiB/s", mib(*alone), mib(*with));
    }
    println!(
        "{} strangers, {} calls of theirs: the joiner has {:.2} of its rate alone ({} fetches alone, {} with them), \
         the provider {:.1} MiB resident at most",
        size.strangers,
        seen.calls,
        seen.part,
        seen.fetches[0],
        seen.fetches[1],
        mib(seen.most_resident as f64),
    );
    if seen.part < least {
        return Err(format!("less than {least} of its rate"));
    }
    if seen.most_resident > strangers::MEMORY {
        return Err(format!("more than {} MiB resident", strangers::MEMORY >> 20));
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn try_crashes(arguments: &Crash) -> Result<(), String> {
    if let Err(why) = disk::prepare() {
        println!("skipped: {why}");
        return Ok(());
    }
    let rig = std::env::current_exe().map_err(|error| error.to_string())?;
    let programs = crash::Programs { longhaul: rig.with_file_name("longhaul"), rig };
    let Crash { seconds, seed, states, prefixes, .. } = *arguments;
    if let (Some(again), Some(at)) = (&arguments.again, &arguments.at) {
        println!("{}", crash::crash_again(&programs, again, at)?);
        return Ok(());
    }
    let stop = std::sync::Arc::default();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, std::sync::Arc::clone(&stop))
            .map_err(|error| error.to_string())?;
    }
    let plan = crash::Plan {
        file_systems: arguments.fs.map_or(disk::FileSystem::ALL.to_vec(), |one| vec![one]),
        modes: arguments.mode.map_or(crash::Mode::ALL.to_vec(), |one| vec![one]),
        carriers: arguments.transport.map_or(Carrier::ALL.to_vec(), |one| vec![one]),
        time: Duration::from_secs(seconds),
        states,
        prefixes,
        seed,
        keep: target()?,
        stop,
    };
    let tried = crash::crash(&programs, &plan, &mut |line| println!("{line}"))?;
    println!("seed {seed}: {tried}");
    Ok(())
}
