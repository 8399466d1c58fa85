//! The `longhaul` command.
//!
//! ```text
//! args ──▶ fetch, push ──▶ follow ──▶ progress ──▶ output (stdout: results; stderr: the rest)
//!      ──▶ service, verify, demo ────────┘   json ──┘
//! signals ──first──▶ cancel              files: receipts and addresses, whole or not at all
//! ```
#![forbid(unsafe_code)]

mod args;
mod demo;
mod fetch;
mod files;
mod follow;
mod json;
mod output;
mod probe;
mod progress;
mod push;
mod service;
mod signals;
mod staging;
mod verify;
mod words;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use longhaul::{Error, ErrorKind, allocator};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command, Common};
use crate::output::Output;
use crate::signals::Interrupt;

fn main() -> ExitCode {
    // A service has many short threads, and little to allocate while bytes move: what a session that has ended needed, its machine
    // above all, stays in no heap.
    allocator::share_heaps(2);
    allocator::give_back(32 << 10);
    let command = Cli::parse().command;
    let common = match &command {
        Command::Serve(args) => &args.common,
        Command::Fetch(args) => &args.common,
        Command::Push(args) => &args.common,
        Command::Receive(args) => &args.common,
        Command::Verify(args) => &args.common,
        Command::Staging(args) => args.command.common(),
        Command::Demo(args) => &args.common,
        Command::Probe(args) => &args.common,
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "longhaul", &mut io::stdout());
            return ExitCode::SUCCESS;
        }
    };
    log(common);
    let (interrupt, installed) = match Interrupt::install() {
        Ok(interrupt) => (interrupt, Ok(())),
        Err(error) => {
            let message = "signals can't be listened for";
            (Interrupt::default(), Err(Error::new(ErrorKind::Other, message).with_cause(error)))
        }
    };
    let output = Output::new(common, interrupt);
    let result = installed.and_then(|()| match &command {
        Command::Serve(args) => service::serve(args, &output).map(|()| 0),
        Command::Fetch(args) => fetch::run(args, &output).map(|()| 0),
        Command::Push(args) => push::run(args, &output).map(|()| 0),
        Command::Receive(args) => service::receive(args, &output).map(|()| 0),
        Command::Verify(args) => verify::run(args, &output),
        Command::Staging(args) => staging::run(args, &output).map(|()| 0),
        Command::Demo(args) => demo::run(args, &output).map(|()| 0),
        Command::Probe(args) => probe::run(args, &output).map(|()| 0),
        Command::Completions { .. } => Ok(0),
    });
    ExitCode::from(result.unwrap_or_else(|error| output.failure(&error)))
}

/// Logs go to stderr: as many as `-v` says, or as `RUST_LOG` does.
fn log(common: &Common) {
    let level = match common.verbose {
        0 => "off",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}
