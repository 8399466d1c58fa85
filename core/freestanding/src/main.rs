//! A session without an operating system: a provider and a joiner in one address space, two buffers
//! between them, and a digest that goes to bytes and back. `check` builds it, runs it, and looks
//! through the program for anything that the core should not need.
#![no_std]
#![no_main]

mod digest;
mod machine;
mod session;

/// What the program does. A panic ends it with another code than 0.
fn run() {
    session::moves_a_state();
    digest::goes_to_bytes_and_back();
}
