//! The strangers rig: a thousand who mean no good call the real provider, again and again, while a well-behaved
//! joiner fetches from it in a loop.
//!
//! Alone and with strangers take turns. The joiner must get a good part of its rate, and the provider must keep to
//! its memory.

mod crowd;
mod stranger;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::command::{PATIENCE, Running};
use crate::drawn::State;
use crowd::Strangers;

/// Of its rate alone, the joiner must have so much with strangers.
pub const LEAST: f64 = 0.8;
/// The provider's memory: half of it for buffers, and for what its sessions need beside them.
pub const MEMORY: u64 = 32 << 20;
/// How long one of the two lasts before it is the other's turn.
const TURN: Duration = Duration::from_secs(15);
/// Who never reads is given up after this.
const STALL: &str = "4s";

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Strangers.
    pub strangers: usize,
    /// How long they are there in all.
    pub time: Duration,
    /// Bytes of the state.
    pub bytes: u64,
}

/// What a run has seen.
#[derive(Clone, Debug, Default)]
pub struct Withstood {
    /// Bytes a second of each turn: alone, and with strangers.
    pub turns: Vec<[f64; 2]>,
    /// The rate with strangers, as a part of the one alone: of all turns together.
    pub part: f64,
    /// Fetches, alone and with strangers.
    pub fetches: [usize; 2],
    /// Calls of strangers.
    pub calls: u64,
    /// The most memory that the provider has had resident.
    pub most_resident: u64,
}

/// Lets strangers come, in `scratch`.
///
/// # Errors
/// If the joiner is not served, or the provider fails. What was seen is to be judged by the caller.
pub fn strangers(longhaul: &Path, scratch: &Path, size: Size) -> Result<Withstood, String> {
    let (source, copy) = (scratch.join("source"), scratch.join("copy"));
    let state = State::draw(1, size.bytes, 100);
    state.make(&source).map_err(|error| error.to_string())?;
    let options = ["--listen", "127.0.0.1:0", "--stall-timeout", STALL, "-q"];
    let serve = ["serve".as_ref(), source.as_os_str()].into_iter().chain(options.map(AsRef::as_ref));
    let provider = Running::start(longhaul, serve)?;
    let listening = provider.until("listening")?;
    let address = listening["address"].as_str().ok_or("it listens nowhere")?.to_owned();
    let mut seen = Withstood::default();
    let mut totals = [(0, Duration::ZERO); 2];
    while totals[1].1 < size.time {
        let mut rates = [0.0; 2];
        for with in [0, 1] {
            let crowd = match with {
                0 => None,
                _ => Some(Strangers::come(size.strangers, address.parse().map_err(|_| "no address")?)),
            };
            let crowd = crowd.transpose().map_err(|error| error.to_string())?;
            let (start, mut bytes) = (Instant::now(), 0);
            while start.elapsed() < TURN.min(size.time) {
                fetch(longhaul, &address, &copy)?;
                bytes += state.bytes();
                seen.fetches[with] += 1;
            }
            let took = start.elapsed();
            seen.calls += crowd.as_ref().map_or(0, Strangers::calls);
            drop(crowd);
            state.compare(&copy)?;
            totals[with] = (totals[with].0 + bytes, totals[with].1 + took);
            rates[with] = bytes as f64 / took.as_secs_f64();
        }
        seen.turns.push(rates);
    }
    let [alone, with] = totals.map(|(bytes, time)| bytes as f64 / time.as_secs_f64());
    seen.part = with / alone;
    seen.most_resident = provider.most_resident()?;
    provider.end()?;
    Ok(seen)
}

/// One fetch of the well-behaved joiner: it is served, whoever else calls.
fn fetch(longhaul: &Path, address: &str, copy: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(copy);
    let fetch = Running::start(longhaul, ["fetch".as_ref(), address.as_ref(), copy.as_os_str()])?;
    let ended = fetch.wait(PATIENCE)?;
    if ended.code == Some(0) {
        Ok(())
    } else {
        Err(format!("the well-behaved joiner was not served: {ended:?}"))
    }
}
