//! Identifiers. Each is a type of its own, so that one is never taken for another.

use core::fmt;

macro_rules! id128 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in self.0 {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

id128! {
    /// A process that takes part: 16 random bytes, new at every start (an incarnation).
    MemberId
}
id128! {
    /// Members of different clusters refuse each other. All zero: no cluster was named.
    ClusterId
}
id128! {
    /// One transfer, kept over re-dials of its session.
    TransferId
}
id128! {
    /// Names the content of one capture: the engine's own id, else 128 random bits.
    SnapshotId
}
id128! {
    /// A state, or a named part of one, as the application numbers them. All zero: the whole state.
    StateId
}
id128! {
    /// Admits further lanes to a session; from its `Welcome`. Displayed in tests only, never logged.
    Token
}

/// Counts the dials of one transfer. Frames of an old epoch can't reach a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

/// A task's number among those that one side of a session requests: 0, 1, 2, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TaskId(pub u16);

impl TaskId {
    /// The task as an index into a table of tasks.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.0)
    }
}

/// An item's number inside its task: 0, 1, 2, ... in the order in which the source names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ItemId(pub u32);

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// One connection of a session: 0 carries control, 1.. carry data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lane(pub u16);

impl Lane {
    /// The lane that carries control.
    pub const CONTROL: Self = Self(0);

    /// The lane as an index into a table of lanes.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {}", self.0)
    }
}
