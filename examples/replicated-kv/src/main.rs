//! The `replicated-kv` command.

mod args;

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use replicated_kv::load::{self, Connection, Journal, Load, Reply};
use replicated_kv::{Error, Node, Upstream};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::{Check, Cli, Command, Fill, LoadArgs, Member};

/// How often members are asked how far they are.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

type Result<T> = std::result::Result<T, Box<dyn StdError>>;

fn main() -> ExitCode {
    // An engine's pages, and pieces of its state, come and go in many threads.
    longhaul::allocator::share_heaps(1);
    let result = match Cli::parse().command {
        Command::Primary(args) => Node::primary(&args.member.options())
            .map_err(Into::into)
            .and_then(|node| serve(node, &args.member)),
        Command::Replica(args) => {
            let upstream = Upstream { primary: args.of, providers: args.from, join_by: args.join_by.into() };
            Node::replica(&args.member.options(), &upstream)
                .map_err(Into::into)
                .and_then(|node| serve(node, &args.member))
        }
        Command::Load(args) => write(args),
        Command::Fill(args) => fill(&args),
        Command::Check(args) => check(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("replicated-kv: {error}");
            if let Some(hint) = error.downcast_ref::<Error>().and_then(Error::hint) {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Calls `stop` at the first signal; the second ends the process at once.
fn on_signal(stop: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for (n, signal) in signals.forever().enumerate() {
            if n > 0 {
                std::process::exit(128 + signal);
            }
            stop();
        }
    })?;
    Ok(())
}

fn serve(node: Node, member: &Member) -> Result<()> {
    on_signal(node.stopper())?;
    let address = node.address();
    if let Some(path) = &member.addr_file {
        write_whole(path, &format!("{address}\n"))?;
    }
    say(&format!("listening at {address}"));
    node.wait()?;
    say("stopped");
    Ok(())
}

/// A file that appears whole or not at all.
fn write_whole(path: &Path, content: &str) -> io::Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, content)?;
    fs::rename(&partial, path)
}

/// A line on stdout; nobody reading is no error.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn write(args: LoadArgs) -> Result<()> {
    let journal = Journal::create(&args.journal)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    on_signal(move || stopped.store(true, Ordering::Relaxed))?;
    let load = Load {
        members: args.at,
        writers: args.writers,
        rate: args.rate.max(1).into(),
        time: args.time,
        value_bytes: args.value_bytes as usize,
        keys: args.keys,
        two_phase_one_in: args.two_phase_one_in,
        seed: args.seed,
    };
    let written = load::write(&load, &journal, &stop)?;
    say(&format!(
        "{} acknowledged, {} refused or rolled back, {} in doubt",
        written.acknowledged, written.refused, written.in_doubt
    ));
    let at = |quantile| written.latency.value_at_quantile(quantile) as f64 / 1000.0;
    say(&format!(
        "latency in ms: p50 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    ));
    Ok(())
}

fn fill(args: &Fill) -> Result<()> {
    let written = load::fill(&mut Connection::open(&args.at)?, args.size.as_u64(), args.seed)?;
    say(&format!("{written} bytes written"));
    Ok(())
}

/// Waits until all members have come equally far.
fn wait_until_equal(members: &[String], within: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        let applied: io::Result<Vec<_>> =
            members.iter().map(|address| Connection::open(address)?.applied()).collect();
        let applied = applied?;
        if applied.iter().all(|place| place.is_some() && *place == applied[0]) {
            return Ok(());
        }
        if start.elapsed() >= within {
            let places = members.iter().zip(&applied).map(|(address, place)| match place {
                Some(place) => format!("{address} is at {place}"),
                None => format!("{address} has not joined"),
            });
            let places = places.collect::<Vec<_>>().join(", ");
            return Err(format!(
                "members have not come equally far within {within:?}: {places}; stop the writers, or give them \
                 longer (--within)"
            )
            .into());
        }
        thread::sleep(LOOK_AGAIN);
    }
}

fn check(args: &Check) -> Result<()> {
    let attempts = Journal::read(&args.journal)?;
    wait_until_equal(&args.at, args.within)?;
    let mut roots = BTreeSet::new();
    let mut wrong = Vec::new();
    for (n, address) in args.at.iter().enumerate() {
        let mut member = Connection::open(address)?;
        let Reply::Done(root) = member.ask("ROOT")? else { return Err("it has no root".into()) };
        say(&format!("{address}: root {root}"));
        roots.insert(root);
        // Where the roots are one, what one member has all have.
        if n == 0 || roots.len() > 1 {
            let checked = load::check(&attempts, &mut member)?;
            say(&format!(
                "{address}: {} keys; {} acknowledged, {} refused or rolled back, {} in doubt; {} wrong",
                checked.keys,
                checked.acknowledged,
                checked.refused,
                checked.in_doubt,
                checked.wrong.len()
            ));
            wrong.extend(checked.wrong.into_iter().map(|what| format!("{address}: {what}")));
        }
    }
    for what in &wrong {
        say(what);
    }
    if roots.len() > 1 {
        return Err("the members are not identical".into());
    }
    if !wrong.is_empty() {
        return Err("what was acknowledged is not what is there".into());
    }
    say("all as it was acknowledged");
    Ok(())
}
