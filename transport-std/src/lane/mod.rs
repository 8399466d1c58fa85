//! A lane: a thread that reads its connection and a thread that writes it.

mod reader;
mod writer;

use longhaul_transport::{Receiving, Sending};

pub(crate) fn receive(lane: Receiving) {
    let Receiving { reporter, connection, cutter, share, threads, .. } = lane;
    let name = format!("longhaul-read-{}", reporter.lane().0);
    threads.spawn(name, move || reader::run(&connection, cutter, &share, &reporter));
}

pub(crate) fn send(lane: Sending) {
    let Sending { reporter, connection, bursts, threads, .. } = lane;
    let name = format!("longhaul-write-{}", reporter.lane().0);
    threads.spawn(name, move || writer::run(&connection, &bursts, &reporter));
}
