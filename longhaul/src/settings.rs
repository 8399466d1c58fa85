//! What every builder lets one choose.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use longhaul_core::id::{MemberId, TransferId};
use longhaul_core::integrity::Integrity;
use longhaul_core::wire::{ChunkLen, SELECTOR_MAX, STATE_ID_MAX};
use longhaul_state::pool::{DEFAULT_MEMORY, MIN_MEMORY, Pool};
use longhaul_state::transfer::{DataPath, Options, Priority};

use crate::error::{Error, ErrorKind};

/// How bytes are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Transport {
    /// A ring for directories and files of 32 MiB and more, where there is one to be had. Blocking calls for what is smaller,
    /// what lies in memory, streams, and sources and sinks of one's own, where a ring gains nothing.
    #[default]
    Auto,
    /// Blocking sockets and positional file IO: works everywhere.
    Std,
    /// `io_uring`, with registered buffers, files written past the page cache: Linux, where it is permitted.
    /// Where it can't be had the blocking one moves the bytes, and the log says why.
    Uring,
}

impl Transport {
    /// The name in options and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Std => "std",
            Self::Uring => "uring",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Lanes that a session may have.
const LANES: std::ops::RangeInclusive<u16> = 1..=8;
/// An item is sent at most this often again.
const RETRIES_MAX: u8 = 14;
/// Shorter than this nothing can be told from a busy machine.
const STALL_MIN: Duration = Duration::from_millis(100);
/// A peer that does not answer for this long, or for the stall timeout, is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What every builder holds.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) integrity: Integrity,
    pub(crate) lanes: u16,
    pub(crate) max_retries: u8,
    pub(crate) stall_timeout: Duration,
    pub(crate) redial: bool,
    pub(crate) state_id: Vec<u8>,
    pub(crate) selector: Vec<u8>,
    pub(crate) buffers: Buffers,
    pub(crate) transport: Transport,
    pub(crate) data_path: DataPath,
    pub(crate) priority: Priority,
    /// Who this is, if it was told.
    pub(crate) member: Option<MemberId>,
}

/// Where buffers come from.
#[derive(Clone, Debug)]
pub(crate) enum Buffers {
    Own { memory: usize },
    Shared(Pool),
}

impl Default for Settings {
    fn default() -> Self {
        let defaults = Options::default();
        Self {
            integrity: defaults.integrity,
            lanes: defaults.lanes,
            max_retries: defaults.max_retries,
            stall_timeout: defaults.stall_timeout,
            redial: defaults.redial,
            state_id: Vec::new(),
            selector: Vec::new(),
            buffers: Buffers::Own { memory: DEFAULT_MEMORY },
            transport: Transport::Auto,
            data_path: DataPath::Auto,
            priority: defaults.priority,
            member: None,
        }
    }
}

impl Settings {
    /// What is moved comes from or goes into no files that are known here.
    pub(crate) fn without_files(&mut self) {
        if self.transport == Transport::Auto && self.data_path != DataPath::RingSplice {
            self.transport = Transport::Std;
        }
    }

    /// Says everything that is wrong at once.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut wrong = Vec::new();
        if !LANES.contains(&self.lanes) {
            wrong.push(format!("lanes must be {} to {}, not {}", LANES.start(), LANES.end(), self.lanes));
        }
        if self.max_retries > RETRIES_MAX {
            wrong.push(format!("retries must be at most {RETRIES_MAX}, not {}", self.max_retries));
        }
        if self.state_id.len() > STATE_ID_MAX {
            let len = self.state_id.len();
            wrong.push(format!("a state id has at most {STATE_ID_MAX} bytes, not {len}"));
        }
        if self.selector.len() > SELECTOR_MAX {
            let len = self.selector.len();
            wrong.push(format!("a selector has at most {SELECTOR_MAX} bytes, not {len}"));
        }
        if self.stall_timeout < STALL_MIN {
            wrong.push(format!("the stall timeout must be at least {STALL_MIN:?}"));
        }
        if let Buffers::Own { memory } = self.buffers
            && memory < MIN_MEMORY
        {
            wrong.push(format!("the buffer memory must be at least {MIN_MEMORY} bytes, not {memory}"));
        }
        wrong.extend(self.wrong_data_path());
        if wrong.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Usage, wrong.join("; "))) }
    }

    /// The options of one transfer: its id is fresh.
    pub(crate) fn options(&self) -> Result<Options, Error> {
        Ok(Options {
            member: self.member.map_or_else(dialling_member, Ok)?,
            transfer: TransferId(random()?),
            integrity: self.integrity,
            lanes: self.lanes,
            max_retries: self.max_retries,
            stall_timeout: self.stall_timeout,
            redial: self.redial,
            state_id: self.state_id.clone(),
            selector: self.selector.clone(),
            handshake_timeout: self.stall_timeout.min(HANDSHAKE),
            data_path: self.data_path,
            priority: self.priority,
            ..Options::default()
        })
    }

    /// The buffers of so many sessions.
    pub(crate) fn pool(&self, sessions: usize) -> Pool {
        match &self.buffers {
            Buffers::Own { memory } => Pool::new(*memory, ChunkLen::DEFAULT, sessions, self.lanes),
            Buffers::Shared(pool) => pool.clone(),
        }
    }

    /// The same in at most so many parts; a pool that others use too is in no parts.
    pub(crate) fn pools(&self, sessions: usize, parts: usize) -> Vec<Pool> {
        match &self.buffers {
            Buffers::Own { memory } => Pool::split(*memory, ChunkLen::DEFAULT, sessions, self.lanes, parts),
            Buffers::Shared(pool) => vec![pool.clone(); parts.clamp(1, sessions.max(1))],
        }
    }
}

