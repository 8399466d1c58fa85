//! longhaul's protocol as state machines: commands, not bytes.
//!
//! This crate never touches a socket, a file, a clock, a random source or a payload byte. It reads
//! headers and reports, and emits headers and commands; a *driver* (a transport crate, or a
//! simulator) carries the commands out.
//!
//! ```text
//!            handle_*(.., now)                        poll_transmit(lane)   headers to send
//!  driver ─────────────────────▶  Session / Plan  ──▶ poll_receive(lane)    where a payload goes
//!  (sockets, files, clock)                            poll_command()        what to do
//!            ◀──────────────────────────────────────  poll_event()          what people should know
//!                                                     poll_timeout()        the one next deadline
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`digest`] | which messages a state contains: sequence numbers, digests and their algebra |
//! | [`id`] | identifiers: members, transfers, items, epochs |
//! | [`item`] | what an item is: names, kinds, attributes, versions |
//! | [`integrity`] | checksums of chunks, items and whole states, and their algebra |
//! | [`wire`] | frames: what stands on the wire, parsed and emitted |
//! | [`session`] | one session as a state machine |
//! | [`plan`] | the machine over the reports of sessions that alone commands install |
//! | [`message`] | what a machine sees of a group's messages, and what it needs of their channel |
//! | [`transfer`] | the state transfer protocols: a running state moves while writes go on |
//! | [`reason`] | why something failed, where, and on whose side |
//! | [`time`] | the instants that drivers pass in |
//! | [`transitions`] | the declared transitions of all machines, as tables |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod digest;
pub mod id;
pub mod integrity;
pub mod item;
pub mod message;
pub mod plan;
pub mod reason;
pub mod session;
pub mod time;
pub mod transfer;
pub mod transitions;
pub mod wire;
