//! The command line: what can be said, and what is said in `--help`.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use longhaul::{DataPath, HardLinks, Integrity, LinksPolicy, SpecialFiles, Transport};

const EXIT_CODES: &str = "Exit codes:
  0    done
  1    something else
  2    usage
  10   the peer can't be reached, or was lost
  11   not authorised
  12   the peer speaks another protocol or version
  13   refused, or busy for longer than --busy-wait
  14   all was sent; whether the joiner has published is not known
  20   the source can't be read
  21   the destination can't be used
  22   no space left
  23   integrity: what arrived is not what was sent, or two states differ
  24   the source changed while it was read
  25   cancelled, here or by the peer
  30   no progress on a live connection
  130  interrupted (SIGINT); 143 terminated (SIGTERM)

Every option can also be set in the environment, as LONGHAUL_ and its name in capitals.";

/// Moves the state of a running system from a provider to a joiner: verified, durable, published in
/// one step.
#[derive(Debug, Parser)]
#[command(name = "longhaul", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves the directory or file at PATH to joiners that fetch it
    Serve(Serve),
    /// Fetches the state that a provider serves at ADDR; it is published as DEST in one step
    ///
    /// What this side's disk loses is fetched once more, into new files, before it fails.
    Fetch(Fetch),
    /// Pushes the directory or file at PATH to a joiner that receives at ADDR
    ///
    /// What the joiner's disk loses is pushed once more, into new files, before it fails: not to one that receives --once.
    Push(Push),
    /// Receives a state that a provider pushes; it is published as DEST in one step
    Receive(Receive),
    /// Prints the root of the state at PATH; says where it differs from OTHER or from a receipt
    Verify(Verify),
    /// Shows, or gives up, what interrupted transfers have left for the next one
    Staging(StagingArgs),
    /// Makes a state, serves it, fetches it over loopback, verifies it, and cleans up; or, with --live, has a
    /// member join a group that goes on writing
    Demo(Demo),
    /// Says what there is here to move bytes with, at PATH too, and what would be chosen
    Probe(ProbeArgs),
    /// Prints the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// A file or directory where a state lies or is to land; nothing is left there
    pub(crate) path: Option<PathBuf>,
    /// So many rings at once
    #[arg(long, value_name = "N", default_value_t = 1, env = "LONGHAUL_RING_THREADS")]
    pub(crate) ring_threads: usize,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Serve {
    /// The directory or file to serve
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) listening: Listen,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Fetch {
    /// Where the provider serves, HOST:PORT
    #[arg(value_name = "ADDR")]
    pub(crate) address: String,
    /// Where the state is to be: this path is the state itself, once it is published
    #[arg(value_name = "DEST")]
    pub(crate) destination: PathBuf,
    #[command(flatten)]
    pub(crate) target: DestinationArgs,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) dial: Dial,
    /// Writes a receipt to FILE, to verify the state with later
    #[arg(long, value_name = "FILE", env = "LONGHAUL_RECEIPT")]
    pub(crate) receipt: Option<PathBuf>,
    /// Connects, learns how much would come, checks that DEST can take it, and stops
    #[arg(short = 'n', long, env = "LONGHAUL_DRY_RUN", value_parser = FalseyValueParser::new())]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Push {
    /// The directory or file to push
    pub(crate) path: PathBuf,
    /// Where the joiner receives, HOST:PORT
    #[arg(value_name = "ADDR")]
    pub(crate) address: String,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) dial: Dial,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Receive {
    /// Where the state is to be: this path is the state itself, once it is published
    #[arg(value_name = "DEST")]
    pub(crate) destination: PathBuf,
    #[command(flatten)]
    pub(crate) listening: Listen,
    #[command(flatten)]
    pub(crate) target: DestinationArgs,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    /// Writes a receipt to FILE, to verify the state with later
    #[arg(long, value_name = "FILE", env = "LONGHAUL_RECEIPT")]
    pub(crate) receipt: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Verify {
    /// The directory or file to look at
    pub(crate) path: PathBuf,
    /// Another one that should be the same
    pub(crate) other: Option<PathBuf>,
    /// Which root [default: crc32c, or that of the receipt]
    #[arg(long, value_enum, env = "LONGHAUL_INTEGRITY")]
    pub(crate) integrity: Option<VerifyIntegrity>,
    /// A receipt that the state should agree with
    #[arg(long, value_name = "FILE", conflicts_with = "other", env = "LONGHAUL_RECEIPT")]
    pub(crate) receipt: Option<PathBuf>,
    /// Files with several names: as such, or as the copies that a transfer with this option makes
    #[arg(long, value_enum, default_value = "keep", env = "LONGHAUL_HARD_LINKS")]
    pub(crate) hard_links: HardLinksArg,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct StagingArgs {
    #[command(subcommand)]
    pub(crate) command: StagingCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StagingCommand {
    /// Lists what is staged in a directory, the one that holds the destinations
    List {
        /// The directory
        #[arg(value_name = "DIR", default_value = ".")]
        directory: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Shows what is staged for a destination
    Show {
        /// The destination, or its staging directory
        #[arg(value_name = "DEST")]
        destination: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Gives up what is staged for a destination: the next transfer begins anew
    Discard {
        /// The destination, or its staging directory
        #[arg(value_name = "DEST")]
        destination: PathBuf,
        #[command(flatten)]
        common: Common,
    },
}

impl StagingCommand {
    pub(crate) const fn common(&self) -> &Common {
        match self {
            Self::List { common, .. } | Self::Show { common, .. } | Self::Discard { common, .. } => common,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Demo {
    /// How much to move, about [default: 1GiB; with --live 256MiB]
    #[arg(long, env = "LONGHAUL_SIZE")]
    pub(crate) size: Option<ByteSize>,
    /// Where to do it: a directory is made there, and removed at the end; with --live all is in memory
    #[arg(long, value_name = "DIR", default_value = ".", env = "LONGHAUL_DIR")]
    pub(crate) dir: PathBuf,
    /// Moves the state of three members that are written to all the while to a fourth one, which then serves
    #[arg(long, env = "LONGHAUL_LIVE", value_parser = FalseyValueParser::new())]
    pub(crate) live: bool,
    /// With --live: writes a second, by all members together
    #[arg(long, value_name = "N", default_value_t = 2000, env = "LONGHAUL_RATE", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// With --live: how long the writers are watched before the fourth member joins, and after
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration, env = "LONGHAUL_MEASURE")]
    pub(crate) measure: Duration,
    #[command(flatten)]
    pub(crate) target: IntegrityArg,
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Listening")]
pub(crate) struct Listen {
    /// Where to listen; port 0 takes any free one
    #[arg(long = "listen", value_name = "ADDR", default_value = longhaul::DEFAULT_ADDRESS, env = "LONGHAUL_LISTEN")]
    pub(crate) address: String,
    /// Sessions at once; who comes beyond is told to ask again later
    #[arg(long, value_name = "N", default_value_t = longhaul::DEFAULT_MAX_SESSIONS, env = "LONGHAUL_MAX_SESSIONS")]
    pub(crate) max_sessions: usize,
    /// Threads with a ring of their own that share the sessions, 1 to 64, where rings move the bytes
    #[arg(long, value_name = "N", default_value_t = 1, env = "LONGHAUL_RING_THREADS")]
    pub(crate) ring_threads: usize,
    /// Ends with the end of the first session, and with its exit code
    #[arg(long, env = "LONGHAUL_ONCE", value_parser = FalseyValueParser::new())]
    pub(crate) once: bool,
    /// Writes the address to FILE, once listening
    #[arg(long, value_name = "FILE", env = "LONGHAUL_ADDR_FILE")]
    pub(crate) addr_file: Option<PathBuf>,
    /// Allows others than this machine to connect: there is no authentication yet
    #[arg(long, env = "LONGHAUL_INSECURE", value_parser = FalseyValueParser::new())]
    pub(crate) insecure: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
pub(crate) struct SourceArgs {
    /// Symbolic links that lead out of the state
    #[arg(long, value_enum, default_value = "refuse", env = "LONGHAUL_LINKS")]
    pub(crate) links: LinksArg,
    /// Files with several names
    #[arg(long, value_enum, default_value = "keep", env = "LONGHAUL_HARD_LINKS")]
    pub(crate) hard_links: HardLinksArg,
    /// FIFOs, sockets and devices
    #[arg(long, value_enum, default_value = "refuse", env = "LONGHAUL_SPECIAL")]
    pub(crate) special: SpecialArg,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub(crate) struct DestinationArgs {
    /// Replaces an old state at DEST, in the same step that publishes the new one
    #[arg(long, env = "LONGHAUL_REPLACE", value_parser = FalseyValueParser::new())]
    pub(crate) replace: bool,
    /// Symbolic links that lead out of the state
    #[arg(long, value_enum, default_value = "refuse", env = "LONGHAUL_LINKS")]
    pub(crate) links: LinksArg,
    /// Begins anew: what an earlier run left is removed, and no journal is kept
    #[arg(long, env = "LONGHAUL_NO_RESUME", value_parser = FalseyValueParser::new())]
    pub(crate) no_resume: bool,
    /// Reads what an earlier run left, and compares it with its checksums, before it is kept
    #[arg(long, env = "LONGHAUL_PARANOID", value_parser = FalseyValueParser::new())]
    pub(crate) paranoid: bool,
    /// Reads everything back from the disk, past the page cache, and compares it, before it is published
    #[arg(long, env = "LONGHAUL_VERIFY_AFTER", value_parser = FalseyValueParser::new())]
    pub(crate) verify_after: bool,
    #[command(flatten)]
    pub(crate) integrity: IntegrityArg,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub(crate) struct IntegrityArg {
    /// The checksums that are demanded
    #[arg(long, value_enum, default_value = "crc32c", env = "LONGHAUL_INTEGRITY")]
    pub(crate) integrity: TransferIntegrity,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Session")]
pub(crate) struct SessionArgs {
    /// Connections that carry data, 1 to 8
    #[arg(long, value_name = "N", default_value_t = 2, env = "LONGHAUL_LANES")]
    pub(crate) lanes: u16,
    /// How often an item that arrived broken is sent again, at most 14
    #[arg(long, value_name = "N", default_value_t = 3, env = "LONGHAUL_MAX_RETRIES")]
    pub(crate) max_retries: u8,
    /// A session without progress for this long fails; there is no limit on the whole
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration, env = "LONGHAUL_STALL_TIMEOUT")]
    pub(crate) stall_timeout: Duration,
    /// A lost connection fails the session, instead of being replaced for twice the stall timeout
    #[arg(long, env = "LONGHAUL_NO_REDIAL", value_parser = FalseyValueParser::new())]
    pub(crate) no_redial: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Session")]
pub(crate) struct Dial {
    /// How long a busy peer is asked again
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration, env = "LONGHAUL_BUSY_WAIT")]
    pub(crate) busy_wait: Duration,
}

/// What all commands take.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Common")]
pub(crate) struct Common {
    /// How bytes are moved
    #[arg(long, value_enum, default_value = "auto", env = "LONGHAUL_TRANSPORT")]
    pub(crate) transport: TransportArg,
    /// How bytes move between files and memory on this side
    #[arg(long, value_enum, default_value = "auto", env = "LONGHAUL_DATA_PATH")]
    pub(crate) data_path: DataPathArg,
    /// Memory for buffers
    #[arg(long, value_name = "SIZE", default_value = "16MiB", env = "LONGHAUL_BUFFER_MEMORY")]
    pub(crate) buffer_memory: ByteSize,
    /// How progress is shown; auto: a bar on a terminal, else a line every ten seconds; json
    /// implies --json
    #[arg(long, value_enum, default_value = "auto", env = "LONGHAUL_PROGRESS")]
    pub(crate) progress: ProgressArg,
    /// One JSON object a line on stdout and nothing else there; the last one is the summary
    #[arg(long, env = "LONGHAUL_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) json: bool,
    /// Says nothing but errors
    #[arg(short, long, env = "LONGHAUL_QUIET", value_parser = FalseyValueParser::new())]
    pub(crate) quiet: bool,
    /// Logs more to stderr: -v what happens, -vv why; `RUST_LOG` chooses finer
    #[arg(short, long, action = clap::ArgAction::Count, env = "LONGHAUL_VERBOSE")]
    pub(crate) verbose: u8,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressArg {
    Auto,
    Bar,
    Line,
    Json,
    None,
}

macro_rules! value_enum {
    ($name:ident => $target:ty { $($(#[$doc:meta])* $variant:ident => $value:expr,)* }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
        pub(crate) enum $name { $($(#[$doc])* $variant,)* }

        impl From<$name> for $target {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => $value,)* }
            }
        }
    };
}

value_enum!(TransportArg => Transport {
    /// The best one that works here
    Auto => Transport::Auto,
    /// Blocking sockets and positional file IO
    Std => Transport::Std,
    /// `io_uring`, where the system has it and permits it; blocking calls elsewhere
    Uring => Transport::Uring,
});
value_enum!(DataPathArg => DataPath {
    /// What is best here
    Auto => DataPath::Auto,
    /// Past the page cache, where that goes
    Direct => DataPath::Direct,
    /// Through the page cache
    Buffered => DataPath::Buffered,
    /// Between page cache and socket, unseen: with `--integrity none` alone
    Splice => DataPath::Splice,
    /// The same by `io_uring`
    RingSplice => DataPath::RingSplice,
});
value_enum!(TransferIntegrity => Integrity {
    /// Finds accidents
    Crc32c => Integrity::Crc32c,
    /// Finds intent too
    Blake3 => Integrity::Blake3,
    /// No checksums: nothing is called verified
    None => Integrity::None,
});
value_enum!(VerifyIntegrity => Integrity {
    /// Finds accidents
    Crc32c => Integrity::Crc32c,
    /// Finds intent too
    Blake3 => Integrity::Blake3,
});
value_enum!(LinksArg => LinksPolicy {
    /// They are refused by name
    Refuse => LinksPolicy::Refuse,
    /// They are kept as they are
    Keep => LinksPolicy::Keep,
});
value_enum!(HardLinksArg => HardLinks {
    /// They stay one file
    Keep => HardLinks::Keep,
    /// Each name becomes a file of its own
    Copy => HardLinks::Copy,
});
value_enum!(SpecialArg => SpecialFiles {
    /// They are refused by name
    Refuse => SpecialFiles::Refuse,
    /// They are left out, with a warning
    Skip => SpecialFiles::Skip,
});

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_has_its_variable() {
        for command in Cli::command().get_subcommands() {
            for arg in command.get_arguments().filter(|arg| arg.get_long().is_some_and(|long| long != "help"))
            {
                let long = arg.get_long().unwrap_or_default();
                let expected = format!("LONGHAUL_{}", long.to_uppercase().replace('-', "_"));
                let env = arg.get_env().and_then(|env| env.to_str());
                assert_eq!(env, Some(expected.as_str()), "{} --{long}", command.get_name());
            }
        }
    }

    #[test]
    fn every_exit_code_is_in_the_help() {
        let help = Cli::command().render_long_help().to_string();
        for code in [0, 1, 2, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 25, 30, 130, 143] {
            assert!(help.contains(&code.to_string()), "{code}");
        }
    }
}
