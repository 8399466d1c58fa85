//! Live transfers over real sockets, in one process: members with a map, a channel in total order between them,
//! writers all the while.

mod bus;
mod failing;
mod gate;
mod host;
mod joining;
mod map;
mod rejoining;
mod wire;
