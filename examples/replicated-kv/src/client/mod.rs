//! What clients say: one command a line, in words, over TCP.
//!
//! ```text
//! line ──▶ Command ──▶ Session: the open transaction ──▶ Desk: submit, read, status ──▶ reply
//! ```

mod command;
mod session;

pub use command::{Command, HELP, LINE_MAX};
pub use session::{Desk, serve};
