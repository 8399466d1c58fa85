//! A lane: a thread that reads its connection and a thread that writes it.

mod reader;
mod writer;

use longhaul_transport::LaneSetup;

pub(crate) fn start(lane: LaneSetup) {
    let LaneSetup { reporter, connection, cutter, share, bursts, threads, .. } = lane;
    let number = reporter.lane().0;
    let (reports, stream) = (reporter.clone(), connection.clone());
    threads.spawn(format!("longhaul-read-{number}"), move || reader::run(&stream, cutter, &share, &reports));
    threads.spawn(format!("longhaul-write-{number}"), move || {
        writer::run(&connection, &bursts, &reporter);
    });
}
