//! The hot paths, each as one step that can be repeated for ever.
//!
//! A step does what a driver does for one header, one digest or one file, and returns a digest of its
//! work, so that nothing is optimised away.

mod digest;
mod landing;
mod session;
mod wire;

/// One hot path, made ready.
pub struct Path {
    /// Its name: the group, a slash, what a step is.
    pub name: &'static str,
    step: Box<dyn FnMut() -> u64>,
}

impl Path {
    fn new(name: &'static str, step: impl FnMut() -> u64 + 'static) -> Self {
        Self { name, step: Box::new(step) }
    }

    /// Takes one step.
    pub fn step(&mut self) -> u64 {
        (self.step)()
    }
}

/// How a path is made ready.
pub type Make = fn() -> Path;

/// Every path, by group.
pub const GROUPS: &[(&str, &[Make])] = &[
    ("wire", &[wire::header_parsed, wire::header_emitted, wire::offer_parsed, wire::offer_emitted]),
    ("digest", &[digest::merged, digest::overwritten, digest::voted, digest::assembled]),
    ("session", &[session::data_handled, session::data_emitted, session::data_carried]),
    ("landing", &[landing::small_file]),
];
