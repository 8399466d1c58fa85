//! Live transfers over real sockets, in one process: members with a map, a channel between them in total order or in
//! each sender's own, writers all the while.

mod bus;
mod failing;
mod fifo;
mod gate;
mod host;
mod joining;
mod map;
mod rejoining;
mod wire;
