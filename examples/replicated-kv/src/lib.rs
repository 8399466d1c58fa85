//! A replicated key-value store: one primary that orders all writes, and any number of replicas that follow.
//!
//! It is an example of what longhaul is for, and a proof that it holds: real sockets, a real engine, and processes
//! that may be killed at any moment.
//!
//! - [`record`]: what the primary orders. Every change of the state is a record, with its place in one sequence.
//! - [`store`]: a copy of the state, in redb: the effect of a record, its place, the record itself and what is prepared
//!   are written in one transaction, so each record is applied once, whatever is killed when.
//! - [`order`]: the primary's thread that gives places; all that waits shares one fsync.
//! - [`member`]: replicas follow over TCP, and hand their clients' operations on.
//! - [`live`]: how a replica joins while writes go on, from the primary or another replica; [`copy`]: how it joins by copies
//!   that all members make at one place of the order.
//! - [`client`]: a line protocol that a person can type.
//! - [`node`]: a member, put together. [`load`]: clients that know what was acknowledged to them.
//!
//! **Acknowledged** means durable at the primary; at a replica, that its own copy has the record too, so that a client
//! reads what it wrote. (Where the copy is late the answer says so.) The places of all records are one order, of
//! one sender: its id is written with the state, and stays the same when the primary's process begins anew.
#![forbid(unsafe_code)]

mod applied;
pub mod bytes;
pub mod client;
pub mod copy;
mod door;
mod error;
mod home;
pub mod live;
pub mod load;
pub mod member;
pub mod node;
pub mod order;
pub mod record;
mod stop;
pub mod store;

pub use applied::Applied;
pub use door::{DEFAULT_MAX_CLIENTS, Listening};
pub use error::Error;
pub use home::Home;
pub use node::{JoinBy, Node, Options, Upstream};
pub use stop::Stop;
