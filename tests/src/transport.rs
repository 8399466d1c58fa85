//! By which transport the real command moves bytes, where a rig says so.

use std::fmt;

/// One of the command's transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Transport {
    /// Blocking calls.
    Std,
    /// A ring; where there is none to be had, the command says so and moves by blocking calls.
    Uring,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Std, Self::Uring];

    /// The one that the variable `LONGHAUL_RIG_TRANSPORT` names; blocking calls if there is none.
    ///
    /// # Panics
    /// If there is no such transport.
    #[must_use]
    pub fn chosen() -> Self {
        let Ok(name) = std::env::var("LONGHAUL_RIG_TRANSPORT") else { return Self::Std };
        clap::ValueEnum::from_str(&name, false)
            .unwrap_or_else(|error| panic!("LONGHAUL_RIG_TRANSPORT: {error}"))
    }

    /// What the command is told.
    #[must_use]
    pub const fn arguments(self) -> [&'static str; 2] {
        ["--transport", self.name()]
    }

    const fn name(self) -> &'static str {
        match self {
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
