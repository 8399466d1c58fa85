//! Declared transitions: every machine's states and inputs as one table, which the machine runs on.
//!
//! A table names every pair that leads somewhere; a pair that it does not name has no place in the
//! machine, and whoever brought it (the peer, the driver) broke a rule. [`TABLES`] is what tests print
//! against checked-in snapshots, so that a change of protocol is a diff.

/// One machine's table, as text.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The machine.
    pub machine: &'static str,
    /// Its states, the first one first.
    pub states: &'static [&'static str],
    /// Its inputs.
    pub inputs: &'static [&'static str],
    /// State, input, next state: indices into the two lists.
    pub transitions: &'static [(usize, usize, usize)],
}

impl Table {
    /// Where `input` leads from `state` (both by index); `None` if the pair has no place.
    #[must_use]
    pub fn next(&self, state: usize, input: usize) -> Option<usize> {
        let found = self.transitions.iter().find(|found| (found.0, found.1) == (state, input));
        found.map(|found| found.2)
    }
}

/// The tables of all machines of this crate.
pub const TABLES: &[Table] = &[
    crate::session::LIFE,
    crate::session::GIVING,
    crate::session::TAKING,
    crate::session::TASK_OUT,
    crate::session::TASK_IN,
    crate::session::ITEM_OUT,
    crate::session::ITEM_IN,
    crate::plan::PLAN,
    crate::transfer::live::AT_PROVIDER,
    crate::transfer::live::LATCH,
    crate::transfer::live::AT_JOINER,
    crate::transfer::fetch::AT_PROVIDER,
    crate::transfer::fetch::AT_JOINER,
];

/// Declares a machine's states, inputs and transitions, and the table of them.
macro_rules! transitions {
    (
        $table:ident, $machine:literal;
        $(#[$sdoc:meta])* $svis:vis enum $state:ident { $($(#[$sd:meta])* $s:ident,)* }
        $(#[$idoc:meta])* $ivis:vis enum $input:ident { $($(#[$id:meta])* $i:ident,)* }
        $($from:ident { $($on:ident => $to:ident,)* })*
    ) => {
        $(#[$sdoc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $svis enum $state { $($(#[$sd])* $s,)* }

        $(#[$idoc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $ivis enum $input { $($(#[$id])* $i,)* }

        impl $state {
            /// Where `input` leads; `None` if it has no place here.
            #[must_use]
            $svis const fn on(self, input: $input) -> Option<Self> {
                match (self, input) {
                    $($(($state::$from, $input::$on) => Some($state::$to),)*)*
                    #[allow(unreachable_patterns, reason = "a complete table leaves nothing over")]
                    _ => None,
                }
            }
        }

        #[doc = concat!("The transitions of ", $machine, ".")]
        pub const $table: $crate::transitions::Table = $crate::transitions::Table {
            machine: $machine,
            states: &[$(stringify!($s),)*],
            inputs: &[$(stringify!($i),)*],
            transitions: &[
                $($(($state::$from as usize, $input::$on as usize, $state::$to as usize),)*)*
            ],
        };
    };
}

pub(crate) use transitions;
