//! By what the real command moves bytes, where a rig draws it: a transport that sees them, or a data path that does not.

use std::fmt;

use longhaul_core::reason::Side;

use crate::transport::Transport;

/// A transport, and whether the bytes pass it unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Carrier {
    /// Blocking calls, with checksums.
    Std,
    /// A ring, with checksums.
    Uring,
    /// Blocking calls, from pipe to file, without checksums.
    Splice,
    /// The same by a ring's operations.
    RingSplice,
}

impl Carrier {
    /// All that this build has.
    pub const ALL: &'static [Self] = if cfg!(all(target_os = "linux", not(longhaul_portable))) {
        &[Self::Std, Self::Uring, Self::Splice, Self::RingSplice]
    } else {
        &[Self::Std, Self::Uring]
    };

    /// Its transport.
    #[must_use]
    pub const fn transport(self) -> Transport {
        match self {
            Self::Std | Self::Splice => Transport::Std,
            Self::Uring | Self::RingSplice => Transport::Uring,
        }
    }

    /// What the command is told at this side: which checksums there are to be is for the joiner to say.
    pub fn arguments(self, side: Side) -> impl Iterator<Item = &'static str> {
        let path: &[&str] = match self {
            Self::Std | Self::Uring => &[],
            Self::Splice => &["--data-path", "splice"],
            Self::RingSplice => &["--data-path", "ring-splice"],
        };
        let unchecked: &[&str] =
            if path.is_empty() || side == Side::Provider { &[] } else { &["--integrity", "none"] };
        self.transport().arguments().into_iter().chain(path.iter().copied()).chain(unchecked.iter().copied())
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Std => "std",
            Self::Uring => "uring",
            Self::Splice => "splice",
            Self::RingSplice => "ring-splice",
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
