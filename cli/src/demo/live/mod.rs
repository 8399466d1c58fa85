//! `longhaul demo --live`: three members that are written to, and a fourth one that joins them meanwhile.
//!
//! ```text
//! writers ──▶ channel (one order for all) ──▶ follower of each member ──turn──▶ Member, Map
//!                                                                member 4 ◀══ TCP ══ member 1
//! ```

mod channel;
mod group;
#[cfg(test)]
mod kit;
mod map;
mod pieces;
mod report;
mod writers;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::BinaryBytes;
use longhaul::live::{Fetched, Joined, StateTransfer};
use longhaul::{Error, ErrorKind, Events};
use serde_json::json;

use self::channel::Channel;
use self::group::Host;
use self::map::{State, VALUE_LEN, put};
use self::report::{Stops, short};
use self::writers::{Pen, When};
use crate::args::Demo;
use crate::output::Output;

/// Members that have the state from the start.
const MEMBERS: u8 = 3;
/// How often what happens is looked at.
const TICK: Duration = Duration::from_millis(5);

pub(super) fn run(args: &Demo, size: u64, output: &Output) -> Result<(), Error> {
    let keys = (size / VALUE_LEN as u64).max(1);
    output.result(&format!(
        "making {MEMBERS} members with the same map of {}: {keys} keys",
        BinaryBytes(keys * VALUE_LEN as u64)
    ));
    let state = make(keys);
    let channel = Arc::new(Channel::default());
    let mut hosts = Vec::new();
    for number in 1..=MEMBERS {
        hosts.push(Host::start(number, Some(state.clone()), &channel, args)?);
    }
    drop(state);
    let pen = Arc::new(Pen::new(Duration::from_secs(u64::from(MEMBERS)) / args.rate, keys));
    output.result(&format!("writing {} values a second, a writer at each member", args.rate));
    let done = thread::scope(|scope| {
        for (seed, host) in hosts.iter().enumerate() {
            let (pen, channel) = (Arc::clone(&pen), Arc::clone(&channel));
            scope.spawn(move || pen.write(seed as u64 + 1, &host.member, &host.map, &channel));
        }
        let done = join(args, &hosts[0], &channel, &pen, output);
        pen.stop();
        done
    });
    channel.close();
    let (joiner, state, took, stops) = done?;
    hosts.push(joiner);
    let writes = channel.last();
    let states: Vec<State> = hosts.into_iter().map(Host::finish).collect::<Result<_, _>>()?;
    let latencies = pen.latencies().map(|latencies| report::latencies(&latencies, output));
    let checksum = identical(&states)?;
    output.result(&format!(
        "all {} members are identical after {writes} writes: {} keys, checksum {checksum:016x}",
        states.len(),
        states[0].keys(),
    ));
    let bulk = state.bulk.as_ref();
    output.object(&json!({
        "result": "ok",
        "members": states.len(),
        "keys": states[0].keys(),
        "bytes": bulk.map(|bulk| bulk.bytes),
        "root": bulk.map(|bulk| bulk.root.to_string()),
        "bulk_bytes_per_second": bulk.map(longhaul::Summary::bytes_per_second),
        "seconds": took.as_secs_f64(),
        "writes": writes,
        "writes_per_second": args.rate,
        "capture_seconds": stops.capture.as_secs_f64(),
        "latch_seconds": stops.latch.as_secs_f64(),
        "delayed_seconds": stops.delayed.as_secs_f64(),
        "latency": latencies,
        "identical": true,
        "checksum": format!("{checksum:016x}"),
    }));
    Ok(())
}

/// A map of so many keys.
fn make(keys: u64) -> State {
    let mut state = State::default();
    for key in 0..keys {
        let mut value = [0; VALUE_LEN];
        for (n, word) in value.chunks_mut(8).enumerate() {
            word.copy_from_slice(
                &key.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(n as u32).to_le_bytes(),
            );
        }
        put(&mut state.pieces, key, value.into());
    }
    state
}

/// Has a member join, and the writers watched before, meanwhile and after.
fn join(
    args: &Demo,
    provider: &Host,
    channel: &Arc<Channel>,
    pen: &Pen,
    output: &Output,
) -> Result<(Host, Joined, Duration, Stops), Error> {
    pause(args.measure, output)?;
    let joiner = Host::start(MEMBERS + 1, None, channel, args)?;
    let address = provider.member.local_addr().to_string();
    output.result(&format!("member {} joins, from member 1 at {address}", MEMBERS + 1));
    let mut events = [joiner.member.events(), provider.member.events()];
    let mut stops = Stops::default();
    pen.now_is(When::During);
    let started = Instant::now();
    let transfer = joiner.member.fetch_state(&[address], b"", args.session.stall_timeout)?;
    while !transfer.is_over() {
        look(&mut events, &mut stops, output);
        if output.interrupt().is_interrupted() {
            transfer.cancel();
        }
    }
    let took = started.elapsed();
    look(&mut events, &mut stops, output);
    let state = ended(transfer)?;
    pen.now_is(When::After);
    output.result(&format!("member {} serves after {}", MEMBERS + 1, short(took)));
    pause(args.measure, output)?;
    Ok((joiner, state, took, stops))
}

fn ended(transfer: StateTransfer) -> Result<Joined, Error> {
    match transfer.wait()? {
        Fetched::State(state) => Ok(state),
        Fetched::NoState => Err(Error::new(ErrorKind::Other, "there was no state to be had")),
    }
}

/// Says what happens at both, for a tick.
fn look(events: &mut [Events<longhaul::live::Event>; 2], stops: &mut Stops, output: &Output) {
    for (events, patience) in events.iter_mut().zip([TICK, Duration::ZERO]) {
        while let Ok(event) = events.next_within(patience) {
            stops.tell(&event, output);
        }
    }
}

/// Waits while the writers are watched; a signal ends it.
fn pause(time: Duration, output: &Output) -> Result<(), Error> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        if output.interrupt().is_interrupted() {
            return Err(Error::new(ErrorKind::Cancelled, "stopped while the writers were watched"));
        }
        thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

/// The checksum of states that are all the same.
fn identical(states: &[State]) -> Result<u64, Error> {
    let same = states.iter().all(|state| state.pieces == states[0].pieces);
    if !same {
        return Err(Error::new(ErrorKind::Integrity, "the members have different maps"));
    }
    Ok(states[0].checksum())
}