/// This process as one that dials: one id from its first transfer to its end.
fn dialling_member() -> Result<MemberId, Error> {
    static MEMBER: OnceLock<MemberId> = OnceLock::new();
    if let Some(member) = MEMBER.get() {
        return Ok(*member);
    }
    let fresh = MemberId(random()?);
    Ok(*MEMBER.get_or_init(|| fresh))
}

/// Fresh random bytes from the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Other, "the system gives no random bytes").with_cause(error.to_string())
    })?;
    Ok(bytes)
}

/// The methods of every builder, over its field `settings`.
macro_rules! common_settings {
    () => {
        /// Data lanes, 1 to 8: asked for by the joiner, the most that a provider grants. 2 unless told. One is quicker
        /// where both sides share two processors and nothing waits for a disk: their threads take turns.
        pub fn lanes(mut self, lanes: u16) -> Self {
            self.settings.lanes = lanes;
            self
        }

        /// How often an item that arrived broken is sent again, at most 14. 3 unless told.
        pub fn max_retries(mut self, retries: u8) -> Self {
            self.settings.max_retries = retries;
            self
        }

        /// A session without progress for this long fails. 30 s unless told; there is no limit on
        /// the whole.
        pub fn stall_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.settings.stall_timeout = timeout;
            self
        }

        /// Whether a lost connection is dialled again (or waited for, by the side that listens), for
        /// twice the stall timeout, and the session goes on. Yes unless told.
        pub fn redial(mut self, redial: bool) -> Self {
            self.settings.redial = redial;
            self
        }

        /// Memory for buffers, in bytes. 16 MiB unless told, 1 MiB at least.
        pub fn buffer_memory(mut self, bytes: usize) -> Self {
            self.settings.buffers = crate::settings::Buffers::Own { memory: bytes };
            self
        }

        /// Takes buffers from a pool that others use too, instead of one of its own.
        pub fn pool(mut self, pool: &crate::Pool) -> Self {
            self.settings.buffers = crate::settings::Buffers::Shared(pool.clone());
            self
        }

        /// Which member of its group this is. Two that are the same member give each other no state.
        /// Unless told, this process is one member in all that it dials, and each service another:
        /// it may fetch from itself.
        pub fn member(mut self, member: crate::MemberId) -> Self {
            self.settings.member = Some(member);
            self
        }

        /// How bytes are moved.
        pub fn transport(mut self, transport: crate::Transport) -> Self {
            self.settings.transport = transport;
            self
        }

        /// How bytes move between files and memory on this side.
        pub fn data_path(mut self, path: crate::DataPath) -> Self {
            self.settings.data_path = path;
            self
        }
    };
}
pub(crate) use common_settings;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_no_ring_for_what_is_no_file() {
        for (asked, taken) in [
            (Transport::Auto, Transport::Std),
            (Transport::Std, Transport::Std),
            (Transport::Uring, Transport::Uring),
        ] {
            let mut settings = Settings { transport: asked, ..Settings::default() };
            settings.without_files();
            assert_eq!(settings.transport, taken);
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let settings = Settings {
            lanes: 9,
            max_retries: 15,
            stall_timeout: Duration::ZERO,
            buffers: Buffers::Own { memory: 1 },
            ..Settings::default()
        };
        let error = settings.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        for word in ["lanes", "retries", "stall timeout", "buffer memory"] {
            assert!(error.message().contains(word), "{error}");
        }
        assert!(Settings::default().check().is_ok());
    }

    #[test]
    fn a_member_is_one_and_every_transfer_another() {
        let settings = Settings::default();
        let (one, two) = (settings.options().unwrap(), settings.options().unwrap());
        assert_eq!(one.member, two.member);
        assert_ne!(one.transfer, two.transfer);
    }
}
