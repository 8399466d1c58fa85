//! The joiner's process: it gets the state, serves, and ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul::Summary;
use longhaul::live::{Fetched, Member};
use serde_json::json;

use crate::engine::{Engine, JOINER};
use crate::flush;
use crate::provider::{At, Everything, config};
use crate::run::tell;

pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) fn run(address: &str, priority: At, flushes: bool) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let bulk = if flushes { flush::join(address)? } else { join(address, priority)? };
    let seconds = started.elapsed().as_secs_f64();
    Ok(tell(&json!({ "seconds": seconds, "bytes": bulk.bytes, "root": bulk.root.to_string() }))?)
}

fn join(address: &str, priority: At) -> Result<Summary, Box<dyn std::error::Error>> {
    let engine = Arc::new(Engine::default());
    let builder = Member::builder(config(JOINER)?, engine as _, Arc::new(Everything));
    let member = builder.listen("127.0.0.1:0").priority(priority.priority()).join()?;
    let fetched = member.fetch_state(&[address], b"", TIMEOUT)?.wait()?;
    let Fetched::State(state) = fetched else { return Err("there was no state to be had".into()) };
    Ok(state.bulk.ok_or("nothing was moved")?)
}
