//! What is said where: results on stdout, everything else on stderr. Nobody reading is no error.

use std::error::Error as _;
use std::io::{self, IsTerminal, Write};

use longhaul::{Error, ErrorKind};
use serde_json::Value;

use crate::args::{Common, ProgressArg};
use crate::json;
use crate::progress::Mode;
use crate::signals::Interrupt;

/// How this command talks.
#[derive(Clone)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    mode: Mode,
    interrupt: Interrupt,
}

impl Output {
    pub(crate) fn new(common: &Common, interrupt: Interrupt) -> Self {
        let json = common.json || common.progress == ProgressArg::Json;
        let mode = match common.progress {
            _ if common.quiet => Mode::None,
            ProgressArg::Auto if io::stderr().is_terminal() => Mode::Bar,
            ProgressArg::Auto | ProgressArg::Line => Mode::Line,
            ProgressArg::Bar => Mode::Bar,
            ProgressArg::Json => Mode::Json,
            ProgressArg::None => Mode::None,
        };
        Self { json, quiet: common.quiet, mode, interrupt }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// An object for the machine.
    pub(crate) fn object(&self, object: &Value) {
        if self.json {
            write(io::stdout().lock(), &object.to_string());
        }
    }

    /// A result for the person.
    pub(crate) fn result(&self, text: &str) {
        if !self.json && !self.quiet {
            write(io::stdout().lock(), text);
        }
    }

    /// A result that was asked for: said even if quiet.
    pub(crate) fn answer(&self, text: &str) {
        if !self.json {
            write(io::stdout().lock(), text);
        }
    }

    /// A word on the way for the person.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            write(io::stderr().lock(), text);
        }
    }

    /// What the command exits with for this error.
    pub(crate) fn exit_code(&self, error: &Error) -> u8 {
        match self.interrupt.exit_code() {
            Some(code) if error.kind() == ErrorKind::Cancelled => code,
            _ => error.exit_code(),
        }
    }

    /// Says the last word about a failure; returns what to exit with.
    pub(crate) fn failure(&self, error: &Error) -> u8 {
        let code = self.exit_code(error);
        write(io::stderr().lock(), &describe(error));
        self.object(&json::failure(error, code));
        code
    }
}

/// The error as a person reads it: what, where, why, and what to do.
pub(crate) fn describe(error: &Error) -> String {
    let mut text = format!("error: {}", harmless(error.message()));
    let mut place = Vec::new();
    place.extend(error.side().map(|side| side.to_string()));
    place.extend(error.phase().map(|phase| format!("phase {phase}")));
    place.extend(error.item().map(|item| format!("item {item}")));
    place.extend(error.offset().map(|offset| format!("byte {offset}")));
    if !place.is_empty() {
        text.push_str("\n  at: ");
        text.push_str(&place.join(", "));
    }
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = harmless(&inner.to_string());
        if !text.contains(&said) {
            text.push_str("\n  cause: ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    if let Some(hint) = error.hint() {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    text
}

/// Words that may be a peer's, with nothing in them that a terminal obeys: control characters and marks
/// of direction are shown as what they are.
fn harmless(words: &str) -> String {
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(words.len());
    for c in words.chars() {
        if obeyed(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A closed pipe or a full disk behind it must not touch the transfer.
fn write(mut out: impl Write, text: &str) {
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}
