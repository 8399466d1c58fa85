//! What every transport takes and tells: options, control, events, statistics, summary, error.

use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use longhaul_core::id::{ClusterId, MemberId, TransferId};
use longhaul_core::integrity::{Integrity, Root};
use longhaul_core::item::Escaped;
use longhaul_core::reason::{Phase, Reason, Side};
use longhaul_core::session::SessionError;
use longhaul_core::wire::{Failed, Refused};

use crate::item::Name;
use crate::sink::SinkError;
use crate::source::{Shape, SourceError, Survey};

/// How a transfer is to be carried out. The defaults suit most.
#[derive(Clone, Debug)]
pub struct Options {
    /// This process.
    pub member: MemberId,
    /// The cluster that it belongs to; peers of another are refused.
    pub cluster: ClusterId,
    /// Which transfer this is; fresh for each.
    pub transfer: TransferId,
    /// Joiner: which state of the provider's; empty for its only one. At most
    /// [`longhaul_core::wire::STATE_ID_MAX`] bytes.
    pub state_id: Vec<u8>,
    /// Joiner: which part of it, in the application's own words; empty for all. At most
    /// [`longhaul_core::wire::SELECTOR_MAX`] bytes.
    pub selector: Vec<u8>,
    /// Joiner: the integrity that is demanded.
    pub integrity: Integrity,
    /// Data lanes: asked for by the joiner, the most that a provider grants. 1 to 8.
    pub lanes: u16,
    /// How often an item that arrived broken is sent again, at most 14.
    pub max_retries: u8,
    /// A session without progress for this long fails. A lost connection may be replaced for twice as long.
    pub stall_timeout: Duration,
    /// A lost connection is dialled again (or waited for), and the session goes on; else it fails.
    pub redial: bool,
    /// A peer that does not connect or answer for this long is given up.
    pub handshake_timeout: Duration,
    /// How this side moves bytes between files and memory.
    pub data_path: DataPath,
    /// How the threads of the session compete for processors, the one that runs it among them.
    pub priority: Priority,
}

/// How bytes move between files and memory, by whichever transport. Each side has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum DataPath {
    /// What is best, as it was measured: large files are written past the page cache, and read past it if they are not in it.
    ///
    /// Never by splice(2), even where nobody wants checksums: copies are what a file was when it was read, while a transfer
    /// whose pages are on their way fails if it is written to before it has landed; nobody has asked for that who has not
    /// named the path. It would spare a provider half of its processor time, for which its joiner pays a part, and hardly
    /// any time: 5 % at most for blocking calls, and a ring that copies is quicker than either (1 GiB from the page cache over
    /// loopback, on two cores).
    #[default]
    Auto,
    /// Past the page cache, wherever the file system, the size and the place allow it.
    Direct,
    /// Through the page cache.
    Buffered,
    /// Between page cache and socket by splice(2), without coming to this process's memory: for transfers without
    /// checksums alone, and on Linux. What is sent must not be written to before it has landed.
    Splice,
    /// The same by the ring's own operation.
    RingSplice,
}

impl DataPath {
    /// The name in options and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Direct => "direct",
            Self::Buffered => "buffered",
            Self::Splice => "splice",
            Self::RingSplice => "ring-splice",
        }
    }

    /// Whether bytes are to move that nobody sees.
    #[must_use]
    pub const fn is_spliced(self) -> bool {
        matches!(self, Self::Splice | Self::RingSplice)
    }
}

/// How the threads that move bytes compete for processors with others of this machine. Linux; elsewhere it is as
/// [`Priority::Normal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Priority {
    /// As all others.
    #[default]
    Normal,
    /// They get a tenth of what another thread gets that wants the same processor; from Linux 6.12 on it gets that at once when it
    /// wakes.
    Low,
    /// They run when nobody else wants to, and stop at once when somebody does: others feel them least. Where no processor is
    /// ever free hardly anything moves.
    Idle,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            member: MemberId::default(),
            cluster: ClusterId::default(),
            transfer: TransferId::default(),
            state_id: Vec::new(),
            selector: Vec::new(),
            integrity: Integrity::Crc32c,
            lanes: 2,
            max_retries: 3,
            stall_timeout: Duration::from_secs(30),
            redial: true,
            handshake_timeout: Duration::from_secs(10),
            data_path: DataPath::Auto,
            priority: Priority::Normal,
        }
    }
}

