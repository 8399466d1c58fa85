//! Why something failed, in which phase, on whose side: the words that errors, frames and exit
//! codes share.

use core::fmt;

macro_rules! coded {
    ($(#[$doc:meta])* $name:ident : $repr:ty { $($(#[$vdoc:meta])* $variant:ident = $code:literal => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every value, in the order of its number on the wire.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> $repr {
                match self { $(Self::$variant => $code,)* }
            }

            /// The value with this number on the wire, if this version knows it.
            #[must_use]
            pub const fn from_code(code: $repr) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// The word in output and logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

coded! {
    /// What went wrong.
    #[non_exhaustive]
    Reason: u16 {
        /// A defect of longhaul itself.
        Internal = 1 => "internal",
        /// Someone asked for it to stop.
        Cancelled = 2 => "cancelled",
        /// A live connection, and no progress within the stall timeout.
        Stalled = 3 => "stalled",
        /// The peer can't be reached, or the connection to it was lost.
        Unreachable = 4 => "unreachable",
        /// The peer does not speak the protocol, or breaks its rules.
        Protocol = 10 => "protocol",
        /// No version, capability or demand in common.
        Incompatible = 11 => "incompatible",
        /// The peer has no room now; it says when to ask again.
        Busy = 20 => "busy",
        /// The peer will not, and says why.
        Refused = 21 => "refused",
        /// The provider has given the snapshot up: a new session must begin.
        Gone = 23 => "gone",
        /// The peer does not know who we are, or does not allow it.
        Unauthorised = 22 => "unauthorised",
        /// The source does not exist, can't be read, or holds what can't be sent.
        Source = 30 => "source",
        /// The source changed while it was read.
        SourceChanged = 31 => "source-changed",
        /// The destination can't be used or written.
        Destination = 40 => "destination",
        /// The destination has no room.
        NoSpace = 41 => "no-space",
        /// The destination's disk lost what was written: other files may hold it.
        LostData = 42 => "lost-data",
        /// What arrived is not what was sent, even after retries.
        Integrity = 50 => "integrity",
        /// What came was right, and what is read back from the destination's disk is not: other files may hold it.
        Rotten = 51 => "rotten",
    }
}

coded! {
    /// Where in a session's life.
    Phase: u8 {
        /// Before a connection stands.
        Connect = 0 => "connect",
        /// Who is who: versions, capabilities, admission.
        Init = 1 => "init",
        /// What will move: request, survey, totals, preflight.
        Prepare = 2 => "prepare",
        /// Items move.
        Stream = 3 => "stream",
        /// Count, bytes and root are compared; everything is made durable.
        Complete = 4 => "complete",
        /// The state is published at the joiner.
        Install = 5 => "install",
    }
}

coded! {
    /// Whose side.
    Side: u8 {
        /// Gives state.
        Provider = 0 => "provider",
        /// Receives it.
        Joiner = 1 => "joiner",
    }
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Provider => Self::Joiner,
            Self::Joiner => Self::Provider,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_read_back() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
        }
        for phase in Phase::ALL {
            assert_eq!(Phase::from_code(phase.code()), Some(*phase));
        }
        assert_eq!(Reason::from_code(0), None);
    }
}
