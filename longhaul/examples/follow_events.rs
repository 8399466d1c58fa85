//! Following a transfer: its events as they happen, its numbers whenever one looks.

use std::error::Error;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use longhaul::{Event, ServiceEvent};

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let state = scratch.path().join("state");
    std::fs::create_dir(&state)?;
    std::fs::write(state.join("segment"), vec![7; 32 << 20])?;

    let provider = longhaul::serve(&state).listen("127.0.0.1:0").once(true).start()?;
    let transfer = longhaul::fetch(provider.local_addr().to_string()).into(scratch.path().join("copy"));

    let mut happens = transfer.events();
    loop {
        match happens.next_within(Duration::from_millis(20)) {
            Ok(Event::Prepared { items, bytes, .. }) => println!("{items} items, {bytes:?} bytes to come"),
            Ok(Event::Installed) => println!("published"),
            Ok(event) => println!("{event:?}"),
            Err(RecvTimeoutError::Timeout) => {
                let now = transfer.stats();
                println!("{}: {} of {:?} bytes", now.stage.name(), now.bytes, now.bytes_total);
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    println!("root {}", transfer.wait()?.root);

    // The other side: a service tells of its sessions, and each session has events of its own.
    for event in provider.events() {
        match event {
            ServiceEvent::Admitted(session) => {
                println!("session {} from {}", session.id(), session.peer_addr());
            }
            ServiceEvent::Ended { session, result } => println!("session {}: {result:?}", session.id()),
            other => println!("{other:?}"),
        }
    }
    provider.wait()?;
    Ok(())
}
