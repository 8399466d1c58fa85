//! Where a joiner is, at itself and at its provider, and where the latch is: the declared transitions.

use crate::transitions::transitions;

transitions! {
    AT_PROVIDER, "a joiner at its live provider";
    /// Where a joiner is, as its provider sees it.
    pub enum At {
        /// It waits for the capture.
        Capturing,
        /// The bulk moves.
        Staging,
        /// It has the bulk durably, and follows the log.
        Following,
        /// The latch is being closed for it.
        Closing,
        /// The latch is closed: the last of the log, and then its word.
        Deciding,
        /// Its epoch is over or its connection lost: a later epoch may go on.
        Parted,
        /// Committed, refused or given up.
        Over,
    }
    /// What moves it on.
    pub enum AtInput {
        /// The capture is there.
        Captured,
        /// The joiner has staged the bulk.
        Staged,
        /// Its turn at the latch.
        Latch,
        /// The latch is closed.
        Drained,
        /// What was in flight did not drain in time.
        Reopen,
        /// Its outcome is Commit.
        Commit,
        /// Its outcome is Abort.
        Abort,
        /// Its connection is lost, or a later epoch has begun.
        Part,
        /// The later epoch goes on from what was staged.
        GoOn,
        /// The later epoch streams the same capture.
        Again,
        /// The later epoch needs a new capture.
        Anew,
        /// It is refused, or given up.
        Release,
    }
    Capturing { Captured => Staging, Part => Parted, Release => Over, }
    Staging { Staged => Following, Part => Parted, Release => Over, }
    Following { Latch => Closing, Part => Parted, Release => Over, }
    Closing { Drained => Deciding, Reopen => Following, Part => Parted, Release => Over, }
    Deciding { Commit => Over, Abort => Parted, }
    Parted { GoOn => Following, Again => Staging, Anew => Capturing, Part => Parted, Release => Over, }
}

transitions! {
    LATCH, "a latch";
    /// Where the latch is.
    pub(super) enum LatchState {
        /// Messages are delivered, requests admitted.
        Open,
        /// No requests are admitted; those in flight end, and messages are delivered, theirs among them.
        Draining,
        /// Nothing is in flight, and nothing is delivered.
        Closed,
    }
    /// What moves it.
    pub(super) enum LatchInput {
        /// A joiner is near enough.
        Close,
        /// Nothing is in flight any more.
        Drained,
        /// An outcome is recorded, or it is tried again later.
        Open,
    }
    Open { Close => Draining, }
    Draining { Drained => Closed, Open => Open, }
    Closed { Open => Open, }
}

transitions! {
    AT_JOINER, "a live joiner";
    /// Where a joiner is.
    pub enum State {
        /// It has no connection, and dials.
        Dialling,
        /// It has asked.
        Requesting,
        /// The bulk moves.
        Staging,
        /// It follows the log.
        Following,
        /// The provider is latched: the last of it is applied.
        Closing,
        /// All is applied: the outcome is awaited.
        Ready,
        /// The outcome was missed, or came late: it is asked for.
        Doubting,
        /// Committed: the hidden copy is swapped in.
        Committing,
        /// Swapped in, after a doubt: what was missed is delivered first.
        CatchingUp,
        /// It serves.
        Serving,
        /// It has given up, and the old state stands.
        Failed,
    }
    /// What moves it on.
    pub enum Input {
        /// A connection stands.
        Connect,
        /// The provider gives its state.
        Begin,
        /// What was staged is good: the log goes on.
        GoOn,
        /// The bulk is durable.
        Staged,
        /// All has been sent.
        Last,
        /// All is applied.
        Applied,
        /// The outcome must be asked for.
        Doubt,
        /// The outcome is Commit.
        Commit,
        /// The hidden copy is swapped in.
        Swapped,
        /// It is, after a doubt.
        SwappedLate,
        /// What was missed is delivered.
        CaughtUp,
        /// The epoch is over: the next one begins with a new connection.
        Again,
        /// No more epochs.
        Fail,
    }
    Dialling { Connect => Requesting, Again => Dialling, Fail => Failed, }
    Requesting { Begin => Staging, GoOn => Following, Again => Dialling, Fail => Failed, }
    Staging { Staged => Following, Again => Dialling, Fail => Failed, }
    Following { Last => Closing, Again => Dialling, Fail => Failed, }
    Closing { Applied => Ready, Again => Dialling, Fail => Failed, }
    Ready { Commit => Committing, Doubt => Doubting, Again => Dialling, Fail => Failed, }
    Doubting { Commit => Committing, Again => Dialling, Fail => Failed, }
    Committing { Swapped => Serving, SwappedLate => CatchingUp, Fail => Failed, }
    CatchingUp { CaughtUp => Serving, }
}