/// What happens in a transfer. One enum feeds bar, lines, JSON and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The provider is busy; the joiner will ask again.
    Busy {
        /// When.
        retry_after: Duration,
    },
    /// Both sides know each other.
    Established {
        /// The peer.
        peer: MemberId,
    },
    /// What will move is known.
    Prepared {
        /// What the state is as a whole.
        shape: Shape,
        /// Items.
        items: u64,
        /// Logical bytes, if known.
        bytes: Option<u64>,
    },
    /// Items move.
    Streaming,
    /// An item arrived broken and is sent again.
    Retrying {
        /// Its number.
        item: u32,
        /// How often it has failed.
        attempt: u8,
    },
    /// The connection was lost; the dialler dials again.
    Reconnecting,
    /// The transfer goes on over a new connection.
    Resumed,
    /// Count, bytes and root are the same on both sides.
    Agreed {
        /// The root.
        root: Root,
    },
    /// Everything is durable at the joiner, and nothing is published yet.
    Durable,
    /// Published at the joiner.
    Installed,
    /// Something that a person should know, and that stops nothing.
    Warning(String),
}

/// Where a transfer is; the order is that of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// No connection yet, or no agreement who is who.
    Connecting,
    /// The provider surveys its state, the joiner waits.
    Surveying,
    /// Items move.
    Streaming,
    /// Everything has moved and is made durable.
    Syncing,
    /// The state is being published.
    Installing,
    /// Over, one way or the other.
    Over,
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::Connecting, Self::Surveying, Self::Streaming, Self::Syncing, Self::Installing, Self::Over];

    /// The word in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Surveying => "surveying",
            Self::Streaming => "streaming",
            Self::Syncing => "syncing",
            Self::Installing => "installing",
            Self::Over => "over",
        }
    }
}

/// How far a transfer is: plain numbers, taken at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Where it is.
    pub stage: Stage,
    /// Items in all, once known.
    pub items_total: Option<u64>,
    /// Logical bytes in all, if known.
    pub bytes_total: Option<u64>,
    /// Items that are verified at the joiner.
    pub items: u64,
    /// Logical bytes moved, holes included: read and sent, or received.
    pub bytes: u64,
    /// Payload bytes on the wire.
    pub bytes_sent: u64,
    /// Logical bytes that an earlier run had left at the joiner, and that are not sent again.
    pub bytes_resumed: u64,
    /// Items sent again.
    pub retries: u64,
    /// Units of the slow work of this stage (items surveyed, files synced).
    pub work: u64,
}

/// The handle between a running transfer and those who watch or stop it. Shared by reference;
/// nothing that a watcher does can slow the data.
#[derive(Default)]
pub struct Control {
    cancelled: AtomicBool,
    /// It was stopped for the sake of others.
    gives_way: AtomicBool,
    /// Both sides know each other.
    established: AtomicBool,
    wakers: Mutex<Vec<Box<dyn Fn() + Send>>>,
    watchers: Mutex<Vec<SyncSender<Event>>>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    stage: AtomicU8,
    totals_known: AtomicU8,
    items_total: AtomicU64,
    bytes_total: AtomicU64,
    items: AtomicU64,
    bytes: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_resumed: AtomicU64,
    retries: AtomicU64,
    work: AtomicU64,
    /// Bytes a second; zero: as many as can be.
    rate_limit: AtomicU64,
}

/// Events that a watcher may be behind before it loses some.
const EVENTS_BEHIND: usize = 1024;

