//! Fetches over real sockets, in one process: members with a map, a channel between them in total order or in the order of
//! each sender, writers all the while.

mod bus;
mod failing;
#[path = "../live/gate.rs"]
mod gate;
mod giving;
mod group;
mod host;
mod joining;
mod many;
mod map;
