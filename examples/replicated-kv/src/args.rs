//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};
use replicated_kv::{DEFAULT_MAX_CLIENTS, Listening, Options};

/// A replicated key-value store: an example of longhaul.
#[derive(Debug, Parser)]
#[command(name = "replicated-kv", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Orders all writes
    Primary(Primary),
    /// Follows a primary, and hands its clients' writes on to it
    Replica(Replica),
    /// Writes at a fixed rate, and keeps a journal of what was acknowledged
    Load(LoadArgs),
    /// Writes so much, as quickly as it is taken
    Fill(Fill),
    /// Compares a load's journal with what members have
    Check(Check),
}

/// How a replica joins.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum JoinBy {
    Live,
    Copy,
}

impl From<JoinBy> for replicated_kv::JoinBy {
    fn from(by: JoinBy) -> Self {
        match by {
            JoinBy::Live => Self::Live,
            JoinBy::Copy => Self::Copy,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Primary {
    #[command(flatten)]
    pub(crate) member: Member,
}

#[derive(Debug, Args)]
pub(crate) struct Replica {
    /// Where the primary listens
    #[arg(long, value_name = "ADDR")]
    pub(crate) of: String,
    /// Members to join from, the first one first; then the primary
    #[arg(long, value_name = "ADDR", num_args = 1..)]
    pub(crate) from: Vec<String>,
    /// By a live transfer, or by a copy that all members make at one place of the order
    #[arg(long, value_name = "HOW", value_enum, default_value_t = JoinBy::Live)]
    pub(crate) join_by: JoinBy,
    #[command(flatten)]
    pub(crate) member: Member,
}

/// What every member takes.
#[derive(Debug, Args)]
pub(crate) struct Member {
    /// Where its data is; made if there is none
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Where to listen, for clients and members; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7500")]
    pub(crate) listen: String,
    /// Writes the address to FILE, once listening
    #[arg(long, value_name = "FILE")]
    pub(crate) addr_file: Option<PathBuf>,
    /// Allows others than this machine to connect: there is no authentication
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Clients at once; who comes beyond is told so
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_CLIENTS)]
    pub(crate) max_clients: usize,
    /// How much of the log is kept; four times as much while somebody joins
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub(crate) log: ByteSize,
    /// The longest that writes are held while somebody joins; at most 7s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) lease: Duration,
    /// Give a state by `live` as fast as it goes, whatever it costs those who write here
    #[arg(long)]
    pub(crate) full_speed: bool,
}

impl Member {
    pub(crate) fn options(&self) -> Options {
        Options {
            data: self.data.clone(),
            listening: Listening {
                address: self.listen.clone(),
                insecure: self.insecure,
                max_clients: self.max_clients,
            },
            log_bytes: self.log.as_u64(),
            lease: self.lease,
            yields: !self.full_speed,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Members to write to
    #[arg(long, value_name = "ADDR", required = true, num_args = 1..)]
    pub(crate) at: Vec<String>,
    /// Where to keep what was tried and acknowledged
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: PathBuf,
    /// Writers at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) writers: u64,
    /// Writes a second, of all writers together
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) rate: u32,
    /// For how long
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) time: Duration,
    /// Bytes of a value, at least; at most 60000
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub(crate) value_bytes: u64,
    /// Keys of each writer
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys: u64,
    /// One operation in so many is a transaction in two phases; 0: none
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) two_phase_one_in: u64,
    /// What is drawn from
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Fill {
    /// A member
    #[arg(long, value_name = "ADDR")]
    pub(crate) at: String,
    /// How much
    #[arg(long, default_value = "256MiB")]
    pub(crate) size: ByteSize,
    /// What is drawn from
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Members to ask; all must have one root
    #[arg(long, value_name = "ADDR", required = true, num_args = 1..)]
    pub(crate) at: Vec<String>,
    /// The journal of a load
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: PathBuf,
    /// How long members may take to come equally far
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    pub(crate) within: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }
}