impl Control {
    /// A handle of a transfer that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the transfer cleanly, from any thread; nothing is published after it.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        for waker in self.wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            waker();
        }
    }

    /// Stops the transfer as [`Control::cancel`] does, but the peer is told that this side is busy, and may come
    /// again: there are others who wait, and it does not go on.
    pub fn give_way(&self) {
        self.gives_way.store(true, Ordering::SeqCst);
        self.cancel();
    }

    /// Whether it was stopped for the sake of others.
    #[must_use]
    pub fn gives_way(&self) -> bool {
        self.gives_way.load(Ordering::SeqCst)
    }

    /// Transports: both sides know each other, and that the other one listens.
    pub fn establish(&self) {
        self.established.store(true, Ordering::SeqCst);
    }

    /// Whether both sides know each other.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.established.load(Ordering::SeqCst)
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Transports: `waker` is called when the transfer is cancelled.
    pub fn on_cancel(&self, waker: impl Fn() + Send + 'static) {
        // Under the lock that `cancel` takes after it has set the flag: one of the two calls the waker.
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_cancelled() {
            waker();
        }
        wakers.push(Box::new(waker));
    }

    /// Transports: the attempt that registered wakers is over.
    pub fn forget_wakers(&self) {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Provider: so many bytes a second are sent on data lanes from now on, at most; `None`: as many as can be. What the
    /// machine calls a stall stays what it is: a limit that is too low ends the transfer.
    pub fn limit_rate(&self, bytes_per_second: Option<NonZeroU64>) {
        self.counters.rate_limit.store(bytes_per_second.map_or(0, NonZeroU64::get), Ordering::Relaxed);
    }

    /// How many bytes a second are sent at most.
    #[must_use]
    pub fn rate_limit(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.counters.rate_limit.load(Ordering::Relaxed))
    }

    /// The events from now on. Whoever does not keep up loses events, never slows the transfer.
    pub fn events(&self) -> Receiver<Event> {
        let (sender, receiver) = sync_channel(EVENTS_BEHIND);
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    /// Transports: something happened.
    pub fn emit(&self, event: &Event) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers
            .retain(|watcher| !matches!(watcher.try_send(event.clone()), Err(TrySendError::Disconnected(_))));
    }

    /// Ends the events: those who iterate over them see the end.
    pub fn close_events(&self) {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How far it is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let known = counters.totals_known.load(Ordering::Acquire);
        Stats {
            stage: Stage::ALL[usize::from(counters.stage.load(Ordering::Relaxed)).min(5)],
            items_total: (known & 1 != 0).then(|| load(&counters.items_total)),
            bytes_total: (known & 2 != 0).then(|| load(&counters.bytes_total)),
            items: load(&counters.items),
            bytes: load(&counters.bytes),
            bytes_sent: load(&counters.bytes_sent),
            bytes_resumed: load(&counters.bytes_resumed),
            retries: load(&counters.retries),
            work: load(&counters.work),
        }
    }

    /// Transports: the transfer has come to a stage.
    pub fn enter(&self, stage: Stage) {
        self.counters.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// Transports: a fresh attempt begins, from nothing.
    pub fn restart(&self) {
        let counters = &self.counters;
        for counter in [&counters.items, &counters.bytes, &counters.work] {
            counter.store(0, Ordering::Relaxed);
        }
        self.enter(Stage::Connecting);
    }

    /// Transports: the totals are known.
    pub fn set_totals(&self, items: u64, bytes: Option<u64>) {
        self.counters.items_total.store(items, Ordering::Relaxed);
        self.counters.bytes_total.store(bytes.unwrap_or(0), Ordering::Relaxed);
        self.counters.totals_known.store(1 | u8::from(bytes.is_some()) << 1, Ordering::Release);
    }

    /// Transports: items verified so far.
    pub fn set_items(&self, items: u64) {
        self.counters.items.store(items, Ordering::Relaxed);
    }

    /// Transports: logical bytes moved, and how many of them were payload on the wire.
    pub fn add_bytes(&self, logical: u64, sent: u64) {
        self.counters.bytes.fetch_add(logical, Ordering::Relaxed);
        self.counters.bytes_sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// Transports: logical bytes that an earlier run left need not be moved.
    pub fn add_resumed(&self, logical: u64) {
        self.counters.bytes.fetch_add(logical, Ordering::Relaxed);
        self.counters.bytes_resumed.fetch_add(logical, Ordering::Relaxed);
    }

    /// Transports: an item is sent again.
    pub fn add_retry(&self) {
        self.counters.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Transports: units of slow work done in this stage.
    pub fn set_work(&self, units: u64) {
        self.counters.work.store(units, Ordering::Relaxed);
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("cancelled", &self.is_cancelled())
            .field("stats", &self.stats())
            .finish()
    }
}

/// What a transfer that succeeded has moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Items.
    pub items: u64,
    /// Logical bytes of content.
    pub bytes: u64,
    /// Payload bytes on the wire, those sent again included.
    pub bytes_sent: u64,
    /// Logical bytes that an earlier run had left at the joiner, and that were not sent again.
    pub bytes_resumed: u64,
    /// Items sent again.
    pub retries: u64,
    /// The integrity that was kept.
    pub integrity: Integrity,
    /// The root.
    pub root: Root,
    /// Provider: the joiner said that it has published. Always true for a joiner.
    pub confirmed: bool,
    /// Joiner: why durability is not proven, if it is not.
    pub caveat: Option<&'static str>,
    /// Joiner: the provider application's words about the state.
    pub app_meta: Vec<u8>,
    /// Provider: the joiner application's words about the publishing.
    pub app_reply: Vec<u8>,
    /// The peer.
    pub peer: MemberId,
}

/// Why a transfer failed: what, on whose side, in which phase, about which item.
#[derive(Debug)]
pub struct TransferError {
    /// What went wrong.
    pub reason: Reason,
    /// Whose fault.
    pub side: Side,
    /// Where in the session's life.
    pub phase: Phase,
    /// The item, if it is about one.
    pub item: Option<Name>,
    /// Where in the item, if known.
    pub offset: Option<u64>,
    /// The peer's or our own words, for a person.
    pub message: Box<str>,
    /// What to do; empty if nothing can be advised.
    pub hint: &'static str,
    /// When a busy peer wants to be asked again.
    pub retry_after: Option<Duration>,
    /// The peer application's words about its refusal or failure.
    pub app_reply: Box<[u8]>,
    /// The cause, if it is on this side.
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl TransferError {
    /// An error with words of one's own.
    #[must_use]
    pub fn new(reason: Reason, side: Side, phase: Phase, message: impl Into<Box<str>>) -> Self {
        Self {
            reason,
            side,
            phase,
            item: None,
            offset: None,
            message: message.into(),
            hint: hint(reason),
            retry_after: None,
            app_reply: Box::default(),
            cause: None,
        }
    }

    /// The provider's source failed.
    #[must_use]
    pub fn source(error: SourceError, phase: Phase) -> Self {
        Self {
            item: (!error.item.is_root()).then(|| error.item.clone()),
            offset: error.offset,
            hint: error.hint(),
            message: error.to_string().into(),
            ..Self::new(error.reason(), Side::Provider, phase, "")
        }
        .caused_by(error)
    }

    /// The joiner's sink failed.
    #[must_use]
    pub fn sink(error: SinkError, phase: Phase) -> Self {
        // A peer that offers impossible items is at fault, not the disk.
        let side = if error.reason() == Reason::Protocol { Side::Provider } else { Side::Joiner };
        Self {
            item: (!error.item.is_root()).then(|| error.item.clone()),
            offset: error.offset,
            hint: error.hint(),
            message: error.to_string().into(),
            ..Self::new(error.reason(), side, phase, "")
        }
        .caused_by(error)
    }

    /// The session machine failed, on `side`.
    #[must_use]
    pub fn session(error: SessionError, side: Side, phase: Phase) -> Self {
        let at_fault = match error {
            SessionError::Peer { side, .. } => side,
            // A connection that ends, or on which nothing moves, is the other side's to explain.
            SessionError::Invalid(_)
            | SessionError::Misbehaved(_)
            | SessionError::Busy { .. }
            | SessionError::LaneLost(_)
            | SessionError::NoAnswer { .. }
            | SessionError::NotResumed { .. }
            | SessionError::Gone
            | SessionError::Changed
            | SessionError::Stalled { .. } => side.peer(),
            _ => side,
        };
        let retry_after =
            if let SessionError::Busy { retry_after } = error { Some(retry_after) } else { None };
        Self { retry_after, ..Self::new(error.reason(), at_fault, phase, error.to_string()) }.caused_by(error)
    }

    /// The peer's own words: they are shown escaped.
    #[must_use]
    pub fn peer(failed: &Failed<'_>) -> Self {
        Self {
            item: (!failed.name.is_root()).then(|| Name::from(failed.name)),
            offset: failed.offset,
            app_reply: failed.app_reply.into(),
            ..Self::new(
                failed.reason,
                failed.side,
                failed.phase,
                Escaped(failed.message.as_bytes()).to_string(),
            )
        }
    }

    /// The provider will not give what was asked for.
    #[must_use]
    pub fn refused(refused: &Refused<'_>) -> Self {
        let words = Escaped(refused.message.as_bytes()).to_string();
        let error = Self::new(refused.reason, Side::Provider, Phase::Prepare, words);
        Self { app_reply: refused.app_reply.into(), ..error }
    }

    /// The connection was lost, and this side could not dial another: why not, it alone knows.
    #[must_use]
    pub fn undialled(self, cause: io::Error) -> Self {
        let message = format!("{}; this side could not dial another: {cause}", self.message);
        Self { message: message.into(), ..self }.caused_by(cause)
    }

    fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    /// Whether the same transfer, tried again as it is, may succeed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        longhaul_core::session::is_retryable(self.reason)
    }
}

/// What can be advised for a reason where the error itself has nothing better.
const fn hint(reason: Reason) -> &'static str {
    match reason {
        Reason::Internal => "this is a defect of longhaul: please report it",
        Reason::Stalled => {
            "see what the slow side waits for; a longer --stall-timeout helps if it is only slow"
        }
        Reason::Unreachable => {
            "check that the peer runs and the address is right, then run the same command again"
        }
        Reason::Protocol => "check that the peer is longhaul, and that nothing between alters the bytes",
        Reason::Incompatible => {
            "run the same version of longhaul on both sides, one as provider, one as joiner"
        }
        Reason::Busy => {
            "try again later, wait longer with --busy-wait, or raise the provider's --max-sessions"
        }
        Reason::Gone => "run the same command again: it begins anew",
        Reason::SourceChanged => "stop the writers, or serve a snapshot, and run it again",
        Reason::Integrity => "run it again; if it happens again, suspect memory, the network or a disk",
        Reason::LostData | Reason::Rotten => {
            "check the joiner's disk (dmesg), then run the same command again"
        }
        Reason::NoSpace => "free some space on the joiner and run the same command again",
        _ => "",
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}): {}", self.reason, self.side, self.phase, self.message)
    }
}

impl std::error::Error for TransferError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as _)
    }
}

/// The number of a shape on the wire.
#[must_use]
pub const fn shape_code(shape: Shape) -> u8 {
    match shape {
        Shape::Directory => 0,
        Shape::File => 1,
        Shape::Stream => 2,
    }
}

/// What a joiner learns of the survey from a task.
#[must_use]
pub const fn survey_of(task: &longhaul_core::wire::Task<'_>) -> Survey {
    Survey {
        shape: match task.shape {
            1 => Shape::File,
            2 => Shape::Stream,
            _ => Shape::Directory,
        },
        items: task.items,
        bytes: task.bytes,
        allocated: task.allocated,
        longest_name: task.longest_name,
        linked: 0,
        warnings: crate::source::Warnings { special_skipped: 0, mode_bits_dropped: 0 },
    }
}
