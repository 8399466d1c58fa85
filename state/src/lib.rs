//! What longhaul transfers, and where it lands.
//!
//! ```text
//! provider: Source ──survey──▶ totals        joiner: Item ──open──▶ Place      Sink
//!                  ──walk────▶ Item, Item, ...        bytes ──write─▶           │ directory:
//!                  ──open────▶ Content ──read_at──▶   finish ▶ sync ▶ publish   ▼ landing::Machine
//! ```
//!
//! Everything here blocks; transports call it from helper threads, never from the thread that
//! drives a session.
#![forbid(unsafe_code)]

pub mod item;
pub mod landing;
pub mod links;
pub mod pool;
pub mod root;
pub mod sink;
pub mod source;
pub mod transfer;

pub use item::{Item, What};
pub use links::LinksPolicy;
pub use sink::{Place, Sink, SinkError};
pub use source::{Content, Piece, Source, SourceError, Survey, Walk};

/// What a panic said, for the error that it becomes.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let said =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", said.unwrap_or("without a message"))
}
