//! Where a joiner is, at itself and at a provider: the declared transitions.

use crate::transitions::transitions;

transitions! {
    AT_PROVIDER, "a joiner at its provider";
    /// Where a joiner is, as a provider sees it.
    pub enum At {
        /// It says what the capture must cover.
        Asking,
        /// It waits for the capture.
        Capturing,
        /// The bulk moves.
        Staging,
        /// The log since what it had fetched before goes to it.
        Reading,
        /// Its epoch is over: a later one may go on.
        Parted,
        /// It has what it wanted, is refused, or has given up.
        Over,
    }
    /// What moves it on.
    pub enum AtInput {
        /// There is no capture for it yet.
        Capture,
        /// There is one.
        Captured,
        /// It wants the log alone.
        GoOn,
        /// Its connection is lost, or a later epoch has begun.
        Part,
        /// The later epoch asks.
        Ask,
        /// It needs nothing more, is refused, or is given up.
        Release,
    }
    Asking { Capture => Capturing, Captured => Staging, GoOn => Reading, Part => Parted, Release => Over, }
    Capturing { Captured => Staging, Part => Parted, Release => Over, }
    Staging { Part => Parted, Release => Over, }
    Reading { Part => Parted, Release => Over, }
    Parted { Ask => Asking, Part => Parted, Release => Over, }
}

transitions! {
    AT_JOINER, "a joiner";
    /// Where a joiner is.
    pub enum State {
        /// It asks a provider for a capture, or will soon ask the next one.
        Asking,
        /// It has asked for copies, and waits for its own delivery of that.
        Ordering,
        /// It has asked all to stop writing.
        Suspending,
        /// It compares the roots of the copies.
        Comparing,
        /// The bulk moves.
        Staging,
        /// The log since what was prefetched is applied.
        Applying,
        /// All is there: it is swapped in.
        Committing,
        /// It serves.
        Serving,
        /// It has given up, and the old state stands.
        Failed,
        /// There is nobody to have a state from.
        Alone,
    }
    /// What moves it on.
    pub enum Input {
        /// Copies are asked for, anew if they were before.
        Order,
        /// The own delivery of that.
        Ordered,
        /// All are asked to stop, anew if they were before.
        Suspend,
        /// All have stopped.
        Suspended,
        /// The roots of the copies are wanted first.
        Compare,
        /// Most have one root.
        Agreed,
        /// A provider gives its capture.
        Begin,
        /// A provider goes on with the log.
        GoOn,
        /// The bulk is durable, and all that was wanted.
        Staged,
        /// It is durable, and the next provider's is wanted too.
        Next,
        /// The log is applied.
        Applied,
        /// The hidden copy is swapped in.
        Swapped,
        /// The next provider is asked.
        Again,
        /// No more tries.
        Fail,
        /// Nobody else is there.
        Leave,
    }
    Asking {
        Order => Ordering, Suspend => Suspending, Begin => Staging, GoOn => Applying, Staged => Committing,
        Again => Asking, Fail => Failed, Leave => Alone,
    }
    Ordering { Ordered => Asking, Compare => Comparing, Order => Ordering, Again => Asking, Fail => Failed, }
    Suspending { Suspended => Asking, Suspend => Suspending, Fail => Failed, }
    Comparing { Agreed => Asking, Order => Ordering, Fail => Failed, }
    Staging {
        Staged => Committing, Next => Asking, Again => Asking, Order => Ordering, Suspend => Suspending,
        Fail => Failed,
    }
    Applying { Applied => Committing, Again => Asking, Order => Ordering, Fail => Failed, }
    Committing { Swapped => Serving, Fail => Failed, }
}
