//! The four protocols that fetch a state as it was at one place, each with both machines side by side.

mod copy;
mod flush;
mod machines;
mod prefetch;
mod streaming;
